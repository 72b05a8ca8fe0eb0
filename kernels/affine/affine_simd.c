/* affine for planar sources, row by row of y: what the mask keeps of a row is cut into runs whose
 * positions are found together. */
#include <stdlib.h>
#include <string.h>
#include "kernels/affine/affine_spline.h"
#include "kernels/common/simd_cells.h"

/* MOST_POINTS: of a row of the deformation's coefficients. */
enum { RUN = 64, MOST_POINTS = 256 };

/* What a row of y sees of the deformation: coefficients by axis, summed over d and h. */
struct bend {
  double at[3][MOST_POINTS];
};

/* Neighbours on a row of y and their cells, in whole vectors. */
struct run {
  int n, d, h, w, count;
  int low[3][RUN];
  float fraction[3][RUN];
  /* of AFFINE_NEAREST: the nearest voxel of the source, and whether it is in the box; else 0 */
  int voxel[RUN], inside[RUN];
  /* by channel: what outside voxels are, where not all corners are in the box */
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

typedef int64_t half_mask __attribute__((vector_size(4 * SIMD_WIDTH)));
typedef int half_int __attribute__((vector_size(2 * SIMD_WIDTH), aligned(4), may_alias));

/* The second where the first is no number. */
static inline simd_half half_larger(simd_half a, double least) {
  const simd_half b = least - (simd_half){0};
#if defined SIMD_ISA_AVX512
  return (simd_half)_mm512_max_pd((__m512d)a, (__m512d)b);
#else
  const half_mask above = a > b;
  return (simd_half)((above & (half_mask)a) | (~above & (half_mask)b));
#endif
}
static inline simd_half half_smaller(simd_half a, double most) {
  const simd_half b = most - (simd_half){0};
#if defined SIMD_ISA_AVX512
  return (simd_half)_mm512_min_pd((__m512d)a, (__m512d)b);
#else
  const half_mask below = a < b;
  return (simd_half)((below & (half_mask)a) | (~below & (half_mask)b));
#endif
}

/* What is whole in positions that an int holds, and what is left. */
static inline void split_half(simd_half position, bool nearest, int *low, float *fraction) {
#if defined SIMD_ISA_AVX512
  const __m512d p = (__m512d)position;
  const __m512d floor = _mm512_roundscale_pd(p, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC);
  _mm256_storeu_si256((__m256i *)(void *)low, _mm512_cvttpd_epi32(floor));
  _mm256_storeu_ps(fraction, nearest ? _mm256_setzero_ps() : _mm512_cvtpd_ps(p - floor));
#else
  half_int whole = __builtin_convertvector(position, half_int);
  simd_half floor = __builtin_convertvector(whole, simd_half);
  const half_mask above = position < floor; /* -1 where true */
  whole += __builtin_convertvector(above, half_int);
  floor += __builtin_convertvector(above, simd_half);
  if (nearest) floor = position;
  *(half_int *)low = whole;
  *(simd_half_float *)fraction = __builtin_convertvector(position - floor, simd_half_float);
#endif
}

/* As affine_axis_find. */
static inline void find_half(simd_half position, bool nearest, bool clamps, int first, int last,
                             int *low, float *fraction) {
  position = half_smaller(half_larger(position, -AFFINE_FAR), AFFINE_FAR);
  if (clamps) position = half_smaller(half_larger(position, first), last);
  if (nearest) position += 0.5;
  split_half(position, nearest, low, fraction);
}

static void find_axis(const struct job *job, struct run *run, int k) {
  const struct affine_map *map = map_of(job, run->n);
  const bool nearest = affine_arguments_of(job->node)->mode == AFFINE_NEAREST;
  const bool clamps = affine_clamps(affine_arguments_of(job->node)->fill) && !affine_is_empty(map);
  const double row = affine_row(map, k, run->d, run->h), step = map->matrix[k][2];
  double position[RUN];
  for (int i = 0; i < RUN; i++) position[i] = row + step * (run->w + i);
  for (int i = 0; run->bend && i < run->count; i++) position[i] += bend_at(job, run, k, i);
  for (int i = 0; i < RUN; i += SIMD_WIDTH / 2)
    find_half(*(const simd_half *)(position + i), nearest, clamps, map->first[k], map->last[k],
              run->low[k] + i, run->fraction[k] + i);
}

static bool is_interior(const struct affine_map *map, const struct run *run, int i) {
  bool interior = true;
  for (int k = 0; k < 3; k++)
    interior = interior && run->low[k][i] >= map->first[k] && run->low[k][i] < map->last[k];
  return interior;
}

static void find_noise(const struct job *job, struct run *run) {
  int channels = job->node->y.shape.c;
  int first = voxel_of(&job->node->y.shape, run->d, run->h, run->w);
  for (int i = 0; i < run->count; i++) {
    float noise[AFFINE_NOISE_CHANNELS];
    if (is_interior(map_of(job, run->n), run, i)) continue;
    affine_noise(map_of(job, run->n), first + i, 0, channels, noise);
    for (int c = 0; c < channels; c++) run->outside[c][i] = noise[c];
  }
}

static struct simd_box box_of(const struct job *job, int n) {
  const struct shape *source = &job->node->x[0].shape;
  const struct affine_map *map = map_of(job, n);
  const int extent[3] = {source->d, source->h, source->w};
  int count[3];
  for (int k = 0; k < 3; k++)
    count[k] = affine_is_empty(map) ? 0 : map->last[k] - map->first[k] + 1;
  return simd_box_make(extent, map->first, count);
}

static void low_load(const struct run *run, int i, simd_int low[3]) {
  for (int k = 0; k < 3; k++) low[k] = *(const simd_int *)(run->low[k] + i);
}

static void find_voxels(const struct simd_box *box, struct run *run) {
  for (int i = 0; i < run->count; i += SIMD_WIDTH) {
    simd_int low[3];
    unsigned inside = SIMD_LANES;
    low_load(run, i, low);
    for (int k = 0; k < 3; k++) inside &= simd_lanes_below(low[k] - box->first[k], box->count[k]);
    simd voxel = (simd)simd_voxel(box, low), all = (simd)((simd_int){0} - 1);
    simd_store((float *)(run->voxel + i), simd_pick(inside, voxel, (simd){0}));
    simd_store((float *)(run->inside + i), simd_pick(inside, all, (simd){0}));
  }
}

static bool is_noisy(const struct node *node) {
  return affine_arguments_of(node)->fill == AFFINE_NOISE;
}

static void find_cells(const struct job *job, const struct simd_box *box, struct run *run) {
  for (int k = 0; k < 3; k++) find_axis(job, run, k);
  if (affine_arguments_of(job->node)->mode == AFFINE_NEAREST) find_voxels(box, run);
  if (is_noisy(job->node))
    find_noise(job, run);
  else
    memset(run->outside[0], 0, sizeof run->outside[0]);
}

/* By channel; all alike without noise, and then there may be more channels. */
static const float *outside_of(const struct job *job, const struct run *run, int c) {
  return run->outside[is_noisy(job->node) ? c : 0];
}

/* Where a channel of a run is in y. */
static int64_t place_of(const struct job *job, const struct run *run, int c) {
  const struct shape *y = &job->node->y.shape;
  return plane_of(y, run->n, c) + voxel_of(y, run->d, run->h, run->w);
}

static void sample_linear(const struct job *job, const struct simd_box *box,
                          const struct run *run) {
  const struct shape *source = &job->node->x[0].shape;
  for (int i = 0; i < run->count; i += SIMD_WIDTH) {
    struct simd_cells cells;
    simd_int low[3];
    simd at[3], corner[SIMD_CORNERS];
    const unsigned lanes = simd_lanes_until(run->count - i);
    low_load(run, i, low);
    for (int k = 0; k < 3; k++) at[k] = simd_load(run->fraction[k] + i);
    simd_cells_find(&cells, box, low, lanes);
    for (int c = 0; c < source->c; c++) {
      simd_corners(box, &cells, (const float *)job->source + plane_of(source, run->n, c), corner);
      simd_corners_outside(&cells, simd_load_lanes(outside_of(job, run, c) + i, lanes), corner);
      simd_store_lanes((float *)job->y + place_of(job, run, c) + i, simd_corners_sample(corner, at),
                       lanes);
    }
  }
}

static void sample_nearest(const struct job *job, const struct run *run) {
  const struct shape *source = &job->node->x[0].shape;
  for (int c = 0; c < source->c; c++) {
    const float *plane = (const float *)job->source + plane_of(source, run->n, c);
    float *to = (float *)job->y + place_of(job, run, c);
    const float *outside = outside_of(job, run, c);
    for (int i = 0; i < run->count; i++) to[i] = run->inside[i] ? plane[run->voxel[i]] : outside[i];
  }
}

static void sample_bytes(const struct job *job, const struct run *run) {
  const struct shape *source = &job->node->x[0].shape;
  for (int c = 0; c < source->c; c++) {
    const unsigned char *plane = (const unsigned char *)job->source + plane_of(source, run->n, c);
    unsigned char *to = (unsigned char *)job->y + place_of(job, run, c);
    for (int i = 0; i < run->count; i++)
      to[i] = (unsigned char)(plane[run->voxel[i]] & run->inside[i]);
  }
}

static void clear(const struct job *job, int n, int voxel, int count) {
  const struct tensor *y = &job->node->y;
  size_t each = dtype_bytes(y->dtype);
  for (int c = 0; c < y->shape.c; c++)
    memset((char *)job->y + (size_t)(plane_of(&y->shape, n, c) + voxel) * each, 0,
           (size_t)count * each);
}

/* A run in all channels. */
static void sample_run(const struct job *job, const struct simd_box *box, struct run *run) {
  find_cells(job, box, run);
  if (affine_arguments_of(job->node)->mode == AFFINE_LINEAR)
    sample_linear(job, box, run);
  else if (job->node->y.dtype == DTYPE_U8)
    sample_bytes(job, run);
  else
    sample_nearest(job, run);
}

static void sample_row(const struct job *job, int n, int d, int h) {
  const struct shape *y = &job->node->y.shape;
  const struct simd_box box = box_of(job, n);
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
    sample_run(job, &box, &run);
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
  return simd_available() && shape_voxels(node->x[0].shape) <= SIMD_MOST_VOXELS &&
         node->x[0].layout == LAYOUT_PLANAR && node->y.layout == LAYOUT_PLANAR &&
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
