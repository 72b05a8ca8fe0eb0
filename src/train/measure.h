/* The time of one kernel on one node, on buffers of the node's own sizes. */
#pragma once
#include "device/device.h"
#include "kernels/op.h"

struct measured {
  double forward, backward; /* seconds, the best of several calls; backward 0 where nothing trains;
                               infinite for a kernel that fails, for want of memory say */
};

/* Measures alone on the device; values are small constants. A failure is logged, not passed on.
 * seconds: how long to go on, but for at least two calls; 0: a fixed number of calls. */
struct measured measure_kernel(struct device *device, const struct node *node,
                               const struct kernel *kernel, double seconds);

/* Whether a node has a backward: parameters, or an input that wants a gradient. */
bool measure_trains(const struct node *node);
