/* One step of Adam (Kingma & Ba, arXiv:1412.6980) or AdamW (Loshchilov & Hutter, arXiv:1711.05101)
 * over a flat block of parameters, with the formula and order of torch.optim.Adam and AdamW:
 *   g' = gradient_scale*g, plus weight_decay*w (Adam), or w *= 1 - rate*weight_decay (AdamW)
 *   m += (1-beta1)*(g' - m);  v = beta2*v + (1-beta2)*g'^2
 *   w -= rate/(1-beta1^step) * m / (sqrt(v)/sqrt(1-beta2^step) + epsilon)
 * Every element is computed alike wherever it lies, with the same operations in every kernel: the
 * bits depend neither on the number of threads, nor on how the block is cut, nor on the device. */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include "device/device.h"

struct adam_step {
  double learning_rate, beta1, beta2, epsilon, weight_decay;
  bool decoupled;        /* AdamW */
  int64_t step;          /* 1 = first */
  double gradient_scale; /* multiplies g: one over the batch, clipping */
};

/* w, m, v are updated; all hold `count` floats in the memory of the stream's device, where the work
 * is done in the stream's order. */
typedef enum status adam_function(const struct adam_step *step, struct stream *stream, float *w,
                                  const float *g, float *m, float *v, int64_t count);

struct adam_kernel {
  const char *name;
  enum device_kind device;
  bool (*applies)(void); /* asks the processor */
  adam_function *update;
};

/* All kernels, best first, NULL-terminated. */
extern const struct adam_kernel *const adam_kernels[];

/* The step, with the best kernel of the stream's device. STATUS_USAGE if there is none. */
CHECKED adam_function adam_update;
