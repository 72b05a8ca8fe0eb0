/* Blocks of BLOCK_D x BLOCK_H rows of logits are walked over independently; for the gradient also
 * the labels around them that read them, so that every block owns its part of dx. */
#include "kernels/common/logits_walk.h"
#include <stdalign.h>
#include <string.h>

enum {
  BLOCK_D = 4,
  BLOCK_H = 16,
  PIECE = 64, /* logits of a piece where labels are as many; labels of a piece where they are not */
  MOST_SUMS = 3 * LOGITS_MOST_CLASSES,
  CORNERS = 4,
};

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

/* A block: logits [from, to) of sample n along d and h; and where in it the walk is. */
struct block {
  int n;
  struct logits_range d, h;
  double *sums;
};

/* The up to four rows of logits that a row of labels lies between. */
struct corners {
  int count, d[CORNERS], h[CORNERS];
  float weight[CORNERS];
};

/* The logits [from, to) of a piece, its labels, and the room that both are kept in: position i of
 * `row` is logit from - 1 + i, position i of `fine` label 2 from - 1 + i where labels are twice as
 * many, and label from + i where not. */
struct room {
  struct logits_range w;
  float row[LOGITS_MOST_CLASSES][LOGITS_ROOM], fine[LOGITS_MOST_CLASSES * LOGITS_ROOM];
  unsigned char labels[LOGITS_ROOM];
};

static struct corners corners_of(const struct logits *logits, int d, int h) {
  struct logits_tap at_d = logits_tap_of(d, logits->factor[0], logits->coarse[0]);
  struct logits_tap at_h = logits_tap_of(h, logits->factor[1], logits->coarse[1]);
  struct corners corners = {.count = 0};
  for (int i = 0; i < CORNERS; i++) {
    float weight =
        (i / 2 ? at_d.high_weight : at_d.low_weight) * (i % 2 ? at_h.high_weight : at_h.low_weight);
    if (weight == 0) continue;
    corners.d[corners.count] = i / 2 ? at_d.high : at_d.low;
    corners.h[corners.count] = i % 2 ? at_h.high : at_h.low;
    corners.weight[corners.count++] = weight;
  }
  return corners;
}

/* --- the logits of a row of labels --- */

static void load_row(const struct walk *walk, int n, const struct corners *corners, int w,
                     int count, int k, float *to) {
  int64_t stride = tensor_voxel_stride(walk->x);
  for (int i = 0; i < corners->count; i++) {
    const float *from = walk->from + tensor_at(walk->x, n, k, corners->d[i], corners->h[i], w);
    float weight = corners->weight[i];
    if (i == 0)
      for (int v = 0; v < count; v++) to[v] = weight * from[v * stride];
    else
      for (int v = 0; v < count; v++) to[v] += weight * from[v * stride];
  }
}

/* The same for a block of channels from class k on: voxels as vectors, then turned. */
static void load_block(const struct walk *walk, int n, const struct corners *corners, int w,
                       int count, int k, float *to, int step) {
  alignas(64) float turned[LOGITS_ROOM][CHANNEL_BLOCK];
  int classes = walk->logits.classes - k < CHANNEL_BLOCK ? walk->logits.classes - k : CHANNEL_BLOCK;
  const float *from[CORNERS];
  for (int i = 0; i < corners->count; i++)
    from[i] = walk->from + tensor_at(walk->x, n, k, corners->d[i], corners->h[i], w);
  for (int v = 0; v < count; v++)
    for (int lane = 0; lane < classes; lane += SIMD_WIDTH) {
      simd sum = corners->weight[0] * simd_load(from[0] + v * CHANNEL_BLOCK + lane);
      for (int i = 1; i < corners->count; i++)
        sum += corners->weight[i] * simd_load(from[i] + v * CHANNEL_BLOCK + lane);
      simd_store(&turned[v][lane], sum);
    }
  for (int c = 0; c < classes; c++)
    for (int v = 0; v < count; v++) to[c * step + v] = turned[v][c];
}

