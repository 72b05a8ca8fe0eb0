/* Every kernel against PyTorch and MONAI: outputs and all gradients of the cases of tests/golden,
 * one table per file. */
#include "conformance_call.h"
#include "golden.h"
#include "kernels/affine/affine.h"
#include "kernels/conv/conv.h"
#include "kernels/conv_transpose/conv_transpose.h"
#include "kernels/dropout/dropout.h"
#include "kernels/integrate/integrate.h"
#include "kernels/intensity/intensity.h"
#include "kernels/leaky_relu/leaky_relu.h"
#include "kernels/loss_bce/loss_bce.h"
#include "kernels/loss_ce/loss_ce.h"
#include "kernels/loss_dice/loss_dice.h"
#include "kernels/loss_dice_warp/loss_dice_warp.h"
#include "kernels/loss_lncc/loss_lncc.h"
#include "kernels/loss_pose/loss_pose.h"
#include "kernels/loss_smooth/loss_smooth.h"
#include "kernels/max_pool/max_pool.h"
#include "kernels/norm/norm.h"
#include "kernels/resize/resize.h"
#include "kernels/warp/warp.h"
#include "kernels/window/window.h"

static struct golden golden;

struct golden_case {
  const char *label, *op;
  const void *arguments;
  size_t bytes;
  int inputs; /* the tensors after them are parameters */
};

#define ARGUMENTS(type, ...) &(const struct type){__VA_ARGS__}, sizeof(struct type)
#define CONV(size, step, pad, channels)                                                 \
  ARGUMENTS(conv_arguments, .kernel = {size, size, size}, .stride = {step, step, step}, \
            .padding = {pad, pad, pad}, .out_channels = channels, .bias = true, .slope = 1)
#define LINEAR(d, h, w, factor) \
  ARGUMENTS(resize_arguments, RESIZE_TRILINEAR, {d, h, w}, true, factor)
#define DICE(background, pad) ARGUMENTS(loss_dice_warp_arguments, 5, background, pad, 1e-5, 1e-5)

static const struct golden_case operators[] = {
    {"warp_zeros", "warp", ARGUMENTS(warp_arguments, WARP_ZEROS, WARP_LINEAR), 2},
    {"warp_border", "warp", ARGUMENTS(warp_arguments, WARP_BORDER, WARP_LINEAR), 2},
    {"warp_nearest", "warp", ARGUMENTS(warp_arguments, WARP_ZEROS, WARP_NEAREST), 2},
    {"integrate_1", "integrate", ARGUMENTS(integrate_arguments, 1, false), 1},
    {"integrate_7", "integrate", ARGUMENTS(integrate_arguments, 7, false), 1},
    {"resize_linear_up", "resize", LINEAR(8, 6, 10, 1), 1},
    {"resize_linear_down", "resize", LINEAR(4, 3, 5, 1), 1},
    {"resize_linear_odd", "resize", LINEAR(7, 4, 9, 1), 1},
    {"resize_displacement_up", "resize", LINEAR(8, 6, 10, 2), 1},
    {"resize_displacement_down", "resize", LINEAR(4, 3, 5, 0.5), 1},
    {"resize_nearest_up", "resize",
     ARGUMENTS(resize_arguments, RESIZE_NEAREST, {8, 6, 10}, false, 1), 1},
    {"max_pool", "max_pool", ARGUMENTS(max_pool_arguments, {2, 2, 2}, {2, 2, 2}), 1},
    {"leaky_relu", "leaky_relu", ARGUMENTS(leaky_relu_arguments, 0.2f), 1},
    {"conv_3", "conv", CONV(3, 1, 1, 5), 1},
    {"conv_3_wide", "conv", CONV(3, 1, 1, 33), 1},
    {"conv_first", "conv", CONV(3, 1, 1, 16), 1},
    {"conv_last", "conv", CONV(3, 1, 1, 3), 1},
    {"conv_stride2", "conv", CONV(3, 2, 1, 17), 1},
    {"conv_1", "conv", CONV(1, 1, 0, 3), 1},
    {"conv_2_stride2", "conv", CONV(2, 2, 0, 16), 1},
    {"conv_anisotropic", "conv",
     ARGUMENTS(conv_arguments, .kernel = {1, 3, 3}, .stride = {1, 2, 2}, .padding = {0, 1, 1},
               .out_channels = 6, .bias = true, .slope = 1),
     1},
    {"mse", "loss_mse", NULL, 0, 2},
    {"lncc_3", "loss_lncc", ARGUMENTS(loss_lncc_arguments, 3), 2},
    {"lncc_5", "loss_lncc", ARGUMENTS(loss_lncc_arguments, 5), 2},
    {"lncc_9", "loss_lncc", ARGUMENTS(loss_lncc_arguments, 9), 2},
    {"grad_l1", "loss_smooth", ARGUMENTS(loss_smooth_arguments, SMOOTH_L1, 1), 1},
    {"grad_l2", "loss_smooth", ARGUMENTS(loss_smooth_arguments, SMOOTH_L2, 1), 1},
    {"bending", "loss_smooth", ARGUMENTS(loss_smooth_arguments, SMOOTH_BENDING, 1), 1},
    {"bending_compact", "loss_smooth", ARGUMENTS(loss_smooth_arguments, SMOOTH_BENDING_COMPACT, 1),
     1},
    {"diffusion", "loss_smooth", ARGUMENTS(loss_smooth_arguments, SMOOTH_DIFFUSION, 1), 1},
    {"dice_warp", "loss_dice_warp", DICE(false, WARP_ZEROS), 3},
    {"dice_warp_border", "loss_dice_warp", DICE(false, WARP_BORDER), 3},
    {"dice_warp_background", "loss_dice_warp", DICE(true, WARP_ZEROS), 3},
};

