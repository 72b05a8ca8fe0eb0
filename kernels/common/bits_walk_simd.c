/* A block is a range of voxels of one planar channel, or of 16 channels that are stored together.
 */
#include "kernels/common/bits_walk.h"
#include <stdalign.h>
#include <string.h>

enum { BLOCK = 8192 /* logits */ };

struct walk {
  const struct tensor *x, *bits;
  const float *from;
  const unsigned char *map;
  float *dx; /* NULL: forward */
  bool add, past;
  bits_each *each;
  const void *context;
};

struct room {
  alignas(64) float z[BITS_PIECE], slopes[BITS_PIECE];
  uint16_t truth[BITS_PIECE / CHANNEL_BLOCK];
};

static int lanes_of(const struct tensor *x) {
  return x->layout == LAYOUT_BLOCKED ? CHANNEL_BLOCK : 1;
}

static int64_t voxels_of_block(const struct tensor *x) {
  return BLOCK / lanes_of(x);
}

int SIMD_NAME(bits_blocks)(const struct node *node) {
  int64_t each = voxels_of_block(&node->x[0]);
  return (int)((shape_voxels(node->x[0].shape) + each - 1) / each);
}

int SIMD_NAME(bits_groups)(const struct node *node) {
  return tensor_stored_channels(&node->x[0]) / lanes_of(&node->x[0]);
}

/* Bytes of the truth from channel c of the logits on, at voxel v of a sample; NULL: none there. */
static const unsigned char *bytes_at(const struct walk *walk, int n, int c, int64_t v) {
  const struct tensor *bits = walk->bits;
  if (c / 8 >= bits->shape.c) return NULL;
  return walk->map + tensor_at(bits, n, c / 8, 0, 0, 0) + v * tensor_voxel_stride(bits);
}

/* Bit `bit` of 8 bytes, that of the first byte lowest. */
static inline int gather_bits(const unsigned char *bytes, int64_t step, int bit) {
  uint64_t gathered = 0;
  for (int i = 0; i < 8; i++) gathered |= (uint64_t)bytes[i * step] << 8 * i;
  return (int)((gathered >> bit & 0x0101010101010101U) * 0x0102040810204080U >> 56);
}

static inline __attribute__((always_inline)) void gather_words(const unsigned char *bytes,
                                                               int64_t step, int bit, int count,
                                                               uint16_t *truth) {
  for (int i = 0; i < count; i++, bytes += CHANNEL_BLOCK * step)
    truth[i] =
        (uint16_t)(gather_bits(bytes, step, bit) | gather_bits(bytes + 8 * step, step, bit) << 8);
}

static void unpack_planar(const struct walk *walk, int n, int c, int64_t v, int count,
                          uint16_t *truth) {
  const unsigned char *bytes = bytes_at(walk, n, c, v);
  int64_t step = tensor_voxel_stride(walk->bits);
  int whole = count / CHANNEL_BLOCK, rest = count % CHANNEL_BLOCK;
  unsigned char last[CHANNEL_BLOCK] = {0};
  if (step == 1)
    gather_words(bytes, 1, c % 8, whole, truth);
  else
    gather_words(bytes, step, c % 8, whole, truth);
  for (int i = 0; i < rest; i++) last[i] = bytes[(whole * CHANNEL_BLOCK + i) * step];
  if (rest > 0) gather_words(last, 1, c % 8, 1, truth + whole);
}

static inline __attribute__((always_inline)) void join_bytes(const unsigned char *low,
                                                             const unsigned char *high, int mask,
                                                             int64_t step, int count,
                                                             uint16_t *truth) {
  for (int i = 0; i < count; i++)
    truth[i] = (uint16_t)((low[i * step] | high[i * step] << 8) & mask);
}

static void unpack_blocked(const struct walk *walk, int n, int c, int64_t v, int voxels,
                           uint16_t *truth) {
  const unsigned char *low = bytes_at(walk, n, c, v), *high = bytes_at(walk, n, c + 8, v);
  int64_t step = tensor_voxel_stride(walk->bits);
  int left = walk->x->shape.c - c, mask = left < CHANNEL_BLOCK ? (1 << left) - 1 : 0xffff;
  if (!high) high = low; /* of which the mask leaves nothing */
  if (step == 1)
    join_bytes(low, high, mask, 1, voxels, truth);
  else
    join_bytes(low, high, mask, step, voxels, truth);
}

static int own_lanes(const struct walk *walk, int c) {
  int lanes = lanes_of(walk->x), left = walk->x->shape.c - c;
  return left < lanes ? left : lanes;
}

