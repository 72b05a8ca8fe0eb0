/* The operator dropout. */
#include "kernels/dropout/dropout.h"
#include "kernels/common/cuda_table.h"
#include "kernels/common/real.h"
#include "kernels/common/simd.h"
#include "kernels/common/widen.h"

static enum status check_key(const struct node *node) {
  const struct shape *key = &node->x[1].shape;
  int samples = node->x[0].shape.n;
  REQUIRE(key->n == samples && key->c == DROPOUT_KEY && shape_voxels(*key) == 1, STATUS_USAGE,
          "%s: dropout: expected a key of %d x %d x 1 x 1 x 1, found %d x %d x %d x %d x %d",
          node->name, samples, DROPOUT_KEY, key->n, key->c, key->d, key->h, key->w);
  REQUIRE(node->x[1].dtype != DTYPE_U8, STATUS_USAGE,
          "%s: dropout: expected a key of float32, found %s", node->name,
          dtype_name(node->x[1].dtype));
  REQUIRE(!node->wants_dx[1], STATUS_USAGE,
          "%s: the key of dropout has no gradient: it must depend on nothing trainable",
          node->name);
  return STATUS_OK;
}

static enum status dropout_infer(struct node *node) {
  const struct dropout_arguments *a = (const struct dropout_arguments *)node->arguments;
  REQUIRE(node->input_count == 2, STATUS_USAGE,
          "%s: dropout takes an input and its key, found %d inputs", node->name, node->input_count);
  REQUIRE(node->x[0].dtype != DTYPE_U8, STATUS_USAGE,
          "%s: dropout takes a floating-point input, found labels", node->name);
  REQUIRE(shape_voxels(node->x[0].shape) <= UINT32_MAX, STATUS_USAGE,
          "%s: dropout: a sample has too many voxels", node->name);
  REQUIRE(a->probability >= 0 && a->probability < 1, STATUS_USAGE,
          "%s: dropout: expected a probability from 0 to below 1, found %g", node->name,
          (double)a->probability);
  TRY(check_key(node));
  node->y = node->x[0];
  node->saved_count = 1; /* the key: backward has no inputs */
  node->saved[0] = node->x[1];
  return STATUS_OK;
}

CUDA_DECLARE(dropout_cuda);
SIMD_DECLARE(dropout_simd);
REAL_DECLARE(dropout_reference);

static const struct kernel *const kernels[] = {
    CUDA_KERNELS(dropout_cuda) SIMD_KERNELS(dropout_simd), WIDENED_KERNELS,
    REAL_KERNELS(dropout_reference), NULL};

extern const struct op op_dropout;
const struct op op_dropout = {
    .name = "dropout",
    .help = "elements set to 0 at random, the others scaled",
    .infer = dropout_infer,
    .cheap = true,
    .in_place = true,
    .kernels = kernels,
};
