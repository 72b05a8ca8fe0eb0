/* max_pool for blocks of 16 channels and windows that touch but do not overlap: every voxel of x
 * belongs to one window, so that backward writes dx in one pass, row by row. */
#include "kernels/common/simd16.h"
#include "kernels/common/simd_math.h"
#include "kernels/max_pool/max_pool.h"

/* How far ahead of what is read memory is asked for, in elements. */
enum { AHEAD = 512 };

#define INLINE static inline __attribute__((always_inline))

/* Calls an inlined function of (dtype, ...) with a constant. */
#define CALL(function, dtype, ...)       \
  do {                                   \
    if ((dtype) == DTYPE_F32)            \
      function(DTYPE_F32, __VA_ARGS__);  \
    else if ((dtype) == DTYPE_BF16)      \
      function(DTYPE_BF16, __VA_ARGS__); \
    else                                 \
      function(DTYPE_F16, __VA_ARGS__);  \
  } while (0)

static inline simd_int choose_int(simd_int mask, simd_int yes, simd_int no) {
  return (mask & yes) | (~mask & no);
}

/* A row of windows of one channel block: elements of x, y and winners where it begins; `past`: y
 * goes past the caches. */
struct row {
  const void *x;
  void *y;
  unsigned char *winner;
  int64_t from, to;     /* in x; in y and winner */
  int64_t slice, pitch; /* of x, in elements */
  int count, kernel[3];
  bool past;
};

/* Inlined with the type and the extents of common windows, so that their loops are written out. */
INLINE void pool_windows(enum dtype dtype, const struct row *row, int kd, int kh, int kw) {
  for (int o = 0; o < row->count * SIMD_PER_BLOCK; o++) {
    int lane = o % SIMD_PER_BLOCK * SIMD_WIDTH, w = o / SIMD_PER_BLOCK * kw;
    const int64_t corner = row->from + (int64_t)w * CHANNEL_BLOCK + lane;
    const int64_t to = row->to + (int64_t)o * SIMD_WIDTH;
    simd best = simd_get(dtype, row->x, corner);
    simd_int at = {0}, number = {0};
    for (int d = 0; d < kd; d++)
      for (int h = 0; h < kh; h++)
        for (int k = 0; k < kw; k++, number += 1) {
          const int64_t from = corner + d * row->slice + h * row->pitch + k * CHANNEL_BLOCK;
          __builtin_prefetch((const char *)row->x + (from + AHEAD) * (dtype == DTYPE_F32 ? 4 : 2));
          simd value = simd_get(dtype, row->x, from);
          simd_int wins = (simd_int)(value > best) | (simd_int)(value != value);
          best = simd_select(wins, value, best);
          at = choose_int(wins, number, at);
        }
    simd_put(dtype, row->y, to, best, row->past);
    *(simd_bytes *)(row->winner + to) = __builtin_convertvector(at, simd_bytes);
  }
}

INLINE void pool_row(enum dtype dtype, const struct row *row) {
  const int *k = row->kernel;
  if (k[0] == 2 && k[1] == 2 && k[2] == 2)
    pool_windows(dtype, row, 2, 2, 2);
  else if (k[0] == 1 && k[1] == 2 && k[2] == 2)
    pool_windows(dtype, row, 1, 2, 2);
  else
    pool_windows(dtype, row, k[0], k[1], k[2]);
}

/* A row of dx below `count` windows: voxel k of a window has number first + k. */
struct back {
  const void *dy;
  const unsigned char *winner;
  void *dx;
  int64_t from, to; /* elements of dy and winner; of dx */
  int count, kernel, first;
  bool add, past;
};

INLINE void unpool_windows(enum dtype dtype, const struct back *row, int kernel, bool add,
                           bool past) {
  for (int o = 0; o < row->count; o++)
    for (int lane = 0; lane < CHANNEL_BLOCK; lane += SIMD_WIDTH) {
      const int64_t from = row->from + (int64_t)o * CHANNEL_BLOCK + lane;
      simd gradient = simd_get(dtype, row->dy, from);
      simd_int at = simd_from_bytes(row->winner + from);
      for (int k = 0; k < kernel; k++) {
        const int64_t to = row->to + ((int64_t)o * kernel + k) * CHANNEL_BLOCK + lane;
        simd value = (simd)((simd_int)(at == row->first + k) & (simd_int)gradient);
        if (add) value += simd_get(dtype, row->dx, to);
        simd_put(dtype, row->dx, to, value, past);
      }
    }
}

