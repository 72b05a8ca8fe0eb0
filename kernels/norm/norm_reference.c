/* norm by the definition. */
#include <math.h>
#include "kernels/common/real.h"
#include "kernels/norm/norm.h"

/* One group: its elements are visited by number. */
struct group {
  const struct node *node;
  int number;
  int64_t size;
};

/* Where element `i` of a group is stored, and its channel. */
static int64_t element_of(const struct group *group, int64_t i, int *channel) {
  const struct tensor *x = &group->node->x[0];
  int64_t voxels = shape_voxels(x->shape), voxel = i % voxels, plane = i / voxels;
  int groups = norm_groups(group->node), channels = x->shape.c, n = (int)plane;
  if (norm_arguments_of(group->node)->kind == NORM_BATCH) {
    *channel = group->number;
  } else {
    int per_sample = groups / x->shape.n, width = channels / per_sample;
    n = group->number / per_sample;
    *channel = group->number % per_sample * width + (int)plane;
  }
  return tensor_at(x, n, *channel, 0, 0, 0) + voxel * tensor_voxel_stride(x);
}

static void measure(const struct group *group, const struct io *io) {
  const real *x = io->x[0];
  double mean = 0, variance = 0;
  int channel;
  for (int64_t i = 0; i < group->size; i++) mean += (double)x[element_of(group, i, &channel)];
  mean /= (double)group->size;
  for (int64_t i = 0; i < group->size; i++) {
    double apart = (double)x[element_of(group, i, &channel)] - mean;
    variance += apart * apart;
  }
  variance /= (double)group->size;
  ((real *)io->saved[NORM_MEAN])[group->number] = (real)mean;
  ((real *)io->saved[NORM_DEVIATION])[group->number] =
      (real)(1 / sqrt(variance + norm_arguments_of(group->node)->epsilon));
}

static const real *parameter_of(const struct group *group, const struct io *io,
                                enum norm_parameter parameter) {
  return norm_w(group->node, io, parameter);
}

static void take_running(const struct group *group, const struct io *io) {
  int c = group->number;
  double variance = (double)parameter_of(group, io, NORM_RUNNING_VARIANCE)[c];
  ((real *)io->saved[NORM_MEAN])[c] = parameter_of(group, io, NORM_RUNNING_MEAN)[c];
  ((real *)io->saved[NORM_DEVIATION])[c] =
      (real)(1 / sqrt(variance + norm_arguments_of(group->node)->epsilon));
}

static double weight_of(const struct group *group, const struct io *io, int channel) {
  const real *w = parameter_of(group, io, NORM_WEIGHT);
  return w ? (double)w[channel] : 1;
}

/* An element without scale and shift, and with them. */
static double normalised(const struct group *group, const struct io *io, int64_t at) {
  double mean = (double)((const real *)io->saved[NORM_MEAN])[group->number];
  double deviation = (double)((const real *)io->saved[NORM_DEVIATION])[group->number];
  return ((double)((const real *)io->x[0])[at] - mean) * deviation;
}

/* What the activation gets. */
static double scaled(const struct group *group, const struct io *io, int64_t at, int channel) {
  const real *bias = parameter_of(group, io, NORM_BIAS), *residual = io->x[1];
  double z = normalised(group, io, at) * weight_of(group, io, channel);
  if (bias) z += (double)bias[channel];
  return norm_has_residual(group->node) ? z + (double)residual[at] : z;
}

static void write_group(const struct group *group, const struct io *io) {
  double slope = (double)norm_arguments_of(group->node)->slope;
  for (int64_t i = 0; i < group->size; i++) {
    int channel;
    int64_t at = element_of(group, i, &channel);
    double z = scaled(group, io, at, channel);
    ((real *)io->y)[at] = (real)(z > 0 ? z : z * slope);
  }
}

static enum status norm_again(const struct node *node, const struct io *io, struct stream *stream) {
  (void)stream;
  struct group group = {node, 0, norm_group_size(node)};
  for (int64_t i = 0; i < tensor_elements(&node->y); i++) ((real *)io->y)[i] = 0;
  for (; group.number < norm_groups(node); group.number++) write_group(&group, io);
  return STATUS_OK;
}

static enum status norm_forward(const struct node *node, const struct io *io,
                                struct stream *stream) {
  struct group group = {node, 0, norm_group_size(node)};
  for (; group.number < norm_groups(node); group.number++)
    (norm_is_running(node) ? take_running : measure)(&group, io);
  return norm_again(node, io, stream);
}

