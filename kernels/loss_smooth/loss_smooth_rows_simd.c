/* loss_smooth by rows of planar tensors. Forward adds the differences of a row into one float64 per
 * column, so that the lanes of a vector are columns and the order of the sum is fixed. Backward
 * gathers: the differences that read a row of voxels are computed again, which costs less than
 * storing them. */
#include <math.h>
#include <string.h>
#include "kernels/common/fold.h"
#include "kernels/common/simd.h"
#include "kernels/loss_smooth/terms.h"

enum {
  REACH = 2,       /* how far a difference reads along a row */
  TILE = 240,      /* columns per piece: what is kept of a row stays in the first cache */
  COLUMNS = 256,   /* a piece with REACH on both sides, whole vectors */
  MOST_ROWS = 16,  /* rows of differences that read one row of voxels: 15 for bending */
  MOST_READS = 24, /* and in how many ways: 21 for bending */
  GROUP = 4,
};

/* One component of one sample. */
struct component {
  const struct shape *shape;
  const float *u;
  int64_t readable; /* floats from u to the end of the tensor */
};

/* A piece of row (d, h): columns [begin, end). */
struct piece {
  int d, h, begin, end;
};

/* The sum of coefficient[k] * from[k][i]. */
struct mix {
  const float *from[GROUP];
  float coefficient[GROUP];
};

static int larger(int a, int b) {
  return a > b ? a : b;
}

static int smaller(int a, int b) {
  return a < b ? a : b;
}

static int whole_vectors(int count) {
  return (count + SIMD_WIDTH - 1) / SIMD_WIDTH * SIMD_WIDTH;
}

static void mix_2(const struct mix *mix, int count, float *restrict sum) {
  struct mix m = *mix;
  for (int i = 0; i < count; i++)
    sum[i] = m.coefficient[0] * m.from[0][i] + m.coefficient[1] * m.from[1][i];
}

static void mix_3(const struct mix *mix, int count, float *restrict sum) {
  struct mix m = *mix;
  for (int i = 0; i < count; i++)
    sum[i] = m.coefficient[0] * m.from[0][i] + m.coefficient[1] * m.from[1][i] +
             m.coefficient[2] * m.from[2][i];
}

static void mix_4(const struct mix *mix, int count, float *restrict sum) {
  struct mix m = *mix;
  for (int i = 0; i < count; i++)
    sum[i] = m.coefficient[0] * m.from[0][i] + m.coefficient[1] * m.from[1][i] +
             (m.coefficient[2] * m.from[2][i] + m.coefficient[3] * m.from[3][i]);
}

static void mix_4_add(const struct mix *mix, int count, float *restrict sum) {
  struct mix m = *mix;
  for (int i = 0; i < count; i++)
    sum[i] += m.coefficient[0] * m.from[0][i] + m.coefficient[1] * m.from[1][i] +
              (m.coefficient[2] * m.from[2][i] + m.coefficient[3] * m.from[3][i]);
}

/* By the number of taps. */
static void (*const mixes[SMOOTH_MOST_TAPS + 1])(const struct mix *, int, float *restrict) = {
    NULL, NULL, mix_2, mix_3, mix_4};

static bool within(const struct smooth_term *term, int axis, int at) {
  return at >= term->first[axis] && at < term->end[axis];
}

/* value[i]: the difference at column begin+i of the piece, 0 where it is not taken; whole vectors
 * of them. Reads on in the tensor to fill the last vector, if there is anything to read. */
static void difference_row(const struct smooth_term *term, const struct component *component,
                           const struct piece *piece, float *value) {
  const struct shape *s = component->shape;
  int first = larger(piece->begin, term->first[2]), end = smaller(piece->end, term->end[2]);
  int count = end > first ? end - first : 0, columns = whole_vectors(piece->end - piece->begin);
  int64_t centre = ((int64_t)piece->d * s->h + piece->h) * s->w + first, last = centre;
  struct mix mix;
  for (int k = 0; k < term->taps; k++) {
    const int *offset = term->tap[k].offset;
    int64_t at = centre + ((int64_t)offset[0] * s->h + offset[1]) * s->w + offset[2];
    if (at > last) last = at;
    mix.from[k] = component->u + at;
    mix.coefficient[k] = (float)term->tap[k].coefficient;
  }
  bool room = last + whole_vectors(count) <= component->readable;
  int skip = smaller(first - piece->begin, columns);
  memset(value, 0, (size_t)skip * sizeof *value);
  mixes[term->taps](&mix, room ? whole_vectors(count) : count, value + skip);
  memset(value + skip + count, 0, (size_t)(columns - skip - count) * sizeof *value);
}

