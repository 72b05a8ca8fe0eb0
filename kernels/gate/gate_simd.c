/* gate on vectors: a chunk of voxels of a sample at a time, whose gates are computed once for all
 * channels. Channels are added in their order. */
#include <string.h>
#include "kernels/common/simd_math.h"
#include "kernels/op.h"

enum { CHUNK = 128 }; /* voxels: those of all sums fit the first cache */

/* A chunk of a tensor of planes: a channel of planar tensors, a block of 16 of others. */
struct part {
  int64_t sample, first; /* its first voxel */
  int count, planes, columns;
};

/* Of the node's voxels: 1 / (1 + e^-q), and what it leaves of 1. */
struct gates {
  float open[CHUNK], rest[CHUNK];
};

static int64_t chunks_of(const struct node *node) {
  return (shape_voxels(node->x[0].shape) + CHUNK - 1) / CHUNK;
}

static struct part part_make(const struct node *node, int64_t number) {
  const struct tensor *x = &node->x[0];
  int64_t chunks = chunks_of(node), left;
  struct part part = {.columns = (int)tensor_voxel_stride(x)};
  part.sample = number / chunks;
  part.first = number % chunks * CHUNK;
  part.planes = tensor_stored_channels(x) / part.columns;
  left = shape_voxels(x->shape) - part.first;
  part.count = left < CHUNK ? (int)left : CHUNK;
  return part;
}

/* Where the part begins in plane `plane` of a tensor like x. */
static int64_t place(const struct node *node, const struct part *part, int plane) {
  int64_t voxels = shape_voxels(node->x[0].shape);
  return ((part->sample * part->planes + plane) * voxels + part->first) * part->columns;
}

static const float *gates_of(const struct node *node, const struct io *io,
                             const struct part *part) {
  return (const float *)io->x[1] + part->sample * shape_voxels(node->x[0].shape) + part->first;
}

static void open_gates(const float *q, int count, struct gates *gates) {
  float padded[CHUNK] = {0};
  memcpy(padded, q, (size_t)count * sizeof(float));
  for (int v = 0; v < CHUNK; v += SIMD_WIDTH) {
    struct simd_chance chance = simd_sigmoid(simd_load(padded + v));
    simd_store(gates->open + v, chance.p);
    simd_store(gates->rest + v, chance.rest);
  }
}

/* to (+)= from * open, of `count` voxels. */
static void multiply_blocks(const float *from, const float *open, float *to, int count, bool add) {
  for (int v = 0; v < count; v++) SIMD_UNROLL for (int i = 0; i < SIMD_PER_BLOCK; i++) {
      int at = v * CHANNEL_BLOCK + i * SIMD_WIDTH;
      simd value = simd_load(from + at) * open[v];
      if (add) value += simd_load(to + at);
      simd_store(to + at, value);
    }
}

static void multiply_plane(const float *from, const float *open, float *to, int count, bool add) {
  for (int v = 0; v < count; v++) to[v] = add ? to[v] + from[v] * open[v] : from[v] * open[v];
}

static void multiply(const struct part *part, const float *from, const float *open, float *to,
                     bool add) {
  (part->columns == CHANNEL_BLOCK ? multiply_blocks : multiply_plane)(from, open, to, part->count,
                                                                      add);
}

static enum status gate_forward(const struct node *node, const struct io *io,
                                struct stream *stream) {
  (void)stream;
#pragma omp parallel for schedule(static)
  for (int64_t i = 0; i < node->x[0].shape.n * chunks_of(node); i++) {
    const struct part part = part_make(node, i);
    struct gates gates;
    open_gates(gates_of(node, io, &part), part.count, &gates);
    for (int plane = 0; plane < part.planes; plane++) {
      int64_t at = place(node, &part, plane);
      multiply(&part, (const float *)io->x[0] + at, gates.open, (float *)io->y + at, false);
    }
  }
  return STATUS_OK;
}

/* sums[v][column] += x * dy. */
static void add_products(const float *x, const float *dy, float *sums, int64_t count) {
  for (int64_t i = 0; i < count; i++) sums[i] += x[i] * dy[i];
}

static void give_gates(const struct part *part, const struct gates *gates, const float *sums,
                       float *dq, bool add) {
  for (int v = 0; v < part->count; v++) {
    float sum = 0;
    for (int c = 0; c < part->columns; c++) sum += sums[v * part->columns + c];
    sum *= gates->open[v] * gates->rest[v];
    dq[v] = add ? dq[v] + sum : sum;
  }
}

static void backward_part(const struct node *node, const struct io *io, const struct part *part) {
  struct gates gates;
  float sums[CHUNK * CHANNEL_BLOCK];
  const float *q = gates_of(node, io, part);
  memset(sums, 0, sizeof sums);
  open_gates(q, part->count, &gates);
  for (int plane = 0; plane < part->planes; plane++) {
    int64_t at = place(node, part, plane);
    const float *x = (const float *)io->x[0] + at, *dy = (const float *)io->dy + at;
    add_products(x, dy, sums, (int64_t)part->count * part->columns);
    if (io->dx[0]) multiply(part, dy, gates.open, (float *)io->dx[0] + at, io->dx_add[0]);
  }
  if (io->dx[1])
    give_gates(part, &gates, sums, (float *)io->dx[1] + (q - (const float *)io->x[1]),
               io->dx_add[1]);
}

static enum status gate_backward(const struct node *node, const struct io *io,
                                 struct stream *stream) {
  (void)stream;
#pragma omp parallel for schedule(static)
  for (int64_t i = 0; i < node->x[0].shape.n * chunks_of(node); i++) {
    const struct part part = part_make(node, i);
    backward_part(node, io, &part);
  }
  return STATUS_OK;
}

static bool gate_applies(const struct node *node) {
  return simd_available() && node->x[0].layout != LAYOUT_LAST && node->x[1].layout == LAYOUT_PLANAR;
}

extern const struct kernel SIMD_NAME(gate_simd);
const struct kernel SIMD_NAME(gate_simd) = {
    .name = SIMD_LABEL("simd"),
    .device = DEVICE_CPU,
    .dtype = DTYPE_F32,
    .training = true,
    .applies = gate_applies,
    .forward = gate_forward,
    .backward = gate_backward,
};
