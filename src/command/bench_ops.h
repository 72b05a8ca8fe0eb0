/* bench ops CONFIG: every kernel on every kind of node of a config's training network. */
#pragma once
#include "config/config.h"
#include "device/device.h"

/* Prints, for each node (nodes that are alike once) and each kernel of the device that can compute
 * it: the times of forward and backward, TFLOP/s or GB/s, the share of the device's measured peak,
 * and the ratio to cuDNN where both can. One line of JSON at the end. */
CHECKED enum status bench_ops(const struct config *config, struct device *device);
