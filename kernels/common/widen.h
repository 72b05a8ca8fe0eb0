/* How operators compute with activations of 16 bits on the CPU: converted to float32 in workspace,
 * by their best float32 kernel, and back. An operator lists WIDENED_KERNELS in front of its
 * reference. */
#pragma once
#include "kernels/op.h"

extern const struct kernel widened_bf16, widened_f16;
#define WIDENED_KERNELS &widened_bf16, &widened_f16
