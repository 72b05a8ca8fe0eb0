/* affine by the definition: one voxel, one corner, one channel at a time, any layouts. */
#include <stdlib.h>
#include <string.h>
#include "kernels/affine/affine_spline.h"

struct sample {
  const struct node *node;
  const struct io *io;
  struct affine_map map;
  struct affine_cut cut;
};

static double source_at(const struct sample *sample, int n, int c, const int voxel[3]) {
  int64_t at = tensor_at(&sample->node->x[0], n, c, voxel[0], voxel[1], voxel[2]);
  if (sample->node->x[0].dtype == DTYPE_U8) return ((const unsigned char *)sample->io->x[0])[at];
  return (double)((const real *)sample->io->x[0])[at];
}

/* The source in one channel at a cell; `outside` where it has no voxel. */
static real blend(const struct sample *sample, int n, int c, const struct affine_axis at[3],
                  real outside) {
  double sum = 0;
  for (int corner = 0; corner < 8; corner++) {
    int voxel[3];
    double weight = 1;
    bool inside = true;
    for (int k = 0; k < 3; k++) {
      bool up = corner >> k & 1;
      voxel[k] = at[k].low + up;
      weight *= (double)(up ? at[k].fraction : 1 - at[k].fraction);
      inside = inside && affine_inside(&sample->map, k, voxel[k]);
    }
    sum += weight * (inside ? source_at(sample, n, c, voxel) : (double)outside);
  }
  return (real)sum;
}

static void store(const struct sample *sample, int n, int c, const int at[3], real value) {
  int64_t to = tensor_at(&sample->node->y, n, c, at[0], at[1], at[2]);
  if (sample->node->y.dtype == DTYPE_U8)
    ((unsigned char *)sample->io->y)[to] = (unsigned char)value;
  else
    ((real *)sample->io->y)[to] = value;
}

/* u of voxel `at` of y on axis k. */
static double displace(const struct sample *sample, int n, int k, const int at[3]) {
  const struct tensor *control = &sample->node->x[AFFINE_CONTROL];
  const struct shape *points = &control->shape, *y = &sample->node->y.shape;
  const struct affine_grid grid = {points->d, points->h, points->w, tensor_voxel_stride(control)};
  const struct affine_knot d = affine_knot_find(at[0], y->d, points->d);
  const struct affine_taps h = affine_taps_find(at[1], y->h, points->h);
  const struct affine_taps w = affine_taps_find(at[2], y->w, points->w);
  const real *from =
      (const real *)sample->io->x[AFFINE_CONTROL] + tensor_at(control, n, k, 0, 0, 0);
  return affine_displacement(&grid, d, &h, &w, from);
}

static void find_cell(const struct sample *sample, int n, const int at[3],
                      struct affine_axis axis[3]) {
  const struct affine_arguments *a = affine_arguments_of(sample->node);
  const struct affine_map *map = &sample->map;
  bool clamps = affine_clamps(a->fill) && !affine_is_empty(map);
  for (int k = 0; k < 3; k++) {
    double position = affine_row(map, k, at[0], at[1]) + map->matrix[k][2] * at[2];
    if (affine_bends(sample->node)) position += displace(sample, n, k, at);
    axis[k] = affine_axis_find(position, a->mode, clamps, map->first[k], map->last[k]);
  }
}

static void find_voxel(const struct sample *sample, int n, const int at[3]) {
  const struct affine_arguments *a = affine_arguments_of(sample->node);
  bool kept = affine_keeps(&sample->cut, at[0], at[1], at[2]);
  int channels = sample->node->y.shape.c, voxel = (at[0] * a->size[1] + at[1]) * a->size[2] + at[2];
  struct affine_axis axis[3];
  real outside[AFFINE_NOISE_CHANNELS] = {0};
  find_cell(sample, n, at, axis);
  for (int c = 0; c < channels; c++) {
    int i = c % AFFINE_NOISE_CHANNELS;
    if (a->fill == AFFINE_NOISE && i == 0) affine_noise(&sample->map, voxel, c, channels, outside);
    store(sample, n, c, at, kept ? blend(sample, n, c, axis, outside[i]) : 0);
  }
}

static enum status affine_forward(const struct node *node, const struct io *io,
                                  struct stream *stream) {
  (void)stream;
  const struct shape *source = &node->x[0].shape, *y = &node->y.shape;
  struct sample sample = {.node = node, .io = io};
  sample.cut = affine_cut_make(affine_arguments_of(node));
  memset(io->y, 0, tensor_bytes(&node->y)); /* padding channels */
  for (int n = 0; n < y->n; n++) {
    const real *motion = (const real *)io->x[1] + tensor_at(&node->x[1], n, 0, 0, 0, 0);
    sample.map = affine_map_load(motion, source->d, source->h, source->w);
#pragma omp parallel for schedule(static) collapse(2)
    for (int d = 0; d < y->d; d++)
      for (int h = 0; h < y->h; h++)
        for (int w = 0; w < y->w; w++) {
          const int at[3] = {d, h, w};
          find_voxel(&sample, n, at);
        }
  }
  return STATUS_OK;
}

extern const struct kernel REAL_NAME(affine_reference);
const struct kernel REAL_NAME(affine_reference) = {
    .name = "reference",
    .device = DEVICE_CPU,
    .dtype = REAL_DTYPE,
    .training = false,
    .forward = affine_forward,
};
