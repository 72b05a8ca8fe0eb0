/* The operator loss_dice: its inputs and arguments. */
#include "kernels/loss_dice/loss_dice.h"
#include "kernels/common/cuda_table.h"
#include "kernels/common/real.h"
#include "kernels/common/simd.h"
#include "kernels/common/widen.h"

static enum status check_logits(const struct node *node) {
  struct logits logits;
  if (loss_dice_arguments_of(node)->activation == LOSS_DICE_SOFTMAX)
    return logits_check(node, node->op->name, &logits);
  return bits_check(node, node->op->name);
}

enum status loss_dice_check(const struct node *node) {
  const struct loss_dice_arguments *a = loss_dice_arguments_of(node);
  const char *loss = node->op->name;
  TRY(check_logits(node));
  struct shape s = node->x[0].shape;
  int least = a->include_background ? 1 : 2;
  REQUIRE(s.c >= least && s.c <= LOSS_DICE_MOST_CLASSES, STATUS_USAGE,
          "%s: %s: expected %d to %d classes, found %d", node->name, loss, least,
          (int)LOSS_DICE_MOST_CLASSES, s.c);
  REQUIRE(a->smooth_numerator >= 0 && a->smooth_denominator > 0, STATUS_USAGE,
          "%s: %s: expected smooth_numerator of at least 0 and smooth_denominator above 0, "
          "found %g and %g",
          node->name, loss, a->smooth_numerator, a->smooth_denominator);
  return STATUS_OK;
}

static enum status infer(struct node *node) {
  const struct loss_dice_arguments *a = loss_dice_arguments_of(node);
  TRY(loss_dice_check(node));
  struct shape s = node->x[0].shape;
  TRY(batch_sums_check(node, "loss_dice", a->sum, s.c * DICE_SUMS));
  REQUIRE(a->batch || !batch_sums_given(node), STATUS_USAGE,
          "%s: loss_dice: sums of a batch need batch = true", node->name);
  node->y = op_scalar();
  node->backward_reads = READS_X;
  node->saved_count = 1;
  node->saved[0] = (struct tensor){{s.n, 1, 1, s.c, DICE_SUMS}, DTYPE_F64, LAYOUT_PLANAR};
  if (batch_sums_given(node))
    node->saved[0].shape = (struct shape){1, 1, 1, 1, s.c * DICE_SUMS + 1};
  return STATUS_OK;
}

struct loss_dice_terms loss_dice_terms_of(const struct node *node) {
  const struct loss_dice_arguments *a = loss_dice_arguments_of(node);
  struct shape s = node->x[0].shape;
  int first = a->include_background ? 0 : 1;
  return (struct loss_dice_terms){.first = first,
                                  .classes = s.c,
                                  .samples = s.n,
                                  .batch = a->batch,
                                  .given = batch_sums_given(node),
                                  .squared = a->squared,
                                  .smooth_numerator = a->smooth_numerator,
                                  .smooth_denominator = a->smooth_denominator,
                                  .count = (double)(a->batch ? 1 : s.n) * (s.c - first)};
}

CUDA_DECLARE(loss_dice_cuda);
SIMD_DECLARE(loss_dice_simd);
REAL_DECLARE(loss_dice_reference);

static const struct kernel *const kernels[] = {
    CUDA_KERNELS(loss_dice_cuda) SIMD_KERNELS(loss_dice_simd), WIDENED_KERNELS,
    REAL_KERNELS(loss_dice_reference), NULL};

extern const struct op op_loss_dice;
const struct op op_loss_dice = {
    .name = "loss_dice",
    .help = "Dice loss of a softmax against labels, or of sigmoids against packed bits",
    .infer = infer,
    .is_loss = true,
    .kernels = kernels,
};