/* Copies logits, and fills up what a whole piece has beyond them: padding channels, or voxels. */
static void fill_up(const struct walk *walk, const float *from, int c, int voxels, int count,
                    float *z) {
  int lanes = lanes_of(walk->x), own = own_lanes(walk, c);
  float filled[CHANNEL_BLOCK];
  for (int lane = 0; lane < CHANNEL_BLOCK; lane++) filled[lane] = lane < own ? 0 : BITS_NOTHING;
  memcpy(z, from, sizeof(float) * (size_t)(voxels * lanes));
  for (int i = voxels * lanes; i < count; i++) z[i] = BITS_NOTHING;
  if (own == lanes) return;
  for (int i = 0; i < count; i += CHANNEL_BLOCK)
    for (int lane = 0; lane < CHANNEL_BLOCK; lane++)
      z[i + lane] = filled[lane] < 0 ? filled[lane] : z[i + lane];
}

static void give(float *to, const float *from, int count, bool add) {
  if (add)
    for (int i = 0; i < count; i++) to[i] += from[i];
  else
    memcpy(to, from, sizeof(float) * (size_t)count);
}

static void unpack(const struct walk *walk, int n, int c, int64_t v, int voxels, uint16_t *truth) {
  if (lanes_of(walk->x) == 1)
    unpack_planar(walk, n, c, v, voxels, truth);
  else
    unpack_blocked(walk, n, c, v, voxels, truth);
}

/* Whole pieces are read and written where they are, others on copies. */
static void visit_piece(const struct walk *walk, int n, int group, int64_t v, int voxels,
                        double *sums) {
  struct room room;
  int lanes = lanes_of(walk->x), c = group * lanes, own = voxels * lanes;
  int count = (own + CHANNEL_BLOCK - 1) / CHANNEL_BLOCK * CHANNEL_BLOCK;
  int64_t at = tensor_at(walk->x, n, c, 0, 0, 0) + v * lanes;
  struct bits_piece piece = {n, c, lanes, count, walk->from + at, room.truth, sums, NULL, false};
  bool whole = own == count && own_lanes(walk, c) == lanes, direct = whole && !walk->add;
  unpack(walk, n, c, v, voxels, room.truth);
  if (!whole) {
    fill_up(walk, walk->from + at, c, voxels, count, room.z);
    piece.z = room.z;
  }
  if (walk->dx) {
    piece.slopes = direct ? walk->dx + at : room.slopes;
    piece.past = direct && walk->past;
  }
  walk->each(&piece, walk->context);
  if (walk->dx && !direct) give(walk->dx + at, room.slopes, own, walk->add);
}

static void visit_block(const struct walk *walk, int n, int group, int block, double *sums) {
  int64_t most = voxels_of_block(walk->x), v = block * most, end = v + most;
  int64_t voxels = shape_voxels(walk->x->shape), step = BITS_PIECE / lanes_of(walk->x);
  for (end = end < voxels ? end : voxels; v < end; v += step)
    visit_piece(walk, n, group, v, (int)(end - v < step ? end - v : step), sums);
}

static struct walk walk_of(const struct node *node, const struct io *io, bits_each *each,
                           const void *context) {
  return (struct walk){.x = &node->x[0],
                       .bits = &node->x[1],
                       .from = io->x[0],
                       .map = io->x[1],
                       .each = each,
                       .context = context};
}

void SIMD_NAME(bits_sums)(const struct node *node, const struct io *io, bits_each *each,
                          const void *context, double *partial, int count) {
  struct walk walk = walk_of(node, io, each, context);
  int blocks = SIMD_NAME(bits_blocks)(node), groups = SIMD_NAME(bits_groups)(node);
#pragma omp parallel for schedule(static)
  for (int i = 0; i < node->x[0].shape.n * groups * blocks; i++) {
    double sums[BITS_MOST_SUMS] = {0};
    visit_block(&walk, i / blocks / groups, i / blocks % groups, i % blocks, sums);
    for (int s = 0; s < count; s++)
      partial[((int64_t)(i / blocks) * count + s) * blocks + i % blocks] = sums[s];
  }
}

void SIMD_NAME(bits_gradient)(const struct node *node, const struct io *io, bits_each *each,
                              const void *context) {
  struct walk walk = walk_of(node, io, each, context);
  int blocks = SIMD_NAME(bits_blocks)(node), groups = SIMD_NAME(bits_groups)(node);
  walk.dx = io->dx[0];
  walk.add = io->dx_add[0];
  walk.past = lanes_of(walk.x) > 1 && tensor_bytes(walk.x) >= SIMD_STREAM_BYTES;
#pragma omp parallel
  {
#pragma omp for schedule(static)
    for (int i = 0; i < node->x[0].shape.n * groups * blocks; i++)
      visit_block(&walk, i / blocks / groups, i / blocks % groups, i % blocks, NULL);
    simd_flush();
  }
}
