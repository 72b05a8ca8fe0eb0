/* The operator loss_dice: its inputs and arguments. */
#include "kernels/loss_dice/loss_dice.h"
#include "kernels/common/cuda_table.h"
#include "kernels/common/real.h"
#include "kernels/common/simd.h"
#include "kernels/common/widen.h"

static enum status check_inputs(const struct node *node) {
  struct logits logits;
  REQUIRE(node->input_count == 2, STATUS_USAGE, "%s: loss_dice takes 2 inputs, found %d",
          node->name, node->input_count);
  if (loss_dice_arguments_of(node)->activation == LOSS_DICE_SOFTMAX)
    return logits_check(node, "loss_dice", &logits);
  return bits_check(node, "loss_dice");
}

static enum status infer(struct node *node) {
  const struct loss_dice_arguments *a = loss_dice_arguments_of(node);
  TRY(check_inputs(node));
  struct shape s = node->x[0].shape;
  int least = a->include_background ? 1 : 2;
  REQUIRE(s.c >= least && s.c <= LOSS_DICE_MOST_CLASSES, STATUS_USAGE,
          "%s: loss_dice: expected %d to %d classes, found %d", node->name, least,
          (int)LOSS_DICE_MOST_CLASSES, s.c);
  REQUIRE(a->smooth_numerator >= 0 && a->smooth_denominator > 0, STATUS_USAGE,
          "%s: loss_dice: expected smooth_numerator of at least 0 and smooth_denominator above 0, "
          "found %g and %g",
          node->name, a->smooth_numerator, a->smooth_denominator);
  node->y = op_scalar();
  node->backward_reads = READS_X;
  node->saved_count = 1;
  node->saved[0] = (struct tensor){{s.n, 1, 1, s.c, DICE_SUMS}, DTYPE_F64, LAYOUT_PLANAR};
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
