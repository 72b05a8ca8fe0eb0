/* What the input with sums of the whole batch must be. */
#include "kernels/common/batch_sums.h"

enum status batch_sums_check(const struct node *node, const char *loss, int first, int count) {
  REQUIRE(node->input_count <= BATCH_SUMS_INPUT + 1, STATUS_USAGE,
          "%s: %s takes 2 or 3 inputs, found %d", node->name, loss, node->input_count);
  if (!batch_sums_given(node)) return STATUS_OK;
  const struct tensor *x = &node->x[BATCH_SUMS_INPUT];
  struct shape s = x->shape;
  REQUIRE(first >= 0 && s.n == 1 && shape_voxels(s) == 1 && s.c > first + count &&
              (x->dtype == DTYPE_F32 || x->dtype == node->x[0].dtype),
          STATUS_USAGE,
          "%s: %s: expected sums 1x%dx1x1x1 or more of them, float32 or as the logits, found %s of "
          "%dx%dx%dx%dx%d",
          node->name, loss, first + count + 1, dtype_name(x->dtype), s.n, s.c, s.d, s.h, s.w);
  return STATUS_OK;
}
