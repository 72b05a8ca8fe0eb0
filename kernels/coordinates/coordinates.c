/* The operator coordinates: where each voxel is, for networks that must tell places apart (Liu et
 * al., "An intriguing failing of convolutional neural networks and the CoordConv solution", 2018).
 * x [n any d h w] -> y [n 3 d h w] of x's type: channel k holds the place along axis k (d, h, w),
 * from -1 at the first voxel to 1 at the last, 0 where there is one voxel. Reads nothing of x but
 * its shape, and gives it a gradient of 0. */
#include "kernels/common/cuda_table.h"
#include "kernels/common/real.h"
#include "kernels/common/widen.h"
#include "kernels/op.h"

static enum status coordinates_infer(struct node *node) {
  REQUIRE(node->input_count == 1, STATUS_USAGE, "%s: coordinates takes one input, found %d",
          node->name, node->input_count);
  REQUIRE(node->x[0].dtype != DTYPE_U8, STATUS_USAGE,
          "%s: coordinates takes a floating-point input, found labels", node->name);
  struct shape shape = node->x[0].shape;
  shape.c = 3;
  node->y = tensor_make(node->device, shape, node->x[0].dtype);
  return STATUS_OK;
}

CUDA_DECLARE(coordinates_cuda);
REAL_DECLARE(coordinates_reference);

static const struct kernel *const kernels[] = {CUDA_KERNELS(coordinates_cuda) WIDENED_KERNELS,
                                               REAL_KERNELS(coordinates_reference), NULL};

extern const struct op op_coordinates;
const struct op op_coordinates = {
    .name = "coordinates",
    .help = "each voxel's place along the three axes",
    .infer = coordinates_infer,
    .kernels = kernels,
};
