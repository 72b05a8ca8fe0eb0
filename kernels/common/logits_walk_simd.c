/* Blocks of BLOCK_D x BLOCK_H rows of logits are walked over independently; for the gradient also
 * the labels around them that read them, so that every block owns its part of dx.
 *
 * Within a block, logits of a slice of labels are interpolated along d once per row and kept by
 * class (a strip) for the up to four rows of labels that read them; there they are interpolated
 * along h and w at once. Where labels are twice as many along w, those at even places come first in
 * a piece, then those at odd places: neighbours in a vector are then neighbours among the logits.
 * Gradients go the same way back. */
#include "kernels/common/logits_walk.h"
#include <string.h>
#include "kernels/common/simd_math.h"

enum {
  BLOCK_D = 8,
  BLOCK_H = 16,
  ROW = 64,   /* labels of a row in a piece, at most */
  STRIPS = 4, /* a power of 2; three are in use at a time */
  STRIP = ROW + 2 * SIMD_WIDTH,
  MOST_SUMS = 3 * LOGITS_MOST_CLASSES,
  QUAD = 4,
};
typedef float quad __attribute__((vector_size(4 * QUAD), aligned(4), may_alias));

struct walk {
  struct logits logits;
  const struct tensor *x, *labels;
  const float *from;
  const unsigned char *map;
  float *dx;      /* NULL: forward */
  bool add, once; /* once: every element of dx is reached once */
  logits_each *each;
  const void *context;
};

/* A block: logits [from, to) of sample n along d and h. */
struct block {
  int n;
  struct logits_range d, h;
  double *sums;
};

/* Row h of logits, interpolated along d, or of their gradients. Logit from + i of class k is
 * row[k][1 + i]; what is past the ends repeats them. */
struct strip {
  int h; /* -1: none */
  float row[LOGITS_MOST_CLASSES][STRIP];
};

/* Where the walk is: the logits [from, to) of a row, whether labels around them are in it, its
 * place along d, and strips by their h modulo STRIPS. */
struct room {
  struct logits_range w;
  int low, high, half; /* half: labels at even places, or all where they are not twice as many,
                          made whole vectors */
  struct logits_tap d;
  struct strip logits[STRIPS], slopes[STRIPS];
  float z[LOGITS_MOST_CLASSES * LOGITS_ROOM + SIMD_WIDTH];
  unsigned char labels[LOGITS_ROOM];
};

static bool is_double(const struct walk *walk) {
  return walk->logits.factor[2] == 2;
}

static int count_of(const struct room *room) {
  return room->w.to - room->w.from;
}

static int whole_vectors(int count) {
  return (count + SIMD_WIDTH - 1) / SIMD_WIDTH * SIMD_WIDTH;
}

/* Labels of a row in a piece. */
static int step_of(const struct walk *walk, const struct room *room) {
  return is_double(walk) ? 2 * room->half : room->half;
}

/* --- strips of logits --- */

static inline void turn(quad q[QUAD]) {
  quad a = __builtin_shufflevector(q[0], q[1], 0, 4, 1, 5);
  quad b = __builtin_shufflevector(q[2], q[3], 0, 4, 1, 5);
  quad c = __builtin_shufflevector(q[0], q[1], 2, 6, 3, 7);
  quad d = __builtin_shufflevector(q[2], q[3], 2, 6, 3, 7);
  q[0] = __builtin_shufflevector(a, b, 0, 1, 4, 5);
  q[1] = __builtin_shufflevector(a, b, 2, 3, 6, 7);
  q[2] = __builtin_shufflevector(c, d, 0, 1, 4, 5);
  q[3] = __builtin_shufflevector(c, d, 2, 3, 6, 7);
}

/* Classes k to k + 3 of `count` voxels that are stored in blocks of channels: four voxels at a
 * time, then one by one. */
