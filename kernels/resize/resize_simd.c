/* resize by rows: the rows of x that meet in an output row are added up first, on vectors, and the
 * sum is interpolated along w; backward does the transpose, gathering for each row of dx. Positions
 * and weights come from tables at the beginning of the workspace; a row of sums per slice follows.
 */
#include <string.h>
#include "kernels/common/simd_cells.h"
#include "kernels/resize/resize_tables.h"

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
  SIMD_UNROLL
  for (int k = 0; k < taps; k++) weight[k] = simd_load(weave->weight[k] + i);
  for (int row = 0; row < rows->count; row++, from += rows->from_pitch) {
    float *to = rows->to + row * rows->to_pitch + i;
    simd sum = add ? simd_load_lanes(to, lanes) : (simd){0};
    SIMD_UNROLL
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
    else if (weave->taps <= 5) /* backward of twice as many */
      weave_vector(weave, 5, rows, i, lanes, add);
    else
      weave_vector(weave, MOST_TAPS, rows, i, lanes, add);
  }
}

struct grid {
  struct axis d, h, w;
  struct duo slices, rows; /* of what is made */
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
  if (backward) {
    grid.slices = duo_backward(memory, &grid.d, grid.in.d, grid.out.d);
    memory += duo_bytes(grid.in.d);
    grid.rows = duo_backward(memory, &grid.h, grid.in.h, grid.out.h);
    memory += duo_bytes(grid.in.h);
  } else {
    grid.slices = duo_forward(&grid.d);
    grid.rows = duo_forward(&grid.h);
  }
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
  if (backward) tables += duo_bytes(in->d) + duo_bytes(in->h);
  size_t padded = (size_t)summed(node, backward) * (size_t)lanes + BEHIND;
  return tables + weave_bytes(made(node, backward)) + rows * padded * sizeof(float);
}

static void resize_prepare(struct node *node) {
  node->forward_workspace = workspace(node, false);
  node->backward_workspace = workspace(node, true);
}

enum { MOST_SLICES = 32, ABREAST = 3 };

/* What backward sums up: the rows of dy that meet in `count` rows of dx from `first` on, of some
 * slices. */
struct meeting {
  const struct axis *rows;
  int first, count, slices;
  bool begun; /* there is something in the sums */
  const float *from[MOST_SLICES];
  float weight[MOST_SLICES];
  int64_t row, padded; /* floats from one row of dy to the next, and of the sums */
};

/* Of `vectors` vectors from i on; of the last one `lanes`. Every row of dy belongs to two rows of
 * dx, which follow each other. */
static inline __attribute__((always_inline)) void meeting_sum(const struct meeting *meeting,
                                                              int vectors, unsigned lanes,
                                                              int64_t i, float *sums) {
  const struct axis rows = *meeting->rows;
  const int first = meeting->first, end = first + meeting->count, slices = meeting->slices;
  const int64_t pitch = meeting->row;
  const bool begun = meeting->begun;
  simd low[ABREAST], high[ABREAST];
  int at = first - 1;
  SIMD_UNROLL
  for (int v = 0; v < vectors; v++) low[v] = high[v] = (simd){0};
  for (int o = rows.first[first]; at < end; o++) {
    const int next = o < rows.first[end + 1] ? rows.low[o] : end;
    for (; at < next; at++) {
      float *to = sums + (at - first) * meeting->padded + i;
      SIMD_UNROLL
      for (int v = 0; v < vectors; v++) {
        if (at >= first && begun) low[v] += simd_load_lanes(to + v * SIMD_WIDTH, lanes);
        if (at >= first) simd_store_lanes(to + v * SIMD_WIDTH, low[v], lanes);
        low[v] = high[v];
        high[v] = (simd){0};
      }
    }
    if (next == end) break;
    simd sum[ABREAST];
    SIMD_UNROLL
    for (int v = 0; v < vectors; v++) sum[v] = (simd){0};
    for (int k = 0; k < slices; k++) {
      const float *from = meeting->from[k] + o * pitch + i;
      SIMD_UNROLL
      for (int v = 0; v < vectors; v++)
        sum[v] += meeting->weight[k] * simd_load_lanes(from + v * SIMD_WIDTH, lanes);
    }
    SIMD_UNROLL
    for (int v = 0; v < vectors; v++) {
      low[v] += rows.low_weight[o] * sum[v];
      high[v] += rows.high_weight[o] * sum[v];
    }
  }
}

static void meeting_flush(struct meeting *meeting, float *sums) {
  int64_t i = 0;
  for (; i <= meeting->row - ABREAST * SIMD_WIDTH; i += ABREAST * SIMD_WIDTH)
    meeting_sum(meeting, ABREAST, SIMD_LANES, i, sums);
  for (; i < meeting->row; i += SIMD_WIDTH)
    meeting_sum(meeting, 1, simd_lanes_until((int)(meeting->row - i)), i, sums);
  meeting->begun = true;
  meeting->slices = 0;
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
  const float *from[4];
  float weight[4];
  for (int corner = 0; corner < 4; corner++) {
    int from_d = corner < 2 ? g->d.low[d] : g->d.high[d];
    int from_h = corner % 2 ? g->h.high[h] : g->h.low[h];
    weight[corner] = (corner < 2 ? g->d.low_weight[d] : g->d.high_weight[d]) *
                     (corner % 2 ? g->h.high_weight[h] : g->h.low_weight[h]);
    from[corner] = x + ((int64_t)from_d * g->in.h + from_h) * g->row;
  }
  for (int64_t i = 0; i < g->row; i += SIMD_WIDTH) {
    const unsigned lanes = simd_lanes_until((int)(g->row - i));
    simd sum = {0};
    SIMD_UNROLL
    for (int k = 0; k < 4; k++) sum += weight[k] * simd_load_lanes(from[k] + i, lanes);
    simd_store_lanes(sums + i, sum, lanes);
  }
}

