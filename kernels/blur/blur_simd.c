/* blur on vectors: along w from x to y, then, where there is something to do, along h to workspace
 * and along d back to y. A voxel has one float, or the 16 of a block of channels; either way a row
 * is the weighted sum of rows. */
#include <string.h>
#include "kernels/blur/weights.h"
#include "kernels/common/simd.h"

/* One row to make: the neighbours j before and after `centre` are low[j] and high[j]. */
struct row {
  const struct blur_axis *axis;
  const float *low[BLUR_MOST_RADIUS + 1], *high[BLUR_MOST_RADIUS + 1];
};

static void sum_rows(const struct row *row, float *to, int64_t count) {
  const struct blur_axis *axis = row->axis;
  int64_t f = 0;
  for (; f + SIMD_WIDTH <= count; f += SIMD_WIDTH) {
    simd sum = axis->weight[0] * simd_load(row->low[0] + f);
    for (int j = 1; j <= axis->radius; j++)
      sum += axis->weight[j] * (simd_load(row->low[j] + f) + simd_load(row->high[j] + f));
    simd_store(to + f, sum);
  }
  for (; f < count; f++) {
    float sum = axis->weight[0] * row->low[0][f];
    for (int j = 1; j <= axis->radius; j++)
      sum += axis->weight[j] * (row->low[j][f] + row->high[j][f]);
    to[f] = sum;
  }
}

/* One call. Rows are counted over all samples, planes (channels or blocks), slices. */
struct job {
  struct shape shape;
  int planes, columns;          /* floats of a voxel */
  int64_t length, rows;         /* floats of a row; rows in all */
  const struct blur_axis *axes; /* three of each sample */
};

/* Which a row is, and its axes. */
struct place {
  int d, h;
  const struct blur_axis *axes;
};

static struct place place_of(const struct job *job, int64_t row) {
  const struct shape *s = &job->shape;
  int64_t slice = row / s->h, plane = slice / s->d;
  return (struct place){(int)(slice % s->d), (int)(row % s->h),
                        job->axes + plane / job->planes * 3};
}

static void along_w_edge(const struct job *job, const struct blur_axis *axis, const float *from,
                         float *to, int w) {
  struct row row = {.axis = axis};
  for (int j = 0; j <= axis->radius; j++) {
    row.low[j] = from + (int64_t)blur_clamp(w - j, job->shape.w) * job->columns;
    row.high[j] = from + (int64_t)blur_clamp(w + j, job->shape.w) * job->columns;
  }
  sum_rows(&row, to + (int64_t)w * job->columns, job->columns);
}

static void along_w(const struct job *job, const float *from, float *to, int64_t number) {
  const struct blur_axis *axis = &place_of(job, number).axes[2];
  int first = axis->radius, end = job->shape.w - axis->radius;
  struct row row = {.axis = axis};
  from += number * job->length;
  to += number * job->length;
  if (end <= first) end = first = job->shape.w;
  for (int w = 0; w < first; w++) along_w_edge(job, axis, from, to, w);
  for (int w = end; w < job->shape.w; w++) along_w_edge(job, axis, from, to, w);
  for (int j = 0; j <= axis->radius; j++) {
    row.low[j] = from + (int64_t)(first - j) * job->columns;
    row.high[j] = from + (int64_t)(first + j) * job->columns;
  }
  sum_rows(&row, to + (int64_t)first * job->columns, (int64_t)(end - first) * job->columns);
}

/* Along h (k = 1) or d (k = 0); nothing of samples that change along neither. */
static void along(const struct job *job, int k, const float *from, float *to, int64_t number) {
  const struct place place = place_of(job, number);
  struct row row = {.axis = &place.axes[k]};
  int at = k ? place.h : place.d, extent = k ? job->shape.h : job->shape.d;
  int64_t step = k ? job->length : job->length * job->shape.h;
  if (place.axes[0].radius == 0 && place.axes[1].radius == 0) return;
  from += number * job->length;
  for (int j = 0; j <= row.axis->radius; j++) {
    row.low[j] = from + (blur_clamp(at - j, extent) - at) * step;
    row.high[j] = from + (blur_clamp(at + j, extent) - at) * step;
  }
  sum_rows(&row, to + number * job->length, job->length);
}

static size_t volume_bytes(const struct node *node) {
  return (tensor_bytes(&node->y) + 63) / 64 * 64;
}

static struct job job_make(const struct node *node, const struct io *io) {
  struct job job = {.shape = node->y.shape, .columns = (int)tensor_voxel_stride(&node->y)};
  struct blur_axis *axes = (void *)((char *)io->workspace + volume_bytes(node));
  const float *deviation = io->x[1];
  job.planes = tensor_stored_channels(&node->y) / job.columns;
  job.length = (int64_t)job.shape.w * job.columns;
  job.rows = (int64_t)job.shape.n * job.planes * job.shape.d * job.shape.h;
  for (int n = 0; n < job.shape.n; n++)
    for (int k = 0; k < 3; k++) axes[3 * n + k] = blur_axis_of(deviation[n * BLUR_NUMBERS + k]);
  job.axes = axes;
  return job;
}

static enum status blur_forward(const struct node *node, const struct io *io,
                                struct stream *stream) {
  (void)stream;
  const struct job job = job_make(node, io);
  float *y = io->y, *between = io->workspace;
#pragma omp parallel for schedule(static)
  for (int64_t row = 0; row < job.rows; row++) along_w(&job, io->x[0], y, row);
#pragma omp parallel for schedule(static)
  for (int64_t row = 0; row < job.rows; row++) along(&job, 1, y, between, row);
#pragma omp parallel for schedule(static)
  for (int64_t row = 0; row < job.rows; row++) along(&job, 0, between, y, row);
  return STATUS_OK;
}

static bool blur_applies(const struct node *node) {
  return simd_available() && node->x[0].layout == node->y.layout && node->y.layout != LAYOUT_LAST;
}

static void blur_prepare(struct node *node) {
  node->forward_workspace =
      volume_bytes(node) + (size_t)node->y.shape.n * 3 * sizeof(struct blur_axis);
}

extern const struct kernel SIMD_NAME(blur_simd);
const struct kernel SIMD_NAME(blur_simd) = {
    .name = SIMD_LABEL("simd"),
    .device = DEVICE_CPU,
    .dtype = DTYPE_F32,
    .training = false,
    .applies = blur_applies,
    .prepare = blur_prepare,
    .forward = blur_forward,
};
