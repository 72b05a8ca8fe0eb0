/* intensity by the definition: one channel at a time, any layouts. */
#include <string.h>
#include "kernels/intensity/intensity_curve.h"

/* A channel of a sample. */
struct plane {
  const real *x;
  real *y;
  int64_t from, to; /* between voxels */
  int64_t voxels;
  int channel;
};

/* x with noise and factor, into y. */
static void shift(const struct plane *plane, const struct intensity_change *change) {
  for (int64_t v = 0; v < plane->voxels; v++) {
    real value = plane->x[v * plane->from], noise[INTENSITY_WORDS];
    int lane = (int)(v % INTENSITY_LANES), word = (int)(v / INTENSITY_LANES % INTENSITY_WORDS);
    int block = (int)(v / INTENSITY_GROUP) * INTENSITY_LANES + lane;
    if (change->deviation != 0) {
      intensity_noise(change, block, plane->channel, noise);
      value += noise[word];
    }
    plane->y[v * plane->to] = value * change->factor;
  }
}

static struct intensity_range find_range(const struct plane *plane) {
  double sum = 0, low = INFINITY, high = -INFINITY;
  for (int64_t v = 0; v < plane->voxels; v++) {
    double value = (double)plane->y[v * plane->to];
    sum += value;
    low = fmin(low, value);
    high = fmax(high, value);
  }
  return (struct intensity_range){(real)(sum / (double)plane->voxels), (real)low, (real)high};
}

static void change_plane(const struct node *node, const struct io *io, int n, int c) {
  const struct tensor *x = &node->x[0], *y = &node->y;
  const real *numbers = (const real *)io->x[1] + tensor_at(&node->x[1], n, 0, 0, 0, 0);
  const struct plane plane = {.x = (const real *)io->x[0] + tensor_at(x, n, c, 0, 0, 0),
                              .y = (real *)io->y + tensor_at(y, n, c, 0, 0, 0),
                              .from = tensor_voxel_stride(x),
                              .to = tensor_voxel_stride(y),
                              .voxels = shape_voxels(x->shape),
                              .channel = c};
  const struct intensity_change change =
      intensity_change_load(numbers, intensity_arguments_of(node)->steps);
  shift(&plane, &change);
  if (!intensity_bends(&change)) return;
  const struct intensity_curve curve = intensity_curve_make(&change, find_range(&plane));
  for (int64_t v = 0; v < plane.voxels; v++)
    plane.y[v * plane.to] = intensity_bend(&curve, plane.y[v * plane.to]);
}

static enum status intensity_forward(const struct node *node, const struct io *io,
                                     struct stream *stream) {
  (void)stream;
  int channels = node->y.shape.c, planes = node->y.shape.n * channels;
  memset(io->y, 0, tensor_bytes(&node->y)); /* padding channels */
#pragma omp parallel for schedule(static)
  for (int i = 0; i < planes; i++) change_plane(node, io, i / channels, i % channels);
  return STATUS_OK;
}

extern const struct kernel REAL_NAME(intensity_reference);
const struct kernel REAL_NAME(intensity_reference) = {
    .name = "reference",
    .device = DEVICE_CPU,
    .dtype = REAL_DTYPE,
    .training = false,
    .forward = intensity_forward,
};
