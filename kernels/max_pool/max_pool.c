/* The operator max_pool. It keeps, for backward, which voxel of the window won: the first largest
 * in the order d h w, as PyTorch's MaxPool3d; a NaN wins. */
#include "kernels/max_pool/max_pool.h"
#include "kernels/common/cuda_table.h"
#include "kernels/common/real.h"
#include "kernels/common/simd.h"
#include "kernels/common/widen.h"

enum { LARGEST_WINDOW = 256 }; /* its voxels are numbered in one byte */

static enum status pooled_extent(const struct node *node, int axis, int extent, int *pooled) {
  const struct max_pool_arguments *arguments = (const void *)node->arguments;
  int kernel = arguments->kernel[axis], stride = arguments->stride[axis];
  REQUIRE(kernel >= 1 && stride >= 1, STATUS_USAGE,
          "%s: max_pool: kernel and stride must be at least 1, found %d and %d on axis %d",
          node->name, kernel, stride, axis);
  REQUIRE(extent >= kernel, STATUS_USAGE,
          "%s: max_pool: the window of %d voxels does not fit in %d voxels on axis %d", node->name,
          kernel, extent, axis);
  *pooled = (extent - kernel) / stride + 1;
  return STATUS_OK;
}

static enum status max_pool_infer(struct node *node) {
  const struct max_pool_arguments *arguments = (const void *)node->arguments;
  REQUIRE(node->input_count == 1, STATUS_USAGE, "%s: max_pool takes one input, found %d",
          node->name, node->input_count);
  struct shape shape = node->x[0].shape;
  TRY(pooled_extent(node, 0, shape.d, &shape.d));
  TRY(pooled_extent(node, 1, shape.h, &shape.h));
  TRY(pooled_extent(node, 2, shape.w, &shape.w));
  int64_t window = (int64_t)arguments->kernel[0] * arguments->kernel[1] * arguments->kernel[2];
  REQUIRE(window <= LARGEST_WINDOW, STATUS_USAGE,
          "%s: max_pool: a window may have %d voxels, found %lld", node->name, LARGEST_WINDOW,
          (long long)window);
  node->y = node->x[0];
  node->y.shape = shape;
  node->saved_count = 1;
  node->saved[0] = node->y;
  node->saved[0].dtype = DTYPE_U8;
  return STATUS_OK;
}

CUDA_DECLARE(max_pool_cuda);
SIMD_DECLARE(max_pool_simd);
SIMD_DECLARE(max_pool_bf16_simd);
SIMD_DECLARE(max_pool_f16_simd);
REAL_DECLARE(max_pool_reference);

static const struct kernel *const kernels[] = {CUDA_KERNELS(max_pool_cuda)
                                                   SIMD_KERNELS(max_pool_simd),
                                               SIMD_KERNELS(max_pool_bf16_simd),
                                               SIMD_KERNELS(max_pool_f16_simd),
                                               WIDENED_KERNELS,
                                               REAL_KERNELS(max_pool_reference),
                                               NULL};

extern const struct op op_max_pool;
const struct op op_max_pool = {
    .name = "max_pool",
    .help = "largest value of each window",
    .infer = max_pool_infer,
    .cheap = true,
    .kernels = kernels,
};
