/* Blocks of BLOCK_D x BLOCK_H rows of logits are walked over independently; for the gradient also
 * the labels around them that read them, so that every block owns its part of dx.
 *
 * Logits are interpolated along one axis after the other, a block's rows of a slice (a plane)
 * together: along w once per slice of logits, then along d once per slice of labels, and along h
 * where they are used. Every axis adds what is far to 3 times what is near, 4 times what is meant,
 * which LOGITS_UNIT makes good; an axis that is not twice as fine has its own voxel as both. Where
 * labels are twice as many along w, those at even places come first in a row, then those at odd
 * places: neighbours in a vector are then neighbours among the logits. Gradients go the same way
 * back. */
#include "kernels/common/logits_walk.h"
#include <assert.h>
#include <limits.h>
#include <string.h>
#include "kernels/common/logits_rows.h"
#include "kernels/common/simd_beside.h"

enum {
  FEW = 8, /* classes of which a block has more rows */
  BLOCK_D = 32,
  BLOCK_H = 8,
  BLOCK_H_FEW = 16,
  ROWS = BLOCK_H + 2,
  ROWS_FEW = BLOCK_H_FEW + 2,
  TURN = 12,       /* rows of labels whose slopes are made before they are gathered */
  KEPT = 2 * TURN, /* rows of slopes */
  LABEL_ROWS_FEW = 2 * ROWS_FEW,
  SIZE = LOGITS_MOST_CLASSES * LOGITS_ROW,
  MOST_SUMS = 3 * LOGITS_MOST_CLASSES,
  CHANNELS = (LOGITS_MOST_CLASSES + CHANNEL_BLOCK - 1) / CHANNEL_BLOCK * CHANNEL_BLOCK,
  APART = 256, /* so that places in planes differ in what processors compare first */
};
static_assert(ROWS_FEW * FEW <= ROWS * LOGITS_MOST_CLASSES, "planes hold the rows of few classes");
#define ALIGNED __attribute__((aligned(64)))

struct walk {
  struct logits logits;
  const struct tensor *x, *labels;
  const float *from;
  const unsigned char *map;
  float *dx; /* NULL: forward */
  bool add;
  logits_each *each;
  const void *context;
  int64_t stride, row, to_class[LOGITS_MOST_CLASSES]; /* to a logit's neighbours along w and h, and
                                                      to its voxel's classes */
  int run;                                            /* classes beside each other */
};

/* A block: logits [from, to) of sample n along d and h. */
struct block {
  int n;
  struct logits_range d, h;
  double *sums;
};

/* Rows of a slice of the logits, or of their gradients, at the labels' places along w: [row][class]
 * [label]. */
struct plane {
  int d;      /* -1: none */
  bool fresh; /* of gradients: nothing has been added yet */
  float row[ROWS * SIZE + APART] ALIGNED;
};

/* Where the walk is: the logits [from, to) of a row, whether labels around them are in it, its
 * place along d; planes by their d modulo 2. */
struct room {
  struct logits_range w, h; /* h: the rows of logits in planes */
  int low, high, half;      /* half: labels at even places, or all where they are not twice as many,
                               made whole vectors */
  int step, size;           /* labels of a row in a piece; its floats */
  struct logits_tap d;
  struct logits_range labels_h;
  struct logits_row rows[LABEL_ROWS_FEW + 1]; /* of labels; those of `between` */
  struct plane logits[2], slopes[2], between; /* between: at the labels' place along d */
  /* a row of logits, and of gradients: those from w.from on of each class */
  float turned[LOGITS_MOST_CLASSES][LOGITS_TURNED] ALIGNED,
      gathered[CHANNELS][LOGITS_TURNED] ALIGNED;
  float z[KEPT * SIZE] ALIGNED; /* row r of labels at r modulo KEPT */
  unsigned char labels[LABEL_ROWS_FEW * LOGITS_ROW];
};

static bool is_double(const struct walk *walk) {
  return walk->logits.factor[2] == 2;
}

/* The nearer of the logits that a label is made of, and the other one. */
struct near {
  int near, far;
};
static struct near near_of(const struct logits_tap *tap) {
  bool low = tap->low_weight > tap->high_weight;
  return low ? (struct near){tap->low, tap->high} : (struct near){tap->high, tap->low};
}

static int count_of(const struct room *room) {
  return room->w.to - room->w.from;
}

