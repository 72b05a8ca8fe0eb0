/* The operator low_resolution. Its kernels have no backward: an image that wants a gradient is
 * refused. */
#include "kernels/low_resolution/low_resolution.h"
#include <assert.h>
#include "kernels/common/cuda_table.h"
#include "kernels/common/real.h"
#include "kernels/common/simd.h"

enum { MOST_EXTENT = 32767 };

static_assert(sizeof(struct low_resolution_numbers) == LOW_RESOLUTION_NUMBERS * sizeof(float),
              "one float per value");
static_assert(LOW_RESOLUTION_NUMBERS % CHANNEL_BLOCK == 0, "no padding channels");

static enum status check_numbers(const struct node *node) {
  const struct shape *x = &node->x[0].shape, *numbers = &node->x[1].shape;
  REQUIRE(numbers->n == x->n && numbers->c == LOW_RESOLUTION_NUMBERS && shape_voxels(*numbers) == 1,
          STATUS_USAGE,
          "%s: low_resolution: expected numbers of %d x %d x 1 x 1 x 1, found %d x %d x %d x %d x "
          "%d",
          node->name, x->n, LOW_RESOLUTION_NUMBERS, numbers->n, numbers->c, numbers->d, numbers->h,
          numbers->w);
  return STATUS_OK;
}

static enum status low_resolution_infer(struct node *node) {
  REQUIRE(node->input_count == 2, STATUS_USAGE,
          "%s: low_resolution takes an image and its numbers, found %d inputs", node->name,
          node->input_count);
  const struct shape *x = &node->x[0].shape;
  TRY(check_numbers(node));
  for (int i = 0; i < 2; i++)
    REQUIRE((node->x[i].dtype == DTYPE_F32 || node->x[i].dtype == DTYPE_F64) &&
                node->x[i].dtype == node->x[0].dtype,
            STATUS_USAGE, "%s: low_resolution: expected an image and numbers of float32, found %s",
            node->name, dtype_name(node->x[i].dtype));
  REQUIRE(x->d <= MOST_EXTENT && x->h <= MOST_EXTENT && x->w <= MOST_EXTENT, STATUS_USAGE,
          "%s: low_resolution: expected extents up to %d, found %dx%dx%d", node->name, MOST_EXTENT,
          x->d, x->h, x->w);
  REQUIRE(!node->wants_dx[0] && !node->wants_dx[1], STATUS_USAGE,
          "%s: low_resolution has no gradient: its inputs must depend on nothing trainable",
          node->name);
  node->y = tensor_make(node->device, *x, node->x[0].dtype);
  return STATUS_OK;
}

CUDA_DECLARE_F32(low_resolution_cuda);
SIMD_DECLARE(low_resolution_simd);
REAL_DECLARE(low_resolution_reference);

static const struct kernel *const kernels[] = {CUDA_KERNELS_F32(low_resolution_cuda)
                                                   SIMD_KERNELS(low_resolution_simd),
                                               REAL_KERNELS(low_resolution_reference), NULL};

const struct op op_low_resolution = {
    .name = "low_resolution",
    .help = "images as a coarser scan of each sample's own would show them",
    .infer = low_resolution_infer,
    .kernels = kernels,
};