INLINE void unpool_row(enum dtype dtype, const struct back *row) {
  if (row->add)
    unpool_windows(dtype, row, row->kernel, true, false);
  else if (row->past && row->kernel == 2)
    unpool_windows(dtype, row, 2, false, true);
  else if (row->kernel == 2)
    unpool_windows(dtype, row, 2, false, false);
  else
    unpool_windows(dtype, row, row->kernel, false, false);
}

/* What no window covers. */
static void clear(const struct node *node, const struct io *io, int64_t from, int64_t count) {
  const size_t bytes = dtype_bytes(node->x[0].dtype);
  if (!io->dx_add[0]) memset((char *)io->dx[0] + (size_t)from * bytes, 0, (size_t)count * bytes);
}

static void unpool_slice(const struct node *node, const struct io *io, int64_t plane, int d) {
  const struct max_pool_arguments *a = (const void *)node->arguments;
  const struct shape *in = &node->x[0].shape, *out = &node->y.shape;
  const int64_t pitch = (int64_t)in->w * CHANNEL_BLOCK, below = (int64_t)out->w * CHANNEL_BLOCK;
  const int64_t covered = below * a->kernel[2];
  const int od = d / a->kernel[0], rows = od < out->d ? out->h : 0;
  struct back row = {.dy = io->dy,
                     .winner = io->saved[0],
                     .dx = io->dx[0],
                     .from = (plane * out->d + od) * out->h * below,
                     .to = (plane * in->d + d) * in->h * pitch,
                     .count = out->w,
                     .kernel = a->kernel[2],
                     .add = io->dx_add[0],
                     .past = tensor_bytes(&node->x[0]) >= SIMD_STREAM_BYTES};
  for (int h = 0; h < rows; h++, row.from += below)
    for (int k = 0; k < a->kernel[1]; k++, row.to += pitch) {
      row.first = (d % a->kernel[0] * a->kernel[1] + k) * a->kernel[2];
      CALL(unpool_row, node->x[0].dtype, &row);
      clear(node, io, row.to + covered, pitch - covered);
    }
  clear(node, io, row.to, (in->h - rows * a->kernel[1]) * pitch);
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
  const int64_t planes = (int64_t)out->n * tensor_stored_channels(&node->y) / CHANNEL_BLOCK;
  const int64_t pitch = (int64_t)in->w * CHANNEL_BLOCK;
  struct row row = {.x = io->x[0],
                    .y = io->y,
                    .winner = io->saved[0],
                    .slice = pitch * in->h,
                    .pitch = pitch,
                    .count = out->w,
                    .kernel = {a->kernel[0], a->kernel[1], a->kernel[2]},
                    .past = tensor_bytes(&node->x[0]) >= SIMD_STREAM_BYTES};
#pragma omp parallel firstprivate(row)
  {
#pragma omp for schedule(static)
    for (int64_t slice = 0; slice < planes * out->d; slice++)
      for (int h = 0; h < out->h; h++) {
        int64_t d = slice / out->d * in->d + slice % out->d * a->kernel[0];
        row.from = (d * in->h + h * a->kernel[1]) * pitch;
        row.to = (slice * out->h + h) * out->w * CHANNEL_BLOCK;
        CALL(pool_row, node->x[0].dtype, &row);
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

#define MAX_POOL_KERNEL(name_of_type, type)           \
  extern const struct kernel SIMD_NAME(name_of_type); \
  const struct kernel SIMD_NAME(name_of_type) = {     \
      .name = SIMD_LABEL("simd"),                     \
      .device = DEVICE_CPU,                           \
      .dtype = type,                                  \
      .training = true,                               \
      .applies = max_pool_applies,                    \
      .forward = max_pool_forward,                    \
      .backward = max_pool_backward,                  \
  }

MAX_POOL_KERNEL(max_pool_simd, DTYPE_F32);
MAX_POOL_KERNEL(max_pool_bf16_simd, DTYPE_BF16);
MAX_POOL_KERNEL(max_pool_f16_simd, DTYPE_F16);
