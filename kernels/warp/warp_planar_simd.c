/* warp for planar images, by vectors of neighbours on the w axis. */
#include "kernels/warp/warp_vector.h"
#include "kernels/warp/warp_walk.h"

/* So many floats ahead is fetched what is read once, in three places at a time. */
enum { AHEAD = 256 };

/* Neighbours on the w axis, `lanes` of them, from voxel `at` of sample n on. */
struct vector {
  int n;
  unsigned lanes;
  int64_t at;
  const struct simd_box *box;
  struct warp_vector place;
  struct simd_cells cells;
};

static inline void corners_find(const struct vector *vector, const float *image,
                                simd corner[SIMD_CORNERS]) {
  simd_corners(vector->box, &vector->cells, image, corner);
  simd_corners_outside(&vector->cells, (simd){0}, corner);
}

static inline int64_t plane_of(const struct warp_job *job, int n, int c) {
  return ((int64_t)n * job->channels + c) * job->voxels;
}

static inline __attribute__((always_inline)) void vector_forward(const struct warp_job *job,
                                                                 const struct vector *vector) {
  for (int c = 0; c < job->channels; c++) {
    int64_t plane = plane_of(job, vector->n, c);
    simd corner[SIMD_CORNERS];
    corners_find(vector, job->image + plane, corner);
    simd_store_lanes(job->y + plane + vector->at,
                     simd_corners_sample(corner, vector->place.fraction), vector->lanes);
  }
}

static inline __attribute__((always_inline)) void vector_field_gradient(
    const struct warp_job *job, const struct vector *vector) {
  simd sum[3] = {{0}, {0}, {0}};
  for (int c = 0; c < job->channels; c++) {
    int64_t plane = plane_of(job, vector->n, c);
    simd corner[SIMD_CORNERS], slope[3];
    simd dy = simd_load_lanes(job->dy + plane + vector->at, vector->lanes);
    corners_find(vector, job->image + plane, corner);
    simd_corners_slope(corner, vector->place.fraction, slope);
    for (int k = 0; k < 3; k++) sum[k] += dy * slope[k];
  }
  for (int k = 0; k < 3; k++) {
    float *to = job->dfield + ((int64_t)vector->n * 3 + k) * job->voxels + vector->at;
    simd value = sum[k] * vector->place.slope[k];
    if (job->add_field) value += simd_load_lanes(to, vector->lanes);
    simd_store_lanes(to, value, vector->lanes);
  }
}

/* Calls visit for all vectors of slice d of sample n. */
static inline __attribute__((always_inline)) void slice_visit(
    const struct warp_job *job, int n, int d,
    void (*visit)(const struct warp_job *, const struct vector *)) {
  const int start[3] = {0, 0, 0};
  const struct simd_box box = simd_box_make(job->extent, start, job->extent);
  const float *field = job->field + (int64_t)n * 3 * job->voxels;
  struct vector vector = {.n = n, .box = &box};
  for (int h = 0; h < job->extent[1]; h++)
    for (int w = 0; w < job->extent[2]; w += SIMD_WIDTH) {
      const int first[3] = {d, h, w};
      simd u[3];
      vector.lanes = simd_lanes_until(job->extent[2] - w);
      vector.at = ((int64_t)d * job->extent[1] + h) * job->extent[2] + w;
      for (int k = 0; k < 3; k++) {
        const float *from = field + k * job->voxels + vector.at;
        __builtin_prefetch(from + AHEAD);
        u[k] = simd_load_lanes(from, vector.lanes);
      }
      vector.place = warp_vector_find(u, first, job->extent, job->arguments);
      simd_cells_find(&vector.cells, &box, vector.place.low, vector.lanes);
      visit(job, &vector);
    }
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

static void run_image_gradient(const struct warp_job *job, const struct warp_run *run) {
  for (int c = 0; c < job->channels; c++) {
    int64_t plane = ((int64_t)run->n * job->channels + c) * job->voxels;
    for (int i = 0; i < run->count; i++)
      scatter(job->dimage + plane, &run->cells, i, job->extent, job->dy[plane + run->at + i]);
  }
}

static bool warp_applies(const struct node *node) {
  return simd_available() && node->x[0].layout == LAYOUT_PLANAR &&
         node->x[1].layout == LAYOUT_PLANAR && shape_voxels(node->y.shape) <= SIMD_MOST_VOXELS;
}

static enum status warp_forward(const struct node *node, const struct io *io,
                                struct stream *stream) {
  (void)stream;
  struct warp_job job = warp_job_make(node, io);
  const int depth = job.extent[0];
#pragma omp parallel for schedule(static)
  for (int slice = 0; slice < node->y.shape.n * depth; slice++)
    slice_visit(&job, slice / depth, slice % depth, vector_forward);
  return STATUS_OK;
}

static enum status warp_backward(const struct node *node, const struct io *io,
                                 struct stream *stream) {
  (void)stream;
  struct warp_job job = warp_job_make(node, io);
  const int depth = job.extent[0];
#pragma omp parallel for schedule(static)
  for (int slice = 0; slice < (job.dfield ? node->y.shape.n * depth : 0); slice++)
    slice_visit(&job, slice / depth, slice % depth, vector_field_gradient);
  if (job.dimage) warp_walk_backward(node, io, run_image_gradient);
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
