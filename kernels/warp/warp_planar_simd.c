/* warp for planar images. The eight corners of a cell are four pairs of neighbours on the w axis:
 * two vectors of four, one per slice. Runs of voxels share the arithmetic of their positions. */
#include <limits.h>
#include <string.h>
#include "kernels/common/simd.h"
#include "kernels/warp/warp_cells.h"

typedef float four __attribute__((vector_size(16)));
typedef double two_doubles __attribute__((vector_size(16)));
typedef double pair __attribute__((aligned(4), may_alias)); /* two floats */

/* Values of one slice of a cell: (h, w), (h, w+1), (h+1, w), (h+1, w+1). */
static inline four slice_load(const float *corner, int row) {
  return (four)(two_doubles){*(const pair *)corner, *(const pair *)(corner + row)};
}

struct corners {
  four low, high; /* slice d, slice d+1 */
};

static struct corners corners_outside(const float *image, const struct warp_cells *cells, int i,
                                      const int extent[3]) {
  float value[8];
  for (int corner = 0; corner < 8; corner++) {
    int voxel = warp_cells_corner(cells, i, corner, extent);
    value[corner] = voxel >= 0 ? image[voxel] : 0;
  }
  return (struct corners){{value[0], value[4], value[2], value[6]},
                          {value[1], value[5], value[3], value[7]}};
}

static inline struct corners corners_load(const float *image, const struct warp_cells *cells, int i,
                                          const int extent[3]) {
  if (__builtin_expect(!cells->interior[i], 0)) return corners_outside(image, cells, i, extent);
  const float *corner = image + cells->voxel[i];
  return (struct corners){slice_load(corner, extent[2]),
                          slice_load(corner + extent[1] * extent[2], extent[2])};
}

static inline float blend(float low, float high, float fraction) {
  return low + fraction * (high - low);
}

static inline four upper_row(four slice) {
  return __builtin_shufflevector(slice, slice, 2, 3, 2, 3);
}

static inline float corners_sample(struct corners c, float d, float h, float w) {
  four slice = c.low + d * (c.high - c.low);
  four row = slice + h * (upper_row(slice) - slice);
  return blend(row[0], row[1], w);
}

/* The derivative of the sample along each axis. */
static inline void corners_slope(struct corners c, float d, float h, float w, float slope[3]) {
  four rise = c.high - c.low, slice = c.low + d * rise;
  four across = upper_row(slice) - slice, row = slice + h * across;
  four rise_row = rise + h * (upper_row(rise) - rise);
  slope[0] = blend(rise_row[0], rise_row[1], w);
  slope[1] = blend(across[0], across[1], w);
  slope[2] = row[1] - row[0];
}

static void scatter_outside(float *image, const struct warp_cells *cells, int i,
                            const int extent[3], float gradient) {
  struct warp_axis at[3];
  for (int k = 0; k < 3; k++)
    at[k] = (struct warp_axis){cells->low[k][i], cells->fraction[k][i], 1};
  for (int corner = 0; corner < 8; corner++) {
    int voxel = warp_cells_corner(cells, i, corner, extent);
    if (voxel >= 0) image[voxel] += gradient * warp_corner_weight(at, corner);
  }
}

static inline void scatter(float *image, const struct warp_cells *cells, int i, const int extent[3],
                           float gradient) {
  if (__builtin_expect(!cells->interior[i], 0)) {
    scatter_outside(image, cells, i, extent, gradient);
    return;
  }
  float *low = image + cells->voxel[i], *high = low + extent[1] * extent[2];
  float d = cells->fraction[0][i], h = cells->fraction[1][i], w = cells->fraction[2][i];
  const float rows[4] = {(1 - d) * (1 - h) * gradient, (1 - d) * h * gradient,
                         d * (1 - h) * gradient, d * h * gradient};
  float *const to[4] = {low, low + extent[2], high, high + extent[2]};
  for (int k = 0; k < 4; k++) {
    to[k][0] += rows[k] * (1 - w);
    to[k][1] += rows[k] * w;
  }
}

/* One call: pointers and extents. */
struct job {
  const struct warp_arguments *arguments;
  int channels, extent[3];
  int64_t voxels;
  const float *image, *field, *dy;
  float *y, *dimage, *dfield;
  bool add_field;
};

static struct job job_make(const struct node *node, const struct io *io) {
  const struct shape *s = &node->y.shape;
  return (struct job){.arguments = (const void *)node->arguments,
                      .channels = s->c,
                      .extent = {s->d, s->h, s->w},
                      .voxels = shape_voxels(*s),
                      .image = io->x[0],
                      .field = io->x[1],
                      .dy = io->dy,
                      .y = io->y,
                      .dimage = io->dx[0],
                      .dfield = io->dx[1],
                      .add_field = io->dx_add[1]};
}

/* A run of voxels of sample n; `at` is the first one's number. */
struct run {
  int n, count;
  int64_t at;
  struct warp_cells cells;
};

static void run_forward(const struct job *job, const struct run *run) {
  const struct warp_cells *cells = &run->cells;
  for (int c = 0; c < job->channels; c++) {
    int64_t plane = ((int64_t)run->n * job->channels + c) * job->voxels;
    const float *image = job->image + plane;
    float *y = job->y + plane + run->at;
    for (int i = 0; i < run->count; i++)
      y[i] = corners_sample(corners_load(image, cells, i, job->extent), cells->fraction[0][i],
                            cells->fraction[1][i], cells->fraction[2][i]);
  }
}

