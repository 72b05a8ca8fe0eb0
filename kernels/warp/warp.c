/* The operator warp. Backward reads the image for the displacement's gradient, and the displacement
 * always. */
#include "kernels/warp/warp.h"
#include "kernels/common/cuda_table.h"
#include "kernels/common/real.h"
#include "kernels/common/simd.h"
#include "kernels/common/widen.h"

static enum status warp_infer(struct node *node) {
  REQUIRE(node->input_count == 2, STATUS_USAGE,
          "%s: warp takes an image and a displacement, found %d inputs", node->name,
          node->input_count);
  const struct shape *image = &node->x[0].shape, *u = &node->x[1].shape;
  REQUIRE(u->c == 3, STATUS_USAGE, "%s: warp: expected a displacement of 3 channels, found %d",
          node->name, u->c);
  REQUIRE(image->n == u->n && image->d == u->d && image->h == u->h && image->w == u->w,
          STATUS_USAGE,
          "%s: warp: expected a displacement of %d samples of %dx%dx%d voxels, as the image, found "
          "%d of %dx%dx%d",
          node->name, image->n, image->d, image->h, image->w, u->n, u->d, u->h, u->w);
  REQUIRE(node->x[0].dtype != DTYPE_U8 && node->x[1].dtype != DTYPE_U8, STATUS_USAGE,
          "%s: warp takes floating-point inputs, found labels", node->name);
  node->y = node->x[0];
  node->backward_reads = READS_X;
  return STATUS_OK;
}

CUDA_DECLARE(warp_cuda);
SIMD_DECLARE(warp_planar_simd);
SIMD_DECLARE(warp_blocked_simd);
REAL_DECLARE(warp_reference);

static const struct kernel *const kernels[] = {
    CUDA_KERNELS(warp_cuda) SIMD_KERNELS(warp_planar_simd), SIMD_KERNELS(warp_blocked_simd),
    WIDENED_KERNELS, REAL_KERNELS(warp_reference), NULL};

extern const struct op op_warp;
const struct op op_warp = {
    .name = "warp",
    .help = "image resampled through a displacement field",
    .infer = warp_infer,
    .kernels = kernels,
};