/* dy in front of the activation. */
static double gradient_at(const struct group *group, const struct io *io, int64_t at, int channel) {
  double slope = (double)norm_arguments_of(group->node)->slope;
  double dy = (double)((const real *)io->dy)[at];
  if (slope == 1) return dy;
  double above = norm_reads_y(group->node) ? (double)((const real *)io->y)[at]
                                           : scaled(group, io, at, channel);
  return above > 0 ? dy : dy * slope;
}

static void put(const struct io *io, int input, int64_t at, double value) {
  real *dx = io->dx[input];
  if (dx) dx[at] = io->dx_add[input] ? dx[at] + (real)value : (real)value;
}

static void give_group(const struct group *group, const struct io *io) {
  double deviation = (double)((const real *)io->saved[NORM_DEVIATION])[group->number];
  double mean = 0, along = 0; /* of the gradient, and along the normalised values */
  int channel;
  for (int64_t i = 0; i < group->size && !norm_is_running(group->node); i++) {
    int64_t at = element_of(group, i, &channel);
    double gradient = gradient_at(group, io, at, channel) * weight_of(group, io, channel);
    mean += gradient / (double)group->size;
    along += gradient * normalised(group, io, at) / (double)group->size;
  }
  for (int64_t i = 0; i < group->size; i++) {
    int64_t at = element_of(group, i, &channel);
    double gradient = gradient_at(group, io, at, channel);
    put(io, 1, at, gradient);
    gradient *= weight_of(group, io, channel);
    put(io, 0, at, (gradient - mean - normalised(group, io, at) * along) * deviation);
  }
}

/* Of the parameters of all channels: a channel's elements lie in one group per sample, or in one.
 */
static void sum_parameters(const struct group *group, const struct io *io) {
  for (int64_t i = 0; i < group->size; i++) {
    int channel;
    int64_t at = element_of(group, i, &channel);
    double gradient = gradient_at(group, io, at, channel);
    ((double *)io->workspace)[2 * channel] += gradient * normalised(group, io, at);
    ((double *)io->workspace)[2 * channel + 1] += gradient;
  }
}

static void give_parameters(const struct node *node, const struct io *io) {
  const double *sums = io->workspace;
  real *weight = norm_dw(node, io, NORM_WEIGHT), *bias = norm_dw(node, io, NORM_BIAS);
  for (int c = 0; weight && c < node->x[0].shape.c; c++) {
    weight[c] = (real)sums[2 * c];
    bias[c] = (real)sums[2 * c + 1];
  }
}

static void give_statistics(const struct node *node, const struct io *io) {
  const real *own_mean = io->saved[NORM_MEAN], *deviation = io->saved[NORM_DEVIATION];
  const real *kept_mean = norm_w(node, io, NORM_RUNNING_MEAN);
  const real *kept = norm_w(node, io, NORM_RUNNING_VARIANCE);
  real *mean = norm_dw(node, io, NORM_RUNNING_MEAN);
  real *variance = norm_dw(node, io, NORM_RUNNING_VARIANCE);
  bool running = norm_is_running(node);
  double size = (double)norm_group_size(node), epsilon = norm_arguments_of(node)->epsilon;
  for (int c = 0; mean && c < node->x[0].shape.c; c++) {
    mean[c] = running ? kept_mean[c] : own_mean[c];
    variance[c] = running ? kept[c] : (real)norm_unbiased((double)deviation[c], epsilon, size);
  }
}

static void clear_gradients(const struct node *node, const struct io *io) {
  for (int i = 0; i < node->input_count; i++)
    for (int64_t k = 0; io->dx[i] && !io->dx_add[i] && k < tensor_elements(&node->x[i]); k++)
      ((real *)io->dx[i])[k] = 0;
}

static enum status norm_backward(const struct node *node, const struct io *io,
                                 struct stream *stream) {
  (void)stream;
  double *sums = io->workspace;
  struct group group = {node, 0, norm_group_size(node)};
  for (int c = 0; c < 2 * node->x[0].shape.c; c++) sums[c] = 0;
  clear_gradients(node, io);
  for (; group.number < norm_groups(node); group.number++) {
    sum_parameters(&group, io);
    give_group(&group, io);
  }
  give_parameters(node, io);
  give_statistics(node, io);
  return STATUS_OK;
}

static void norm_prepare(struct node *node) {
  node->backward_workspace = 2 * sizeof(double) * (size_t)node->x[0].shape.c;
}

extern const struct kernel REAL_NAME(norm_reference);
const struct kernel REAL_NAME(norm_reference) = {
    .name = "reference",
    .device = DEVICE_CPU,
    .dtype = REAL_DTYPE,
    .training = true,
    .prepare = norm_prepare,
    .forward = norm_forward,
    .backward = norm_backward,
    .again = norm_again,
};
