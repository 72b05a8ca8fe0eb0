/* The operator resize: linear, reads nothing for backward. */
#include "kernels/resize/resize.h"
#include <math.h>
#include "kernels/common/cuda_table.h"
#include "kernels/common/real.h"
#include "kernels/common/simd.h"
#include "kernels/common/widen.h"

static double source_position(const struct resize_arguments *arguments, int input, int output,
                              int o) {
  if (arguments->align_corners) return output > 1 ? (double)o * (input - 1) / (output - 1) : 0;
  double position = (o + 0.5) * input / output - 0.5;
  return position > 0 ? position : 0;
}

struct resize_source resize_source(const struct resize_arguments *arguments, int input, int output,
                                   int o) {
  if (arguments->mode == RESIZE_NEAREST) {
    int at = (int)((int64_t)o * input / output);
    return (struct resize_source){at, at, 0};
  }
  double position = source_position(arguments, input, output, o);
  int low = (int)position < input - 1 ? (int)position : input - 1;
  return (struct resize_source){low, low < input - 1 ? low + 1 : low, position - low};
}

static enum status resize_infer(struct node *node) {
  const struct resize_arguments *arguments = (const void *)node->arguments;
  REQUIRE(node->input_count == 1, STATUS_USAGE, "%s: resize takes one input, found %d", node->name,
          node->input_count);
  for (int axis = 0; axis < 3; axis++)
    REQUIRE(arguments->size[axis] >= 1, STATUS_USAGE,
            "%s: resize: expected at least 1 voxel on axis %d, found %d", node->name, axis,
            arguments->size[axis]);
  REQUIRE(isfinite(arguments->multiply) && arguments->multiply != 0, STATUS_USAGE,
          "%s: resize: expected a finite factor other than 0, found %g", node->name,
          arguments->multiply);
  node->y = node->x[0];
  node->y.shape.d = arguments->size[0];
  node->y.shape.h = arguments->size[1];
  node->y.shape.w = arguments->size[2];
  return STATUS_OK;
}

extern const struct op op_resize;

bool resize_is_nearest_double(const struct node *node) {
  const struct resize_arguments *arguments = (const void *)node->arguments;
  const struct shape *x = &node->x[0].shape;
  return node->op == &op_resize && arguments->mode == RESIZE_NEAREST && arguments->multiply == 1 &&
         arguments->size[0] == 2 * x->d && arguments->size[1] == 2 * x->h &&
         arguments->size[2] == 2 * x->w;
}

CUDA_DECLARE(resize_cuda);
SIMD_DECLARE(resize_simd);
REAL_DECLARE(resize_reference);

static const struct kernel *const kernels[] = {CUDA_KERNELS(resize_cuda) SIMD_KERNELS(resize_simd),
                                               WIDENED_KERNELS, REAL_KERNELS(resize_reference),
                                               NULL};

const struct op op_resize = {
    .name = "resize",
    .help = "nearest or trilinear interpolation onto another grid",
    .infer = resize_infer,
    .cheap = true,
    .kernels = kernels,
};
