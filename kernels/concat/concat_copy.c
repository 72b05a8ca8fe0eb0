/* concat by pieces of voxels that stay in the cache: whole blocks of 16 channels where both sides
 * have them at the same place, single channels elsewhere. Bound by memory on any processor. */
#include <string.h>
#include "kernels/concat/concat.h"

enum { PIECE = 256 }; /* voxels */

/* Voxels [first, first + count) of one sample. */
struct piece {
  int n, count;
  int64_t first;
};

static float *at(const struct tensor *tensor, const void *memory, const struct piece *piece,
                 int c) {
  int64_t step = tensor->layout == LAYOUT_BLOCKED ? CHANNEL_BLOCK : 1;
  return (float *)(uintptr_t)memory + tensor_at(tensor, piece->n, c, 0, 0, 0) + piece->first * step;
}

static void move_floats(const float *from, float *to, int count, bool add) {
  if (!add)
    memcpy(to, from, (size_t)count * sizeof *to);
  else
    for (int i = 0; i < count; i++) to[i] += from[i];
}

static void move_channel(const float *from, int from_step, float *to, int to_step, int count,
                         bool add) {
  if (add)
    for (int i = 0; i < count; i++) to[i * to_step] += from[i * from_step];
  else
    for (int i = 0; i < count; i++) to[i * to_step] = from[i * from_step];
}

/* Channels [from_c, from_c + count) of one tensor to [to_c, ...) of another. Whole blocks may
 * include padding when `padded`: what they overwrite is written later, or padding too. */
static void move_channels(const struct tensor *from, const void *source, int from_c,
                          const struct tensor *to, void *target, int to_c, int count,
                          const struct piece *piece, bool add, bool padded) {
  int from_step = from->layout == LAYOUT_BLOCKED ? CHANNEL_BLOCK : 1;
  int to_step = to->layout == LAYOUT_BLOCKED ? CHANNEL_BLOCK : 1;
  bool blocks = from_step == CHANNEL_BLOCK && to_step == CHANNEL_BLOCK &&
                from_c % CHANNEL_BLOCK == 0 && to_c % CHANNEL_BLOCK == 0;
  for (int c = 0; c < count; c++) {
    const float *start = at(from, source, piece, from_c + c);
    float *end = at(to, target, piece, to_c + c);
    if (blocks && c % CHANNEL_BLOCK == 0 && (padded || count - c >= CHANNEL_BLOCK)) {
      move_floats(start, end, piece->count * CHANNEL_BLOCK, add);
      c += CHANNEL_BLOCK - 1;
    } else {
      move_channel(start, from_step, end, to_step, piece->count, add);
    }
  }
}

static void clear_padding(const struct tensor *tensor, void *memory, const struct piece *piece) {
  int used = tensor->shape.c % CHANNEL_BLOCK;
  if (tensor->layout != LAYOUT_BLOCKED || used == 0) return;
  float *block = at(tensor, memory, piece, tensor->shape.c - used);
  for (int i = 0; i < piece->count; i++)
    for (int c = used; c < CHANNEL_BLOCK; c++) block[i * CHANNEL_BLOCK + c] = 0;
}

static int64_t pieces_per_sample(const struct node *node) {
  return (shape_voxels(node->y.shape) + PIECE - 1) / PIECE;
}

static struct piece piece_make(const struct node *node, int64_t number) {
  int64_t pieces = pieces_per_sample(node), first = number % pieces * PIECE;
  int64_t left = shape_voxels(node->y.shape) - first;
  return (struct piece){(int)(number / pieces), left < PIECE ? (int)left : PIECE, first};
}

static void join_piece(const struct node *node, const struct io *io, const struct piece *piece) {
  clear_padding(&node->y, io->y, piece);
  for (int i = 0, first = 0; i < node->input_count; first += node->x[i++].shape.c)
    move_channels(&node->x[i], io->x[i], 0, &node->y, io->y, first, node->x[i].shape.c, piece,
                  false, true);
}

static void split_piece(const struct node *node, const struct io *io, const struct piece *piece) {
  for (int i = 0, first = 0; i < node->input_count; first += node->x[i++].shape.c) {
    if (!io->dx[i]) continue;
    if (!io->dx_add[i]) clear_padding(&node->x[i], io->dx[i], piece);
    move_channels(&node->y, io->dy, first, &node->x[i], io->dx[i], 0, node->x[i].shape.c, piece,
                  io->dx_add[i], false);
  }
}

static enum status concat_forward(const struct node *node, const struct io *io,
                                  struct stream *stream) {
  (void)stream;
#pragma omp parallel for schedule(static)
  for (int64_t i = 0; i < node->y.shape.n * pieces_per_sample(node); i++) {
    struct piece piece = piece_make(node, i);
    join_piece(node, io, &piece);
  }
  return STATUS_OK;
}

static enum status concat_backward(const struct node *node, const struct io *io,
                                   struct stream *stream) {
  (void)stream;
#pragma omp parallel for schedule(static)
  for (int64_t i = 0; i < node->y.shape.n * pieces_per_sample(node); i++) {
    struct piece piece = piece_make(node, i);
    split_piece(node, io, &piece);
  }
  return STATUS_OK;
}

extern const struct kernel concat_copy;
const struct kernel concat_copy = {
    .name = "copy",
    .device = DEVICE_CPU,
    .dtype = DTYPE_F32,
    .training = true,
    .forward = concat_forward,
    .backward = concat_backward,
};