#define TRANSPOSE(k, p, o, channels)                                                     \
  ARGUMENTS(conv_transpose_arguments, .kernel = {k, k, k}, .stride = {2, 2, 2},          \
            .padding = {p, p, p}, .output_padding = {o, o, o}, .out_channels = channels, \
            .bias = true)

#define SOFT_DICE(kind, background, whole, powers, numerator, denominator)                         \
  ARGUMENTS(loss_dice_arguments, .activation = LOSS_DICE_##kind, .include_background = background, \
            .batch = whole, .squared = powers, .smooth_numerator = numerator,                      \
            .smooth_denominator = denominator)

static const struct golden_case segmentation_layers[] = {
    {"conv_transpose_2", "conv_transpose", TRANSPOSE(2, 0, 0, 16), 1},
    {"conv_transpose_3", "conv_transpose", TRANSPOSE(3, 1, 1, 17), 1},
    {"conv_transpose_4", "conv_transpose", TRANSPOSE(4, 1, 0, 6), 1},
    {"conv_transpose_flat", "conv_transpose",
     ARGUMENTS(conv_transpose_arguments, .kernel = {1, 2, 2}, .stride = {1, 2, 2},
               .out_channels = 8),
     1},
    {"ce", "loss_ce", NULL, 0, 2},
    {"ce_weighted_finer", "loss_ce",
     ARGUMENTS(loss_ce_arguments, .weighted = true, .weight = {0.1F, 1, 1, 2, 1}), 2},
    {"ce_flat_given", "loss_ce", NULL, 0, 3},
    {"ce_focal", "loss_ce", ARGUMENTS(loss_ce_arguments, .gamma = 2), 2},
    {"bce", "loss_bce", NULL, 0, 2},
    {"bce_weighted", "loss_bce", ARGUMENTS(loss_bce_arguments, .positive_weight = 3.5), 2},
    {"bce_focal", "loss_bce", ARGUMENTS(loss_bce_arguments, .gamma = 2), 2},
    {"dice_softmax", "loss_dice", SOFT_DICE(SOFTMAX, true, false, false, 1e-5, 1e-5), 2},
    {"dice_softmax_squared_finer", "loss_dice", SOFT_DICE(SOFTMAX, false, false, true, 1e-5, 1e-5),
     2},
    {"dice_softmax_nnunet", "loss_dice", SOFT_DICE(SOFTMAX, false, true, false, 1, 1), 2},
    {"dice_sigmoid", "loss_dice", SOFT_DICE(SIGMOID, true, false, false, 1e-5, 1e-5), 2},
    {"dice_sigmoid_batch", "loss_dice", SOFT_DICE(SIGMOID, true, true, true, 1, 2), 2},
};

