/* The Adam step on the GPU, 4 elements per thread. */
#include "kernels/common/cuda_flat.h"
extern "C" {
#include "kernels/adam/formula.h"
}

enum { W, G, M, V };

struct adam_each {
  enum { ARRAYS = 4, WRITES = 1 << W | 1 << M | 1 << V };
  struct adam_coefficients coefficients;
  __device__ void operator()(float (&value)[ARRAYS]) const {
    adam_element(&coefficients, &value[W], value[G], &value[M], &value[V]);
  }
};

static bool applies() {
  return true;
}

static enum status update(const struct adam_step *step, struct stream *stream, float *w,
                          const float *g, float *m, float *v, int64_t count) {
  struct adam_each each = {adam_coefficients(step)};
  flat_arrays<4> arrays = {{w, const_cast<float *>(g), m, v}}; /* g is not in WRITES */
  return cuda_flat(each, arrays, count, stream, "adam");
}

extern "C" const struct adam_kernel adam_cuda;
const struct adam_kernel adam_cuda = {
    .name = "hand",
    .device = DEVICE_CUDA,
    .applies = applies,
    .update = update,
};
