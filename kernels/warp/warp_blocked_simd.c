/* warp for images in blocks of 16 channels: every corner of a cell is one block of vectors. */
#include "kernels/common/simd.h"
#include "kernels/warp/warp_walk.h"

/* The corners of one cell that are voxels of the image. */
struct footprint {
  int count, corner[8], voxel[8];
  struct warp_axis at[3];
};

static inline void footprint_find(struct footprint *foot, const struct warp_job *job,
                                  const struct warp_run *run, int i) {
  foot->count = 0;
  for (int k = 0; k < 3; k++)
    foot->at[k] = (struct warp_axis){run->cells.low[k][i], run->cells.fraction[k][i], 1};
  for (int corner = 0; corner < 8; corner++) {
    int voxel = warp_cells_corner(&run->cells, i, corner, job->extent);
    if (voxel < 0) continue;
    foot->corner[foot->count] = corner;
    foot->voxel[foot->count++] = voxel;
  }
}

static int block_count(const struct warp_job *job) {
  return (job->channels + CHANNEL_BLOCK - 1) / CHANNEL_BLOCK;
}

/* Floats from the start of the image to block b of sample n. */
static int64_t block_start(const struct warp_job *job, int n, int b) {
  return ((int64_t)n * block_count(job) + b) * job->voxels * CHANNEL_BLOCK;
}

static void run_forward(const struct warp_job *job, const struct warp_run *run) {
  for (int i = 0; i < run->count; i++) {
    struct footprint foot;
    footprint_find(&foot, job, run, i);
    for (int b = 0; b < block_count(job); b++) {
      int64_t start = block_start(job, run->n, b);
      simd sum[SIMD_PER_BLOCK] = {{0}};
      for (int k = 0; k < foot.count; k++) {
        const float *from = job->image + start + (int64_t)foot.voxel[k] * CHANNEL_BLOCK;
        float weight = warp_corner_weight(foot.at, foot.corner[k]);
        for (int v = 0; v < SIMD_PER_BLOCK; v++)
          sum[v] += weight * simd_load(from + v * SIMD_WIDTH);
      }
      float *y = job->y + start + (run->at + i) * CHANNEL_BLOCK;
      for (int v = 0; v < SIMD_PER_BLOCK; v++) simd_store(y + v * SIMD_WIDTH, sum[v]);
    }
  }
}

/* <dy, image> over the channels, for each corner of the footprint. */
static inline void footprint_products(const struct footprint *foot, const struct warp_job *job,
                                      const struct warp_run *run, int i, float product[8]) {
  for (int k = 0; k < foot->count; k++) {
    simd sum = {0};
    for (int b = 0; b < block_count(job); b++) {
      int64_t start = block_start(job, run->n, b);
      const float *dy = job->dy + start + (run->at + i) * CHANNEL_BLOCK;
      const float *image = job->image + start + (int64_t)foot->voxel[k] * CHANNEL_BLOCK;
      for (int l = 0; l < CHANNEL_BLOCK; l += SIMD_WIDTH)
        sum += simd_load(dy + l) * simd_load(image + l);
    }
    product[k] = 0;
    for (int l = 0; l < SIMD_WIDTH; l++) product[k] += sum[l];
  }
}

static inline void footprint_scatter(const struct footprint *foot, const struct warp_job *job,
                                     const struct warp_run *run, int i) {
  for (int b = 0; b < block_count(job); b++) {
    int64_t start = block_start(job, run->n, b);
    const float *dy = job->dy + start + (run->at + i) * CHANNEL_BLOCK;
    for (int k = 0; k < foot->count; k++) {
      float *to = job->dimage + start + (int64_t)foot->voxel[k] * CHANNEL_BLOCK;
      float weight = warp_corner_weight(foot->at, foot->corner[k]);
      for (int l = 0; l < CHANNEL_BLOCK; l += SIMD_WIDTH)
        simd_store(to + l, simd_load(to + l) + weight * simd_load(dy + l));
    }
  }
}

static void run_backward(const struct warp_job *job, const struct warp_run *run) {
  float slope[3][WARP_RUN] = {{0}};
  for (int i = 0; i < run->count; i++) {
    struct footprint foot;
    float product[8];
    footprint_find(&foot, job, run, i);
    if (job->dimage) footprint_scatter(&foot, job, run, i);
    if (!job->dfield) continue;
    footprint_products(&foot, job, run, i, product);
    for (int k = 0; k < foot.count; k++)
      for (int axis = 0; axis < 3; axis++)
        slope[axis][i] += product[k] * warp_corner_slope(foot.at, foot.corner[k], axis);
  }
  if (job->dfield) warp_store_field(job, run, (const float(*)[WARP_RUN])slope);
}

static bool warp_applies(const struct node *node) {
  return simd_available() && node->x[0].layout == LAYOUT_BLOCKED &&
         node->y.layout == LAYOUT_BLOCKED && node->x[1].layout == LAYOUT_PLANAR &&
         shape_voxels(node->y.shape) <= INT_MAX;
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

extern const struct kernel SIMD_NAME(warp_blocked_simd);
const struct kernel SIMD_NAME(warp_blocked_simd) = {
    .name = SIMD_LABEL("blocked"),
    .device = DEVICE_CPU,
    .dtype = DTYPE_F32,
    .training = true,
    .applies = warp_applies,
    .forward = warp_forward,
    .backward = warp_backward,
};
