/* affine for planar sources, row by row of y: what the mask keeps of a row is cut into runs whose
 * positions are found together. The eight corners of a cell are four pairs of neighbours on the w
 * axis: two vectors of four, one per slice. */
#include <stdlib.h>
#include <string.h>
#include "kernels/affine/affine_spline.h"
#include "kernels/common/simd.h"

/* MOST_POINTS: of a row of the deformation's coefficients. */
enum { RUN = 64, MOST_POINTS = 256 };

typedef float four __attribute__((vector_size(16)));
typedef double two_doubles __attribute__((vector_size(16)));
typedef double pair __attribute__((aligned(4), may_alias)); /* two floats */

/* What a row of y sees of the deformation: coefficients by axis, summed over d and h. */
struct bend {
  double at[3][MOST_POINTS];
};

/* Neighbours on a row of y and their cells. */
struct run {
  int n, d, h, w, count;
  int low[3][RUN];
  float fraction[3][RUN];
  int interior[RUN]; /* all corners are in the box */
  int voxel[RUN];    /* the nearest voxel of the source, -1: outside; of AFFINE_NEAREST */
  /* by channel: what outside voxels are, where not all are in the box */
  float outside[AFFINE_NOISE_CHANNELS][RUN];
  const struct bend *bend; /* NULL: none */
};

