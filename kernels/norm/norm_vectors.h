/* How norm's kernels on vectors see a tensor: a plane (a block of 16 channels, or one planar
 * channel) is rows of 16 floats, cut into pieces that stay in the cache; the floats after a planar
 * plane's last row are a piece of their own. What pieces give is joined in a fixed order in double.
 * All arithmetic is in float32 and double. */
#pragma once
#include <string.h>
#include "kernels/common/simd16.h"
#include "kernels/common/widen_slices.h"
#include "kernels/norm/norm.h"

enum { ROW = CHANNEL_BLOCK, CHUNK = 256 /* rows of a piece */ };

/* What an element is computed from, by column (stored channel): z = (x - MEAN) * SCALE + SHIFT, and
 * its gradient g becomes g * SCALE + (x - MEAN) * ALONG + CONSTANT. */
enum { MEAN, SCALE, SHIFT, ALONG, CONSTANT, LINES };

/* How x lies, and where its statistics are in the workspace. */
struct cut {
  const struct node *node;
  bool blocked;
  int channels, columns; /* columns: stored channels of a sample */
  int64_t planes, rows, chunks, pieces;
  int rest;       /* floats of a plane after its last row */
  float *partial; /* [plane][piece][2][16] */
  double *total;  /* [sample][channel][2] */
  float *line;    /* [sample][column / 16][LINES][16], or [sample][column][LINES] */
};

static inline size_t align(size_t bytes) {
  return (bytes + 63) / 64 * 64;
}

/* The layout; returns the bytes of workspace. */
static inline size_t lay_out(const struct node *node, unsigned char *workspace, struct cut *cut) {
  const struct tensor *x = &node->x[0];
  int64_t step = tensor_voxel_stride(x), floats = shape_voxels(x->shape) * step;
  *cut = (struct cut){.node = node, .blocked = step == ROW, .channels = x->shape.c};
  cut->columns = tensor_stored_channels(x);
  cut->planes = x->shape.n * cut->columns / step;
  cut->rows = floats / ROW;
  cut->rest = (int)(floats % ROW);
  cut->chunks = (cut->rows + CHUNK - 1) / CHUNK;
  cut->pieces = cut->chunks + (cut->rest > 0);
  size_t partial = align((size_t)(cut->planes * cut->pieces) * 2 * ROW * sizeof(float));
  size_t total = align(2 * sizeof(double) * (size_t)x->shape.n * (size_t)cut->channels);
  size_t line = align(sizeof(float) * LINES * (size_t)x->shape.n * (size_t)cut->columns);
  if (workspace) {
    cut->partial = (float *)workspace;
    cut->total = (double *)(workspace + partial);
    cut->line = (float *)(workspace + partial + total);
  }
  return partial + total + line;
}

static inline int rows_of(const struct cut *cut, int64_t chunk) {
  int64_t left = cut->rows - chunk * CHUNK;
  return left < CHUNK ? (int)left : CHUNK;
}

static inline int64_t floats_of(const struct cut *cut) {
  return cut->rows * ROW + cut->rest;
}

static inline float *partial_of(const struct cut *cut, int64_t plane, int64_t piece) {
  return cut->partial + (plane * cut->pieces + piece) * 2 * ROW;
}

/* Both numbers of a channel of a sample. */
static inline double *total_of(const struct cut *cut, int n, int c) {
  return cut->total + 2 * ((int64_t)n * cut->channels + c);
}

static inline int group_of(const struct cut *cut, int n, int c) {
  return norm_group_of(norm_arguments_of(cut->node), cut->channels, n, c);
}

/* The channels [first, first + count) of samples [from, from + samples) that are a group. */
struct group {
  int from, samples, first, count;
};

static inline struct group find_group(const struct node *node, int number) {
  const struct shape *x = &node->x[0].shape;
  if (norm_arguments_of(node)->kind == NORM_BATCH) return (struct group){0, x->n, number, 1};
  int per_sample = norm_groups(node) / x->n, width = x->c / per_sample;
  return (struct group){number / per_sample, 1, number % per_sample * width, width};
}

