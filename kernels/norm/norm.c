/* The operator norm: what it refuses, its parameters and its kernels. */
#include "kernels/norm/norm.h"
#include <math.h>
#include "kernels/common/cuda_table.h"
#include "kernels/common/real.h"
#include "kernels/common/simd.h"
#include "kernels/common/widen.h"

int norm_groups(const struct node *node) {
  const struct norm_arguments *arguments = norm_arguments_of(node);
  const struct shape *x = &node->x[0].shape;
  if (arguments->kind == NORM_BATCH) return x->c;
  return x->n * (arguments->kind == NORM_GROUP ? arguments->groups : x->c);
}

int64_t norm_group_size(const struct node *node) {
  const struct shape *x = &node->x[0].shape;
  return (int64_t)x->n * x->c * shape_voxels(*x) / norm_groups(node);
}

static enum status check_residual(const struct node *node) {
  const struct tensor *x = &node->x[0], *residual = &node->x[1];
  REQUIRE(shape_equal(residual->shape, x->shape) && residual->layout == x->layout, STATUS_USAGE,
          "%s: norm: the residual differs in shape or layout from the input", node->name);
  REQUIRE(residual->dtype == x->dtype, STATUS_USAGE,
          "%s: norm: the residual is of %s, the input of %s", node->name,
          dtype_name(residual->dtype), dtype_name(x->dtype));
  return STATUS_OK;
}

static enum status check(const struct node *node) {
  const struct norm_arguments *arguments = norm_arguments_of(node);
  int channels = node->x[0].shape.c, groups = arguments->groups;
  REQUIRE(node->input_count == 1 || node->input_count == 2, STATUS_USAGE,
          "%s: norm takes an input and perhaps a residual, found %d inputs", node->name,
          node->input_count);
  REQUIRE(node->x[0].dtype != DTYPE_U8, STATUS_USAGE,
          "%s: norm takes a floating-point input, found labels", node->name);
  REQUIRE(arguments->kind != NORM_GROUP || (groups >= 1 && channels % groups == 0), STATUS_USAGE,
          "%s: norm: expected a number of groups that divides %d channels, found %d", node->name,
          channels, groups);
  REQUIRE(arguments->epsilon > 0 && isfinite(arguments->epsilon), STATUS_USAGE,
          "%s: norm: expected an epsilon above 0, found %g", node->name, arguments->epsilon);
  REQUIRE(arguments->slope >= 0 && isfinite(arguments->slope), STATUS_USAGE,
          "%s: norm: expected a slope of at least 0, found %g", node->name,
          (double)arguments->slope);
  REQUIRE(!arguments->running || arguments->kind == NORM_BATCH, STATUS_USAGE,
          "%s: norm: only a batch norm has running statistics", node->name);
  if (norm_has_residual(node)) TRY(check_residual(node));
  REQUIRE(norm_is_running(node) || norm_group_size(node) > 1, STATUS_USAGE,
          "%s: norm: expected more than 1 value per group to normalise, found 1", node->name);
  return STATUS_OK;
}

static void list_parameters(struct node *node) {
  static const struct parameter kinds[] = {
      [NORM_WEIGHT] = {.suffix = "weight", .scale = 1},
      [NORM_BIAS] = {.suffix = "bias"},
      [NORM_RUNNING_MEAN] = {.suffix = "running_mean", .statistic = true},
      [NORM_RUNNING_VARIANCE] = {.suffix = "running_var", .scale = 1, .statistic = true}};
  node->parameter_count = 0;
  for (int i = 0; i < (int)(sizeof kinds / sizeof *kinds); i++) {
    if (norm_parameter_index(node, (enum norm_parameter)i) < 0) continue;
    struct parameter *added = &node->parameter[node->parameter_count++];
    *added = kinds[i];
    added->rank = 1;
    added->extent[0] = node->x[0].shape.c;
    added->initial = INITIAL_CONSTANT;
  }
}

static enum status norm_infer(struct node *node) {
  TRY(check(node));
  struct shape statistics = {1, norm_groups(node), 1, 1, 1};
  enum dtype wide = node->activation == DTYPE_F64 ? DTYPE_F64 : DTYPE_F32;
  node->y = node->x[0];
  node->backward_reads = norm_reads_y(node) ? READS_FIRST | READS_Y : READS_FIRST;
  node->saved_count = 2;
  for (int i = 0; i < 2; i++) node->saved[i] = (struct tensor){statistics, wide, LAYOUT_PLANAR};
  list_parameters(node);
  return STATUS_OK;
}

CUDA_DECLARE(norm_cuda);
SIMD_DECLARE(norm_simd);
SIMD_DECLARE(norm_bf16_simd);
SIMD_DECLARE(norm_f16_simd);
REAL_DECLARE(norm_reference);

static const struct kernel *const kernels[] = {CUDA_KERNELS(norm_cuda) SIMD_KERNELS(norm_simd),
                                               SIMD_KERNELS(norm_bf16_simd),
                                               SIMD_KERNELS(norm_f16_simd),
                                               WIDENED_KERNELS,
                                               REAL_KERNELS(norm_reference),
                                               NULL};

extern const struct op op_norm;
const struct op op_norm = {
    .name = "norm",
    .help = "batch, group or instance norm with residual and LeakyReLU",
    .infer = norm_infer,
    .cheap = true,
    .kernels = kernels,
};
