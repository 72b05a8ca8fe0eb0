/* low_resolution row by row: four rows of x make one of y, each of whose voxels reads two places of
 * all of them. A voxel has one float, or the 16 of a block of channels. Places are found once for
 * each sample and kept in workspace. */
#include <string.h>
#include "kernels/common/simd.h"
#include "kernels/low_resolution/axis.h"

/* Of the samples' axes, d h w one after another. */
struct places {
  int *low, *high;
  float *fraction;
};

struct job {
  struct shape shape;
  int planes, columns, sides; /* channels or blocks; floats of a voxel; d + h + w */
  int64_t length, rows;       /* floats of a row; rows in all */
  struct places places;
  const float *zoom;
};

static void find_places(const struct job *job, int n) {
  const struct shape *s = &job->shape;
  const int extent[3] = {s->d, s->h, s->w};
  int at = n * job->sides;
  for (int k = 0; k < 3; k++) {
    unsigned points = low_points(extent[k], job->zoom[n * LOW_RESOLUTION_NUMBERS + k]);
    for (int i = 0; i < extent[k]; i++, at++) {
      const struct low_place place = low_place_of(extent[k], points, i);
      job->places.low[at] = place.low;
      job->places.high[at] = place.high;
      job->places.fraction[at] = place.fraction;
    }
  }
}

static bool stays(const struct job *job, int n) {
  const float *zoom = job->zoom + (int64_t)n * LOW_RESOLUTION_NUMBERS;
  return !(zoom[0] < 1 || zoom[1] < 1 || zoom[2] < 1);
}

/* Four rows: (d, h), (d, h high), (d high, h), (d high, h high), and the places along w. */
struct row {
  const float *from[4];
  float d, h; /* fractions */
  const int *low, *high;
  const float *fraction;
};

static inline float column(const struct row row, int64_t at) {
  float near = row.from[0][at] + row.h * (row.from[1][at] - row.from[0][at]);
  float far = row.from[2][at] + row.h * (row.from[3][at] - row.from[2][at]);
  return near + row.d * (far - near);
}

static void blend_line(const struct row row, int count, float *to) {
#pragma omp simd
  for (int i = 0; i < count; i++) {
    float low = column(row, row.low[i]), high = column(row, row.high[i]);
    to[i] = low + row.fraction[i] * (high - low);
  }
}

static void blend_blocks(const struct row row, int count, float *to) {
  for (int i = 0; i < count; i++, to += CHANNEL_BLOCK) {
    int64_t first = (int64_t)row.low[i] * CHANNEL_BLOCK;
    int64_t second = (int64_t)row.high[i] * CHANNEL_BLOCK;
#pragma omp simd
    for (int c = 0; c < CHANNEL_BLOCK; c++) {
      float low = column(row, first + c), high = column(row, second + c);
      to[c] = low + row.fraction[i] * (high - low);
    }
  }
}

static void do_row(const struct job *job, const float *x, float *y, int64_t number) {
  const struct shape *s = &job->shape;
  int h = (int)(number % s->h), d = (int)(number / s->h % s->d);
  int64_t plane = number / s->h / s->d, first = plane * s->d * s->h;
  int n = (int)(plane / job->planes), at_d = n * job->sides + d;
  int at_h = n * job->sides + s->d + h, at_w = n * job->sides + s->d + s->h;
  const struct places *places = &job->places;
  struct row row = {.d = places->fraction[at_d], .h = places->fraction[at_h]};
  if (stays(job, n)) {
    memcpy(y + number * job->length, x + number * job->length, (size_t)job->length * sizeof *y);
    return;
  }
  for (int i = 0; i < 4; i++) {
    int slice = (i >> 1 ? places->high : places->low)[at_d];
    int line = (i & 1 ? places->high : places->low)[at_h];
    row.from[i] = x + (first + (int64_t)slice * s->h + line) * job->length;
  }
  row.low = places->low + at_w;
  row.high = places->high + at_w;
  row.fraction = places->fraction + at_w;
  (job->columns == 1 ? blend_line : blend_blocks)(row, s->w, y + number * job->length);
}

static int sides_of(const struct node *node) {
  return node->y.shape.d + node->y.shape.h + node->y.shape.w;
}

static enum status low_resolution_forward(const struct node *node, const struct io *io,
                                          struct stream *stream) {
  (void)stream;
  struct job job = {.shape = node->y.shape, .columns = (int)tensor_voxel_stride(&node->y)};
  job.planes = tensor_stored_channels(&node->y) / job.columns;
  job.sides = sides_of(node);
  job.length = (int64_t)job.shape.w * job.columns;
  job.rows = (int64_t)job.shape.n * job.planes * job.shape.d * job.shape.h;
  job.zoom = io->x[1];
  job.places.low = io->workspace;
  job.places.high = job.places.low + job.shape.n * job.sides;
  job.places.fraction = (float *)(job.places.high + job.shape.n * job.sides);
  for (int n = 0; n < job.shape.n; n++) find_places(&job, n);
#pragma omp parallel for schedule(static)
  for (int64_t row = 0; row < job.rows; row++) do_row(&job, io->x[0], io->y, row);
  return STATUS_OK;
}

static bool low_resolution_applies(const struct node *node) {
  return simd_available() && node->x[0].layout == node->y.layout && node->y.layout != LAYOUT_LAST;
}

static void low_resolution_prepare(struct node *node) {
  node->forward_workspace =
      (size_t)node->y.shape.n * (size_t)sides_of(node) * (2 * sizeof(int) + sizeof(float));
}

extern const struct kernel SIMD_NAME(low_resolution_simd);
const struct kernel SIMD_NAME(low_resolution_simd) = {
    .name = SIMD_LABEL("simd"),
    .device = DEVICE_CPU,
    .dtype = DTYPE_F32,
    .training = false,
    .applies = low_resolution_applies,
    .prepare = low_resolution_prepare,
    .forward = low_resolution_forward,
};
