/* The operator loss_bce: its inputs and arguments. */
#include "kernels/loss_bce/loss_bce.h"
#include "kernels/common/cuda_table.h"
#include "kernels/common/real.h"
#include "kernels/common/simd.h"
#include "kernels/common/widen.h"

static enum status infer(struct node *node) {
  const struct loss_bce_arguments *a = loss_bce_arguments_of(node);
  TRY(bits_check(node, "loss_bce"));
  REQUIRE(node->input_count == 2, STATUS_USAGE, "%s: loss_bce takes 2 inputs, found %d", node->name,
          node->input_count);
  REQUIRE(a->gamma >= 0 && a->positive_weight >= 0, STATUS_USAGE,
          "%s: loss_bce: gamma and positive_weight must not be negative, are %g and %g", node->name,
          a->gamma, a->positive_weight);
  node->y = op_scalar();
  node->backward_reads = READS_X;
  return STATUS_OK;
}

CUDA_DECLARE(loss_bce_cuda);
SIMD_DECLARE(loss_bce_simd);
REAL_DECLARE(loss_bce_reference);

static const struct kernel *const kernels[] = {
    CUDA_KERNELS(loss_bce_cuda) SIMD_KERNELS(loss_bce_simd), WIDENED_KERNELS,
    REAL_KERNELS(loss_bce_reference), NULL};

extern const struct op op_loss_bce;
const struct op op_loss_bce = {
    .name = "loss_bce",
    .help = "binary cross entropy of sigmoids, focal, against packed bits",
    .infer = infer,
    .is_loss = true,
    .kernels = kernels,
};
