/* The operator intensity. Its kernels have no backward: an image that wants a gradient is refused.
 */
#include "kernels/intensity/intensity.h"
#include <assert.h>
#include <limits.h>
#include "kernels/common/cuda_table.h"
#include "kernels/common/real.h"
#include "kernels/common/simd.h"

static_assert(sizeof(struct intensity_numbers) == INTENSITY_NUMBERS * sizeof(float),
              "one float per value");
static_assert(INTENSITY_NUMBERS % CHANNEL_BLOCK == 0, "no padding channels");

static enum status intensity_infer(struct node *node) {
  REQUIRE(node->input_count == 2, STATUS_USAGE,
          "%s: intensity takes an image and its numbers, found %d inputs", node->name,
          node->input_count);
  const struct shape *x = &node->x[0].shape, *numbers = &node->x[1].shape;
  REQUIRE(shape_voxels(*x) <= INT_MAX - 64, STATUS_USAGE,
          "%s: intensity: an image may have %d voxels, found %dx%dx%d", node->name, INT_MAX - 64,
          x->d, x->h, x->w);
  REQUIRE(numbers->n == x->n && numbers->c == INTENSITY_NUMBERS && shape_voxels(*numbers) == 1,
          STATUS_USAGE,
          "%s: intensity: expected numbers of %d x %d x 1 x 1 x 1, found %d x %d x %d x %d x %d",
          node->name, x->n, INTENSITY_NUMBERS, numbers->n, numbers->c, numbers->d, numbers->h,
          numbers->w);
  for (int i = 0; i < 2; i++)
    REQUIRE(node->x[i].dtype == DTYPE_F32 || node->x[i].dtype == DTYPE_F64, STATUS_USAGE,
            "%s: intensity: expected inputs of float32, found %s", node->name,
            dtype_name(node->x[i].dtype));
  REQUIRE(!node->wants_dx[0] && !node->wants_dx[1], STATUS_USAGE,
          "%s: intensity has no gradient: its inputs must depend on nothing trainable", node->name);
  node->y = tensor_make(node->device, *x, node->x[0].dtype);
  return STATUS_OK;
}

CUDA_DECLARE_F32(intensity_cuda);
SIMD_DECLARE(intensity_simd);
REAL_DECLARE(intensity_reference);

static const struct kernel *const kernels[] = {CUDA_KERNELS_F32(intensity_cuda)
                                                   SIMD_KERNELS(intensity_simd),
                                               REAL_KERNELS(intensity_reference), NULL};

const struct op op_intensity = {
    .name = "intensity",
    .help = "noise, brightness, contrast and gamma of an image, by numbers per sample",
    .infer = intensity_infer,
    .kernels = kernels,
};
