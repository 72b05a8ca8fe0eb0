/* The operator gate: y = x * sigmoid(q), every channel of x [n c d h w] by one q [n 1 d h w] (Oktay
 * et al., "Attention U-Net", MIDL 2018). No arguments. */
#include "kernels/common/cuda_table.h"
#include "kernels/common/real.h"
#include "kernels/common/simd.h"
#include "kernels/common/widen.h"
#include "kernels/op.h"

static enum status gate_infer(struct node *node) {
  const struct tensor *x = &node->x[0], *q = &node->x[1];
  REQUIRE(node->input_count == 2, STATUS_USAGE, "%s: gate takes two inputs, found %d", node->name,
          node->input_count);
  struct shape expected = x->shape;
  expected.c = 1;
  REQUIRE(shape_equal(q->shape, expected), STATUS_USAGE,
          "%s: gate: expected a second input of %d samples, 1 channel and %dx%dx%d voxels, found "
          "%d, %d and %dx%dx%d",
          node->name, expected.n, expected.d, expected.h, expected.w, q->shape.n, q->shape.c,
          q->shape.d, q->shape.h, q->shape.w);
  REQUIRE(x->dtype == q->dtype && x->dtype != DTYPE_U8, STATUS_USAGE,
          "%s: gate takes two inputs of one floating-point type, found %s and %s", node->name,
          dtype_name(x->dtype), dtype_name(q->dtype));
  node->y = *x;
  node->backward_reads = READS_X;
  return STATUS_OK;
}

CUDA_DECLARE(gate_cuda);
SIMD_DECLARE(gate_simd);
REAL_DECLARE(gate_reference);

static const struct kernel *const kernels[] = {CUDA_KERNELS(gate_cuda) SIMD_KERNELS(gate_simd),
                                               WIDENED_KERNELS, REAL_KERNELS(gate_reference), NULL};

extern const struct op op_gate;
const struct op op_gate = {
    .name = "gate",
    .help = "channels times the sigmoid of one more",
    .infer = gate_infer,
    .cheap = true,
    .kernels = kernels,
};