/* --- forward --- */

static void energy_squared(const float *value, float scale, int count, float *restrict energy) {
  for (int i = 0; i < count; i++) energy[i] += scale * (value[i] * value[i]);
}

static void energy_absolute(const float *value, float scale, int count, float *restrict energy) {
  for (int i = 0; i < count; i++) energy[i] += scale * fabsf(value[i]);
}

/* Adds the energies of a piece, in units of the first term's scale, to sum[column]. */
static void energy_piece(const struct smooth_penalty *penalty, const struct component *component,
                         const struct piece *piece, double *restrict sum) {
  float energy[COLUMNS] = {0}, value[COLUMNS + SIMD_WIDTH];
  int columns = whole_vectors(piece->end - piece->begin);
  for (int t = 0; t < penalty->terms; t++) {
    const struct smooth_term *term = &penalty->term[t];
    if (!within(term, 0, piece->d) || !within(term, 1, piece->h)) continue;
    float scale = (float)(term->scale / penalty->term[0].scale);
    difference_row(term, component, piece, value);
    (penalty->absolute ? energy_absolute : energy_squared)(value, scale, columns, energy);
  }
  for (int i = 0; i < columns; i++) sum[i] += (double)energy[i];
}

static double slice_energy(const struct smooth_penalty *penalty, const struct component *component,
                           int d) {
  const struct shape *s = component->shape;
  struct piece piece = {.d = d};
  double total = 0;
  for (piece.begin = 0; piece.begin < s->w; piece.begin += TILE) {
    double sum[COLUMNS] = {0};
    piece.end = smaller(piece.begin + TILE, s->w);
    for (piece.h = 0; piece.h < s->h; piece.h++) energy_piece(penalty, component, &piece, sum);
    for (int i = 0; i < piece.end - piece.begin; i++) total += sum[i];
  }
  return total * penalty->term[0].scale;
}

static bool loss_smooth_applies(const struct node *node) {
  return simd_available() && node->x[0].layout == LAYOUT_PLANAR;
}

static int slice_count(const struct node *node) {
  struct shape s = node->x[0].shape;
  return s.n * s.c * s.d;
}

static void loss_smooth_prepare(struct node *node) {
  node->forward_workspace = (size_t)slice_count(node) * sizeof(double);
}

static struct component component_make(const struct shape *shape, const float *x, int index) {
  int64_t voxels = shape_voxels(*shape);
  return (struct component){shape, x + index * voxels,
                            ((int64_t)shape->n * shape->c - index) * voxels};
}

static enum status loss_smooth_forward(const struct node *node, const struct io *io,
                                       struct stream *stream) {
  (void)stream;
  struct smooth_penalty penalty = smooth_penalty_make(node);
  struct shape shape = node->x[0].shape;
  double *partial = io->workspace;
  int slices = slice_count(node);
#pragma omp parallel for schedule(static)
  for (int i = 0; i < slices; i++) {
    struct component component = component_make(&shape, io->x[0], i / shape.d);
    partial[i] = slice_energy(&penalty, &component, i % shape.d);
  }
  *(double *)io->y = fold_sum(partial, slices);
  return STATUS_OK;
}

/* --- backward --- */

/* The rows of differences that read one row of voxels, and how: in which, from which column on, and
 * times what. */
struct gather {
  int rows, reads;
  struct {
    int d, h;
  } row[MOST_ROWS];
  float value[MOST_ROWS][COLUMNS + SIMD_WIDTH];
  struct mix read[MOST_READS / GROUP];
};

/* The signs are what |difference| has for slopes. */
static void take_signs(float *value, int count) {
  for (int i = 0; i < count; i++) value[i] = (float)(value[i] > 0) - (float)(value[i] < 0);
}

/* The row of a term's differences that reads this piece through a tap: the one computed before from
 * `first` on, or a new one. */
