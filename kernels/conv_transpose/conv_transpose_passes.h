/* Transposed convolution by the passes of a convolution: what a kernel of that kind does, see
 * struct kernel. */
#pragma once
#include "kernels/conv/conv_direct.h"
#include "kernels/conv_transpose/conv_transpose.h"

void SIMD_NAME(conv_transpose_prepare)(const struct conv_passes *passes, struct node *node);
void SIMD_NAME(conv_transpose_forward)(const struct conv_passes *passes, const struct node *node,
                                       const struct io *io);
void SIMD_NAME(conv_transpose_backward)(const struct conv_passes *passes, const struct node *node,
                                        const struct io *io);

/* Defines the CPU kernel SIMD_NAME(kernel_name) that consists of `passes` and applies where `fits`
 * does to the convolution; its other members follow. */
#define CONV_TRANSPOSE_PASSES_KERNEL(kernel_name, passes, fits, ...)        \
  extern const struct kernel SIMD_NAME(kernel_name);                        \
  static bool applies(const struct node *node) {                            \
    struct node conv;                                                       \
    conv_transpose_adjoint(node, &conv);                                    \
    return fits(&conv);                                                     \
  }                                                                         \
  static void prepare(struct node *node) {                                  \
    SIMD_NAME(conv_transpose_prepare)(&(passes), node);                     \
  }                                                                         \
  static enum status forward(const struct node *node, const struct io *io,  \
                             struct stream *stream) {                       \
    (void)stream;                                                           \
    SIMD_NAME(conv_transpose_forward)(&(passes), node, io);                 \
    return STATUS_OK;                                                       \
  }                                                                         \
  static enum status backward(const struct node *node, const struct io *io, \
                              struct stream *stream) {                      \
    (void)stream;                                                           \
    SIMD_NAME(conv_transpose_backward)(&(passes), node, io);                \
    return STATUS_OK;                                                       \
  }                                                                         \
  const struct kernel SIMD_NAME(kernel_name) = {.device = DEVICE_CPU,       \
                                                .training = true,           \
                                                .applies = applies,         \
                                                .prepare = prepare,         \
                                                .forward = forward,         \
                                                .backward = backward,       \
                                                __VA_ARGS__}