static void repeat_ends(const struct walk *walk, const struct room *room, float *row) {
  int count = room->w.to - room->w.from;
  if (room->w.from == 0) row[0] = row[1];
  if (room->w.to == walk->logits.coarse[2]) row[count + 1] = row[count];
}

static void interpolate(const float *row, int count, float *fine) {
  for (int i = 0; i <= count; i++) {
    fine[2 * i] = 0.75F * row[i] + 0.25F * row[i + 1];
    fine[2 * i + 1] = 0.25F * row[i] + 0.75F * row[i + 1];
  }
}

/* The adjoint: the ends count for what was repeated. */
static void collapse(const float *fine, int count, float *row) {
  for (int i = 0; i < count; i++)
    row[i] = 0.25F * fine[2 * i] + 0.75F * fine[2 * i + 1] + 0.75F * fine[2 * i + 2] +
             0.25F * fine[2 * i + 3];
}

static bool is_double(const struct walk *walk) {
  return walk->logits.factor[2] == 2;
}

/* Rows of all classes, `step` floats apart. */
static void load_rows(const struct walk *walk, int n, const struct corners *corners, int w,
                      int count, float *to, int step) {
  bool blocked = walk->x->layout == LAYOUT_BLOCKED;
  for (int k = 0; k < walk->logits.classes; k += blocked ? CHANNEL_BLOCK : 1)
    if (blocked)
      load_block(walk, n, corners, w, count, k, to + k * step, step);
    else
      load_row(walk, n, corners, w, count, k, to + k * step);
}

static void load(const struct walk *walk, int n, const struct corners *corners, struct room *room) {
  int count = room->w.to - room->w.from;
  if (!is_double(walk)) {
    load_rows(walk, n, corners, room->w.from, count, room->fine, LOGITS_ROOM);
    return;
  }
  int low = room->w.from > 0, high = room->w.to < walk->logits.coarse[2];
  load_rows(walk, n, corners, room->w.from - low, count + low + high, room->row[0] + 1 - low,
            LOGITS_ROOM);
  for (int k = 0; k < walk->logits.classes; k++) {
    repeat_ends(walk, room, room->row[k]);
    interpolate(room->row[k], count, room->fine + k * LOGITS_ROOM);
  }
}

/* Whether row (d, h) of dx is the block's. */
static bool owns(const struct block *block, int d, int h) {
  return d >= block->d.from && d < block->d.to && h >= block->h.from && h < block->h.to;
}

/* Gives a row of one class to dx. */
static void store_row(const struct walk *walk, const struct block *block,
                      const struct corners *corners, const struct room *room, int k,
                      const float *row) {
  int count = room->w.to - room->w.from;
  int64_t stride = tensor_voxel_stride(walk->x);
  for (int i = 0; i < corners->count; i++) {
    if (!owns(block, corners->d[i], corners->h[i])) continue;
    float *to =
        walk->dx + tensor_at(walk->x, block->n, k, corners->d[i], corners->h[i], room->w.from);
    float weight = corners->weight[i];
    if (walk->once && !walk->add)
      for (int v = 0; v < count; v++) to[v * stride] = row[v];
    else
      for (int v = 0; v < count; v++) to[v * stride] += weight * row[v];
  }
}

/* The same for a block of channels from class k on, `step` floats apart. */
static void store_block(const struct walk *walk, const struct block *block,
                        const struct corners *corners, const struct room *room, int k,
                        const float *rows, int step) {
  alignas(64) float turned[LOGITS_ROOM][CHANNEL_BLOCK];
  int count = room->w.to - room->w.from;
  int classes = walk->logits.classes - k < CHANNEL_BLOCK ? walk->logits.classes - k : CHANNEL_BLOCK;
  memset(turned, 0, sizeof turned[0] * (size_t)count);
  for (int c = 0; c < classes; c++)
    for (int v = 0; v < count; v++) turned[v][c] = rows[c * step + v];
  for (int i = 0; i < corners->count; i++) {
    if (!owns(block, corners->d[i], corners->h[i])) continue;
    float *to =
        walk->dx + tensor_at(walk->x, block->n, k, corners->d[i], corners->h[i], room->w.from);
    float weight = corners->weight[i];
    for (int j = 0; j < count * CHANNEL_BLOCK; j += SIMD_WIDTH) {
      simd value = simd_load(turned[0] + j);
      if (!walk->once || walk->add) value = simd_load(to + j) + weight * value;
      simd_store(to + j, value);
    }
  }
}

