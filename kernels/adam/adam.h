/* One step of Adam (Kingma & Ba, arXiv:1412.6980) or AdamW (Loshchilov & Hutter, arXiv:1711.05101)
 * over a flat block of parameters, with the formula and order of torch.optim.Adam and AdamW:
 *   g' = gradient_scale*g, plus weight_decay*w (Adam), or w *= 1 - rate*weight_decay (AdamW)
 *   m += (1-beta1)*(g' - m);  v = beta2*v + (1-beta2)*g'^2
 *   w -= rate/(1-beta1^step) * m / (sqrt(v)/sqrt(1-beta2^step) + epsilon)
 * Every element is computed alike wherever it lies: the bits depend neither on the number of
 * threads nor on how the block is cut. */
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

/* w, m, v are updated; all hold `count` floats in the device's memory. */
typedef void adam_function(const struct adam_step *step, float *w, const float *g, float *m,
                           float *v, int64_t count);

struct adam_kernel {
  const char *name;
  enum device_kind device;
  bool (*applies)(void); /* asks the processor */
  adam_function *update;
};

/* All kernels, best first, NULL-terminated. */
extern const struct adam_kernel *const adam_kernels[];

/* The best kernel of a device; NULL if it has none. */
const struct adam_kernel *adam_choose(enum device_kind device);

/* The step on the CPU, with its best kernel. */
adam_function adam_update;
