/* The table of kernels of the Adam step, and what they have in common. */
#include "kernels/adam/adam.h"
#include <math.h>
#include "kernels/adam/formula.h"
#include "kernels/common/cuda_table.h"
#include "kernels/common/simd.h"

CUDA_DECLARE_OTHER(adam_kernel, adam_cuda);
SIMD_DECLARE_OTHER(adam_kernel, adam);

const struct adam_kernel *const adam_kernels[] = {CUDA_OTHER(adam_cuda) SIMD_KERNELS(adam), NULL};

struct adam_coefficients adam_coefficients(const struct adam_step *s) {
  double correction1 = 1 - pow(s->beta1, (double)s->step);
  double correction2 = 1 - pow(s->beta2, (double)s->step);
  return (struct adam_coefficients){
      .gradient_scale = (float)s->gradient_scale,
      .weight_decay = s->decoupled ? 0 : (float)s->weight_decay,
      .keep = s->decoupled ? (float)(1 - s->learning_rate * s->weight_decay) : 1,
      .take1 = (float)(1 - s->beta1),
      .beta2 = (float)s->beta2,
      .take2 = (float)(1 - s->beta2),
      .step_size = (float)(s->learning_rate / correction1),
      .root_correction = (float)sqrt(correction2),
      .epsilon = (float)s->epsilon,
  };
}

enum status adam_update(const struct adam_step *step, struct stream *stream, float *w,
                        const float *g, float *m, float *v, int64_t count) {
  const struct device_ops *ops = stream->device->ops;
  for (int i = 0; adam_kernels[i]; i++)
    if (adam_kernels[i]->device == ops->kind && adam_kernels[i]->applies())
      return adam_kernels[i]->update(step, stream, w, g, m, v, count);
  FAIL(STATUS_USAGE, "adam: the device %s has no kernel for it", ops->name);
}
