/* The operator label_weight: its input and arguments. */
#include "kernels/label_weight/label_weight.h"
#include "kernels/common/cuda_table.h"
#include "kernels/common/real.h"

static const struct label_weight_arguments *arguments_of(const struct node *node) {
  return (const struct label_weight_arguments *)(const void *)node->arguments;
}

static enum status infer(struct node *node) {
  const struct label_weight_arguments *a = arguments_of(node);
  const struct tensor *labels = &node->x[0];
  REQUIRE(node->input_count == 1 && labels->dtype == DTYPE_U8 && labels->shape.c == 1, STATUS_USAGE,
          "%s: label_weight takes one input of uint8 labels with 1 channel", node->name);
  REQUIRE(a->classes >= 1 && a->classes <= LOGITS_MOST_CLASSES, STATUS_USAGE,
          "%s: label_weight: expected 1 to %d classes, found %d", node->name,
          (int)LOGITS_MOST_CLASSES, a->classes);
  node->dtype = node->activation == DTYPE_F64 ? DTYPE_F64 : DTYPE_F32;
  node->y = tensor_make(node->device, (struct shape){1, 1, 1, 1, 1}, node->dtype);
  return STATUS_OK;
}

struct label_weights label_weights_of(const struct node *node) {
  const struct label_weight_arguments *a = arguments_of(node);
  struct label_weights weights = {{0}};
  for (int k = 0; k < a->classes; k++) weights.of[k] = a->weighted ? a->weight[k] : 1;
  return weights;
}

CUDA_DECLARE_F32(label_weight_cuda);
extern const struct kernel label_weight_blocks;
REAL_DECLARE(label_weight_reference);

static const struct kernel *const kernels[] = {
    CUDA_KERNELS_F32(label_weight_cuda) & label_weight_blocks, REAL_KERNELS(label_weight_reference),
    NULL};

extern const struct op op_label_weight;
const struct op op_label_weight = {
    .name = "label_weight",
    .help = "the sum of the weights of all labels",
    .infer = infer,
    .kernels = kernels,
};