/* --- lines --- */

static inline float *line_of(const struct cut *cut, int n, int c, int line) {
  int64_t column = (int64_t)n * cut->columns + c;
  if (!cut->blocked) return cut->line + column * LINES + line;
  return cut->line + (column / ROW * LINES + line) * ROW + column % ROW;
}

static inline float weight_of(const struct cut *cut, const struct io *io,
                              enum norm_parameter parameter, int channel, float otherwise) {
  const float *w = norm_w(cut->node, io, parameter);
  return w ? w[channel] : otherwise;
}

/* The lines of a plane as vectors. */
struct lines {
  simd at[LINES][SIMD_PER_BLOCK];
};

static inline struct lines load_lines(const struct cut *cut, int64_t plane) {
  struct lines lines;
  const float *from = cut->line + plane * LINES * (cut->blocked ? ROW : 1);
  for (int l = 0; l < LINES; l++)
    for (int v = 0; v < SIMD_PER_BLOCK; v++)
      lines.at[l][v] =
          cut->blocked ? simd_load(from + l * ROW + v * SIMD_WIDTH) : simd_all(from[l]);
  return lines;
}

static inline simd above_or(simd sign, simd value, simd otherwise) {
  simd_int above = (simd_int)(sign > 0);
  return (simd)((above & (simd_int)value) | (~above & (simd_int)otherwise));
}

/* --- bands --- */

/* Planes whose statistics depend on no others and that caches hold from one pass to the next, if
 * any do: of samples [from, from + samples) the planes [first, first + count). */
struct band {
  int from, samples, first, count;
};

/* Bytes of all tensors that are read more than once. */
enum { BAND_BYTES = 8 << 20 };

static inline int planes_of_sample(const struct cut *cut) {
  return (int)(cut->planes / cut->node->x[0].shape.n);
}

static inline int64_t planes_of(const struct band *band) {
  return (int64_t)band->samples * band->count;
}

static inline int64_t plane_of(const struct cut *cut, const struct band *band, int64_t i) {
  return (band->from + i / band->count) * planes_of_sample(cut) + band->first + i % band->count;
}

/* Planes of a sample that share a mean, or of whole groups. */
static inline int planes_together(const struct cut *cut) {
  const struct norm_arguments *arguments = norm_arguments_of(cut->node);
  if (arguments->kind != NORM_GROUP) return 1;
  int width = cut->channels / arguments->groups, plane = cut->blocked ? ROW : 1;
  if (width % plane == 0) return width / plane;
  return plane % width == 0 ? 1 : planes_of_sample(cut);
}

/* The band after `band`, the first one after a zeroed one; `tensors` of x's size are read more than
 * once. False: there is none. */
static inline bool next_band(const struct cut *cut, int tensors, struct band *band) {
  int all = planes_of_sample(cut), n = cut->node->x[0].shape.n, together = planes_together(cut);
  bool batch = norm_arguments_of(cut->node)->kind == NORM_BATCH;
  int64_t bytes = floats_of(cut) * (int64_t)dtype_bytes(cut->node->x[0].dtype) * tensors;
  int64_t count = BAND_BYTES / (bytes * (batch ? n : 1)) / together * together;
  int first = band->first + band->count, from = band->from;
  if (first >= all) {
    first = 0;
    from += band->samples;
  }
  if (from >= n || (batch && band->count > 0 && first == 0)) return false;
  if (count < together) count = together;
  *band = (struct band){from, batch ? n : 1, first, count < all - first ? (int)count : all - first};
  if (!batch && count >= all)
    band->samples = count / all < n - from ? (int)(count / all) : n - from;
  return true;
}

/* The channels of a sample that are in it. */
static inline struct group channels_of(const struct cut *cut, const struct band *band) {
  int plane = cut->blocked ? ROW : 1, end = (band->first + band->count) * plane;
  struct group channels = {band->from, band->samples, band->first * plane, 0};
  channels.count = (end < cut->channels ? end : cut->channels) - channels.first;
  return channels;
}