struct job {
  const struct node *node;
  const void *source;
  void *y;
  const float *control;           /* NULL: no deformation */
  const struct affine_map *maps;  /* of all samples */
  const struct affine_taps *taps; /* of the deformation, by w of y */
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

/* All coefficients of a row of y on axis k. */
static void bend_row(const struct job *job, int n, const struct affine_taps *d,
                     const struct affine_taps *h, int k, double *row) {
  const struct shape *points = &job->node->x[AFFINE_CONTROL].shape;
  const float *plane = job->control + plane_of(points, n, k);
  for (int w = 0; w < points->w; w++) row[w] = 0;
  for (int i = 0; i < AFFINE_TAPS; i++)
    for (int j = 0; j < AFFINE_TAPS; j++) {
      const float *from = plane + voxel_of(points, d->at[i], h->at[j], 0);
      double weight = d->weight[i] * h->weight[j];
      for (int w = 0; w < points->w; w++) row[w] += weight * (double)from[w];
    }
}

static void bend_find(const struct job *job, int n, int d, int h, struct bend *bend) {
  const struct shape *points = &job->node->x[AFFINE_CONTROL].shape, *y = &job->node->y.shape;
  const struct affine_taps along_d = affine_taps_find(d, y->d, points->d);
  const struct affine_taps along_h = affine_taps_find(h, y->h, points->h);
  for (int k = 0; k < 3; k++) bend_row(job, n, &along_d, &along_h, k, bend->at[k]);
}

static double bend_at(const struct job *job, const struct run *run, int k, int i) {
  const struct affine_taps *taps = &job->taps[run->w + i];
  double sum = 0;
  for (int t = 0; t < AFFINE_TAPS; t++) sum += taps->weight[t] * run->bend->at[k][taps->at[t]];
  return sum;
}

static void find_axis(const struct job *job, struct run *run, int k) {
  const struct affine_arguments *a = affine_arguments_of(job->node);
  const struct affine_map *map = map_of(job, run->n);
  bool clamps = affine_clamps(a->fill) && !affine_is_empty(map);
  double row = affine_row(map, k, run->d, run->h), step = map->matrix[k][2];
  for (int i = 0; i < run->count; i++) {
    double position = row + step * (run->w + i);
    if (run->bend) position += bend_at(job, run, k, i);
    struct affine_axis axis =
        affine_axis_find(position, a->mode, clamps, map->first[k], map->last[k]);
    run->low[k][i] = axis.low;
    run->fraction[k][i] = axis.fraction;
    run->interior[i] &= axis.low >= map->first[k] && axis.low < map->last[k];
  }
}

static void find_noise(const struct job *job, struct run *run) {
  int channels = job->node->y.shape.c;
  int first = voxel_of(&job->node->y.shape, run->d, run->h, run->w);
  for (int i = 0; i < run->count; i++) {
    float noise[AFFINE_NOISE_CHANNELS];
    if (run->interior[i]) continue;
    affine_noise(map_of(job, run->n), first + i, 0, channels, noise);
    for (int c = 0; c < channels; c++) run->outside[c][i] = noise[c];
  }
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

static void find_voxels(const struct job *job, struct run *run) {
  for (int i = 0; i < run->count; i++)
    if (!corner_inside(job, run, i, 0, &run->voxel[i])) run->voxel[i] = -1;
}

static bool is_noisy(const struct node *node) {
  return affine_arguments_of(node)->fill == AFFINE_NOISE;
}

static void find_cells(const struct job *job, struct run *run) {
  for (int i = 0; i < run->count; i++) run->interior[i] = 1;
  for (int k = 0; k < 3; k++) find_axis(job, run, k);
  if (affine_arguments_of(job->node)->mode == AFFINE_NEAREST) find_voxels(job, run);
  if (is_noisy(job->node))
    find_noise(job, run);
  else
    memset(run->outside, 0, sizeof run->outside);
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

/* By channel; all alike without noise, and then there may be more channels. */
static const float *outside_of(const struct job *job, const struct run *run, int c) {
  return run->outside[is_noisy(job->node) ? c : 0];
}

/* A channel of a run. */
static void sample_linear(const struct job *job, const struct run *run, int c) {
  const struct shape *source = &job->node->x[0].shape, *y = &job->node->y.shape;
  const float *plane = (const float *)job->source + plane_of(source, run->n, c);
  float *to = (float *)job->y + plane_of(y, run->n, c) + voxel_of(y, run->d, run->h, run->w);
  const float *outside = outside_of(job, run, c);
  for (int i = 0; i < run->count; i++) {
    struct corners corners;
    if (run->interior[i])
      corners = corners_load(
          plane + voxel_of(source, run->low[0][i], run->low[1][i], run->low[2][i]), source);
    else
      corners = corners_border(job, run, i, plane, outside[i]);
    to[i] = corners_blend(corners, run->fraction[0][i], run->fraction[1][i], run->fraction[2][i]);
  }
}

static void sample_nearest(const struct job *job, const struct run *run, int c) {
  const struct shape *source = &job->node->x[0].shape, *y = &job->node->y.shape;
  const float *plane = (const float *)job->source + plane_of(source, run->n, c);
  float *to = (float *)job->y + plane_of(y, run->n, c) + voxel_of(y, run->d, run->h, run->w);
  const float *outside = outside_of(job, run, c);
  for (int i = 0; i < run->count; i++)
    to[i] = run->voxel[i] >= 0 ? plane[run->voxel[i]] : outside[i];
}

static void sample_bytes(const struct job *job, const struct run *run, int c) {
  const struct shape *source = &job->node->x[0].shape, *y = &job->node->y.shape;
  const unsigned char *plane = (const unsigned char *)job->source + plane_of(source, run->n, c);
  unsigned char *to =
      (unsigned char *)job->y + plane_of(y, run->n, c) + voxel_of(y, run->d, run->h, run->w);
  for (int i = 0; i < run->count; i++) to[i] = run->voxel[i] >= 0 ? plane[run->voxel[i]] : 0;
}

static void clear(const struct job *job, int n, int voxel, int count) {
  const struct tensor *y = &job->node->y;
  size_t each = dtype_bytes(y->dtype);
  for (int c = 0; c < y->shape.c; c++)
    memset((char *)job->y + (size_t)(plane_of(&y->shape, n, c) + voxel) * each, 0,
           (size_t)count * each);
}

/* A run in all channels. */
static void sample_run(const struct job *job, struct run *run) {
  bool linear = affine_arguments_of(job->node)->mode == AFFINE_LINEAR;
  bool bytes = job->node->y.dtype == DTYPE_U8;
  find_cells(job, run);
  for (int c = 0; c < job->node->y.shape.c; c++)
    (linear ? sample_linear : bytes ? sample_bytes : sample_nearest)(job, run, c);
}

static void sample_row(const struct job *job, int n, int d, int h) {
  const struct shape *y = &job->node->y.shape;
  struct bend bend; /* too large to clear */
  int first = 0, end = y->w;
  while (first < end && !affine_keeps(&job->cut, d, h, first)) first++;
  while (end > first && !affine_keeps(&job->cut, d, h, end - 1)) end--;
  clear(job, n, voxel_of(y, d, h, 0), first);
  clear(job, n, voxel_of(y, d, h, end), y->w - end);
  if (job->control && first < end) bend_find(job, n, d, h, &bend);
  for (int w = first; w < end; w += RUN) {
    struct run run; /* neither */
    run.n = n;
    run.d = d;
    run.h = h;
    run.w = w;
    run.count = end - w < RUN ? end - w : RUN;
    run.bend = job->control ? &bend : NULL;
    sample_run(job, &run);
  }
}

static void find_maps(const struct node *node, const float *motion, struct affine_map *maps) {
  const struct shape *source = &node->x[0].shape;
  for (int n = 0; n < source->n; n++)
    maps[n] = affine_map_load(motion + n * AFFINE_MOTION, source->d, source->h, source->w);
}

static void find_taps(const struct node *node, struct affine_taps *taps) {
  int extent = node->y.shape.w, points = node->x[AFFINE_CONTROL].shape.w;
  for (int w = 0; w < extent; w++) taps[w] = affine_taps_find(w, extent, points);
}

static enum status affine_forward(const struct node *node, const struct io *io,
                                  struct stream *stream) {
  (void)stream;
  const struct shape *y = &node->y.shape;
  struct affine_map *maps = io->workspace;
  struct affine_taps *taps = (struct affine_taps *)(maps + y->n);
  bool bends = affine_bends(node);
  find_maps(node, io->x[AFFINE_NUMBERS], maps);
  if (bends) find_taps(node, taps);
  const struct job job = {.node = node,
                          .source = io->x[AFFINE_SOURCE],
                          .y = io->y,
                          .control = bends ? io->x[AFFINE_CONTROL] : NULL,
                          .maps = maps,
                          .taps = taps,
                          .cut = affine_cut_make(affine_arguments_of(node))};
#pragma omp parallel for schedule(static)
  for (int slice = 0; slice < y->n * y->d; slice++)
    for (int h = 0; h < y->h; h++) sample_row(&job, slice / y->d, slice % y->d, h);
  return STATUS_OK;
}

static bool affine_applies(const struct node *node) {
  const struct tensor *control = &node->x[AFFINE_CONTROL];
  return simd_available() && node->x[0].layout == LAYOUT_PLANAR &&
         node->y.layout == LAYOUT_PLANAR &&
         (!is_noisy(node) || node->y.shape.c <= AFFINE_NOISE_CHANNELS) &&
         (!affine_bends(node) ||
          (control->layout == LAYOUT_PLANAR && control->shape.w <= MOST_POINTS));
}

static void affine_prepare(struct node *node) {
  node->forward_workspace =
      (size_t)node->y.shape.n * sizeof(struct affine_map) +
      (affine_bends(node) ? (size_t)node->y.shape.w * sizeof(struct affine_taps) : 0);
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
