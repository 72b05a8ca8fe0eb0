/* warp for planar images. The eight corners of a cell are four pairs of neighbours on the w axis:
 * two vectors of four, one per slice. Runs of voxels share the arithmetic of their positions. */
#include "kernels/common/simd.h"
#include "kernels/warp/warp_walk.h"

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
  /* float by float: a pair read right after its halves were written stalls the processor */
  for (int k = 0; k < 4; k++) to[k][0] += rows[k] * (1 - w);
  for (int k = 0; k < 4; k++) to[k][1] += rows[k] * w;
}

static void run_forward(const struct warp_job *job, const struct warp_run *run) {
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

static void run_field_gradient(const struct warp_job *job, const struct warp_run *run) {
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
  warp_store_field(job, run, (const float(*)[WARP_RUN])sum);
}

static void run_image_gradient(const struct warp_job *job, const struct warp_run *run) {
  for (int c = 0; c < job->channels; c++) {
    int64_t plane = ((int64_t)run->n * job->channels + c) * job->voxels;
    for (int i = 0; i < run->count; i++)
      scatter(job->dimage + plane, &run->cells, i, job->extent, job->dy[plane + run->at + i]);
  }
}

static void run_backward(const struct warp_job *job, const struct warp_run *run) {
  if (job->dfield) run_field_gradient(job, run);
  if (job->dimage) run_image_gradient(job, run);
}

static bool warp_applies(const struct node *node) {
  return simd_available() && node->x[0].layout == LAYOUT_PLANAR &&
         node->x[1].layout == LAYOUT_PLANAR && shape_voxels(node->y.shape) <= INT_MAX;
}

static enum status warp_forward(const struct node *node, const struct io *io,
                                struct stream *stream) {
  (void)stream;
  struct warp_job job = warp_job_make(node, io);
  warp_each_slice(&job, node->y.shape.n, run_forward);
  return STATUS_OK;
}

static enum status warp_backward(const struct node *node, const struct io *io,
                                 struct stream *stream) {
  (void)stream;
  warp_walk_backward(node, io, run_backward);
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
