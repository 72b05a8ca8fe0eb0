/* One step of gradient descent over a flat block of parameters, plain, with momentum or with
 * Nesterov's, with the formula and order of torch.optim.SGD:
 *   g' = gradient_scale*g + weight_decay*w;  velocity = momentum*velocity + g'
 *   w -= rate * (g', velocity, or g' + momentum*velocity)
 * Every element is computed alike wherever it lies, with the same operations in every kernel. */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include "device/device.h"

struct sgd_step {
  double learning_rate, weight_decay, momentum;
  bool nesterov;         /* needs momentum */
  double gradient_scale; /* multiplies g: one over the batch, clipping */
};

/* w and velocity are updated; all hold `count` floats in the memory of the stream's device, where
 * the work is done in the stream's order. velocity is NULL without momentum. */
typedef enum status sgd_function(const struct sgd_step *step, struct stream *stream, float *w,
                                 const float *g, float *velocity, int64_t count);

struct sgd_kernel {
  const char *name;
  enum device_kind device;
  bool (*applies)(void); /* asks the processor */
  sgd_function *update;
};

/* All kernels, best first, NULL-terminated. */
extern const struct sgd_kernel *const sgd_kernels[];

/* The step, with the best kernel of the stream's device. STATUS_USAGE if there is none. */
CHECKED sgd_function sgd_update;
