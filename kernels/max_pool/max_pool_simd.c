/* max_pool for blocks of 16 channels and windows that touch but do not overlap: every voxel of x
 * belongs to one window, so that backward writes dx in one pass, row by row. */
#include "kernels/common/simd_math.h"
#include "kernels/max_pool/max_pool.h"

/* How far ahead of what is read memory is asked for, in floats. */
enum { AHEAD = 512 };

static inline simd_int choose_int(simd_int mask, simd_int yes, simd_int no) {
  return (mask & yes) | (~mask & no);
}

/* One row of one channel block: y and winners from the window's rows in x. Inlined with the extents
 * of common windows, so that their loops are written out. */
static inline __attribute__((always_inline)) void pool_windows(const float *x, int64_t slice,
                                                               int64_t row, int count, int kd,
                                                               int kh, int kw, float *y,
                                                               unsigned char *winner, bool past) {
  for (int o = 0; o < count * SIMD_PER_BLOCK; o++) {
    int lane = o % SIMD_PER_BLOCK * SIMD_WIDTH, w = o / SIMD_PER_BLOCK * kw;
    const float *corner = x + (int64_t)w * CHANNEL_BLOCK + lane;
    simd best = simd_load(corner);
    simd_int at = {0}, number = {0};
    for (int d = 0; d < kd; d++)
      for (int h = 0; h < kh; h++)
        for (int k = 0; k < kw; k++, number += 1) {
          const float *from = corner + d * slice + h * row + k * CHANNEL_BLOCK;
          __builtin_prefetch(from + AHEAD);
          simd value = simd_load(from);
          simd_int wins = (simd_int)(value > best) | (simd_int)(value != value);
          best = simd_select(wins, value, best);
          at = choose_int(wins, number, at);
        }
    if (past)
      simd_stream(y + o * SIMD_WIDTH, best);
    else
      simd_store(y + o * SIMD_WIDTH, best);
    *(simd_bytes *)(winner + o * SIMD_WIDTH) = __builtin_convertvector(at, simd_bytes);
  }
}

static void pool_row(const struct node *node, const float *x, float *y, unsigned char *winner) {
  const struct max_pool_arguments *a = (const void *)node->arguments;
  const struct shape *in = &node->x[0].shape;
  const int64_t row = (int64_t)in->w * CHANNEL_BLOCK, slice = row * in->h;
  const int *k = a->kernel, count = node->y.shape.w;
  bool past = tensor_bytes(&node->x[0]) >= SIMD_STREAM_BYTES;
  if (k[0] == 2 && k[1] == 2 && k[2] == 2)
    pool_windows(x, slice, row, count, 2, 2, 2, y, winner, past);
  else if (k[0] == 1 && k[1] == 2 && k[2] == 2)
    pool_windows(x, slice, row, count, 1, 2, 2, y, winner, past);
  else
    pool_windows(x, slice, row, count, k[0], k[1], k[2], y, winner, past);
}

/* One row of dx below `windows` windows: voxel k of a window has number first + k. `past`: past the
 * caches. */
static inline __attribute__((always_inline)) void unpool_windows(const float *dy,
                                                                 const unsigned char *winner,
                                                                 float *dx, int windows, int kernel,
                                                                 int first, bool add, bool past) {
  for (int o = 0; o < windows; o++)
    for (int lane = 0; lane < CHANNEL_BLOCK; lane += SIMD_WIDTH) {
      int64_t from = (int64_t)o * CHANNEL_BLOCK + lane;
      simd gradient = simd_load(dy + from);
      simd_int at = simd_from_bytes(winner + from);
      for (int k = 0; k < kernel; k++) {
        float *to = dx + ((int64_t)o * kernel + k) * CHANNEL_BLOCK + lane;
        simd value = (simd)((simd_int)(at == first + k) & (simd_int)gradient);
        if (add) value += simd_load(to);
        if (past)
          simd_stream(to, value);
        else
          simd_store(to, value);
      }
    }
}

static void unpool_row(const float *dy, const unsigned char *winner, float *dx, int windows,
                       int kernel, int first, bool add, bool past) {
  if (add)
    unpool_windows(dy, winner, dx, windows, kernel, first, true, false);
  else if (past && kernel == 2)
    unpool_windows(dy, winner, dx, windows, 2, first, false, true);
  else if (kernel == 2)
    unpool_windows(dy, winner, dx, windows, 2, first, false, false);
  else
    unpool_windows(dy, winner, dx, windows, kernel, first, false, false);
}

