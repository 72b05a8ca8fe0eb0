/* Running statistics: parameters that are not trained but follow what slots measure. */
#pragma once
#include <stdint.h>
#include "device/device.h"

/* running += momentum * (sum / slots - running), as PyTorch's batch norms, in the order of a stream
 * of the device that holds both. sum: of what `slots` slots have measured. `count` floats, may be
 * 0. */
CHECKED enum status statistics_update(struct stream *stream, float *running, const float *sum,
                                      int64_t count, int slots, double momentum);
