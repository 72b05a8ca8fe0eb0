/* Gradient descent on the GPU, 4 elements per thread. */
#include "kernels/common/cuda_flat.h"
extern "C" {
#include "kernels/sgd/formula.h"
}

enum { W, G, VELOCITY };

struct sgd_plain {
  enum { ARRAYS = 2, WRITES = 1 << W };
  struct sgd_coefficients coefficients;
  __device__ void operator()(float (&value)[ARRAYS]) const {
    sgd_element(&coefficients, &value[W], value[G]);
  }
};

struct sgd_momentum {
  enum { ARRAYS = 3, WRITES = 1 << W | 1 << VELOCITY };
  struct sgd_coefficients coefficients;
  __device__ void operator()(float (&value)[ARRAYS]) const {
    sgd_momentum_element(&coefficients, &value[W], value[G], &value[VELOCITY]);
  }
};

static bool applies() {
  return true;
}

static enum status update(const struct sgd_step *step, struct stream *stream, float *w,
                          const float *g, float *velocity, int64_t count) {
  struct sgd_coefficients coefficients = sgd_coefficients(step);
  float *gradient = const_cast<float *>(g); /* not in WRITES */
  if (velocity)
    return cuda_flat(sgd_momentum{coefficients}, flat_arrays<3>{{w, gradient, velocity}}, count,
                     stream, "sgd");
  return cuda_flat(sgd_plain{coefficients}, flat_arrays<2>{{w, gradient}}, count, stream, "sgd");
}

extern "C" const struct sgd_kernel sgd_cuda;
const struct sgd_kernel sgd_cuda = {
    .name = "hand",
    .device = DEVICE_CUDA,
    .applies = applies,
    .update = update,
};