/* The lines of a band from what is saved; padding channels get 0 everywhere. */
static inline void set_lines(const struct cut *cut, const struct io *io, const struct band *band) {
  const float *mean = io->saved[NORM_MEAN], *deviation = io->saved[NORM_DEVIATION];
  int plane = cut->blocked ? ROW : 1, end = (band->first + band->count) * plane;
  for (int n = band->from; n < band->from + band->samples; n++)
    for (int c = band->first * plane; c < end; c++) {
      bool real = c < cut->channels;
      int group = real ? group_of(cut, n, c) : 0;
      for (int l = 0; l < LINES; l++) *line_of(cut, n, c, l) = 0;
      if (!real) continue;
      *line_of(cut, n, c, MEAN) = mean[group];
      *line_of(cut, n, c, SCALE) = deviation[group] * weight_of(cut, io, NORM_WEIGHT, c, 1);
      *line_of(cut, n, c, SHIFT) = weight_of(cut, io, NORM_BIAS, c, 0);
    }
}

/* Calls `each` on the number of every group that has channels in the band. */
static inline void each_group(const struct cut *cut, const struct io *io, const struct band *band,
                              void (*each)(const struct cut *cut, const struct io *io,
                                           int number)) {
  struct group channels = channels_of(cut, band);
  bool batch = norm_arguments_of(cut->node)->kind == NORM_BATCH;
  for (int n = channels.from; n < channels.from + (batch ? 1 : channels.samples); n++) {
    int last = group_of(cut, n, channels.first + channels.count - 1);
    for (int g = group_of(cut, n, channels.first); g <= last; g++) each(cut, io, g);
  }
}

/* --- pieces --- */

enum { X, RESIDUAL, Y, DY, DX, DRESIDUAL, TENSORS };

/* The rows of a piece in each tensor, NULL where the call has none. */
struct rows {
  enum dtype dtype;
  bool past; /* what is written is written past the caches */
  void *at[TENSORS];
  int count;
  float *partial;
};

typedef void handle_rows(const struct cut *cut, const struct io *io, const struct lines *lines,
                         const struct rows *rows);

/* Calls an inlined function of (..., dtype, past) with constants. */
#define NORM_CALL(function, rows, ...)                    \
  do {                                                    \
    if ((rows)->dtype == DTYPE_F32 && (rows)->past)       \
      function(__VA_ARGS__, DTYPE_F32, true);             \
    else if ((rows)->dtype == DTYPE_F32)                  \
      function(__VA_ARGS__, DTYPE_F32, false);            \
    else if ((rows)->dtype == DTYPE_BF16 && (rows)->past) \
      function(__VA_ARGS__, DTYPE_BF16, true);            \
    else if ((rows)->dtype == DTYPE_BF16)                 \
      function(__VA_ARGS__, DTYPE_BF16, false);           \
    else                                                  \
      function(__VA_ARGS__, DTYPE_F16, false);            \
  } while (0)

/* Where a piece is, in elements. */
struct piece {
  int64_t first;
  int elements;
};

static inline struct piece piece_of(const struct cut *cut, int64_t plane, int64_t number) {
  int64_t start = plane * floats_of(cut);
  if (number == cut->chunks) return (struct piece){start + cut->rows * ROW, cut->rest};
  return (struct piece){start + number * CHUNK * ROW, rows_of(cut, number) * ROW};
}

extern const struct widening SIMD_NAME(widening);

static inline void read_piece(enum dtype dtype, const void *tensor, struct piece piece, float *to) {
  if (dtype == DTYPE_F32)
    memcpy(to, (const float *)tensor + piece.first, sizeof *to * (size_t)piece.elements);
  else
    SIMD_NAME(widening).widen(dtype, (const uint16_t *)tensor + piece.first, to, piece.elements);
}

