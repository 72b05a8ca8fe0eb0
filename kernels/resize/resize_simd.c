/* resize by rows: the rows of x that meet in an output row are added up first, on vectors, and the
 * sum is interpolated along w; backward does the transpose, gathering for each row of dx. Positions
 * and weights come from tables at the beginning of the workspace; a row of sums per slice follows.
 */
#include <string.h>
#include "kernels/common/simd.h"
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
    axis.low_weight[o] = (float)(multiply * (1 - source.weight));
    axis.high_weight[o] = (float)(multiply * source.weight);
    while (next <= source.low + 1) axis.first[next++] = o;
  }
  while (next < input + 2) axis.first[next++] = output;
  /* first[i] is now the first output with low >= i-1; those with low i-1 or i may read input i */
  return axis;
}

/* Weight with which output o reads input i. */
static float axis_weight(const struct axis *axis, int o, int i) {
  return (axis->low[o] == i ? axis->low_weight[o] : 0) +
         (axis->high[o] == i ? axis->high_weight[o] : 0);
}

struct grid {
  struct axis d, h, w;
  struct shape in, out;
  int lanes;           /* 16 channels of a block, or 1 */
  int64_t planes, row; /* floats per row of sums */
  float *sums;
};

static int64_t row_floats(const struct node *node, bool backward) {
  int lanes = node->y.layout == LAYOUT_BLOCKED ? CHANNEL_BLOCK : 1;
  return (int64_t)(backward ? node->y.shape.w : node->x[0].shape.w) * lanes;
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
  grid.lanes = node->y.layout == LAYOUT_BLOCKED ? CHANNEL_BLOCK : 1;
  grid.planes = (int64_t)grid.in.n * tensor_stored_channels(&node->y) / grid.lanes;
  grid.row = row_floats(node, backward);
  grid.sums = (float *)memory;
  return grid;
}

static void resize_prepare(struct node *node) {
  const struct shape *in = &node->x[0].shape, *out = &node->y.shape;
  size_t tables = axis_bytes(in->d, out->d) + axis_bytes(in->h, out->h) + axis_bytes(in->w, out->w);
  bool blocked = node->y.layout == LAYOUT_BLOCKED;
  size_t planes =
      (size_t)in->n * (size_t)tensor_stored_channels(&node->y) / (blocked ? CHANNEL_BLOCK : 1);
  node->forward_workspace =
      tables + planes * (size_t)out->d * (size_t)row_floats(node, false) * sizeof(float);
  node->backward_workspace =
      tables + planes * (size_t)in->d * (size_t)row_floats(node, true) * sizeof(float);
}

static void add_row(float *to, const float *from, int64_t count, float weight) {
  if (weight == 0) return;
  for (int64_t i = 0; i < count; i++) to[i] += weight * from[i];
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

static void forward_slice(const struct grid *g, const float *x, float *y, float *sums, int d) {
  for (int h = 0; h < g->out.h; h++) {
    memset(sums, 0, (size_t)g->row * sizeof *sums);
    for (int corner = 0; corner < 4; corner++) {
      int from_d = corner < 2 ? g->d.low[d] : g->d.high[d];
      int from_h = corner % 2 ? g->h.high[h] : g->h.low[h];
      float weight = (corner < 2 ? g->d.low_weight[d] : g->d.high_weight[d]) *
                     (corner % 2 ? g->h.high_weight[h] : g->h.low_weight[h]);
      add_row(sums, x + ((int64_t)from_d * g->in.h + from_h) * g->row, g->row, weight);
    }
    float *to = y + ((int64_t)d * g->out.h + h) * g->out.w * g->lanes;
    if (g->lanes == 1)
      spread_row(&g->w, sums, to, g->out.w, 1);
    else
      spread_row(&g->w, sums, to, g->out.w, CHANNEL_BLOCK);
  }
}

static void backward_slice(const struct grid *g, const float *dy, float *dx, float *sums, int d,
                           bool add) {
  for (int h = 0; h < g->in.h; h++) {
    memset(sums, 0, (size_t)g->row * sizeof *sums);
    for (int od = g->d.first[d]; od < g->d.first[d + 2]; od++)
      for (int oh = g->h.first[h]; oh < g->h.first[h + 2]; oh++)
        add_row(sums, dy + ((int64_t)od * g->out.h + oh) * g->row, g->row,
                axis_weight(&g->d, od, d) * axis_weight(&g->h, oh, h));
    int64_t count = (int64_t)g->in.w * g->lanes;
    float *to = dx + ((int64_t)d * g->in.h + h) * count;
    if (!add) memset(to, 0, (size_t)count * sizeof *to);
    if (g->lanes == 1)
      collect_row(&g->w, sums, to, g->out.w, 1);
    else
      collect_row(&g->w, sums, to, g->out.w, CHANNEL_BLOCK);
  }
}

static bool resize_applies(const struct node *node) {
  return simd_available() && node->x[0].layout == node->y.layout;
}

static enum status resize_forward(const struct node *node, const struct io *io,
                                  struct stream *stream) {
  (void)stream;
  struct grid g = grid_make(node, io->workspace, false);
  int64_t in = shape_voxels(g.in) * g.lanes, out = shape_voxels(g.out) * g.lanes;
#pragma omp parallel for schedule(static)
  for (int64_t slice = 0; slice < g.planes * g.out.d; slice++)
    forward_slice(&g, (const float *)io->x[0] + slice / g.out.d * in,
                  (float *)io->y + slice / g.out.d * out, g.sums + slice * g.row,
                  (int)(slice % g.out.d));
  return STATUS_OK;
}

static enum status resize_backward(const struct node *node, const struct io *io,
                                   struct stream *stream) {
  (void)stream;
  if (!io->dx[0]) return STATUS_OK;
  struct grid g = grid_make(node, io->workspace, true);
  int64_t in = shape_voxels(g.in) * g.lanes, out = shape_voxels(g.out) * g.lanes;
#pragma omp parallel for schedule(static)
  for (int64_t slice = 0; slice < g.planes * g.in.d; slice++)
    backward_slice(&g, (const float *)io->dy + slice / g.in.d * out,
                   (float *)io->dx[0] + slice / g.in.d * in, g.sums + slice * g.row,
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
