/* affine for planar sources, row by row of y: what the mask keeps of a row is cut into runs whose
 * positions are found together. The eight corners of a cell are four pairs of neighbours on the w
 * axis: two vectors of four, one per slice. */
#include <stdlib.h>
#include <string.h>
#include "kernels/affine/affine_sample.h"
#include "kernels/common/simd.h"

enum { RUN = 64 };

typedef float four __attribute__((vector_size(16)));
typedef double two_doubles __attribute__((vector_size(16)));
typedef double pair __attribute__((aligned(4), may_alias)); /* two floats */

/* Neighbours on a row of y and their cells. */
struct run {
  int n, d, h, w, count;
  int low[3][RUN];
  float fraction[3][RUN];
  int interior[RUN];     /* all corners are in the box */
  float outside[4][RUN]; /* by channel: what outside voxels are, where not all are in the box */
};

struct job {
  const struct node *node;
  const void *source;
  void *y;
  const struct affine_map *maps; /* of all samples */
  struct affine_cut cut;
};

static const struct affine_map *map_of(const struct job *job, int n) {
  return &job->maps[n];
}

static int64_t plane_of(const struct shape *shape, int n, int c) {
  return ((int64_t)n * shape->c + c) * shape_voxels(*shape);
}

static int voxel_of(const struct shape *shape, int d, int h, int w) {
  return (d * shape->h + h) * shape->w + w;
}

static void find_axis(const struct job *job, struct run *run, int k) {
  const struct affine_arguments *a = affine_arguments_of(job->node);
  const struct affine_map *map = map_of(job, run->n);
  bool clamps = affine_clamps(a->fill) && !affine_is_empty(map);
  double row = affine_row(map, k, run->d, run->h), step = map->matrix[k][2];
  for (int i = 0; i < run->count; i++) {
    struct affine_axis axis =
        affine_axis_find(row + step * (run->w + i), a->mode, clamps, map->first[k], map->last[k]);
    run->low[k][i] = axis.low;
    run->fraction[k][i] = axis.fraction;
    run->interior[i] &= axis.low >= map->first[k] && axis.low < map->last[k];
  }
}

static void find_noise(const struct job *job, struct run *run) {
  int channels = job->node->y.shape.c;
  int first = voxel_of(&job->node->y.shape, run->d, run->h, run->w);
  for (int i = 0; i < run->count; i++) {
    float noise[4];
    if (run->interior[i]) continue;
    affine_noise(map_of(job, run->n), first + i, channels, noise);
    for (int c = 0; c < channels; c++) run->outside[c][i] = noise[c];
  }
}

static void find_cells(const struct job *job, struct run *run) {
  for (int i = 0; i < run->count; i++) run->interior[i] = 1;
  for (int k = 0; k < 3; k++) find_axis(job, run, k);
  if (affine_arguments_of(job->node)->fill == AFFINE_NOISE)
    find_noise(job, run);
  else
    memset(run->outside, 0, sizeof run->outside);
}

/* Whether corner `corner` (bit k: the upper voxel on axis k) is in the box; *voxel: which it is. */
static bool corner_inside(const struct job *job, const struct run *run, int i, int corner,
                          int *voxel) {
  int at[3];
  bool inside = true;
  for (int k = 0; k < 3; k++) {
    at[k] = run->low[k][i] + (corner >> k & 1);
    inside = inside && affine_inside(map_of(job, run->n), k, at[k]);
  }
  if (inside) *voxel = voxel_of(&job->node->x[0].shape, at[0], at[1], at[2]);
  return inside;
}

/* Values of one slice of a cell: (h, w), (h, w+1), (h+1, w), (h+1, w+1). */
struct corners {
  four low, high; /* slice d, slice d+1 */
};

static inline four slice_load(const float *corner, int row) {
  return (four)(two_doubles){*(const pair *)corner, *(const pair *)(corner + row)};
}

static inline struct corners corners_load(const float *corner, const struct shape *shape) {
  return (struct corners){slice_load(corner, shape->w),
                          slice_load(corner + (int64_t)shape->h * shape->w, shape->w)};
}

static struct corners corners_border(const struct job *job, const struct run *run, int i,
                                     const float *plane, float outside) {
  float value[8];
  for (int corner = 0; corner < 8; corner++) {
    int voxel;
    value[corner] = corner_inside(job, run, i, corner, &voxel) ? plane[voxel] : outside;
  }
  return (struct corners){{value[0], value[4], value[2], value[6]},
                          {value[1], value[5], value[3], value[7]}};
}

static inline float corners_blend(struct corners c, float d, float h, float w) {
  four slice = c.low + d * (c.high - c.low);
  float low = slice[0] + h * (slice[2] - slice[0]), high = slice[1] + h * (slice[3] - slice[1]);
  return low + w * (high - low);
}

