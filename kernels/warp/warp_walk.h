/* How the fast warp kernels go through a volume: in runs of neighbours on the w axis, slices in
 * parallel, or slab by slab where they scatter. */
#pragma once
#include <limits.h>
#include <string.h>
#include "kernels/warp/warp_cells.h"

/* One call: pointers and extents. */
struct warp_job {
  const struct warp_arguments *arguments;
  int channels, extent[3];
  int64_t voxels;
  const float *image, *field, *dy;
  float *y, *dimage, *dfield;
  bool add_field;
};

static inline struct warp_job warp_job_make(const struct node *node, const struct io *io) {
  const struct shape *s = &node->y.shape;
  return (struct warp_job){.arguments = (const void *)node->arguments,
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
struct warp_run {
  int n, count;
  int64_t at;
  struct warp_cells cells;
};

/* Stores the displacement's gradient of a run. */
static inline void warp_store_field(const struct warp_job *job, const struct warp_run *run,
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

/* Visits slice d of sample n in runs. */
static inline void warp_each_run(const struct warp_job *job, int n, int d,
                                 void (*visit)(const struct warp_job *, const struct warp_run *)) {
  struct warp_run run = {.n = n};
  for (int h = 0; h < job->extent[1]; h++)
    for (int w = 0; w < job->extent[2]; w += WARP_RUN) {
      const int first[3] = {d, h, w};
      run.count = job->extent[2] - w < WARP_RUN ? job->extent[2] - w : WARP_RUN;
      run.at = ((int64_t)d * job->extent[1] + h) * job->extent[2] + w;
      const float *u = job->field + (int64_t)n * 3 * job->voxels + run.at;
      const float *const axes[3] = {u, u + job->voxels, u + 2 * job->voxels};
      warp_cells_find(&run.cells, axes, first, run.count, job->extent, job->arguments);
      visit(job, &run);
    }
}

static inline void warp_each_slice(const struct warp_job *job, int samples,
                                   void (*visit)(const struct warp_job *,
                                                 const struct warp_run *)) {
#pragma omp parallel for schedule(static)
  for (int64_t slice = 0; slice < (int64_t)samples * job->extent[0]; slice++)
    warp_each_run(job, (int)(slice / job->extent[0]), (int)(slice % job->extent[0]), visit);
}

/* The same for backward that scatters: slab by slab, even slabs before odd ones. */
static inline void warp_each_slab(const struct warp_job *job, int samples,
                                  void (*visit)(const struct warp_job *, const struct warp_run *)) {
  int lowest = 0, highest = 0;
  for (int n = 0; n < samples; n++)
    warp_reach(job->field + (int64_t)n * 3 * job->voxels, 1, job->voxels, &lowest, &highest);
  struct warp_slabs slabs = warp_slabs_plan(job->extent[0], lowest, highest);
  for (int odd = 0; odd < 2; odd++) {
    int count = (slabs.count + 1 - odd) / 2;
#pragma omp parallel for schedule(static)
    for (int i = 0; i < samples * count; i++) {
      int from = (2 * (i % count) + odd) * slabs.thickness, to = from + slabs.thickness;
      for (int d = from; d < to && d < job->extent[0]; d++) warp_each_run(job, i / count, d, visit);
    }
  }
}

static inline void warp_walk_backward(const struct node *node, const struct io *io,
                                      void (*visit)(const struct warp_job *,
                                                    const struct warp_run *)) {
  struct warp_job job = warp_job_make(node, io);
  if (job.dimage && !io->dx_add[0]) memset(job.dimage, 0, tensor_bytes(&node->x[0]));
  if (job.dimage)
    warp_each_slab(&job, node->y.shape.n, visit);
  else
    warp_each_slice(&job, node->y.shape.n, visit);
}