#define NORM(...) ARGUMENTS(norm_arguments, __VA_ARGS__)

static const struct golden_case layers[] = {
    {"instance_norm", "norm", NORM(NORM_INSTANCE, 0, true, 1e-5, 1, false), 1},
    {"instance_norm_leaky", "norm", NORM(NORM_INSTANCE, 0, false, 1e-5, 0.01F, false), 1},
    {"instance_norm_residual", "norm", NORM(NORM_INSTANCE, 0, false, 1e-5, 0.01F, false), 2},
    {"group_norm_relu", "norm", NORM(NORM_GROUP, 6, true, 1e-5, 0, false), 1},
    {"batch_norm", "norm", NORM(NORM_BATCH, 0, true, 1e-3, 1, false), 1},
    {"batch_norm_relu", "norm", NORM(NORM_BATCH, 0, false, 1e-5, 0, false), 1},
    {"batch_norm_residual", "norm", NORM(NORM_BATCH, 0, true, 1e-5, 0, false), 2},
    {"batch_norm_running", "norm", NORM(NORM_BATCH, 0, true, 1e-5, 0.2F, true), 1},
};

#define AFFINE(...) "affine", ARGUMENTS(affine_arguments, {5, 9, 11}, __VA_ARGS__), 2
#define CONNECTED(slope_)                                                                \
  ARGUMENTS(conv_arguments, .kernel = {1, 1, 1}, .stride = {1, 1, 1}, .out_channels = 6, \
            .bias = true, .linear = true, .slope = slope_)
#define POSE(kind) "loss_pose", ARGUMENTS(loss_pose_arguments, kind, 60, 25, 0.5, {150, 140, 90}), 2

static const struct golden_case pose_layers[] = {
    {"affine_zero", AFFINE(AFFINE_LINEAR, AFFINE_ZERO, AFFINE_NO_MASK, {0})},
    {"affine_edge", AFFINE(AFFINE_LINEAR, AFFINE_EDGE, AFFINE_NO_MASK, {0})},
    {"affine_noise", AFFINE(AFFINE_LINEAR, AFFINE_NOISE, AFFINE_NO_MASK, {0})},
    {"affine_nearest", AFFINE(AFFINE_NEAREST, AFFINE_EDGE, AFFINE_NO_MASK, {0})},
    {"affine_labels", AFFINE(AFFINE_NEAREST, AFFINE_ZERO, AFFINE_NO_MASK, {0})},
    {"affine_box_sphere", AFFINE(AFFINE_LINEAR, AFFINE_CROP, AFFINE_SPHERE, {2.2F, 3.9F, 6})},
    {"average_pool", "average_pool", NULL, 0, 1},
    {"coordinates", "coordinates", NULL, 0, 1},
    {"linear", "conv", CONNECTED(1), 1},
    {"linear_relu", "conv", CONNECTED(0), 1},
    {"mse_6", POSE(POSE_MSE)},
    {"mse_9", POSE(POSE_MSE)},
    {"geodesic_6", POSE(POSE_GEODESIC)},
    {"geodesic_9", POSE(POSE_GEODESIC)},
    {"corner_6", POSE(POSE_CORNER)},
    {"corner_9", POSE(POSE_CORNER)},
};

#define WINDOWS(...) "window", ARGUMENTS(window_arguments, __VA_ARGS__), 1

static const struct golden_case network_parts[] = {
    {"window_1", WINDOWS(1, {-160}, {240}, 0, 1)},
    {"window_3", WINDOWS(3, {-160, -1000, -100}, {240, 400, 1000}, -1, 1)},
    {"window_6",
     WINDOWS(6, {-160, -1000, -100, 0, 20, -1500}, {240, 400, 1000, 80, 21, 1500}, 0, 255)},
    {"blur", "blur", NULL, 0, 2},
    {"blur_largest", "blur", NULL, 0, 2},
    {"low_resolution", "low_resolution", NULL, 0, 2},
    {"low_resolution_odd", "low_resolution", NULL, 0, 2},
    {"dropout_half", "dropout", ARGUMENTS(dropout_arguments, 0.5F, 1), 2},
    {"dropout_quarter", "dropout", ARGUMENTS(dropout_arguments, 0.25F, 40), 2},
};

