/* The operator add: y = x0 + x1 + ..., element by element; all inputs of one shape and layout.
 * Linear; backward reads nothing. No arguments. */
#include "kernels/common/cuda_table.h"
#include "kernels/common/real.h"
#include "kernels/common/simd.h"
#include "kernels/common/widen.h"
#include "kernels/op.h"

static enum status add_infer(struct node *node) {
  REQUIRE(node->input_count >= 2, STATUS_USAGE, "%s: add takes two inputs or more, found %d",
          node->name, node->input_count);
  for (int i = 1; i < node->input_count; i++)
    REQUIRE(
        shape_equal(node->x[i].shape, node->x[0].shape) && node->x[i].layout == node->x[0].layout,
        STATUS_USAGE, "%s: add: input %d differs in shape or layout from input 0", node->name, i);
  for (int i = 1; i < node->input_count; i++)
    REQUIRE(node->x[i].dtype == node->x[0].dtype, STATUS_USAGE,
            "%s: add: input %d is of %s, input 0 of %s", node->name, i,
            dtype_name(node->x[i].dtype), dtype_name(node->x[0].dtype));
  node->y = node->x[0];
  node->backward_reads = READS_NOTHING;
  return STATUS_OK;
}

CUDA_DECLARE(add_cuda);
SIMD_DECLARE(add_simd);
REAL_DECLARE(add_reference);

static const struct kernel *const kernels[] = {CUDA_KERNELS(add_cuda) SIMD_KERNELS(add_simd),
                                               WIDENED_KERNELS, REAL_KERNELS(add_reference), NULL};

extern const struct op op_add;
const struct op op_add = {
    .name = "add",
    .help = "sum of tensors of one shape",
    .infer = add_infer,
    .cheap = true,
    .kernels = kernels,
};
