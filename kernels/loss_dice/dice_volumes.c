/* The operator dice_volumes: what a call adds to the sums that loss_dice takes of a whole batch.
 * Its kernels stand beside those of loss_dice, which measure the same volumes. */
#include "kernels/common/cuda_table.h"
#include "kernels/common/real.h"
#include "kernels/common/simd.h"
#include "kernels/common/widen.h"
#include "kernels/loss_dice/loss_dice.h"

static enum status infer(struct node *node) {
  REQUIRE(node->input_count == 2, STATUS_USAGE, "%s: dice_volumes takes 2 inputs, found %d",
          node->name, node->input_count);
  TRY(loss_dice_check(node));
  struct shape shape = {1, node->x[0].shape.c * DICE_SUMS, 1, 1, 1};
  bool exact = node->x[0].dtype == DTYPE_F64;
  node->y = tensor_make(node->device, shape, exact ? DTYPE_F64 : DTYPE_F32);
  return STATUS_OK;
}

enum status dice_volumes_backward(const struct node *node, const struct io *io,
                                  struct stream *stream) {
  (void)stream;
  REQUIRE(!io->dx[0], STATUS_FAILED, "%s: dice_volumes has no gradient", node->name);
  return STATUS_OK;
}

CUDA_DECLARE(dice_volumes_cuda);
SIMD_DECLARE(dice_volumes_simd);
REAL_DECLARE(dice_volumes_reference);

static const struct kernel *const kernels[] = {
    CUDA_KERNELS(dice_volumes_cuda) SIMD_KERNELS(dice_volumes_simd), WIDENED_KERNELS,
    REAL_KERNELS(dice_volumes_reference), NULL};

extern const struct op op_dice_volumes;
const struct op op_dice_volumes = {
    .name = "dice_volumes",
    .help = "the volumes that loss_dice is made of, summed over the samples; has no gradient",
    .infer = infer,
    .kernels = kernels,
};
