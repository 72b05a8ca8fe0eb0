/* The operator loss_ce: its inputs and arguments. */
#include "kernels/loss_ce/loss_ce.h"
#include "kernels/common/cuda_table.h"
#include "kernels/common/real.h"
#include "kernels/common/simd.h"
#include "kernels/common/widen.h"

static enum status infer(struct node *node) {
  const struct loss_ce_arguments *a = loss_ce_arguments_of(node);
  struct logits logits;
  TRY(logits_check(node, "loss_ce", &logits));
  TRY(batch_sums_check(node, "loss_ce", a->sum, 1));
  REQUIRE(a->gamma >= 0, STATUS_USAGE, "%s: loss_ce: gamma must not be negative, is %g", node->name,
          a->gamma);
  for (int k = 0; a->weighted && k < logits.classes; k++)
    REQUIRE(a->weight[k] >= 0, STATUS_USAGE,
            "%s: loss_ce: the weight of class %d must not be negative, is %g", node->name, k,
            (double)a->weight[k]);
  node->y = op_scalar();
  node->backward_reads = READS_X;
  node->saved_count = 1;
  node->saved[0] = op_scalar();
  return STATUS_OK;
}

struct loss_ce_terms loss_ce_terms_of(const struct node *node) {
  const struct loss_ce_arguments *a = loss_ce_arguments_of(node);
  struct loss_ce_terms terms = {.gamma = (float)a->gamma};
  for (int k = 0; k < node->x[0].shape.c; k++) terms.weight[k] = a->weighted ? a->weight[k] : 1;
  return terms;
}

CUDA_DECLARE(loss_ce_cuda);
SIMD_DECLARE(loss_ce_simd);
REAL_DECLARE(loss_ce_reference);

static const struct kernel *const kernels[] = {
    CUDA_KERNELS(loss_ce_cuda) SIMD_KERNELS(loss_ce_simd), WIDENED_KERNELS,
    REAL_KERNELS(loss_ce_reference), NULL};

extern const struct op op_loss_ce;
const struct op op_loss_ce = {
    .name = "loss_ce",
    .help =
        "cross entropy of a softmax, weighted, focal, against labels of up to twice the extents",
    .infer = infer,
    .is_loss = true,
    .kernels = kernels,
};