#define BENT(...) "affine", ARGUMENTS(affine_arguments, {5, 9, 11}, __VA_ARGS__), 3
#define INTENSITY "intensity", ARGUMENTS(intensity_arguments, INTENSITY_ALL), 2

static const struct golden_case augment_layers[] = {
    {"bent_zero", BENT(AFFINE_LINEAR, AFFINE_ZERO, AFFINE_NO_MASK, {0})},
    {"bent_edge", BENT(AFFINE_LINEAR, AFFINE_EDGE, AFFINE_NO_MASK, {0})},
    {"bent_masks", BENT(AFFINE_NEAREST, AFFINE_ZERO, AFFINE_NO_MASK, {0})},
    {"intensity_noise", INTENSITY},
    {"intensity_contrast", INTENSITY},
    {"intensity_gamma", INTENSITY},
    {"intensity_all", INTENSITY},
};

/* LABEL.PARTindex, NULL if the file has none. */
static const struct golden_tensor *part(const char *label, const char *name, int index) {
  char full[GOLDEN_NAME_BYTES];
  snprintf(full, sizeof full, index < 0 ? "%s.%s" : "%s.%s%d", label, name, index);
  return golden_find(&golden, full);
}

static double value_at(const struct golden_tensor *tensor, int64_t i) {
  float single;
  double wide;
  if (tensor->type[0] == 'U') return ((const unsigned char *)tensor->data)[i];
  memcpy(&single, (const char *)tensor->data + (size_t)i * sizeof single, sizeof single);
  if (!strcmp(tensor->type, "F32")) return single;
  memcpy(&wide, (const char *)tensor->data + (size_t)i * sizeof wide, sizeof wide);
  return wide;
}

static double *values_of(const struct golden_tensor *tensor) {
  double *values = conformance_doubles(tensor->count);
  for (int64_t i = 0; i < tensor->count; i++) values[i] = value_at(tensor, i);
  return values;
}

static struct op_case case_of(const struct golden_case *golden_case) {
  struct op_case test = {.label = golden_case->label, .input_count = golden_case->inputs};
  CHECK_OK(op_find(golden_case->op, &test.op));
  test.arguments = golden_case->arguments;
  test.argument_bytes = golden_case->bytes;
  for (int i = 0; i < golden_case->inputs; i++) {
    const struct golden_tensor *x = part(golden_case->label, "x", i);
    if (!x || x->rank != 5) golden_stop(golden.path, "holds no input of", golden_case->label);
    const int *extent = x->extent;
    test.x[i] = (struct shape){extent[0], extent[1], extent[2], extent[3], extent[4]};
    test.x_dtype[i] = x->type[0] == 'U' ? DTYPE_U8 : DTYPE_F32;
    test.no_gradient[i] = !part(golden_case->label, "dx", i);
  }
  return test;
}

static void open_trial(struct trial *trial, const struct op_case *test) {
  memset(trial, 0, sizeof *trial);
  trial->test = test;
  CHECK_OK(conformance_node(test, DTYPE_F64, LAYOUTS_PLANAR, -1, &trial->node));
  for (int i = 0; i < test->input_count + trial->node.parameter_count; i++) {
    int t = i < test->input_count ? i : OP_MAX_INPUTS + i - test->input_count;
    const struct golden_tensor *x = part(test->label, "x", i);
    trial->value[t] = values_of(x);
    trial->count[t] = x->count;
    if (t < OP_MAX_INPUTS) continue;
    CHECK(x->count == conformance_parameter_count(&trial->node.parameter[t - OP_MAX_INPUTS]));
  }
  const struct golden_tensor *dy = part(test->label, "dy", -1);
  trial->y_count = part(test->label, "y", -1)->count;
  trial->dy = dy ? values_of(dy) : conformance_doubles(1);
  if (!dy) trial->dy[0] = 1;
}

