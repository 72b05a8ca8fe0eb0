/* The shapes of logits and labels. */
#include "kernels/common/logits.h"

static void set_extents(const struct tensor *tensor, int extent[3]) {
  extent[0] = tensor->shape.d;
  extent[1] = tensor->shape.h;
  extent[2] = tensor->shape.w;
}

struct logits logits_of(const struct node *node) {
  struct logits logits = {.n = node->x[0].shape.n, .classes = node->x[0].shape.c};
  set_extents(&node->x[0], logits.coarse);
  set_extents(&node->x[1], logits.fine);
  for (int i = 0; i < 3; i++) logits.factor[i] = logits.fine[i] / logits.coarse[i];
  return logits;
}

static bool is_finer(const struct logits *logits) {
  for (int i = 0; i < 3; i++)
    if (logits->factor[i] < 1 || logits->factor[i] > 2 ||
        logits->coarse[i] * logits->factor[i] != logits->fine[i])
      return false;
  return true;
}

enum status logits_check(const struct node *node, const char *loss, struct logits *logits) {
  REQUIRE(node->input_count >= 2, STATUS_USAGE, "%s: %s takes logits and labels, found %d inputs",
          node->name, loss, node->input_count);
  const struct tensor *x = &node->x[0], *labels = &node->x[1];
  REQUIRE(x->dtype != DTYPE_U8 && labels->dtype == DTYPE_U8, STATUS_USAGE,
          "%s: %s: expected floating-point logits and uint8 labels, found %s and %s", node->name,
          loss, dtype_name(x->dtype), dtype_name(labels->dtype));
  struct shape s = x->shape, l = labels->shape;
  REQUIRE(s.c >= 1 && s.c <= LOGITS_MOST_CLASSES && shape_voxels(s) >= 1, STATUS_USAGE,
          "%s: %s: expected logits of 1 to %d classes, found %d of %d x %d x %d voxels", node->name,
          loss, (int)LOGITS_MOST_CLASSES, s.c, s.d, s.h, s.w);
  *logits = logits_of(node);
  REQUIRE(s.n == l.n && l.c == 1 && is_finer(logits), STATUS_USAGE,
          "%s: %s: expected labels of 1 channel with 1 or 2 times the logits' extents "
          "%dx%dx%dx%dx%d, found %dx%dx%dx%dx%d",
          node->name, loss, s.n, s.c, s.d, s.h, s.w, l.n, l.c, l.d, l.h, l.w);
  return STATUS_OK;
}