static void load_quads(const float *low, const float *high, const struct logits_tap *tap, int count,
                       float *to) {
  int v = 0;
  for (; v + QUAD <= count; v += QUAD) {
    quad q[QUAD];
    for (int i = 0; i < QUAD; i++)
      q[i] = tap->low_weight * *(const quad *)(low + (v + i) * CHANNEL_BLOCK) +
             tap->high_weight * *(const quad *)(high + (v + i) * CHANNEL_BLOCK);
    turn(q);
    for (int i = 0; i < QUAD; i++) *(quad *)(to + i * STRIP + v) = q[i];
  }
  for (; v < count; v++)
    for (int i = 0; i < QUAD; i++)
      to[i * STRIP + v] = tap->low_weight * low[v * CHANNEL_BLOCK + i] +
                          tap->high_weight * high[v * CHANNEL_BLOCK + i];
}

static void load_row(const float *low, const float *high, const struct logits_tap *tap, int count,
                     int64_t stride, float *to) {
  for (int v = 0; v < count; v++)
    to[v] = tap->low_weight * low[v * stride] + tap->high_weight * high[v * stride];
}

static void load_strip(const struct walk *walk, int n, const struct room *room, int h,
                       struct strip *strip) {
  int width = walk->logits.coarse[2], step = walk->x->layout == LAYOUT_BLOCKED ? QUAD : 1;
  int first = room->w.from > 0 ? room->w.from - 1 : 0;
  int last = room->w.to < width ? room->w.to : width - 1;
  int at = 1 + first - room->w.from, count = last - first + 1;
  int64_t stride = tensor_voxel_stride(walk->x);
  strip->h = h;
  for (int k = 0; k < walk->logits.classes; k += step) {
    const float *low = walk->from + tensor_at(walk->x, n, k, room->d.low, h, first);
    const float *high = walk->from + tensor_at(walk->x, n, k, room->d.high, h, first);
    if (step == QUAD)
      load_quads(low, high, &room->d, count, strip->row[k] + at);
    else
      load_row(low, high, &room->d, count, stride, strip->row[k] + at);
  }
  for (int k = 0; k < walk->logits.classes; k++) {
    float *row = strip->row[k] + 1;
    if (room->w.from == 0) row[-1] = row[0];
    if (room->w.to == width) row[count_of(room)] = row[count_of(room) - 1];
  }
}

static const struct strip *logits_at(const struct walk *walk, int n, struct room *room, int h) {
  struct strip *strip = &room->logits[h % STRIPS];
  if (strip->h != h) load_strip(walk, n, room, h, strip);
  return strip;
}

/* --- strips of gradients --- */

/* Gives classes k to k + 3 of a row of gradients to dx. */
static void give_quads(const float *row, float weight, bool add, int count, float *to) {
  int v = 0;
  for (; v + QUAD <= count; v += QUAD) {
    quad q[QUAD];
    for (int i = 0; i < QUAD; i++) q[i] = weight * *(const quad *)(row + i * STRIP + v);
    turn(q);
    for (int i = 0; i < QUAD; i++) {
      quad *voxel = (quad *)(to + (v + i) * CHANNEL_BLOCK);
      if (add) q[i] += *voxel;
      *voxel = q[i];
    }
  }
  for (; v < count; v++)
    for (int i = 0; i < QUAD; i++) {
      float *own = to + v * CHANNEL_BLOCK + i, value = weight * row[i * STRIP + v];
      *own = add ? *own + value : value;
    }
}

static void give_row(const float *row, float weight, bool add, int count, int64_t stride,
                     float *to) {
  for (int v = 0; v < count; v++)
    to[v * stride] = add ? to[v * stride] + weight * row[v] : weight * row[v];
}

/* Rows of classes that are only padding stay 0. */
static void give_slice(const struct walk *walk, const struct block *block, const struct room *room,
                       const struct strip *strip, int d, float weight) {
  bool add = walk->add || !walk->once, blocked = walk->x->layout == LAYOUT_BLOCKED;
  int stored = blocked ? tensor_stored_channels(walk->x) : walk->logits.classes;
  int64_t stride = tensor_voxel_stride(walk->x);
  static const float nothing[QUAD * STRIP];
  if (weight == 0 || d < block->d.from || d >= block->d.to) return;
  for (int k = 0; k < stored; k += blocked ? QUAD : 1) {
    float *to = walk->dx + tensor_at(walk->x, block->n, k, d, strip->h, room->w.from);
    if (!blocked)
      give_row(strip->row[k] + 1, weight, add, count_of(room), stride, to);
    else if (k < walk->logits.classes)
      give_quads(strip->row[k] + 1, weight, add, count_of(room), to);
    else if (!add)
      give_quads(nothing, 1, false, count_of(room), to);
  }
}