static void close_trial(struct trial *trial) {
  for (int t = 0; t < CONFORMANCE_TENSORS; t++) free(trial->value[t]);
  free(trial->dy);
}

static void compare(const double *own, const struct golden_tensor *expected, double limit,
                    const struct kernel *kernel) {
  double *values = values_of(expected);
  double distance = golden_distance_doubles(own, values, expected->count);
  CHECK_SAY(distance <= limit, " (%s, kernel %s %s: off by %.2g)", expected->name, kernel->name,
            dtype_name(kernel->dtype), distance);
  free(values);
}

static void try_kernel(const struct trial *trial, const struct kernel *kernel,
                       enum conformance_layouts layouts) {
  struct attempt attempt = {
      .kernel = kernel, .layouts = layouts, .threads = 2, .backward = kernel->training, .only = -1};
  const struct op_case *test = trial->test;
  conformance_count(test->op, kernel);
  struct outcome outcome = attempt_run(trial, &attempt);
  compare(outcome.y, part(test->label, "y", -1), 1e-6, kernel);
  for (int i = 0; kernel->training && i < test->input_count + trial->node.parameter_count; i++) {
    const struct golden_tensor *expected = part(test->label, "dx", i);
    int t = i < test->input_count ? i : OP_MAX_INPUTS + i - test->input_count;
    if (expected) compare(outcome.gradient[t], expected, 5e-6, kernel);
  }
  outcome_free(&outcome);
}

/* How many kernels applied in this layout. Types of 16 bits cannot be held against files. */
static int try_kernels(const struct trial *trial, enum conformance_layouts layouts) {
  unsigned planar = layouts == LAYOUTS_PLANAR ? ~0U : 0;
  int tried = 0;
  for (int k = 0; trial->test->op->kernels[k]; k++) {
    const struct kernel *kernel = trial->test->op->kernels[k];
    if (dtype_is_narrow(kernel->dtype)) continue;
    if (!attempt_fits(trial->test,
                      &(struct attempt){kernel, layouts, .only = -1, .planar = planar}))
      continue;
    try_kernel(trial, kernel, layouts);
    tried++;
  }
  return tried;
}

static void check_cases(const char *file, const struct golden_case *cases, size_t count) {
  golden_open(&golden, file);
  for (size_t c = 0; c < count; c++) {
    struct op_case test = case_of(&cases[c]);
    struct trial trial;
    open_trial(&trial, &test);
    int tried = try_kernels(&trial, LAYOUTS_DEVICE) + try_kernels(&trial, LAYOUTS_PLANAR);
    CHECK_SAY(tried >= 4, " (%s: %d kernels)", test.label, tried);
    close_trial(&trial);
  }
  golden_close(&golden);
}

TEST(operators_agree_with_pytorch) {
  check_cases("operators", operators, sizeof operators / sizeof *operators);
}

TEST(segmentation_layers_agree_with_pytorch_and_monai) {
  check_cases("segmentation_layers", segmentation_layers,
              sizeof segmentation_layers / sizeof *segmentation_layers);
}

TEST(layers_agree_with_pytorch) {
  check_cases("layers", layers, sizeof layers / sizeof *layers);
}

TEST(pose_layers_agree_with_pytorch) {
  check_cases("pose_layers", pose_layers, sizeof pose_layers / sizeof *pose_layers);
}

TEST(parts_of_networks_agree_with_pytorch_and_scipy) {
  check_cases("network_parts", network_parts, sizeof network_parts / sizeof *network_parts);
}

TEST(what_augments_agrees_with_pytorch_and_scipy) {
  check_cases("augment_layers", augment_layers, sizeof augment_layers / sizeof *augment_layers);
}

int main(void) {
  RUN(operators_agree_with_pytorch);
  RUN(layers_agree_with_pytorch);
  RUN(segmentation_layers_agree_with_pytorch_and_monai);
  RUN(pose_layers_agree_with_pytorch);
  RUN(parts_of_networks_agree_with_pytorch_and_scipy);
  RUN(what_augments_agrees_with_pytorch_and_scipy);
  return check_result();
}
