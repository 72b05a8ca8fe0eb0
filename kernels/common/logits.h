/* Logits of classes against a map of labels that may be finer: what loss_ce and loss_dice share.
 * Labels have 1 or 2 times the logits' extents along each axis; logits are then interpolated
 * linearly between voxel centres (align_corners = false), voxel by voxel, and never stored at the
 * labels' size. Labels from the number of classes on, 255 above all, belong to no class: their
 * voxels are left out. */
#pragma once
#include "kernels/common/shared.h"
#include "kernels/op.h"

enum { LOGITS_MOST_CLASSES = 32, LOGITS_IGNORED = 255 };

struct logits {
  int n, classes;
  int coarse[3], fine[3], factor[3]; /* of logits, of labels, labels for a logit; d h w */
};

/* Checks x[0], logits [n K d h w] with 1 to LOGITS_MOST_CLASSES classes, against x[1], labels uint8
 * [n 1 D H W]; `loss` names the operator in messages. */
CHECKED enum status logits_check(const struct node *node, const char *loss, struct logits *logits);

/* The same without checks. */
struct logits logits_of(const struct node *node);

/* The logits along an axis that a fine position is made of. */
struct logits_tap {
  int low, high;
  float low_weight, high_weight;
};
static inline HOST_DEVICE struct logits_tap logits_tap_of(int fine, int factor, int extent) {
  int own = fine / factor, other = fine % 2 ? own + 1 : own - 1;
  struct logits_tap tap = {own, own, 1, 0};
  if (factor == 1 || other < 0 || other >= extent) return tap;
  tap.low = own < other ? own : other;
  tap.high = tap.low + 1;
  tap.low_weight = own < other ? 0.75F : 0.25F;
  tap.high_weight = 1 - tap.low_weight;
  return tap;
}

/* A range of positions along an axis. */
struct logits_range {
  int from, to;
};

/* The fine positions that belong to logits [from, to), and with `halo` all that read them. */
static inline HOST_DEVICE struct logits_range logits_fine(int from, int to, int factor, int extent,
                                                          bool halo) {
  struct logits_range range = {from * factor, to * factor};
  if (halo && factor == 2 && range.from > 0) range.from--;
  if (halo && factor == 2 && range.to < extent * factor) range.to++;
  return range;
}