static void give_strip(const struct walk *walk, const struct block *block, const struct room *room,
                       struct strip *strip) {
  if (strip->h < 0) return;
  give_slice(walk, block, room, strip, room->d.low, room->d.low_weight);
  give_slice(walk, block, room, strip, room->d.high, room->d.high_weight);
  strip->h = -1;
}

static struct strip *slopes_at(const struct walk *walk, const struct block *block,
                               struct room *room, int h) {
  struct strip *strip = &room->slopes[h % STRIPS];
  if (strip->h == h) return strip;
  give_strip(walk, block, room, strip);
  strip->h = h;
  memset(strip->row, 0, sizeof strip->row[0] * (size_t)walk->logits.classes);
  return strip;
}

/* --- rows of labels --- */

/* Logits of a row of labels: along h between two strips, and along w. */
static inline __attribute__((always_inline)) simd between(const float *low, const float *high,
                                                          const struct logits_tap *tap, int i) {
  return tap->low_weight * simd_load(low + i) + tap->high_weight * simd_load(high + i);
}

static void fill_logits(const struct walk *walk, const struct room *room, const struct strip *low,
                        const struct strip *high, const struct logits_tap *tap, float *z) {
  for (int k = 0; k < walk->logits.classes; k++)
    for (int i = 0; i < room->half; i += SIMD_WIDTH)
      simd_store(z + k * LOGITS_ROOM + i, between(low->row[k] + 1, high->row[k] + 1, tap, i));
}

/* The same where labels are twice as many. */
static void fill_both(const struct walk *walk, const struct room *room, const struct strip *low,
                      const struct strip *high, const struct logits_tap *tap, float *z) {
  for (int k = 0; k < walk->logits.classes; k++) {
    const float *a = low->row[k] + 1, *b = high->row[k] + 1;
    float *even = z + k * LOGITS_ROOM, *odd = even + room->half;
    for (int i = 0; i < room->half; i += SIMD_WIDTH) {
      simd before = between(a, b, tap, i - 1), here = between(a, b, tap, i);
      simd own = room->low ? before : here, after = room->low ? here : between(a, b, tap, i + 1);
      simd_store(even + i, 0.75F * here + 0.25F * before);
      simd_store(odd + i, 0.75F * own + 0.25F * after);
    }
  }
}

static simd_int lanes(void) {
  simd_int lanes;
  for (int i = 0; i < SIMD_WIDTH; i++) lanes[i] = i;
  return lanes;
}

/* The adjoint, of one class. The ends count for what repeats them. */
static void collapse(const float *even, const float *odd, const struct room *room, bool first,
                     bool last, float weight, float *row) {
  int end = count_of(room) - 1;
  for (int i = 0; i <= end; i += SIMD_WIDTH) {
    simd here = simd_load(even + i), next = simd_load(odd + i);
    simd before = simd_load(odd + i - 1), after = simd_load(even + i + 1);
    if (first && i == 0) before = simd_select(lanes() == 0, here, before);
    if (last) after = simd_select(lanes() == end - i, next, after);
    simd_store(row + i,
               simd_load(row + i) + weight * (0.75F * (here + next) + 0.25F * (before + after)));
  }
}

static void add_slopes(const struct walk *walk, const struct block *block, struct room *room, int h,
                       float weight, const float *z) {
  if (weight == 0 || h < block->h.from || h >= block->h.to) return;
  struct strip *strip = slopes_at(walk, block, room, h);
  bool first = room->w.from == 0, last = room->w.to == walk->logits.coarse[2];
  for (int k = 0; k < walk->logits.classes; k++) {
    const float *even = z + k * LOGITS_ROOM, *odd = even + room->half + room->low;
    float *row = strip->row[k] + 1;
    if (is_double(walk))
      collapse(even, odd, room, first, last, weight, row);
    else
      for (int i = 0; i < room->half; i += SIMD_WIDTH)
        simd_store(row + i, simd_load(row + i) + weight * simd_load(even + i));
  }
}

