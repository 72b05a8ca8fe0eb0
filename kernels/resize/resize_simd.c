/* resize by rows: the rows of x that meet in an output row are added up first, on vectors, and the
 * sum is interpolated along w; backward does the transpose, gathering for each row of dx. Positions
 * and weights come from tables at the beginning of the workspace; a row of sums per slice follows.
 */
#include <string.h>
#include "kernels/common/simd_cells.h"
#include "kernels/resize/resize.h"

/* One axis: sources and weights of the outputs, and for input i the outputs first[i] ..
 * first[i+2]-1 that read it. */
struct axis {
  int *low, *high, *first;
  float *low_weight, *high_weight;
};

static size_t axis_bytes(int input, int output) {
  return ((size_t)output * 4 + (size_t)input + 2) * sizeof(float);
}

static struct axis axis_fill(void *memory, const struct resize_arguments *a, int input, int output,
                             double multiply) {
  struct axis axis;
  axis.low = memory;
  axis.high = axis.low + output;
  axis.first = axis.high + output;
  axis.low_weight = (float *)(axis.first + input + 2);
  axis.high_weight = axis.low_weight + output;
  int next = 0;
  for (int o = 0; o < output; o++) {
    struct resize_source source = resize_source(a, input, output, o);
    axis.low[o] = source.low;
    axis.high[o] = source.high;
    bool alone = source.high == source.low;
    axis.low_weight[o] = (float)(multiply * (alone ? 1 : 1 - source.weight));
    axis.high_weight[o] = (float)(multiply * (alone ? 0 : source.weight));
    while (next <= source.low + 1) axis.first[next++] = o;
  }
  while (next < input + 2) axis.first[next++] = output;
  /* first[i] is now the first output with low >= i-1; those with low i-1 or i may read input i */
  return axis;
}

/* Weight with which output o, one of those that may, reads input i. */
static inline float axis_weight(const struct axis *axis, int o, int i) {
  return axis->low[o] == i ? axis->low_weight[o] : axis->high_weight[o];
}

enum { MOST_TAPS = 8, SIMD_WEAVES = SIMD_WIDTH == 16 /* rows are permuted with AVX-512 */ };

/* A row made of another one by vectors: lane i of a vector is the sum over k of weight[k] times
 * element start + place + k of the other row. */
struct weave {
  int taps; /* 0: not for vectors */
  int *start, *place;
  float *weight[MOST_TAPS];
};

static int whole_vectors(int count) {
  return (count + SIMD_WIDTH - 1) / SIMD_WIDTH * SIMD_WIDTH;
}

static size_t weave_bytes(int count) {
  return (size_t)whole_vectors(count) * (MOST_TAPS + 2) * sizeof(float);
}

static struct weave weave_take(void *memory, int count) {
  const int padded = whole_vectors(count);
  struct weave weave = {.start = memory, .place = (int *)memory + padded};
  for (int k = 0; k < MOST_TAPS; k++) weave.weight[k] = (float *)memory + (k + 2) * padded;
  memset(memory, 0, weave_bytes(count));
  return weave;
}

/* Element i begins at `first`. False where it is too far from its vector's first one. */
static bool weave_place(struct weave *weave, int i, int first) {
  const int vector = i / SIMD_WIDTH;
  if (i % SIMD_WIDTH == 0) weave->start[vector] = first;
  weave->place[i] = first - weave->start[vector];
  return weave->place[i] < SIMD_WINDOW;
}

static struct weave weave_forward(void *memory, const struct axis *w, int output) {
  struct weave weave = weave_take(memory, output);
  bool fits = SIMD_WEAVES;
  for (int o = 0; o < output; o++) {
    fits = weave_place(&weave, o, w->low[o]) && fits;
    weave.weight[w->high[o] - w->low[o]][o] += w->high_weight[o];
    weave.weight[0][o] += w->low_weight[o];
  }
  weave.taps = fits ? 2 : 0;
  return weave;
}

static struct weave weave_backward(void *memory, const struct axis *w, int input) {
  struct weave weave = weave_take(memory, input);
  bool fits = SIMD_WEAVES;
  for (int i = 0; i < input; i++) {
    int count = w->first[i + 2] - w->first[i];
    fits = weave_place(&weave, i, w->first[i]) && count <= MOST_TAPS && fits;
    for (int k = 0; k < count && k < MOST_TAPS; k++)
      weave.weight[k][i] = axis_weight(w, w->first[i] + k, i);
    if (count > weave.taps) weave.taps = count;
  }
  if (!fits) weave.taps = 0;
  return weave;
}

/* Rows that are made of others, one after another in memory at these distances. */
struct rows {
  int count;
  const float *from;
  int64_t from_pitch, to_pitch;
  float *to;
};

