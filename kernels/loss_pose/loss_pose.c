/* The operator loss_pose. A sample is 6 or 9 numbers: the formulas are double on every device
 * (pose_gradient.h), and the reference is the CPU's kernel. */
#include "kernels/loss_pose/loss_pose.h"
#include <assert.h>
#include <math.h>
#include "kernels/common/cuda_table.h"
#include "kernels/common/real.h"
#include "kernels/loss_pose/pose.h"

static_assert(sizeof(struct loss_pose_arguments) <= OP_ARGUMENT_BYTES, "must fit a node");

static enum status check_arguments(const struct node *node) {
  const struct loss_pose_arguments *a = loss_pose_arguments_of(node);
  REQUIRE(a->rotation_range >= 0 && isfinite(a->rotation_range), STATUS_USAGE,
          "%s: loss_pose: expected a range of rotation of at least 0 degrees, found %g", node->name,
          a->rotation_range);
  REQUIRE(a->translation_range >= 0 && isfinite(a->translation_range), STATUS_USAGE,
          "%s: loss_pose: expected a range of translation of at least 0 mm, found %g", node->name,
          a->translation_range);
  REQUIRE(a->kind != POSE_GEODESIC || (a->weight >= 0 && isfinite(a->weight)), STATUS_USAGE,
          "%s: loss_pose: expected a weight of at least 0, found %g", node->name, a->weight);
  for (int k = 0; k < 3 && a->kind == POSE_CORNER; k++)
    REQUIRE(a->half_extent[k] > 0 && isfinite(a->half_extent[k]), STATUS_USAGE,
            "%s: loss_pose: expected a field of view above 0 mm, found half of it %g on axis %d",
            node->name, a->half_extent[k], k);
  return STATUS_OK;
}

static enum status loss_pose_infer(struct node *node) {
  REQUIRE(node->input_count == 2, STATUS_USAGE,
          "%s: loss_pose takes a prediction and a target, found %d inputs", node->name,
          node->input_count);
  const struct tensor *x = &node->x[0], *target = &node->x[1];
  REQUIRE((x->shape.c == POSE_EULER || x->shape.c == POSE_MATRIX) && shape_voxels(x->shape) == 1,
          STATUS_USAGE,
          "%s: loss_pose: expected a prediction of 6 or 9 channels of one voxel, found %d of "
          "%dx%dx%d",
          node->name, x->shape.c, x->shape.d, x->shape.h, x->shape.w);
  REQUIRE(target->shape.n == x->shape.n && target->shape.c == POSE_TARGET &&
              shape_voxels(target->shape) == 1,
          STATUS_USAGE,
          "%s: loss_pose: expected a target of %d x 6 x 1 x 1 x 1, found %d x %d x %d "
          "x %d x %d",
          node->name, x->shape.n, target->shape.n, target->shape.c, target->shape.d,
          target->shape.h, target->shape.w);
  REQUIRE(x->dtype == target->dtype && (x->dtype == DTYPE_F32 || x->dtype == DTYPE_F64),
          STATUS_USAGE, "%s: loss_pose: expected two inputs of float32, found %s and %s",
          node->name, dtype_name(x->dtype), dtype_name(target->dtype));
  REQUIRE(!node->wants_dx[1], STATUS_USAGE,
          "%s: loss_pose: the target has no gradient: it must depend on nothing trainable",
          node->name);
  TRY(check_arguments(node));
  node->y = op_scalar();
  node->backward_reads = READS_X;
  return STATUS_OK;
}

CUDA_DECLARE_F32(loss_pose_cuda);
REAL_DECLARE(loss_pose_reference);

static const struct kernel *const kernels[] = {
    CUDA_KERNELS_F32(loss_pose_cuda) REAL_KERNELS(loss_pose_reference), NULL};

const struct op op_loss_pose = {
    .name = "loss_pose",
    .help = "distance of two rigid motions",
    .infer = loss_pose_infer,
    .is_loss = true,
    .kernels = kernels,
};
