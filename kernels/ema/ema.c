/* The table of kernels of the moving average. */
#include "kernels/ema/ema.h"
#include "kernels/common/cuda_table.h"
#include "kernels/common/simd.h"

CUDA_DECLARE_OTHER(ema_kernel, ema_cuda);
SIMD_DECLARE_OTHER(ema_kernel, ema);

const struct ema_kernel *const ema_kernels[] = {CUDA_OTHER(ema_cuda) SIMD_KERNELS(ema), NULL};

enum status ema_update(struct stream *stream, float *average, const float *w, int64_t count,
                       double decay) {
  const struct device_ops *ops = stream->device->ops;
  for (int i = 0; ema_kernels[i]; i++)
    if (ema_kernels[i]->device == ops->kind && ema_kernels[i]->applies())
      return ema_kernels[i]->update(stream, average, w, count, decay);
  FAIL(STATUS_USAGE, "ema: the device %s has no kernel for it", ops->name);
}
