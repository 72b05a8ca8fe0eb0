/* dropout on vectors: the words of a piece of voxels are drawn together, one lane for each group of
 * four channels: in blocks of 16 four of them are one voxel, else each is a voxel by itself. */
#include <string.h>
#include "kernels/common/simd.h"
#include "kernels/dropout/mask.h"

enum { LANES = 256 /* of a piece */, GROUP = 4, GROUPS = CHANNEL_BLOCK / GROUP };

/* Philox of the lanes' counters, in place. */
struct words {
  uint32_t word[GROUP][LANES];
};

static void draw(struct words *words, const uint32_t key[2]) {
  uint32_t k0 = key[0], k1 = key[1];
  for (int round = 0; round < PHILOX_ROUNDS; round++) {
    for (int l = 0; l < LANES; l++) {
      uint64_t product0 = (uint64_t)0xD2511F53u * words->word[0][l];
      uint64_t product1 = (uint64_t)0xCD9E8D57u * words->word[2][l];
      words->word[0][l] = (uint32_t)(product1 >> 32) ^ words->word[1][l] ^ k0;
      words->word[2][l] = (uint32_t)(product0 >> 32) ^ words->word[3][l] ^ k1;
      words->word[1][l] = (uint32_t)product1;
      words->word[3][l] = (uint32_t)product0;
    }
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
}

/* A piece: `count` elements of a channel from `voxel` on, or of a block of channels. */
struct piece {
  uint32_t voxel, channel; /* the first */
  int64_t at;              /* where it is */
  int count;               /* voxels */
};

static void draw_blocks(const struct dropout_mask *mask, const struct piece *piece,
                        struct words *words) {
  for (int l = 0; l < LANES; l++) {
    words->word[0][l] = piece->voxel + (uint32_t)(l / GROUPS);
    words->word[1][l] = piece->channel / GROUP + (uint32_t)(l % GROUPS);
    words->word[2][l] = mask->number;
    words->word[3][l] = 0;
  }
}

static void draw_plane(const struct dropout_mask *mask, const struct piece *piece,
                       struct words *words) {
  for (int l = 0; l < LANES; l++) {
    words->word[0][l] = piece->voxel + (uint32_t)l;
    words->word[1][l] = piece->channel / GROUP;
    words->word[2][l] = mask->number;
    words->word[3][l] = 0;
  }
}

/* The words in the order of a block's elements. */
static void interleave(const struct words *words, uint32_t *word) {
  for (int l = 0; l < LANES; l++)
    for (int j = 0; j < GROUP; j++) word[GROUP * l + j] = words->word[j][l];
}

/* `to` may be `from`. */
static void apply_words(const struct dropout_mask *mask, const uint32_t *word, const float *from,
                        float *to, int count) {
  const uint32_t threshold = mask->threshold;
  const float scale = mask->scale;
#pragma omp simd
  for (int i = 0; i < count; i++) to[i] = word[i] < threshold ? 0 : from[i] * scale;
}

static void add_words(const struct dropout_mask *mask, const uint32_t *word, const float *from,
                      float *to, int count) {
  const uint32_t threshold = mask->threshold;
  const float scale = mask->scale;
#pragma omp simd
  for (int i = 0; i < count; i++) to[i] += word[i] < threshold ? 0 : from[i] * scale;
}

struct job {
  const struct tensor *x;
  struct dropout_mask mask;
  const float *rows, *from;
  float *to;
  bool add, blocks;
  int step;       /* voxels of a piece */
  int64_t planes; /* groups of channels of a sample that are drawn together: 4, or 16 */
  int64_t pieces; /* of a plane */
};

static void give_piece(const struct job *job, const struct piece *piece,
                       const struct words *words) {
  void (*give)(const struct dropout_mask *, const uint32_t *, const float *, float *, int) =
      job->add ? add_words : apply_words;
  int64_t voxels = shape_voxels(job->x->shape), at = piece->at;
  uint32_t word[GROUP * LANES];
  if (job->blocks) {
    interleave(words, word);
    give(&job->mask, word, job->from + at, job->to + at, piece->count * CHANNEL_BLOCK);
    return;
  }
  for (int j = 0; j < GROUP && (int)piece->channel + j < job->x->shape.c; j++, at += voxels)
    give(&job->mask, words->word[j], job->from + at, job->to + at, piece->count);
}

static void do_piece(const struct job *job, int64_t number) {
  int64_t voxels = shape_voxels(job->x->shape), plane = number / job->pieces;
  int64_t first = number % job->pieces * job->step, left = voxels - first;
  int n = (int)(plane / job->planes);
  const float *row = job->rows + (int64_t)n * DROPOUT_KEY;
  const uint32_t key[2] = {(uint32_t)row[0], (uint32_t)row[1]};
  struct piece piece = {.voxel = (uint32_t)first,
                        .count = (int)(left < job->step ? left : job->step)};
  struct words words;
  piece.channel = (uint32_t)(plane % job->planes) * (job->blocks ? CHANNEL_BLOCK : GROUP);
  piece.at =
      tensor_at(job->x, n, (int)piece.channel, 0, 0, 0) + first * tensor_voxel_stride(job->x);
  (job->blocks ? draw_blocks : draw_plane)(&job->mask, &piece, &words);
  draw(&words, key);
  give_piece(job, &piece, &words);
}

/* to = mask(from), or to + mask(from). */
static void apply(const struct node *node, const float *rows, const float *from, float *to,
                  bool add) {
  struct job job = {&node->x[0], dropout_mask_make(node), rows, from, to, add, false, LANES, 0, 0};
  int channels = tensor_stored_channels(job.x);
  job.blocks = job.x->layout == LAYOUT_BLOCKED;
  job.step = job.blocks ? LANES / GROUPS : LANES;
  job.planes = job.blocks ? channels / CHANNEL_BLOCK : (channels + GROUP - 1) / GROUP;
  job.pieces = (shape_voxels(job.x->shape) + job.step - 1) / job.step;
#pragma omp parallel for schedule(static)
  for (int64_t number = 0; number < job.x->shape.n * job.planes * job.pieces; number++)
    do_piece(&job, number);
}

static bool dropout_applies(const struct node *node) {
  return simd_available() && node->x[0].layout != LAYOUT_LAST && node->x[1].dtype == DTYPE_F32;
}

static enum status dropout_forward(const struct node *node, const struct io *io,
                                   struct stream *stream) {
  (void)stream;
  memcpy(io->saved[0], io->x[1], tensor_bytes(&node->saved[0]));
  apply(node, io->saved[0], io->x[0], io->y, false);
  return STATUS_OK;
}

static enum status dropout_backward(const struct node *node, const struct io *io,
                                    struct stream *stream) {
  (void)stream;
  if (io->dx[0]) apply(node, io->saved[0], io->dy, io->dx[0], io->dx_add[0]);
  return STATUS_OK;
}

extern const struct kernel SIMD_NAME(dropout_simd);
const struct kernel SIMD_NAME(dropout_simd) = {
    .name = SIMD_LABEL("simd"),
    .device = DEVICE_CPU,
    .dtype = DTYPE_F32,
    .training = true,
    .applies = dropout_applies,
    .forward = dropout_forward,
    .backward = dropout_backward,
};