static const float *gather_row(struct gather *gather, int first,
                               const struct smooth_penalty *penalty, const struct smooth_term *term,
                               const struct component *component, const struct piece *piece) {
  int i = first;
  while (i < gather->rows && (gather->row[i].d != piece->d || gather->row[i].h != piece->h)) i++;
  if (i < gather->rows) return gather->value[i];
  gather->row[i].d = piece->d;
  gather->row[i].h = piece->h;
  gather->rows++;
  difference_row(term, component, piece, gather->value[i]);
  if (penalty->absolute) take_signs(gather->value[i], whole_vectors(piece->end - piece->begin));
  return gather->value[i];
}

static void gather_term(struct gather *gather, const struct smooth_penalty *penalty,
                        const struct smooth_term *term, const struct component *component,
                        const struct piece *piece) {
  int first = gather->rows;
  double slope = (penalty->absolute ? 1 : 2) * term->scale / penalty->term[0].scale;
  for (int k = 0; k < term->taps; k++) {
    const struct smooth_tap *tap = &term->tap[k];
    struct piece from = {piece->d - tap->offset[0], piece->h - tap->offset[1], piece->begin - REACH,
                         piece->end + REACH};
    if (!within(term, 0, from.d) || !within(term, 1, from.h)) continue;
    const float *row = gather_row(gather, first, penalty, term, component, &from);
    struct mix *mix = &gather->read[gather->reads / GROUP];
    mix->from[gather->reads % GROUP] = row + REACH - tap->offset[2];
    mix->coefficient[gather->reads % GROUP] = (float)(slope * tap->coefficient);
    gather->reads++;
  }
}

/* sum[i]: the gradient at column begin+i of the piece, in units of the first term's scale. */
static void slope_piece(const struct smooth_penalty *penalty, const struct component *component,
                        const struct piece *piece, float *sum) {
  struct gather gather;
  gather.rows = gather.reads = 0;
  for (int t = 0; t < penalty->terms; t++)
    gather_term(&gather, penalty, &penalty->term[t], component, piece);
  int columns = whole_vectors(piece->end - piece->begin);
  memset(sum, 0, (size_t)columns * sizeof *sum);
  for (; gather.reads % GROUP; gather.reads++) {
    struct mix *mix = &gather.read[gather.reads / GROUP];
    mix->from[gather.reads % GROUP] = mix->from[0];
    mix->coefficient[gather.reads % GROUP] = 0;
  }
  for (int k = 0; k < gather.reads / GROUP; k++) mix_4_add(&gather.read[k], columns, sum);
}

static void slice_gradient(const struct smooth_penalty *penalty, const struct component *component,
                           float *dx, bool add, double dy, int d) {
  const struct shape *s = component->shape;
  float sum[COLUMNS], scale = (float)(dy * penalty->term[0].scale);
  struct piece piece = {.d = d};
  for (piece.h = 0; piece.h < s->h; piece.h++)
    for (piece.begin = 0; piece.begin < s->w; piece.begin += TILE) {
      piece.end = smaller(piece.begin + TILE, s->w);
      slope_piece(penalty, component, &piece, sum);
      float *row = dx + ((int64_t)d * s->h + piece.h) * s->w + piece.begin;
      for (int i = 0; i < piece.end - piece.begin; i++)
        row[i] = (add ? row[i] : 0) + scale * sum[i];
    }
}

static enum status loss_smooth_backward(const struct node *node, const struct io *io,
                                        struct stream *stream) {
  (void)stream;
  struct smooth_penalty penalty = smooth_penalty_make(node);
  struct shape shape = node->x[0].shape;
  float *dx = io->dx[0];
  double dy = *(const double *)io->dy;
  int slices = dx ? slice_count(node) : 0;
#pragma omp parallel for schedule(static)
  for (int i = 0; i < slices; i++) {
    struct component component = component_make(&shape, io->x[0], i / shape.d);
    float *own = dx + i / shape.d * shape_voxels(shape);
    slice_gradient(&penalty, &component, own, io->dx_add[0], dy, i % shape.d);
  }
  return STATUS_OK;
}

extern const struct kernel SIMD_NAME(loss_smooth_rows);
const struct kernel SIMD_NAME(loss_smooth_rows) = {
    .name = SIMD_LABEL("rows"),
    .device = DEVICE_CPU,
    .dtype = DTYPE_F32,
    .training = true,
    .applies = loss_smooth_applies,
    .prepare = loss_smooth_prepare,
    .forward = loss_smooth_forward,
    .backward = loss_smooth_backward,
};
