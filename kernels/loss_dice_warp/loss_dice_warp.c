/* The operator loss_dice_warp: its inputs and arguments. */
#include "kernels/loss_dice_warp/loss_dice_warp.h"
#include "kernels/common/cuda_table.h"
#include "kernels/common/real.h"
#include "kernels/common/simd.h"
#include "kernels/loss_dice_warp/dice.h"

static enum status check_inputs(const struct node *node) {
  REQUIRE(node->input_count == 3, STATUS_USAGE, "%s: loss_dice_warp takes 3 inputs, found %d",
          node->name, node->input_count);
  struct shape m = node->x[0].shape, f = node->x[1].shape, u = node->x[2].shape;
  REQUIRE(
      node->x[0].dtype == DTYPE_U8 && node->x[1].dtype == DTYPE_U8 && node->x[2].dtype != DTYPE_U8,
      STATUS_USAGE,
      "%s: loss_dice_warp: expected two uint8 label maps and a floating-point displacement, "
      "found %s, %s and %s",
      node->name, dtype_name(node->x[0].dtype), dtype_name(node->x[1].dtype),
      dtype_name(node->x[2].dtype));
  struct shape wanted = m;
  wanted.c = 3;
  REQUIRE(m.c == 1 && shape_equal(m, f) && shape_equal(u, wanted), STATUS_USAGE,
          "%s: loss_dice_warp: expected labels, labels and a displacement of 1, 1 and 3 channels "
          "and one size, found %dx%dx%dx%dx%d, %dx%dx%dx%dx%d and %dx%dx%dx%dx%d",
          node->name, m.n, m.c, m.d, m.h, m.w, f.n, f.c, f.d, f.h, f.w, u.n, u.c, u.d, u.h, u.w);
  return STATUS_OK;
}

static enum status loss_dice_warp_infer(struct node *node) {
  const struct loss_dice_warp_arguments *arguments = (const void *)node->arguments;
  TRY(check_inputs(node));
  int least = arguments->include_background ? 1 : 2;
  REQUIRE(arguments->classes >= least && arguments->classes <= DICE_LABELS, STATUS_USAGE,
          "%s: loss_dice_warp: expected %d to %d classes, found %d", node->name, least,
          (int)DICE_LABELS, arguments->classes);
  REQUIRE(arguments->smooth_numerator >= 0 && arguments->smooth_denominator > 0, STATUS_USAGE,
          "%s: loss_dice_warp: expected smooth_numerator of at least 0 and smooth_denominator "
          "above 0, found %g and %g",
          node->name, arguments->smooth_numerator, arguments->smooth_denominator);
  node->y = op_scalar();
  node->backward_reads = READS_X;
  node->saved_count = 1;
  node->saved[0] = (struct tensor){
      {node->x[0].shape.n, 1, 1, arguments->classes, DICE_SUMS}, DTYPE_F64, LAYOUT_PLANAR};
  return STATUS_OK;
}

CUDA_DECLARE_F32(loss_dice_warp_cuda);
SIMD_DECLARE(loss_dice_warp_labels);
REAL_DECLARE(loss_dice_warp_reference);

static const struct kernel *const kernels[] = {CUDA_KERNELS_F32(loss_dice_warp_cuda)
                                                   SIMD_KERNELS(loss_dice_warp_labels),
                                               REAL_KERNELS(loss_dice_warp_reference), NULL};

extern const struct op op_loss_dice_warp;
const struct op op_loss_dice_warp = {
    .name = "loss_dice_warp",
    .help = "Dice loss of linearly warped labels, from the label maps",
    .infer = loss_dice_warp_infer,
    .is_loss = true,
    .kernels = kernels,
};