/* Makes one vector of all rows. Reads up to a window and the taps behind the last element of a row.
 */
static inline __attribute__((always_inline)) void weave_vector(const struct weave *weave, int taps,
                                                               const struct rows *rows, int i,
                                                               unsigned lanes, bool add) {
#if defined SIMD_ISA_AVX512
  const __m512i place = _mm512_loadu_si512(weave->place + i);
  const float *from = rows->from + weave->start[i / SIMD_WIDTH];
  simd weight[MOST_TAPS];
  for (int k = 0; k < taps; k++) weight[k] = simd_load(weave->weight[k] + i);
  for (int row = 0; row < rows->count; row++, from += rows->from_pitch) {
    float *to = rows->to + row * rows->to_pitch + i;
    simd sum = add ? simd_load_lanes(to, lanes) : (simd){0};
    for (int k = 0; k < taps; k++)
      sum += weight[k] * (simd)_mm512_permutex2var_ps(_mm512_loadu_ps(from + k), place,
                                                      _mm512_loadu_ps(from + k + SIMD_WIDTH));
    simd_store_lanes(to, sum, lanes);
  }
#else
  (void)weave, (void)taps, (void)rows, (void)i, (void)lanes, (void)add;
#endif
}

static void weave_rows(const struct weave *weave, const struct rows *rows, int count, bool add) {
  for (int i = 0; i < count; i += SIMD_WIDTH) {
    const unsigned lanes = simd_lanes_until(count - i);
    if (weave->taps == 1)
      weave_vector(weave, 1, rows, i, lanes, add);
    else if (weave->taps == 2)
      weave_vector(weave, 2, rows, i, lanes, add);
    else
      weave_vector(weave, weave->taps, rows, i, lanes, add);
  }
}

struct grid {
  struct axis d, h, w;
  struct weave weave;
  struct shape in, out;
  int lanes;                   /* 16 channels of a block, or 1 */
  int64_t planes, row, padded; /* floats per row of sums; with what vectors read behind it */
  int batch;                   /* rows of sums of a slice */
  float *sums;
};

enum { BEHIND = SIMD_WINDOW + MOST_TAPS };

static int lanes_of(const struct node *node) {
  return node->y.layout == LAYOUT_BLOCKED ? CHANNEL_BLOCK : 1;
}

static int batch_of(const struct node *node) {
  return lanes_of(node) == 1 ? 8 : 1;
}

/* Of the row that is summed up before it is interpolated, and of the one made of it. */
static int summed(const struct node *node, bool backward) {
  return backward ? node->y.shape.w : node->x[0].shape.w;
}
static int made(const struct node *node, bool backward) {
  return backward ? node->x[0].shape.w : node->y.shape.w;
}

static struct grid grid_make(const struct node *node, void *workspace, bool backward) {
  const struct resize_arguments *a = (const void *)node->arguments;
  struct grid grid = {.in = node->x[0].shape, .out = node->y.shape};
  char *memory = workspace;
  grid.d = axis_fill(memory, a, grid.in.d, grid.out.d, 1);
  memory += axis_bytes(grid.in.d, grid.out.d);
  grid.h = axis_fill(memory, a, grid.in.h, grid.out.h, 1);
  memory += axis_bytes(grid.in.h, grid.out.h);
  grid.w = axis_fill(memory, a, grid.in.w, grid.out.w, a->multiply);
  memory += axis_bytes(grid.in.w, grid.out.w);
  grid.weave = backward ? weave_backward(memory, &grid.w, grid.in.w)
                        : weave_forward(memory, &grid.w, grid.out.w);
  memory += weave_bytes(made(node, backward));
  grid.lanes = lanes_of(node);
  grid.planes = (int64_t)grid.in.n * tensor_stored_channels(&node->y) / grid.lanes;
  grid.row = (int64_t)summed(node, backward) * grid.lanes;
  grid.padded = grid.row + BEHIND;
  grid.batch = batch_of(node);
  grid.sums = (float *)memory;
  return grid;
}

static size_t workspace(const struct node *node, bool backward) {
  const struct shape *in = &node->x[0].shape, *out = &node->y.shape;
  const int lanes = lanes_of(node);
  size_t tables = axis_bytes(in->d, out->d) + axis_bytes(in->h, out->h) + axis_bytes(in->w, out->w);
  size_t rows = (size_t)in->n * (size_t)(tensor_stored_channels(&node->y) / lanes) *
                (size_t)((backward ? in->d : out->d) * batch_of(node));
  size_t padded = (size_t)summed(node, backward) * (size_t)lanes + BEHIND;
  return tables + weave_bytes(made(node, backward)) + rows * padded * sizeof(float);
}

