/* The operator average_pool: the mean of every channel over all voxels, [n c d h w] -> [n c 1 1 1],
 * as AdaptiveAvgPool3d(1). y is float32 also where x is of a 16-bit type: what regression heads
 * need. */
#include "kernels/common/cuda_table.h"
#include "kernels/common/real.h"
#include "kernels/common/simd.h"
#include "kernels/common/widen.h"
#include "kernels/op.h"

static enum status average_pool_infer(struct node *node) {
  const struct tensor *x = &node->x[0];
  REQUIRE(node->input_count == 1, STATUS_USAGE, "%s: average_pool takes one input, found %d",
          node->name, node->input_count);
  REQUIRE(x->dtype != DTYPE_U8, STATUS_USAGE,
          "%s: average_pool takes a floating-point input, found labels", node->name);
  struct shape shape = {x->shape.n, x->shape.c, 1, 1, 1};
  node->y = tensor_make(node->device, shape, x->dtype == DTYPE_F64 ? DTYPE_F64 : DTYPE_F32);
  return STATUS_OK;
}

CUDA_DECLARE(average_pool_cuda);
SIMD_DECLARE(average_pool_simd);
REAL_DECLARE(average_pool_reference);

static const struct kernel *const kernels[] = {
    CUDA_KERNELS(average_pool_cuda) SIMD_KERNELS(average_pool_simd), WIDENED_KERNELS,
    REAL_KERNELS(average_pool_reference), NULL};

extern const struct op op_average_pool;
const struct op op_average_pool = {
    .name = "average_pool",
    .help = "mean of each channel over all voxels",
    .infer = average_pool_infer,
    .kernels = kernels,
};