/* Labels at even places, then those at odd ones. */
static void part_labels(const unsigned char *restrict from, int count, unsigned char *restrict even,
                        unsigned char *restrict odd) {
  for (int i = 0; i < count; i++) {
    even[i] = from[2 * i];
    odd[i] = from[2 * i + 1];
  }
}

static void fill_labels(const struct walk *walk, const unsigned char *map, const struct room *room,
                        unsigned char *labels) {
  int count = count_of(room);
  unsigned char *even = labels, *odd = even + room->half;
  memset(labels, LOGITS_IGNORED, (size_t)step_of(walk, room));
  if (!is_double(walk)) {
    memcpy(labels, map, (size_t)count);
    return;
  }
  if (room->low) odd[0] = map[-1];
  if (room->high) even[count] = map[2 * count];
  part_labels(map, count, even, odd + room->low);
}

static void fill_row(const struct walk *walk, int n, int d, int h, int at, struct room *room) {
  struct logits_tap tap = logits_tap_of(h, walk->logits.factor[1], walk->logits.coarse[1]);
  const struct strip *low = logits_at(walk, n, room, tap.low);
  const struct strip *high = logits_at(walk, n, room, tap.high);
  int next = tap.high + 1; /* early, so that nobody waits for what is being written */
  if (next < walk->logits.coarse[1]) logits_at(walk, n, room, next);
  int first = room->w.from * walk->logits.factor[2];
  if (is_double(walk))
    fill_both(walk, room, low, high, &tap, room->z + at);
  else
    fill_logits(walk, room, low, high, &tap, room->z + at);
  fill_labels(walk, walk->map + tensor_at(walk->labels, n, 0, d, h, first), room,
              room->labels + at);
}

/* Rows [h.from, h.to) of labels, a piece. */
static void visit_rows(const struct walk *walk, const struct block *block, int d,
                       struct logits_range h, struct room *room) {
  int step = step_of(walk, room);
  for (int j = h.from; j < h.to; j++) fill_row(walk, block->n, d, j, (j - h.from) * step, room);
  struct logits_piece piece = {block->n, walk->logits.classes, (h.to - h.from) * step,
                               room->z,  room->labels,         block->sums};
  walk->each(&piece, walk->context);
  for (int j = h.from; j < h.to && walk->dx; j++) {
    struct logits_tap tap = logits_tap_of(j, walk->logits.factor[1], walk->logits.coarse[1]);
    const float *z = room->z + (j - h.from) * step;
    add_slopes(walk, block, room, tap.low, tap.low_weight, z);
    add_slopes(walk, block, room, tap.high, tap.high_weight, z);
  }
}

/* --- the walk --- */

static void visit_slice(const struct walk *walk, const struct block *block, int d,
                        struct logits_range h, struct room *room) {
  room->d = logits_tap_of(d, walk->logits.factor[0], walk->logits.coarse[0]);
  for (int i = 0; i < STRIPS; i++) room->logits[i].h = room->slopes[i].h = -1;
  int most = (LOGITS_ROOM - SIMD_WIDTH) / step_of(walk, room);
  for (int j = h.from; j < h.to; j += most)
    visit_rows(walk, block, d, (struct logits_range){j, j + most < h.to ? j + most : h.to}, room);
  for (int i = 0; i < STRIPS; i++) give_strip(walk, block, room, &room->slopes[i]);
}

/* The part of rows from logit w on; returns where the next one starts. */
static int set_part(const struct walk *walk, int w, struct room *room) {
  int width = walk->logits.coarse[2], most = is_double(walk) ? ROW / 2 : ROW;
  bool halo = walk->dx && is_double(walk);
  if (halo && width > most) most--; /* with the labels around */
  room->w = (struct logits_range){w, w + most < width ? w + most : width};
  room->low = halo && w > 0;
  room->high = halo && room->w.to < width;
  room->half = whole_vectors(count_of(room) + (room->low || room->high));
  return room->w.to;
}