static int whole_vectors(int count) {
  return (count + SIMD_WIDTH - 1) / SIMD_WIDTH * SIMD_WIDTH;
}

/* --- rows of the tensors --- */

/* From a row's first logit to the one behind its last; what is past the tensor repeats its ends. */
static int64_t after_of(const struct walk *walk, const struct room *room) {
  return (count_of(room) - (room->w.to == walk->logits.coarse[2])) * walk->stride;
}

/* Row (d, h) of the logits, by classes; the vectors are filled with the logit behind it. */
static void load_row(const struct walk *walk, const float *from, struct room *room) {
  const int count = count_of(room), classes = walk->logits.classes;
  const int64_t stride = walk->stride, after = after_of(walk, room);
  if (walk->x->layout == LAYOUT_BLOCKED)
    for (int k = 0; k < classes; k += LOGITS_QUAD)
      logits_load_quads(from + walk->to_class[k], count, room->turned[k]);
  else
    for (int k = 0; k < classes; k++)
      logits_load_strided(from + walk->to_class[k], stride, count, room->turned[k]);
  if (count < room->half)
    for (int k = 0; k < classes; k++)
      for (int i = count; i < room->half; i++) room->turned[k][i] = from[walk->to_class[k] + after];
}

/* Asks for a row of logits that will be loaded, or of gradients that will be written: for the
 * second cache, since a slice of them fills the first one. */
static inline __attribute__((always_inline)) void ask_row(const struct walk *walk, const float *row,
                                                          int count) {
  enum { LINE = 64 / sizeof(float), SECOND_CACHE = 2 };
  const int64_t floats = count * walk->stride;
  for (int k = 0; k < walk->logits.classes; k += walk->run)
    for (const float *at = row + walk->to_class[k], *end = at + floats; at < end; at += LINE)
      __builtin_prefetch(at, 0, SECOND_CACHE);
}

/* Rows of classes that are only padding stay 0. */
static void give_row(const struct walk *walk, const struct room *room, float *row) {
  bool blocked = walk->x->layout == LAYOUT_BLOCKED;
  for (int k = 0; k < walk->logits.classes; k += blocked ? CHANNEL_BLOCK : 1) {
    float *to = row + walk->to_class[k];
    if (blocked)
      logits_give_channels(room->gathered[k], walk->add, count_of(room), to);
    else
      logits_give_strided(room->gathered[k], walk->add, count_of(room), walk->stride, to);
  }
}

/* --- along w --- */

/* A row of logits of one class at its labels' places; before, after: its neighbours. low: the odd
 * places are before the even ones. */
static inline __attribute__((always_inline)) void spread(const float *row, int half, bool low,
                                                         float before, float after, float *even) {
  const float unit = LOGITS_UNIT;
  simd own = simd_all(unit * before), next = unit * simd_load(row);
  for (int i = 0; i < half; i += SIMD_WIDTH) {
    simd last = simd_before(own, next, 1);
    own = next;
    next = simd_all(unit * after);
    if (i + SIMD_WIDTH < half) next = unit * simd_load(row + i + SIMD_WIDTH);
    simd_store(even + i, 3 * own + last);
    if (low)
      simd_store(even + half + i, 3 * last + own);
    else
      simd_store(even + half + i, 3 * own + simd_after(own, next, 1));
  }
}

static void spread_row(const struct walk *walk, const float *from, const struct room *room,
                       float *to) {
  const float unit = 4 * LOGITS_UNIT;
  const int half = room->half, step = room->step, classes = walk->logits.classes;
  const int64_t before = room->w.from > 0 ? -walk->stride : 0, after = after_of(walk, room);
  const bool twice = is_double(walk), low = room->low;
  for (int k = 0; k < classes; k++, to += step) {
    const float *row = room->turned[k], *own = from + walk->to_class[k];
    if (!twice)
      for (int i = 0; i < half; i += SIMD_WIDTH) simd_store(to + i, unit * simd_load(row + i));
    else if (low)
      spread(row, half, true, own[before], own[after], to);
    else
      spread(row, half, false, own[before], own[after], to);
  }
}