static void resize_prepare(struct node *node) {
  node->forward_workspace = workspace(node, false);
  node->backward_workspace = workspace(node, true);
}

enum { PILE = 32, ABREAST = 3 };

/* Weighted rows on their way into a row of sums, a few at a time. */
struct pile {
  int rows;
  bool begun; /* there is something in the sums */
  const float *from[PILE];
  float weight[PILE];
};

/* Of `vectors` vectors from i on; of the last one `lanes`. */
static inline __attribute__((always_inline)) void pile_sum(const struct pile *pile, int vectors,
                                                           unsigned lanes, int64_t i, float *sums) {
  simd sum[ABREAST];
  SIMD_UNROLL
  for (int v = 0; v < vectors; v++)
    sum[v] = pile->begun ? simd_load_lanes(sums + i + v * SIMD_WIDTH, lanes) : (simd){0};
  for (int k = 0; k < pile->rows; k++) {
    const float *from = pile->from[k] + i;
    const simd weight = simd_all(pile->weight[k]);
    SIMD_UNROLL
    for (int v = 0; v < vectors; v++)
      sum[v] += weight * simd_load_lanes(from + v * SIMD_WIDTH, lanes);
  }
  SIMD_UNROLL
  for (int v = 0; v < vectors; v++) simd_store_lanes(sums + i + v * SIMD_WIDTH, sum[v], lanes);
}

static void pile_flush(struct pile *pile, int64_t count, float *sums) {
  int64_t i = 0;
  for (; i <= count - ABREAST * SIMD_WIDTH; i += ABREAST * SIMD_WIDTH)
    pile_sum(pile, ABREAST, SIMD_LANES, i, sums);
  for (; i < count; i += SIMD_WIDTH) pile_sum(pile, 1, simd_lanes_until((int)(count - i)), i, sums);
  pile->begun = true;
  pile->rows = 0;
}

static inline void pile_add(struct pile *pile, const float *from, float weight, int64_t count,
                            float *sums) {
  if (weight == 0) return;
  if (pile->rows == PILE) pile_flush(pile, count, sums);
  pile->from[pile->rows] = from;
  pile->weight[pile->rows++] = weight;
}

/* y[o] = the two voxels of the sums that make it. */
static inline void spread_row(const struct axis *w, const float *sums, float *y, int output,
                              int lanes) {
  for (int o = 0; o < output; o++)
    for (int l = 0; l < lanes; l++)
      y[o * lanes + l] = w->low_weight[o] * sums[w->low[o] * lanes + l] +
                         w->high_weight[o] * sums[w->high[o] * lanes + l];
}

/* The transpose, added to dx. */
static inline void collect_row(const struct axis *w, const float *sums, float *dx, int output,
                               int lanes) {
  for (int o = 0; o < output; o++) {
    for (int l = 0; l < lanes; l++)
      dx[w->low[o] * lanes + l] += w->low_weight[o] * sums[o * lanes + l];
    for (int l = 0; l < lanes; l++)
      dx[w->high[o] * lanes + l] += w->high_weight[o] * sums[o * lanes + l];
  }
}

static void forward_rows(const struct grid *g, const struct rows *rows) {
  if (g->lanes == 1 && g->weave.taps) {
    weave_rows(&g->weave, rows, g->out.w, false);
    return;
  }
  for (int row = 0; row < rows->count; row++) {
    const float *sums = rows->from + row * rows->from_pitch;
    if (g->lanes == 1)
      spread_row(&g->w, sums, rows->to + row * rows->to_pitch, g->out.w, 1);
    else
      spread_row(&g->w, sums, rows->to + row * rows->to_pitch, g->out.w, CHANNEL_BLOCK);
  }
}

static void backward_rows(const struct grid *g, const struct rows *rows, bool add) {
  if (g->lanes == 1 && g->weave.taps) {
    weave_rows(&g->weave, rows, g->in.w, add);
    return;
  }
  for (int row = 0; row < rows->count; row++) {
    const float *sums = rows->from + row * rows->from_pitch;
    float *dx = rows->to + row * rows->to_pitch;
    if (!add) memset(dx, 0, (size_t)rows->to_pitch * sizeof *dx);
    if (g->lanes == 1)
      collect_row(&g->w, sums, dx, g->out.w, 1);
    else
      collect_row(&g->w, sums, dx, g->out.w, CHANNEL_BLOCK);
  }
}

static void forward_sums(const struct grid *g, const float *x, int d, int h, float *sums) {
  struct pile pile; /* too large to clear */
  pile.rows = 0;
  pile.begun = false;
  for (int corner = 0; corner < 4; corner++) {
    int from_d = corner < 2 ? g->d.low[d] : g->d.high[d];
    int from_h = corner % 2 ? g->h.high[h] : g->h.low[h];
    float weight = (corner < 2 ? g->d.low_weight[d] : g->d.high_weight[d]) *
                   (corner % 2 ? g->h.high_weight[h] : g->h.low_weight[h]);
    pile_add(&pile, x + ((int64_t)from_d * g->in.h + from_h) * g->row, weight, g->row, sums);
  }
  pile_flush(&pile, g->row, sums);
}