/* Adds what `each` left to the rows of dx that are the block's. */
static void store(const struct walk *walk, const struct block *block, const struct corners *corners,
                  struct room *room) {
  int count = room->w.to - room->w.from, last = 2 * count + 1, classes = walk->logits.classes;
  float *rows = room->fine;
  for (int k = 0; is_double(walk) && k < classes; k++) {
    float *fine = room->fine + k * LOGITS_ROOM;
    if (room->w.from == 0) fine[0] = fine[1];
    if (room->w.to == walk->logits.coarse[2]) fine[last] = fine[last - 1];
    collapse(fine, count, room->row[k]);
  }
  if (is_double(walk)) rows = room->row[0];
  bool blocked = walk->x->layout == LAYOUT_BLOCKED;
  for (int k = 0; k < classes; k += blocked ? CHANNEL_BLOCK : 1)
    if (blocked)
      store_block(walk, block, corners, room, k, rows + k * LOGITS_ROOM, LOGITS_ROOM);
    else
      store_row(walk, block, corners, room, k, rows + k * LOGITS_ROOM);
}

/* --- the walk --- */

/* A piece in row (d, h) of the labels. What surrounds it in the room is left out. */
static void visit_piece(const struct walk *walk, const struct block *block,
                        const struct corners *corners, int d, int h, struct room *room) {
  struct logits_range w = logits_fine(room->w.from, room->w.to, walk->logits.factor[2],
                                      walk->logits.coarse[2], walk->dx != NULL);
  int shift = is_double(walk) ? w.from - (2 * room->w.from - 1) : 0, count = w.to - w.from;
  int padded = (count + SIMD_WIDTH - 1) / SIMD_WIDTH * SIMD_WIDTH;
  load(walk, block->n, corners, room);
  for (int k = 0; k < walk->logits.classes; k++) {
    float *end = room->fine + k * LOGITS_ROOM + shift + count;
    for (int i = 0; i < padded - count; i++) end[i] = 0;
  }
  memcpy(room->labels, walk->map + tensor_at(walk->labels, block->n, 0, d, h, w.from),
         (size_t)count);
  memset(room->labels + count, LOGITS_IGNORED, (size_t)(padded - count));
  struct logits_piece piece = {block->n,           walk->logits.classes, padded,
                               room->fine + shift, room->labels,         block->sums};
  walk->each(&piece, walk->context);
  if (walk->dx) store(walk, block, corners, room);
}

static void visit_row(const struct walk *walk, const struct block *block, int d, int h,
                      struct room *room) {
  struct corners corners = corners_of(&walk->logits, d, h);
  int width = walk->logits.coarse[2], most = is_double(walk) ? PIECE / 2 : PIECE;
  if (is_double(walk) && width > most) most--; /* with the labels around */
  for (int w = 0; w < width; w += most) {
    room->w = (struct logits_range){w, w + most < width ? w + most : width};
    visit_piece(walk, block, &corners, d, h, room);
  }
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

static void visit_block(const struct walk *walk, struct block block) {
  const struct logits *logits = &walk->logits;
  bool halo = walk->dx != NULL;
  struct room room;
  struct logits_range d =
      logits_fine(block.d.from, block.d.to, logits->factor[0], logits->coarse[0], halo);
  struct logits_range h =
      logits_fine(block.h.from, block.h.to, logits->factor[1], logits->coarse[1], halo);
  if (walk->dx) clear(walk, &block);
  for (int i = d.from; i < d.to; i++)
    for (int j = h.from; j < h.to; j++) visit_row(walk, &block, i, j, &room);
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
