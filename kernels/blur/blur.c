/* The operator blur. Its kernels have no backward: an image that wants a gradient is refused. */
#include "kernels/blur/blur.h"
#include <assert.h>
#include "kernels/common/cuda_table.h"
#include "kernels/common/real.h"
#include "kernels/common/simd.h"

static_assert(sizeof(struct blur_numbers) == BLUR_NUMBERS * sizeof(float), "one float per value");
static_assert(BLUR_NUMBERS % CHANNEL_BLOCK == 0, "no padding channels");

static enum status blur_infer(struct node *node) {
  REQUIRE(node->input_count == 2, STATUS_USAGE,
          "%s: blur takes an image and its numbers, found %d inputs", node->name,
          node->input_count);
  const struct shape *x = &node->x[0].shape, *numbers = &node->x[1].shape;
  REQUIRE(
      numbers->n == x->n && numbers->c == BLUR_NUMBERS && shape_voxels(*numbers) == 1, STATUS_USAGE,
      "%s: blur: expected numbers of %d x %d x 1 x 1 x 1, found %d x %d x %d x %d x %d", node->name,
      x->n, BLUR_NUMBERS, numbers->n, numbers->c, numbers->d, numbers->h, numbers->w);
  for (int i = 0; i < 2; i++)
    REQUIRE((node->x[i].dtype == DTYPE_F32 || node->x[i].dtype == DTYPE_F64) &&
                node->x[i].dtype == node->x[0].dtype,
            STATUS_USAGE, "%s: blur: expected an image and numbers of float32, found %s",
            node->name, dtype_name(node->x[i].dtype));
  REQUIRE(!node->wants_dx[0] && !node->wants_dx[1], STATUS_USAGE,
          "%s: blur has no gradient: its inputs must depend on nothing trainable", node->name);
  node->y = tensor_make(node->device, *x, node->x[0].dtype);
  return STATUS_OK;
}

CUDA_DECLARE_F32(blur_cuda);
SIMD_DECLARE(blur_simd);
REAL_DECLARE(blur_reference);

static const struct kernel *const kernels[] = {CUDA_KERNELS_F32(blur_cuda) SIMD_KERNELS(blur_simd),
                                               REAL_KERNELS(blur_reference), NULL};

const struct op op_blur = {
    .name = "blur",
    .help = "images smoothed by a Gaussian of each sample's own",
    .infer = blur_infer,
    .kernels = kernels,
};
