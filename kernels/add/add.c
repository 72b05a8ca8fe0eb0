/* The operator add: y = x0 + x1 + ..., element by element; all inputs of one shape and layout.
 * Linear; backward reads nothing. No arguments. */
#include "kernels/common/real.h"
#include "kernels/common/simd.h"
#include "kernels/op.h"

static enum status add_infer(struct node *node) {
  REQUIRE(node->input_count >= 2, STATUS_USAGE, "%s: add takes two inputs or more, found %d",
          node->name, node->input_count);
  for (int i = 1; i < node->input_count; i++)
    REQUIRE(
        shape_equal(node->x[i].shape, node->x[0].shape) && node->x[i].layout == node->x[0].layout,
        STATUS_USAGE, "%s: add: input %d differs in shape or layout from input 0", node->name, i);
  node->y = node->x[0];
  node->backward_reads = READS_NOTHING;
  return STATUS_OK;
}

SIMD_DECLARE(add_simd);
REAL_DECLARE(add_reference);

static const struct kernel *const kernels[] = {SIMD_KERNELS(add_simd), REAL_KERNELS(add_reference),
                                               NULL};

extern const struct op op_add;
const struct op op_add = {
    .name = "add",
    .help = "sum of tensors of one shape",
    .infer = add_infer,
    .kernels = kernels,
};