static void backward_sums(const struct grid *g, const float *dy, int d, int h, int count,
                          float *sums) {
  struct meeting meeting; /* too large to clear */
  meeting.rows = &g->h;
  meeting.first = h;
  meeting.count = count;
  meeting.row = g->row;
  meeting.padded = g->padded;
  meeting.begun = false;
  meeting.slices = 0;
  for (int o = g->d.first[d]; o < g->d.first[d + 2]; o++) {
    if (meeting.slices == MOST_SLICES) meeting_flush(&meeting, sums);
    meeting.from[meeting.slices] = dy + (int64_t)o * g->out.h * g->row;
    meeting.weight[meeting.slices++] = axis_weight(&g->d, o, d);
  }
  meeting_flush(&meeting, sums);
}

/* Whether slices are stretched: every vector of them is made of one of each of four rows. */
static bool stretches(const struct grid *g) {
  return g->lanes == 1 && g->weave.narrow && g->slices.low && g->rows.low;
}

#if defined SIMD_ISA_AVX512

/* Two slices, of which weighted sums of rows are made. */
struct two_slices {
  const float *low, *high;
  simd low_weight, high_weight;
  int row; /* floats */
};

static inline simd two_slices_load(const struct two_slices *two, int row, unsigned lanes) {
  const int64_t at = (int64_t)row * two->row;
  return two->low_weight * simd_load_lanes(two->low + at, lanes) +
         two->high_weight * simd_load_lanes(two->high + at, lanes);
}

/* Vector i of all rows of a slice. Rows follow each other: of the two that one is made of, the next
 * mostly needs both, or the second and one more. */
static inline __attribute__((always_inline)) void stretch_vector(
    const struct weave *weave, int taps, const struct two_slices *two, const struct duo *rows,
    int count, int i, int width, bool add, float *to) {
  const struct two_slices from = *two;
  const struct duo by = *rows;
  const unsigned lanes = simd_lanes_until(width - i);
  const unsigned there = simd_lanes_until(from.row - weave->start[i / SIMD_WIDTH]);
  const simd_int place = *(const simd_int *)(weave->place + i);
  simd weight[4], low = {0}, high = {0};
  int at_low = -1, at_high = -1;
  SIMD_UNROLL
  for (int k = 0; k < taps; k++) weight[k] = simd_load(weave->weight[k] + i);
  for (int h = 0; h < count; h++, to += width) {
    const int next_low = by.low[h], next_high = by.high[h];
    if (next_low != at_low) {
      low = high;
      if (next_low != at_high) low = two_slices_load(&from, next_low, there);
      at_low = next_low;
    }
    if (next_high != at_high) high = two_slices_load(&from, next_high, there);
    at_high = next_high;
    __builtin_prefetch(to + (int64_t)count * width, 1); /* the next slice's */
    const simd sum = by.low_weight[h] * low + by.high_weight[h] * high;
    simd made = {0};
    if (add) made = simd_load_lanes(to, lanes);
    SIMD_UNROLL
    for (int k = 0; k < taps; k++)
      made += weight[k] * (simd)_mm512_permutexvar_ps((__m512i)(place + k), (__m512)sum);
    simd_store_lanes(to, made, lanes);
  }
}

static void stretch_slice(const struct grid *g, struct shape from_shape, struct shape to_shape,
                          const float *from, float *to, int d, bool add) {
  const int64_t slice = (int64_t)from_shape.h * from_shape.w;
  const struct weave *weave = &g->weave;
  for (int i = 0; i < to_shape.w; i += SIMD_WIDTH) {
    const int start = weave->start[i / SIMD_WIDTH];
    const struct two_slices two = {
        from + g->slices.low[d] * slice + start, from + g->slices.high[d] * slice + start,
        simd_all(g->slices.low_weight[d]), simd_all(g->slices.high_weight[d]), from_shape.w};
    if (weave->taps <= 2)
      stretch_vector(weave, 2, &two, &g->rows, to_shape.h, i, to_shape.w, add, to + i);
    else
      stretch_vector(weave, 4, &two, &g->rows, to_shape.h, i, to_shape.w, add, to + i);
  }
}

#else

static void stretch_slice(const struct grid *g, struct shape from_shape, struct shape to_shape,
                          const float *from, float *to, int d, bool add) {
  (void)g, (void)from_shape, (void)to_shape, (void)from, (void)to, (void)d, (void)add;
}

#endif

/* Some rows are summed up before the first is interpolated: what was just written is not read at
 * other borders of vectors, for which a processor would wait. */
static void forward_slice(const struct grid *g, const float *x, float *y, float *sums, int d) {
  if (stretches(g)) {
    stretch_slice(g, g->in, g->out, x, y + (int64_t)d * g->out.h * g->out.w, d, false);
    return;
  }
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
  if (stretches(g)) {
    stretch_slice(g, g->out, g->in, dy, dx + (int64_t)d * g->in.h * g->in.w, d, add);
    return;
  }
  struct rows rows = {.from = sums, .from_pitch = g->padded, .to_pitch = g->in.w * g->lanes};
  for (int h = 0; h < g->in.h; h += g->batch) {
    rows.count = g->in.h - h < g->batch ? g->in.h - h : g->batch;
    rows.to = dx + ((int64_t)d * g->in.h + h) * rows.to_pitch;
    backward_sums(g, dy, d, h, rows.count, sums);
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