/* The adjoint, of one class. The ends count for what repeats them. */
static void collapse(const float *even, const float *odd, const struct room *room, bool first,
                     bool last, float *row) {
  const float unit = 1.0F / 64;
  const simd_int lanes = *(const simd_int *)simd_lane_numbers;
  int end = count_of(room) - 1;
  for (int i = 0; i <= end; i += SIMD_WIDTH) {
    simd here = simd_load(even + i), next = simd_load(odd + i);
    simd before = simd_load(odd + i - 1), after = simd_load(even + i + 1);
    if (first && i == 0) before = simd_select(lanes == 0, here, before);
    if (last) after = simd_select(lanes == end - i, next, after);
    simd_store(row + i, unit * (3 * (here + next) + (before + after)));
  }
}

static void collapse_row(const struct walk *walk, struct room *room, const float *from) {
  bool first = room->w.from == 0, last = room->w.to == walk->logits.coarse[2];
  for (int k = 0; k < walk->logits.classes; k++, from += room->step) {
    float *row = room->gathered[k];
    if (is_double(walk))
      collapse(from, from + room->half + room->low, room, first, last, row);
    else
      for (int i = 0; i < room->half; i += SIMD_WIDTH)
        simd_store(row + i, 1.0F / 16 * simd_load(from + i));
  }
}

/* --- along d --- */

static float *row_of(const struct room *room, struct plane *plane, int h) {
  return plane->row + (h - room->h.from) * room->size;
}

static void load_plane(const struct walk *walk, int n, int d, struct room *room) {
  struct plane *plane = &room->logits[d % 2];
  if (plane->d == d) return;
  plane->d = d;
  const float *from = walk->from + tensor_at(walk->x, n, 0, d, room->h.from, room->w.from);
  const int64_t slice = d + 1 < walk->logits.coarse[0] ? walk->row * walk->logits.coarse[1] : 0;
  for (int h = room->h.from; h < room->h.to; h++, from += walk->row) {
    load_row(walk, from, room);
    if (slice > 0) ask_row(walk, from + slice, count_of(room));
    spread_row(walk, from, room, row_of(room, plane, h));
  }
}

/* Gives what has been gathered to dx. */
static void give_plane(const struct walk *walk, const struct block *block, struct plane *plane,
                       struct room *room) {
  if (plane->d < block->d.from || plane->d >= block->d.to) return;
  float *to = walk->dx + tensor_at(walk->x, block->n, 0, plane->d, block->h.from, room->w.from);
  for (int h = block->h.from; h < block->h.to; h++, to += walk->row) {
    collapse_row(walk, room, row_of(room, plane, h));
    give_row(walk, room, to);
  }
}

static void open_plane(const struct walk *walk, const struct block *block, int d,
                       struct room *room) {
  struct plane *plane = &room->slopes[d % 2];
  if (plane->d == d) return;
  give_plane(walk, block, plane, room);
  plane->d = d;
  plane->fresh = true;
}

/* The logits at the labels' place along d. */
static void blend_planes(struct room *room) {
  const struct near near = near_of(&room->d);
  const float *own = room->logits[near.near % 2].row, *other = room->logits[near.far % 2].row;
  const int floats = (room->h.to - room->h.from) * room->size;
  float *to = room->between.row;
  for (int i = 0; i < floats; i += SIMD_WIDTH)
    simd_store(to + i, 3 * simd_load(own + i) + simd_load(other + i));
}

/* --- along h, and d, of gradients --- */

/* The row of labels `j` of z, or one of zeros. */
static const float *slopes_of(const struct room *room, int j) {
  static const float nothing[SIZE] ALIGNED;
  bool there = j >= room->labels_h.from && j < room->labels_h.to;
  return there ? room->z + (j - room->labels_h.from) % KEPT * room->size : nothing;
}

static inline void add_to(float *to, bool fresh, simd value) {
  if (!fresh) value += simd_load(to);
  simd_store(to, value);
}

/* Adds what the labels' slopes give to row h of the logits. */
static void gather_row(const struct walk *walk, int h, struct room *room) {
  const int last = walk->logits.coarse[1] - 1, j = h * walk->logits.factor[1], size = room->size;
  const bool twice = walk->logits.factor[1] == 2, between = room->d.high_weight > 0;
  const float *own = slopes_of(room, j), *other = twice ? slopes_of(room, j + 1) : own;
  const float *before = h > 0 && twice ? slopes_of(room, j - 1) : own;
  const float *after = h < last && twice ? slopes_of(room, j + 2) : other;
  const struct near at = near_of(&room->d);
  const float half = twice ? 1 : 0.5F, three = between ? 3 * half : 4 * half;
  struct plane *near_plane = &room->slopes[at.near % 2], *far_plane = &room->slopes[at.far % 2];
  const bool near_fresh = near_plane->fresh, far_fresh = far_plane->fresh;
  float *near = row_of(room, near_plane, h), *far = row_of(room, far_plane, h);
  for (int i = 0; i < size; i += SIMD_WIDTH) {
    simd sum = 3 * (simd_load(own + i) + simd_load(other + i)) +
               (simd_load(before + i) + simd_load(after + i));
    add_to(near + i, near_fresh, three * sum);
    if (between) add_to(far + i, far_fresh, half * sum);
  }
}

