/* The table of kernels of gradient descent. */
#include "kernels/sgd/sgd.h"
#include "kernels/common/cuda_table.h"
#include "kernels/common/simd.h"

CUDA_DECLARE_OTHER(sgd_kernel, sgd_cuda);
SIMD_DECLARE_OTHER(sgd_kernel, sgd);

const struct sgd_kernel *const sgd_kernels[] = {CUDA_OTHER(sgd_cuda) SIMD_KERNELS(sgd), NULL};

enum status sgd_update(const struct sgd_step *step, struct stream *stream, float *w, const float *g,
                       float *velocity, int64_t count) {
  const struct device_ops *ops = stream->device->ops;
  for (int i = 0; sgd_kernels[i]; i++)
    if (sgd_kernels[i]->device == ops->kind && sgd_kernels[i]->applies())
      return sgd_kernels[i]->update(step, stream, w, g, velocity, count);
  FAIL(STATUS_USAGE, "sgd: the device %s has no kernel for it", ops->name);
}