/* Zeros where dx is added to row by row. */
static void clear(const struct walk *walk, const struct block *block) {
  if (walk->add || walk->once) return;
  int step = walk->x->layout == LAYOUT_BLOCKED ? CHANNEL_BLOCK : 1;
  for (int k = 0; k < walk->logits.classes; k += step)
    for (int d = block->d.from; d < block->d.to; d++)
      memset(walk->dx + tensor_at(walk->x, block->n, k, d, block->h.from, 0), 0,
             sizeof(float) * (size_t)(block->h.to - block->h.from) *
                 (size_t)(walk->logits.coarse[2] * step));
}

/* So that what makes vectors whole are numbers. */
static void clear_room(const struct walk *walk, struct room *room) {
  size_t classes = (size_t)(walk->logits.classes + QUAD - 1) / QUAD * QUAD;
  for (int i = 0; i < STRIPS; i++) {
    memset(room->logits[i].row, 0, classes * sizeof room->logits[i].row[0]);
    memset(room->slopes[i].row, 0, classes * sizeof room->slopes[i].row[0]);
  }
  memset(room->z, 0, sizeof(float) * (classes * LOGITS_ROOM + SIMD_WIDTH));
}

static void visit_block(const struct walk *walk, struct block block) {
  const struct logits *logits = &walk->logits;
  bool halo = walk->dx != NULL;
  struct room room;
  struct logits_range d =
      logits_fine(block.d.from, block.d.to, logits->factor[0], logits->coarse[0], halo);
  struct logits_range h =
      logits_fine(block.h.from, block.h.to, logits->factor[1], logits->coarse[1], halo);
  if (walk->dx) clear(walk, &block);
  clear_room(walk, &room);
  for (int w = 0; w < logits->coarse[2];) {
    w = set_part(walk, w, &room);
    for (int i = d.from; i < d.to; i++) visit_slice(walk, &block, i, h, &room);
  }
}

static int parts(int extent, int each) {
  return (extent + each - 1) / each;
}

int SIMD_NAME(logits_blocks)(const struct logits *logits) {
  return parts(logits->coarse[0], BLOCK_D) * parts(logits->coarse[1], BLOCK_H);
}

static struct logits_range range_of(int index, int each, int extent) {
  int from = index * each;
  return (struct logits_range){from, from + each < extent ? from + each : extent};
}

static struct block block_of(const struct logits *logits, int index) {
  int rows = parts(logits->coarse[1], BLOCK_H), blocks = SIMD_NAME(logits_blocks)(logits);
  return (struct block){.n = index / blocks,
                        .d = range_of(index % blocks / rows, BLOCK_D, logits->coarse[0]),
                        .h = range_of(index % rows, BLOCK_H, logits->coarse[1])};
}

static struct walk walk_of(const struct node *node, const struct io *io, logits_each *each,
                           const void *context) {
  return (struct walk){.logits = logits_of(node),
                       .x = &node->x[0],
                       .labels = &node->x[1],
                       .from = io->x[0],
                       .map = io->x[1],
                       .each = each,
                       .context = context};
}

void SIMD_NAME(logits_sums)(const struct node *node, const struct io *io, logits_each *each,
                            const void *context, double *partial, int count) {
  struct walk walk = walk_of(node, io, each, context);
  int blocks = SIMD_NAME(logits_blocks)(&walk.logits);
#pragma omp parallel for schedule(static)
  for (int i = 0; i < walk.logits.n * blocks; i++) {
    double sums[MOST_SUMS] = {0};
    struct block block = block_of(&walk.logits, i);
    block.sums = sums;
    visit_block(&walk, block);
    for (int s = 0; s < count; s++)
      partial[((int64_t)block.n * count + s) * blocks + i % blocks] = sums[s];
  }
}

void SIMD_NAME(logits_gradient)(const struct node *node, const struct io *io, logits_each *each,
                                const void *context) {
  struct walk walk = walk_of(node, io, each, context);
  int blocks = SIMD_NAME(logits_blocks)(&walk.logits);
  walk.dx = io->dx[0];
  walk.add = io->dx_add[0];
  walk.once = walk.logits.factor[0] == 1 && walk.logits.factor[1] == 1;
#pragma omp parallel for schedule(static)
  for (int i = 0; i < walk.logits.n * blocks; i++) visit_block(&walk, block_of(&walk.logits, i));
}
