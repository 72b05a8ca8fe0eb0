/* The kernel of blocked bfloat16 tensors, where the processor multiplies such pairs. */
#include "kernels/conv/conv_bf16.h"
#if defined SIMD_ISA_AVX512
#include "kernels/conv_transpose/conv_transpose_passes.h"

extern const struct kernel SIMD_NAME(conv_transpose_bf16);

static bool applies(const struct node *node) {
  struct node conv;
  conv_transpose_adjoint(node, &conv);
  return SIMD_NAME(conv_bf16_applies)(&conv);
}

static void prepare(struct node *node) {
  SIMD_NAME(conv_transpose_prepare)(&SIMD_NAME(conv_bf16_passes), node);
}

static enum status forward(const struct node *node, const struct io *io, struct stream *stream) {
  (void)stream;
  SIMD_NAME(conv_transpose_forward)(&SIMD_NAME(conv_bf16_passes), node, io);
  return STATUS_OK;
}

static enum status backward(const struct node *node, const struct io *io, struct stream *stream) {
  (void)stream;
  SIMD_NAME(conv_transpose_backward)(&SIMD_NAME(conv_bf16_passes), node, io);
  return STATUS_OK;
}

const struct kernel SIMD_NAME(conv_transpose_bf16) = {
    .name = SIMD_LABEL("bf16"),
    .device = DEVICE_CPU,
    .dtype = DTYPE_BF16,
    .training = true,
    .applies = applies,
    .prepare = prepare,
    .forward = forward,
    .backward = backward,
};
#endif
