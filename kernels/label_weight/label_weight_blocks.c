/* label_weight in blocks of voxels on all threads. */
#include "kernels/common/fold.h"
#include "kernels/label_weight/label_weight.h"

enum { BLOCK = 1 << 16 };

static int64_t count_blocks(const struct node *node) {
  return (tensor_elements(&node->x[0]) + BLOCK - 1) / BLOCK;
}

static bool applies(const struct node *node) {
  return node->x[0].layout == LAYOUT_PLANAR && node->y.layout == LAYOUT_PLANAR;
}

static void prepare(struct node *node) {
  node->forward_workspace = sizeof(double) * (size_t)count_blocks(node);
}

static double sum_block(const struct label_weights *weights, const unsigned char *labels,
                        int64_t count) {
  double sum = 0;
  for (int64_t i = 0; i < count; i++) sum += (double)weights->of[labels[i]];
  return sum;
}

static enum status forward(const struct node *node, const struct io *io, struct stream *stream) {
  (void)stream;
  const struct label_weights weights = label_weights_of(node);
  const unsigned char *labels = io->x[0];
  int64_t blocks = count_blocks(node), elements = tensor_elements(&node->x[0]);
  double *partial = io->workspace;
#pragma omp parallel for schedule(static)
  for (int64_t b = 0; b < blocks; b++) {
    int64_t left = elements - b * BLOCK;
    partial[b] = sum_block(&weights, labels + b * BLOCK, left < BLOCK ? left : BLOCK);
  }
  *(float *)io->y = (float)fold_sum(partial, blocks);
  return STATUS_OK;
}

extern const struct kernel label_weight_blocks;
const struct kernel label_weight_blocks = {
    .name = "blocks",
    .device = DEVICE_CPU,
    .dtype = DTYPE_F32,
    .applies = applies,
    .prepare = prepare,
    .forward = forward,
};
