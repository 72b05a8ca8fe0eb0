/* The operator concat. The layout of y follows from its channels, so that inputs and y may be laid
 * out differently. */
#include "kernels/concat/concat.h"
#include "kernels/common/cuda_table.h"
#include "kernels/common/real.h"
#include "kernels/common/widen.h"

int concat_first_channel(const struct node *node, int input) {
  int first = 0;
  for (int i = 0; i < input; i++) first += node->x[i].shape.c;
  return first;
}

static enum status concat_infer(struct node *node) {
  REQUIRE(node->input_count >= 1, STATUS_USAGE, "%s: concat needs an input", node->name);
  const struct tensor *first = &node->x[0];
  for (int i = 1; i < node->input_count; i++) {
    const struct shape *a = &first->shape, *b = &node->x[i].shape;
    REQUIRE(a->n == b->n && a->d == b->d && a->h == b->h && a->w == b->w, STATUS_USAGE,
            "%s: concat: input %d has %d samples of %dx%dx%d voxels, input 0 has %d of %dx%dx%d",
            node->name, i, b->n, b->d, b->h, b->w, a->n, a->d, a->h, a->w);
    REQUIRE(first->dtype == node->x[i].dtype, STATUS_USAGE,
            "%s: concat: input %d is of %s, input 0 of %s", node->name, i,
            dtype_name(node->x[i].dtype), dtype_name(first->dtype));
  }
  struct shape shape = first->shape;
  shape.c = concat_first_channel(node, node->input_count);
  node->y = tensor_make(node->device, shape, first->dtype);
  return STATUS_OK;
}

CUDA_DECLARE(concat_cuda);
extern const struct kernel concat_copy;
REAL_DECLARE(concat_reference);

static const struct kernel *const kernels[] = {CUDA_KERNELS(concat_cuda) WIDENED_KERNELS,
                                               &concat_copy, REAL_KERNELS(concat_reference), NULL};

extern const struct op op_concat;
const struct op op_concat = {
    .name = "concat",
    .help = "inputs joined along their channels",
    .infer = concat_infer,
    .cheap = true,
    .kernels = kernels,
};