/* A channel of a run. */
static void sample_linear(const struct job *job, const struct run *run, int c) {
  const struct shape *source = &job->node->x[0].shape, *y = &job->node->y.shape;
  const float *plane = (const float *)job->source + plane_of(source, run->n, c);
  float *to = (float *)job->y + plane_of(y, run->n, c) + voxel_of(y, run->d, run->h, run->w);
  for (int i = 0; i < run->count; i++) {
    struct corners corners;
    if (run->interior[i])
      corners = corners_load(
          plane + voxel_of(source, run->low[0][i], run->low[1][i], run->low[2][i]), source);
    else
      corners = corners_border(job, run, i, plane, run->outside[c][i]);
    to[i] = corners_blend(corners, run->fraction[0][i], run->fraction[1][i], run->fraction[2][i]);
  }
}

static void sample_nearest(const struct job *job, const struct run *run, int c) {
  const struct shape *source = &job->node->x[0].shape, *y = &job->node->y.shape;
  const float *plane = (const float *)job->source + plane_of(source, run->n, c);
  float *to = (float *)job->y + plane_of(y, run->n, c) + voxel_of(y, run->d, run->h, run->w);
  int voxel;
  for (int i = 0; i < run->count; i++)
    to[i] = corner_inside(job, run, i, 0, &voxel) ? plane[voxel] : run->outside[c][i];
}

static void sample_labels(const struct job *job, const struct run *run, int c) {
  const struct shape *source = &job->node->x[0].shape, *y = &job->node->y.shape;
  const unsigned char *plane = (const unsigned char *)job->source + plane_of(source, run->n, c);
  unsigned char *to =
      (unsigned char *)job->y + plane_of(y, run->n, c) + voxel_of(y, run->d, run->h, run->w);
  int voxel;
  for (int i = 0; i < run->count; i++)
    to[i] = corner_inside(job, run, i, 0, &voxel) ? plane[voxel] : 0;
}

static void clear(const struct job *job, int n, int voxel, int count) {
  const struct tensor *y = &job->node->y;
  size_t each = dtype_bytes(y->dtype);
  for (int c = 0; c < y->shape.c; c++)
    memset((char *)job->y + (size_t)(plane_of(&y->shape, n, c) + voxel) * each, 0,
           (size_t)count * each);
}

static void sample_row(const struct job *job, int n, int d, int h) {
  const struct shape *y = &job->node->y.shape;
  bool linear = affine_arguments_of(job->node)->mode == AFFINE_LINEAR;
  bool labels = job->node->y.dtype == DTYPE_U8;
  int first = 0, end = y->w;
  while (first < end && !affine_keeps(&job->cut, d, h, first)) first++;
  while (end > first && !affine_keeps(&job->cut, d, h, end - 1)) end--;
  clear(job, n, voxel_of(y, d, h, 0), first);
  clear(job, n, voxel_of(y, d, h, end), y->w - end);
  for (int w = first; w < end; w += RUN) {
    struct run run; /* too large to clear */
    run.n = n;
    run.d = d;
    run.h = h;
    run.w = w;
    run.count = end - w < RUN ? end - w : RUN;
    find_cells(job, &run);
    for (int c = 0; c < y->c; c++)
      (linear ? sample_linear : labels ? sample_labels : sample_nearest)(job, &run, c);
  }
}

static enum status affine_forward(const struct node *node, const struct io *io,
                                  struct stream *stream) {
  (void)stream;
  const struct shape *source = &node->x[0].shape, *y = &node->y.shape;
  const float *motion = io->x[1];
  struct affine_map *maps = io->workspace;
  for (int n = 0; n < y->n; n++)
    maps[n] = affine_map_load(motion + n * AFFINE_MOTION, source->d, source->h, source->w);
  const struct job job = {node, io->x[0], io->y, maps, affine_cut_make(affine_arguments_of(node))};
#pragma omp parallel for schedule(static)
  for (int slice = 0; slice < y->n * y->d; slice++)
    for (int h = 0; h < y->h; h++) sample_row(&job, slice / y->d, slice % y->d, h);
  return STATUS_OK;
}

static bool affine_applies(const struct node *node) {
  return simd_available() && node->x[0].layout == LAYOUT_PLANAR && node->y.layout == LAYOUT_PLANAR;
}

static void affine_prepare(struct node *node) {
  node->forward_workspace = (size_t)node->y.shape.n * sizeof(struct affine_map);
}

extern const struct kernel SIMD_NAME(affine_simd);
const struct kernel SIMD_NAME(affine_simd) = {
    .name = SIMD_LABEL("simd"),
    .device = DEVICE_CPU,
    .dtype = DTYPE_F32,
    .training = false,
    .applies = affine_applies,
    .prepare = affine_prepare,
    .forward = affine_forward,
};