/* What no window covers. */
static void clear(float *dx, int64_t count, bool add) {
  for (int64_t i = 0; !add && i < count; i++) dx[i] = 0;
}

static void unpool_slice(const struct node *node, const struct io *io, int64_t plane, int d) {
  const struct max_pool_arguments *a = (const void *)node->arguments;
  const struct shape *in = &node->x[0].shape, *out = &node->y.shape;
  bool add = io->dx_add[0], past = tensor_bytes(&node->x[0]) >= SIMD_STREAM_BYTES;
  int64_t row = (int64_t)in->w * CHANNEL_BLOCK, below = (int64_t)out->w * CHANNEL_BLOCK;
  int od = d / a->kernel[0], rows = od < out->d ? out->h : 0, covered = rows * a->kernel[1];
  float *dx = (float *)io->dx[0] + (plane * in->d + d) * in->h * row;
  int64_t from = (plane * out->d + od) * out->h * below;
  for (int h = 0; h < rows; h++, from += below)
    for (int k = 0; k < a->kernel[1]; k++, dx += row) {
      int first = (d % a->kernel[0] * a->kernel[1] + k) * a->kernel[2];
      unpool_row((const float *)io->dy + from, (const unsigned char *)io->saved[0] + from, dx,
                 out->w, a->kernel[2], first, add, past);
      clear(dx + below * a->kernel[2], row - below * a->kernel[2], add);
    }
  clear(dx, (in->h - covered) * row, add);
}

static bool max_pool_applies(const struct node *node) {
  const struct max_pool_arguments *a = (const void *)node->arguments;
  for (int axis = 0; axis < 3; axis++)
    if (a->kernel[axis] != a->stride[axis]) return false;
  return simd_available() && node->x[0].layout == LAYOUT_BLOCKED &&
         node->y.layout == LAYOUT_BLOCKED && node->saved[0].layout == LAYOUT_BLOCKED;
}

static enum status max_pool_forward(const struct node *node, const struct io *io,
                                    struct stream *stream) {
  (void)stream;
  const struct max_pool_arguments *a = (const void *)node->arguments;
  const struct shape *in = &node->x[0].shape, *out = &node->y.shape;
  int64_t planes = (int64_t)out->n * tensor_stored_channels(&node->y) / CHANNEL_BLOCK;
#pragma omp parallel
  {
#pragma omp for schedule(static)
    for (int64_t slice = 0; slice < planes * out->d; slice++)
      for (int h = 0; h < out->h; h++) {
        int64_t d = slice / out->d * in->d + slice % out->d * a->kernel[0];
        int64_t from = (d * in->h + h * a->kernel[1]) * in->w * CHANNEL_BLOCK;
        int64_t to = (slice * out->h + h) * out->w * CHANNEL_BLOCK;
        pool_row(node, (const float *)io->x[0] + from, (float *)io->y + to,
                 (unsigned char *)io->saved[0] + to);
      }
    simd_flush();
  }
  return STATUS_OK;
}

static enum status max_pool_backward(const struct node *node, const struct io *io,
                                     struct stream *stream) {
  (void)stream;
  const struct shape *in = &node->x[0].shape;
  int64_t planes = (int64_t)in->n * tensor_stored_channels(&node->x[0]) / CHANNEL_BLOCK;
  if (!io->dx[0]) return STATUS_OK;
#pragma omp parallel
  {
#pragma omp for schedule(static)
    for (int64_t slice = 0; slice < planes * in->d; slice++)
      unpool_slice(node, io, slice / in->d, (int)(slice % in->d));
    simd_flush();
  }
  return STATUS_OK;
}

extern const struct kernel SIMD_NAME(max_pool_simd);
const struct kernel SIMD_NAME(max_pool_simd) = {
    .name = SIMD_LABEL("simd"),
    .device = DEVICE_CPU,
    .dtype = DTYPE_F32,
    .training = true,
    .applies = max_pool_applies,
    .forward = max_pool_forward,
    .backward = max_pool_backward,
};
