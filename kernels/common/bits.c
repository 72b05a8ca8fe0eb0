/* The shapes of logits and bits. */
#include "kernels/common/bits.h"

enum status bits_check(const struct node *node, const char *loss) {
  REQUIRE(node->input_count >= 2, STATUS_USAGE,
          "%s: %s takes logits and packed bits, found %d inputs", node->name, loss,
          node->input_count);
  const struct tensor *x = &node->x[0], *bits = &node->x[1];
  REQUIRE(x->dtype != DTYPE_U8 && bits->dtype == DTYPE_U8, STATUS_USAGE,
          "%s: %s: expected floating-point logits and uint8 bits, found %s and %s", node->name,
          loss, dtype_name(x->dtype), dtype_name(bits->dtype));
  struct shape s = x->shape, b = bits->shape, wanted = s;
  wanted.c = (s.c + 7) / 8;
  REQUIRE(s.n >= 1 && s.c >= 1 && shape_voxels(s) >= 1, STATUS_USAGE, "%s: %s: logits are empty",
          node->name, loss);
  REQUIRE(shape_equal(b, wanted), STATUS_USAGE,
          "%s: %s: expected bits of %dx%dx%dx%dx%d, a byte for 8 of %d classes, found "
          "%dx%dx%dx%dx%d",
          node->name, loss, wanted.n, wanted.c, wanted.d, wanted.h, wanted.w, s.c, b.n, b.c, b.d,
          b.h, b.w);
  return STATUS_OK;
}