/* --- rows of labels --- */

/* The labels of slice d. */
static void fill_labels(const struct walk *walk, int n, int d, struct room *room) {
  const int count = count_of(room), half = room->half, step = room->step;
  const int rows = room->labels_h.to - room->labels_h.from, width = walk->logits.fine[2];
  const bool low = room->low, high = room->high, twice = is_double(walk);
  const unsigned char *map = walk->map + tensor_at(walk->labels, n, 0, d, room->labels_h.from,
                                                   room->w.from * walk->logits.factor[2]);
  unsigned char *labels = room->labels;
  if (count < half) memset(labels, LOGITS_IGNORED, (size_t)(rows * step));
  for (int r = 0; r < rows; r++, map += width, labels += step) {
    unsigned char *odd = labels + half;
    if (!twice) {
      memcpy(labels, map, (size_t)count);
      continue;
    }
    if (low) odd[0] = map[-1];
    if (high) labels[count] = map[2 * count];
    logits_part_labels(map, count, labels, odd + low);
  }
}

/* --- the walk --- */

static void visit_rows(const struct walk *walk, const struct block *block, int from, int to,
                       struct room *room) {
  const struct logits_piece piece = {block->n,
                                     walk->logits.classes,
                                     to - from,
                                     room->step,
                                     room->rows + from,
                                     room->z + from % KEPT * room->size,
                                     room->labels + from * room->step,
                                     block->sums};
  walk->each(&piece, walk->context);
}

/* Makes the slopes of a slice, and gathers them while they are in the first cache. */
static void visit_slopes(const struct walk *walk, const struct block *block, struct room *room) {
  open_plane(walk, block, room->d.low, room);
  open_plane(walk, block, room->d.high, room);
  const struct plane *far = &room->slopes[near_of(&room->d).far % 2];
  const bool asks = far->fresh && far->d >= block->d.from && far->d < block->d.to;
  const int count = room->labels_h.to - room->labels_h.from, factor = walk->logits.factor[1];
  float *to = walk->dx;
  if (asks) to += tensor_at(walk->x, block->n, 0, far->d, block->h.from, room->w.from);
  for (int r = 0, h = block->h.from; r < count; r += TURN) {
    const int end = r + TURN < count ? r + TURN : count;
    visit_rows(walk, block, r, end, room);
    const int made = end < count ? room->labels_h.from + end : INT_MAX;
    for (; h < block->h.to && h * factor + 2 < made; h++, to += walk->row) {
      if (asks) ask_row(walk, to, count_of(room));
      gather_row(walk, h, room);
    }
  }
  room->slopes[room->d.low % 2].fresh = false;
  if (room->d.high_weight > 0) room->slopes[room->d.high % 2].fresh = false;
}

static void visit_slice(const struct walk *walk, const struct block *block, int d,
                        struct room *room) {
  room->d = logits_tap_of(d, walk->logits.factor[0], walk->logits.coarse[0]);
  load_plane(walk, block->n, room->d.low, room);
  load_plane(walk, block->n, room->d.high, room);
  blend_planes(room);
  fill_labels(walk, block->n, d, room);
  if (walk->dx)
    visit_slopes(walk, block, room);
  else
    visit_rows(walk, block, 0, room->labels_h.to - room->labels_h.from, room);
}

/* The part of rows from logit w on; returns where the next one starts. */
static int set_part(const struct walk *walk, int w, struct room *room) {
  int width = walk->logits.coarse[2], most = is_double(walk) ? LOGITS_ROW / 2 : LOGITS_ROW;
  bool halo = walk->dx && is_double(walk);
  if (halo && width > most) most--; /* with the labels around */
  room->w = (struct logits_range){w, w + most < width ? w + most : width};
  room->low = halo && w > 0;
  room->high = halo && room->w.to < width;
  room->half = whole_vectors(count_of(room) + (room->low || room->high));
  room->step = is_double(walk) ? 2 * room->half : room->half;
  room->size = room->step * walk->logits.classes;
  for (int i = 0; i < 2; i++) room->logits[i].d = room->slopes[i].d = -1;
  return room->w.to;
}

