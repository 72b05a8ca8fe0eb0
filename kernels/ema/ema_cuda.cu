/* The moving average on the GPU, 4 elements per thread. */
#include "kernels/common/cuda_flat.h"
extern "C" {
#include "kernels/ema/ema.h"
#include "kernels/ema/formula.h"
}

enum { AVERAGE, W };

struct ema_each {
  enum { ARRAYS = 2, WRITES = 1 << AVERAGE };
  float take;
  __device__ void operator()(float (&value)[ARRAYS]) const {
    value[AVERAGE] = ema_element(value[AVERAGE], value[W], take);
  }
};

static bool applies() {
  return true;
}

static enum status update(struct stream *stream, float *average, const float *w, int64_t count,
                          double decay) {
  flat_arrays<2> arrays = {{average, const_cast<float *>(w)}}; /* w is not in WRITES */
  return cuda_flat(ema_each{(float)(1 - decay)}, arrays, count, stream, "ema");
}

extern "C" const struct ema_kernel ema_cuda;
const struct ema_kernel ema_cuda = {
    .name = "hand",
    .device = DEVICE_CUDA,
    .applies = applies,
    .update = update,
};