static void store_field(const struct job *job, const struct run *run,
                        const float slope[3][WARP_RUN]) {
  for (int k = 0; k < 3; k++) {
    float *to = job->dfield + ((int64_t)run->n * 3 + k) * job->voxels + run->at;
    const float *factor = run->cells.slope[k];
    if (job->add_field)
      for (int i = 0; i < run->count; i++) to[i] += slope[k][i] * factor[i];
    else
      for (int i = 0; i < run->count; i++) to[i] = slope[k][i] * factor[i];
  }
}

static void run_field_gradient(const struct job *job, const struct run *run) {
  const struct warp_cells *cells = &run->cells;
  float sum[3][WARP_RUN];
  memset(sum, 0, sizeof sum);
  for (int c = 0; c < job->channels; c++) {
    int64_t plane = ((int64_t)run->n * job->channels + c) * job->voxels;
    const float *dy = job->dy + plane + run->at;
    for (int i = 0; i < run->count; i++) {
      float slope[3];
      corners_slope(corners_load(job->image + plane, cells, i, job->extent), cells->fraction[0][i],
                    cells->fraction[1][i], cells->fraction[2][i], slope);
      for (int k = 0; k < 3; k++) sum[k][i] += dy[i] * slope[k];
    }
  }
  store_field(job, run, (const float(*)[WARP_RUN])sum);
}

static void run_image_gradient(const struct job *job, const struct run *run) {
  for (int c = 0; c < job->channels; c++) {
    int64_t plane = ((int64_t)run->n * job->channels + c) * job->voxels;
    for (int i = 0; i < run->count; i++)
      scatter(job->dimage + plane, &run->cells, i, job->extent, job->dy[plane + run->at + i]);
  }
}

static void run_backward(const struct job *job, const struct run *run) {
  if (job->dfield) run_field_gradient(job, run);
  if (job->dimage) run_image_gradient(job, run);
}

/* Visits slice d of sample n in runs. */
static void each_run(const struct job *job, int n, int d,
                     void (*visit)(const struct job *, const struct run *)) {
  struct run run = {.n = n};
  for (int h = 0; h < job->extent[1]; h++)
    for (int w = 0; w < job->extent[2]; w += WARP_RUN) {
      const int first[3] = {d, h, w};
      run.count = job->extent[2] - w < WARP_RUN ? job->extent[2] - w : WARP_RUN;
      run.at = ((int64_t)d * job->extent[1] + h) * job->extent[2] + w;
      const float *u = job->field + (int64_t)n * 3 * job->voxels + run.at;
      const float *const axes[3] = {u, u + job->voxels, u + 2 * job->voxels};
      warp_cells_find(&run.cells, axes, 1, first, run.count, job->extent, job->arguments);
      visit(job, &run);
    }
}

static void each_slice(const struct job *job, int samples,
                       void (*visit)(const struct job *, const struct run *)) {
#pragma omp parallel for schedule(static)
  for (int64_t slice = 0; slice < (int64_t)samples * job->extent[0]; slice++)
    each_run(job, (int)(slice / job->extent[0]), (int)(slice % job->extent[0]), visit);
}

/* The same for backward that scatters: slab by slab, even slabs before odd ones. */
static void each_slab(const struct job *job, int samples) {
  int lowest = 0, highest = 0;
  for (int n = 0; n < samples; n++)
    warp_reach(job->field + (int64_t)n * 3 * job->voxels, 1, job->voxels, &lowest, &highest);
  struct warp_slabs slabs = warp_slabs_plan(job->extent[0], lowest, highest);
  for (int odd = 0; odd < 2; odd++) {
    int count = (slabs.count + 1 - odd) / 2;
#pragma omp parallel for schedule(static)
    for (int i = 0; i < samples * count; i++) {
      int from = (2 * (i % count) + odd) * slabs.thickness, to = from + slabs.thickness;
      for (int d = from; d < to && d < job->extent[0]; d++)
        each_run(job, i / count, d, run_backward);
    }
  }
}

static bool warp_applies(const struct node *node) {
  return simd_available() && node->x[0].layout == LAYOUT_PLANAR &&
         node->x[1].layout == LAYOUT_PLANAR && shape_voxels(node->y.shape) <= INT_MAX;
}

static enum status warp_forward(const struct node *node, const struct io *io,
                                struct stream *stream) {
  (void)stream;
  struct job job = job_make(node, io);
  each_slice(&job, node->y.shape.n, run_forward);
  return STATUS_OK;
}

static enum status warp_backward(const struct node *node, const struct io *io,
                                 struct stream *stream) {
  (void)stream;
  struct job job = job_make(node, io);
  if (job.dimage && !io->dx_add[0]) memset(job.dimage, 0, tensor_bytes(&node->x[0]));
  if (job.dimage)
    each_slab(&job, node->y.shape.n);
  else
    each_slice(&job, node->y.shape.n, run_backward);
  return STATUS_OK;
}

extern const struct kernel SIMD_NAME(warp_planar_simd);
const struct kernel SIMD_NAME(warp_planar_simd) = {
    .name = SIMD_LABEL("planar"),
    .device = DEVICE_CPU,
    .dtype = DTYPE_F32,
    .training = true,
    .applies = warp_applies,
    .forward = warp_forward,
    .backward = warp_backward,
};