static void backward_sums(const struct grid *g, const float *dy, int d, int h, float *sums) {
  struct pile pile; /* too large to clear */
  pile.rows = 0;
  pile.begun = false;
  for (int od = g->d.first[d]; od < g->d.first[d + 2]; od++) {
    const float along_d = axis_weight(&g->d, od, d);
    for (int oh = g->h.first[h]; oh < g->h.first[h + 2]; oh++)
      pile_add(&pile, dy + ((int64_t)od * g->out.h + oh) * g->row,
               along_d * axis_weight(&g->h, oh, h), g->row, sums);
  }
  pile_flush(&pile, g->row, sums);
}

/* Some rows are summed up before the first is interpolated: what was just written is not read at
 * other borders of vectors, for which a processor would wait. */
static void forward_slice(const struct grid *g, const float *x, float *y, float *sums, int d) {
  struct rows rows = {.from = sums, .from_pitch = g->padded, .to_pitch = g->out.w * g->lanes};
  for (int h = 0; h < g->out.h; h += g->batch) {
    rows.count = g->out.h - h < g->batch ? g->out.h - h : g->batch;
    rows.to = y + ((int64_t)d * g->out.h + h) * rows.to_pitch;
    for (int i = 0; i < rows.count; i++) forward_sums(g, x, d, h + i, sums + i * g->padded);
    forward_rows(g, &rows);
  }
}

static void backward_slice(const struct grid *g, const float *dy, float *dx, float *sums, int d,
                           bool add) {
  struct rows rows = {.from = sums, .from_pitch = g->padded, .to_pitch = g->in.w * g->lanes};
  for (int h = 0; h < g->in.h; h += g->batch) {
    rows.count = g->in.h - h < g->batch ? g->in.h - h : g->batch;
    rows.to = dx + ((int64_t)d * g->in.h + h) * rows.to_pitch;
    for (int i = 0; i < rows.count; i++) backward_sums(g, dy, d, h + i, sums + i * g->padded);
    backward_rows(g, &rows, add);
  }
}

/* What vectors read behind the rows of sums. */
static void grid_clear(const struct grid *g, int64_t rows) {
  for (int64_t i = 0; i < rows; i++)
    memset(g->sums + i * g->padded + g->row, 0, BEHIND * sizeof *g->sums);
}

static bool resize_applies(const struct node *node) {
  return simd_available() && node->x[0].layout == node->y.layout;
}

static enum status resize_forward(const struct node *node, const struct io *io,
                                  struct stream *stream) {
  (void)stream;
  struct grid g = grid_make(node, io->workspace, false);
  grid_clear(&g, g.planes * g.out.d * g.batch);
  int64_t in = shape_voxels(g.in) * g.lanes, out = shape_voxels(g.out) * g.lanes;
#pragma omp parallel for schedule(static)
  for (int64_t slice = 0; slice < g.planes * g.out.d; slice++)
    forward_slice(&g, (const float *)io->x[0] + slice / g.out.d * in,
                  (float *)io->y + slice / g.out.d * out, g.sums + slice * g.batch * g.padded,
                  (int)(slice % g.out.d));
  return STATUS_OK;
}

static enum status resize_backward(const struct node *node, const struct io *io,
                                   struct stream *stream) {
  (void)stream;
  if (!io->dx[0]) return STATUS_OK;
  struct grid g = grid_make(node, io->workspace, true);
  grid_clear(&g, g.planes * g.in.d * g.batch);
  int64_t in = shape_voxels(g.in) * g.lanes, out = shape_voxels(g.out) * g.lanes;
#pragma omp parallel for schedule(static)
  for (int64_t slice = 0; slice < g.planes * g.in.d; slice++)
    backward_slice(&g, (const float *)io->dy + slice / g.in.d * out,
                   (float *)io->dx[0] + slice / g.in.d * in, g.sums + slice * g.batch * g.padded,
                   (int)(slice % g.in.d), io->dx_add[0]);
  return STATUS_OK;
}

extern const struct kernel SIMD_NAME(resize_simd);
const struct kernel SIMD_NAME(resize_simd) = {
    .name = SIMD_LABEL("rows"),
    .device = DEVICE_CPU,
    .dtype = DTYPE_F32,
    .training = true,
    .applies = resize_applies,
    .prepare = resize_prepare,
    .forward = resize_forward,
    .backward = resize_backward,
};