static inline void write_piece(enum dtype dtype, const float *from, struct piece piece,
                               void *tensor) {
  if (dtype == DTYPE_F32)
    memcpy((float *)tensor + piece.first, from, sizeof *from * (size_t)piece.elements);
  else
    SIMD_NAME(widening).narrow(dtype, from, (uint16_t *)tensor + piece.first, piece.elements,
                               false);
}

/* Less than a row, on a copy in float32 filled up with zeros. */
static inline void handle_rest(const struct cut *cut, const struct io *io,
                               const struct lines *lines, void *const tensors[TENSORS],
                               struct piece piece, unsigned writes, float *partial,
                               handle_rows *handle) {
  alignas(64) float copy[TENSORS][ROW] = {{0}};
  enum dtype dtype = cut->node->x[0].dtype;
  struct rows rows = {.dtype = DTYPE_F32, .count = 1, .partial = partial};
  bool adds[TENSORS] = {[DX] = io->dx_add[0], [DRESIDUAL] = io->dx_add[1]};
  for (int t = 0; t < TENSORS; t++) {
    if (!tensors[t]) continue;
    rows.at[t] = copy[t];
    if (!(writes >> t & 1) || adds[t]) read_piece(dtype, tensors[t], piece, copy[t]);
  }
  handle(cut, io, lines, &rows);
  for (int t = 0; t < TENSORS; t++)
    if (tensors[t] && (writes >> t & 1)) write_piece(dtype, copy[t], piece, tensors[t]);
}

static inline void handle_whole(const struct cut *cut, const struct io *io,
                                const struct lines *lines, void *const tensors[TENSORS],
                                struct piece piece, float *partial, handle_rows *handle) {
  const struct tensor *x = &cut->node->x[0];
  size_t element = dtype_bytes(x->dtype);
  struct rows rows = {x->dtype, .count = piece.elements / ROW, .partial = partial};
  rows.past = cut->blocked && tensor_bytes(x) >= SIMD_STREAM_BYTES;
  for (int t = 0; t < TENSORS; t++)
    if (tensors[t]) rows.at[t] = (char *)tensors[t] + (size_t)piece.first * element;
  handle(cut, io, lines, &rows);
}

/* Calls `handle` on every piece of every plane of a band; writes: the tensors that it writes, one
 * bit each. */
static inline void each_piece(const struct cut *cut, const struct io *io, const struct band *band,
                              unsigned writes, handle_rows *handle) {
  void *const tensors[TENSORS] = {(void *)(uintptr_t)io->x[0],
                                  (void *)(uintptr_t)io->x[1],
                                  io->y,
                                  io->dy,
                                  io->dx[0],
                                  io->dx[1]};
  int64_t count = planes_of(band) * cut->pieces;
#pragma omp parallel
  {
#pragma omp for schedule(static)
    for (int64_t i = 0; i < count; i++) {
      int64_t plane = plane_of(cut, band, i / cut->pieces), number = i % cut->pieces;
      struct lines lines = load_lines(cut, plane);
      struct piece piece = piece_of(cut, plane, number);
      float *partial = partial_of(cut, plane, number);
      if (number < cut->chunks)
        handle_whole(cut, io, &lines, tensors, piece, partial, handle);
      else
        handle_rest(cut, io, &lines, tensors, piece, writes, partial, handle);
    }
    if (writes) simd_flush();
  }
}

/* --- sums over rows --- */

/* Vectors of consecutive floats in flight, so that no sum waits for the one before it. */
enum { IN_FLIGHT = SIMD_PER_BLOCK > 4 ? SIMD_PER_BLOCK : 4 };

/* Those of one column together. */
static inline void fold_in_flight(simd sum[IN_FLIGHT]) {
  for (int half = IN_FLIGHT / 2; half >= SIMD_PER_BLOCK; half /= 2)
    for (int k = 0; k < half; k++) sum[k] += sum[k + half];
}

/* Backward, in a file of its own. */
enum status SIMD_NAME(norm_backward)(const struct node *node, const struct io *io,
                                     struct stream *stream);
