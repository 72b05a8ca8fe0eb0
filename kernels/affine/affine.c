/* The operator affine. Its kernels have no backward: a source that wants a gradient is refused. */
#include "kernels/affine/affine.h"
#include <assert.h>
#include <limits.h>
#include <math.h>
#include "kernels/common/cuda_table.h"
#include "kernels/common/real.h"
#include "kernels/common/simd.h"

static_assert(sizeof(struct affine_motion) == AFFINE_MOTION * sizeof(float), "one float per value");
static_assert(AFFINE_MOTION % CHANNEL_BLOCK == 0, "no padding channels");
static_assert(sizeof(struct affine_arguments) <= OP_ARGUMENT_BYTES, "must fit a node");

static enum status check_control(const struct node *node) {
  const struct tensor *control = &node->x[AFFINE_CONTROL], *motion = &node->x[AFFINE_NUMBERS];
  REQUIRE(control->shape.n == motion->shape.n && control->shape.c == 3, STATUS_USAGE,
          "%s: affine: expected coefficients of %d x 3 channels, found %d x %d", node->name,
          motion->shape.n, control->shape.n, control->shape.c);
  REQUIRE(control->dtype == motion->dtype, STATUS_USAGE,
          "%s: affine: expected coefficients of %s, found %s", node->name,
          dtype_name(motion->dtype), dtype_name(control->dtype));
  REQUIRE(!node->wants_dx[AFFINE_CONTROL], STATUS_USAGE,
          "%s: affine has no gradient: its inputs must depend on nothing trainable", node->name);
  return STATUS_OK;
}

static enum status check_inputs(const struct node *node) {
  REQUIRE(node->input_count == 2 || node->input_count == 3, STATUS_USAGE,
          "%s: affine takes a source, its motion, and perhaps a deformation, found %d inputs",
          node->name, node->input_count);
  const struct shape *source = &node->x[0].shape, *motion = &node->x[1].shape;
  REQUIRE(shape_voxels(*source) <= INT_MAX, STATUS_USAGE,
          "%s: affine: a source may have %d voxels, found %dx%dx%d", node->name, INT_MAX, source->d,
          source->h, source->w);
  REQUIRE(motion->n == source->n && motion->c == AFFINE_MOTION && shape_voxels(*motion) == 1,
          STATUS_USAGE,
          "%s: affine: expected a motion of %d x %d x 1 x 1 x 1, found %d x %d x %d x %d x %d",
          node->name, source->n, AFFINE_MOTION, motion->n, motion->c, motion->d, motion->h,
          motion->w);
  REQUIRE(node->x[1].dtype == DTYPE_F32 || node->x[1].dtype == DTYPE_F64, STATUS_USAGE,
          "%s: affine: expected a motion of float32, found %s", node->name,
          dtype_name(node->x[1].dtype));
  REQUIRE(node->x[0].dtype == DTYPE_U8 || node->x[0].dtype == node->x[1].dtype, STATUS_USAGE,
          "%s: affine: expected a source of %s or bytes, found %s", node->name,
          dtype_name(node->x[1].dtype), dtype_name(node->x[0].dtype));
  REQUIRE(!node->wants_dx[0] && !node->wants_dx[1], STATUS_USAGE,
          "%s: affine has no gradient: its inputs must depend on nothing trainable", node->name);
  return affine_bends(node) ? check_control(node) : STATUS_OK;
}

static enum status check_arguments(const struct node *node) {
  const struct affine_arguments *a = affine_arguments_of(node);
  bool bytes = node->x[0].dtype == DTYPE_U8;
  REQUIRE(a->size[0] >= 1 && a->size[1] >= 1 && a->size[2] >= 1, STATUS_USAGE,
          "%s: affine: expected extents of at least 1, found %dx%dx%d", node->name, a->size[0],
          a->size[1], a->size[2]);
  REQUIRE((int64_t)a->size[0] * a->size[1] <= INT_MAX / a->size[2], STATUS_USAGE,
          "%s: affine: y may have %d voxels, found %dx%dx%d", node->name, INT_MAX, a->size[0],
          a->size[1], a->size[2]);
  REQUIRE(!bytes || a->mode == AFFINE_NEAREST, STATUS_USAGE,
          "%s: affine: bytes are resampled to the nearest only", node->name);
  REQUIRE(!bytes || a->fill != AFFINE_NOISE, STATUS_USAGE,
          "%s: affine: bytes cannot be filled with noise", node->name);
  for (int k = 0; k < 3 && a->mask != AFFINE_NO_MASK; k++)
    REQUIRE(a->radius[k] > 0 && isfinite(a->radius[k]), STATUS_USAGE,
            "%s: affine: expected a radius of the mask above 0, found %g on axis %d", node->name,
            (double)a->radius[k], k);
  return STATUS_OK;
}

static enum status affine_infer(struct node *node) {
  TRY(check_inputs(node));
  TRY(check_arguments(node));
  const struct affine_arguments *a = affine_arguments_of(node);
  struct shape shape = {node->x[0].shape.n, node->x[0].shape.c, a->size[0], a->size[1], a->size[2]};
  bool bytes = node->x[0].dtype == DTYPE_U8;
  node->y = bytes ? tensor_input(node->device, shape, DTYPE_U8)
                  : tensor_make(node->device, shape, node->x[0].dtype);
  return STATUS_OK;
}

/* The source turned by 0.3 radians about w, where it has more than one slice, and about d, and made
 * as large as y; middle on middle. */
static void affine_example(const struct node *node, int input, void *values) {
  if (input != AFFINE_NUMBERS || node->x[input].dtype != DTYPE_F32) return;
  struct shape x = node->x[0].shape, y = node->y.shape;
  const float source[] = {(float)x.d, (float)x.h, (float)x.w};
  const float size[] = {(float)y.d, (float)y.h, (float)y.w};
  float c = cosf(0.3F), s = sinf(0.3F), cd = y.d > 1 ? c : 1, sd = y.d > 1 ? s : 0;
  const float turn[3][3] = {{cd, -sd, 0}, {c * sd, c * cd, -s}, {s * sd, s * cd, c}};
  for (int n = 0; n < x.n; n++) {
    struct affine_motion *motion = (struct affine_motion *)values + n;
    *motion = (struct affine_motion){.key = {(float)n, 1}, .deviation = 1};
    for (int i = 0; i < 3; i++) {
      float *row = motion->matrix[i];
      motion->count[i] = source[i];
      row[3] = (source[i] - 1) / 2;
      for (int k = 0; k < 3; k++) {
        row[k] = turn[i][k] * source[i] / size[i];
        row[3] -= row[k] * (size[k] - 1) / 2;
      }
    }
  }
}

CUDA_DECLARE_F32(affine_cuda);
SIMD_DECLARE(affine_simd);
REAL_DECLARE(affine_reference);

static const struct kernel *const kernels[] = {
    CUDA_KERNELS_F32(affine_cuda) SIMD_KERNELS(affine_simd), REAL_KERNELS(affine_reference), NULL};

const struct op op_affine = {
    .name = "affine",
    .help = "image resampled under one affine map per sample, perhaps deformed",
    .infer = affine_infer,
    .example = affine_example,
    .kernels = kernels,
};
