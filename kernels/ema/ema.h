/* The exponential moving average of a flat block of weights (Polyak averaging; as the EMA of
 * torch.optim.swa_utils): average = decay*average + (1-decay)*w. Every element is computed alike
 * wherever it lies, with the same operations in every kernel. */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include "device/device.h"

/* average, w: `count` floats in the memory of the stream's device, where the work is done in the
 * stream's order. */
typedef enum status ema_function(struct stream *stream, float *average, const float *w,
                                 int64_t count, double decay);

struct ema_kernel {
  const char *name;
  enum device_kind device;
  bool (*applies)(void); /* asks the processor */
  ema_function *update;
};

/* All kernels, best first, NULL-terminated. */
extern const struct ema_kernel *const ema_kernels[];

/* The update, with the best kernel of the stream's device. STATUS_USAGE if there is none. */
CHECKED ema_function ema_update;