/* What the rows of labels are made of. */
static void set_rows(const struct walk *walk, struct room *room) {
  int factor = walk->logits.factor[1], extent = walk->logits.coarse[1];
  room->h.from = logits_tap_of(room->labels_h.from, factor, extent).low;
  room->h.to = logits_tap_of(room->labels_h.to - 1, factor, extent).high + 1;
  for (int j = room->labels_h.from; j < room->labels_h.to; j++) {
    struct logits_tap tap = logits_tap_of(j, factor, extent);
    struct near near = near_of(&tap);
    room->rows[j - room->labels_h.from] = (struct logits_row){
        row_of(room, &room->between, near.near), row_of(room, &room->between, near.far)};
  }
  room->rows[room->labels_h.to - room->labels_h.from] = room->rows[0];
}

/* So that what makes vectors and blocks of channels whole are numbers. */
static void clear_room(const struct walk *walk, struct room *room) {
  size_t quads = (size_t)(walk->logits.classes + LOGITS_QUAD - 1) / LOGITS_QUAD;
  memset(room->turned, 0, quads * LOGITS_QUAD * sizeof room->turned[0]);
  if (walk->dx) memset(room->gathered, 0, sizeof room->gathered);
}

static void visit_block(const struct walk *walk, struct block block) {
  const struct logits *logits = &walk->logits;
  bool halo = walk->dx != NULL;
  struct room room;
  struct logits_range d =
      logits_fine(block.d.from, block.d.to, logits->factor[0], logits->coarse[0], halo);
  room.labels_h = logits_fine(block.h.from, block.h.to, logits->factor[1], logits->coarse[1], halo);
  clear_room(walk, &room);
  for (int w = 0; w < logits->coarse[2];) {
    w = set_part(walk, w, &room);
    set_rows(walk, &room);
    for (int i = d.from; i < d.to; i++) visit_slice(walk, &block, i, &room);
    for (int i = 0; i < 2; i++) give_plane(walk, &block, &room.slopes[i], &room);
  }
}

static int parts(int extent, int each) {
  return (extent + each - 1) / each;
}

static int block_rows(const struct logits *logits) {
  return logits->classes > FEW ? BLOCK_H : BLOCK_H_FEW;
}

int SIMD_NAME(logits_blocks)(const struct logits *logits) {
  return parts(logits->coarse[0], BLOCK_D) * parts(logits->coarse[1], block_rows(logits));
}

static struct logits_range range_of(int index, int each, int extent) {
  int from = index * each;
  return (struct logits_range){from, from + each < extent ? from + each : extent};
}

static struct block block_of(const struct logits *logits, int index) {
  int rows = parts(logits->coarse[1], block_rows(logits)),
      blocks = SIMD_NAME(logits_blocks)(logits);
  return (struct block){.n = index / blocks,
                        .d = range_of(index % blocks / rows, BLOCK_D, logits->coarse[0]),
                        .h = range_of(index % rows, block_rows(logits), logits->coarse[1])};
}

static struct walk walk_of(const struct node *node, const struct io *io, logits_each *each,
                           const void *context) {
  struct walk walk = {.logits = logits_of(node),
                      .x = &node->x[0],
                      .labels = &node->x[1],
                      .from = io->x[0],
                      .map = io->x[1],
                      .each = each,
                      .context = context,
                      .stride = tensor_voxel_stride(&node->x[0])};
  bool blocked = walk.x->layout == LAYOUT_BLOCKED, planar = walk.stride == 1;
  walk.run = blocked ? CHANNEL_BLOCK : planar ? 1 : LOGITS_MOST_CLASSES;
  walk.row = walk.stride * walk.logits.coarse[2];
  for (int k = 0; k < walk.logits.classes; k++) walk.to_class[k] = tensor_at(walk.x, 0, k, 0, 0, 0);
  return walk;
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
#pragma omp parallel for schedule(static)
  for (int i = 0; i < walk.logits.n * blocks; i++) visit_block(&walk, block_of(&walk.logits, i));
}
