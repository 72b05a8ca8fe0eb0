/* Tiles of some runs of neighbouring voxels and one or two blocks of target channels, whose sums
 * stay in registers. Source channels are cut into chunks whose weights stay in a first-level cache
 * while all tiles pass; between chunks sums lie in a second-level cache. */
#include "kernels/conv/conv_panel.h"
#include "kernels/conv/conv_direct.h"

enum {
#if defined SIMD_ISA_AVX512
  RUN = 4, /* voxels side by side */
#elif defined SIMD_ISA_AVX2
  RUN = 2,
#else
  RUN = 1,
#endif
  MOST_RUNS = 3,
  MOST_PLACES = RUN * MOST_RUNS,
  MOST_STEPS = 8,  /* of a chunk */
  LEAST_STEPS = 2, /* during which sums are stored */
  TOGETHER = 2,    /* channels; loops of more do not fit what a processor keeps of decoded loops */
};

/* Some steps (groups and taps) of one source. */
struct chunk {
  const float *w;
  size_t block_pitch;
  int steps;
  bool first, last; /* of all sources */
  bool waits;       /* whether the sums wait to be stored, where it is the last */
  struct step {
    ptrdiff_t at, far; /* far: to what the next batch sees; 0: not asked for */
    int channels;
  } step[MOST_STEPS];
};

/* What a tile multiplies: from the first voxel of each run on. */
struct piece {
  const struct conv_panel *panel;
  const struct chunk *chunk;
  const float *x[MOST_RUNS];
  const float *next;  /* of the next tile's first run */
  const float *start; /* sums so far */
  size_t start_block, start_place;
  float *end; /* [block][place][16]; NULL: where the voxels lie */
  float *y[MOST_RUNS];
  float slope;
  struct conv_panel_waiting *waiting;
};

/* Whose sums are in registers: all constants to the compiler. step: of places, in blocks. */
struct tile {
  int run, runs, blocks, step;
};

typedef simd sums[CONV_PANEL_BLOCKS][MOST_PLACES][SIMD_PER_BLOCK];

#define INLINE static inline __attribute__((always_inline))

/* --- storing --- */

INLINE void store_line(const float *from, float *to, bool stream) {
  SIMD_UNROLL
  for (int p = 0; p < SIMD_PER_BLOCK; p++) {
    if (stream)
      simd_stream(to + p * SIMD_WIDTH, simd_load(from + p * SIMD_WIDTH));
    else
      simd_store(to + p * SIMD_WIDTH, simd_load(from + p * SIMD_WIDTH));
  }
}

static void add_line(const float *from, float *to) {
  for (int i = 0; i < CHANNEL_BLOCK; i++) to[i] += from[i];
}

static void store_lines(struct conv_panel_waiting *waiting, int line) {
  for (; line < waiting->lines; line++) {
    if (waiting->add)
      add_line(waiting->sums[line], waiting->to[line]);
    else
      store_line(waiting->sums[line], waiting->to[line], waiting->stream);
  }
  waiting->lines = 0;
}

void SIMD_NAME(conv_panel_start)(struct conv_panel_waiting *waiting) {
  waiting->lines = 0;
  waiting->add = waiting->stream = false;
}

void SIMD_NAME(conv_panel_store_rest)(struct conv_panel_waiting *waiting) {
  store_lines(waiting, 0);
}

/* --- multiplying --- */

INLINE void load_sums(sums sum, const struct tile tile, const struct piece *piece) {
  SIMD_UNROLL
  for (int b = 0; b < tile.blocks; b++) {
    SIMD_UNROLL
    for (int t = 0; t < tile.run * tile.runs; t++) {
      SIMD_UNROLL
      for (int p = 0; p < SIMD_PER_BLOCK; p++)
        sum[b][t][p] = simd_load(piece->start + piece->start_block * (size_t)b +
                                 piece->start_place * (size_t)t + p * SIMD_WIDTH);
    }
  }
}

INLINE void activate(sums sum, const struct tile tile, float slope) {
  SIMD_UNROLL
  for (int b = 0; b < tile.blocks; b++) {
    SIMD_UNROLL
    for (int t = 0; t < tile.run * tile.runs; t++) {
      SIMD_UNROLL
      for (int p = 0; p < SIMD_PER_BLOCK; p++) sum[b][t][p] = conv_leaky(sum[b][t][p], slope);
    }
  }
}

INLINE void store_sums(sums sum, const struct tile tile, float *to) {
  SIMD_UNROLL
  for (int b = 0; b < tile.blocks; b++) {
    SIMD_UNROLL
    for (int t = 0; t < tile.run * tile.runs; t++) {
      SIMD_UNROLL
      for (int p = 0; p < SIMD_PER_BLOCK; p++, to += SIMD_WIDTH) simd_store(to, sum[b][t][p]);
    }
  }
}

/* Stores sums that are so soon done that none can wait. */
INLINE void store_voxels(sums sum, const struct tile tile, const struct piece *piece) {
  const struct conv_panel *panel = piece->panel;
  const bool add = panel->add, stream = panel->stream;
  SIMD_UNROLL
  for (int b = 0; b < tile.blocks; b++) {
    SIMD_UNROLL
    for (int t = 0; t < tile.run * tile.runs; t++) {
      float *to = piece->y[t / tile.run] + panel->pitch * (size_t)b +
                  panel->step_y * (size_t)(t % tile.run);
      SIMD_UNROLL
      for (int p = 0; p < SIMD_PER_BLOCK; p++, to += SIMD_WIDTH) {
        if (add) sum[b][t][p] += simd_load(to);
        if (stream)
          simd_stream(to, sum[b][t][p]);
        else
          simd_store(to, sum[b][t][p]);
      }
    }
  }
}

/* Adds the products of channel c. */
INLINE void add_channel(sums sum, const struct tile tile, const float *const x[MOST_RUNS],
                        const float *w, size_t block_pitch, int c) {
  simd weight[CONV_PANEL_BLOCKS][SIMD_PER_BLOCK];
  SIMD_UNROLL
  for (int b = 0; b < tile.blocks; b++) {
    SIMD_UNROLL
    for (int p = 0; p < SIMD_PER_BLOCK; p++)
      weight[b][p] = simd_load(w + block_pitch * (size_t)b + p * SIMD_WIDTH);
  }
  SIMD_UNROLL
  for (int t = 0; t < tile.run * tile.runs; t++) {
    simd value = simd_all(x[t / tile.run][t % tile.run * tile.step * CHANNEL_BLOCK + c]);
    SIMD_UNROLL
    for (int b = 0; b < tile.blocks; b++) {
      SIMD_UNROLL
      for (int p = 0; p < SIMD_PER_BLOCK; p++) simd_add_product(&sum[b][t][p], value, weight[b][p]);
    }
  }
}

/* Adds the products of a step, with a line of those that wait stored for each two channels if
 * `stores`. No branches but the loop's: others would be guessed wrong now and then, at the cost of
 * many products. */
INLINE void add_step(sums sum, const struct tile tile, const struct piece *piece, int index,
                     const bool stores, int line) {
  const struct chunk *chunk = piece->chunk;
  const struct step *step = &chunk->step[index];
  const struct conv_panel_waiting *waiting = piece->waiting;
  const size_t block_pitch = chunk->block_pitch;
  const float *w = chunk->w + index * CHANNEL_BLOCK * CHANNEL_BLOCK;
  const float *from = waiting->sums[line];
  float *const *to = waiting->to + line;
  const int ask_step = tile.step * CHANNEL_BLOCK;
  const bool stream = waiting->stream;
  const float *x[MOST_RUNS];
  SIMD_UNROLL
  for (int r = 0; r < tile.runs; r++) x[r] = piece->x[r] + step->at;
  const float *ask = step->far ? x[0] + step->far : piece->next + step->at;
  for (int c = 0; c < step->channels; c += TOGETHER, w += TOGETHER * CHANNEL_BLOCK) {
    if (stores) store_line(from, *to, stream);
    from += CHANNEL_BLOCK, to++;
    __builtin_prefetch(ask);
    __builtin_prefetch(ask + ask_step);
    ask += 2 * ask_step;
    SIMD_UNROLL
    for (int k = 0; k < TOGETHER; k++)
      add_channel(sum, tile, x, w + k * CHANNEL_BLOCK, block_pitch, c + k);
  }
}

INLINE void multiply(const struct piece *piece, const struct tile tile) {
  struct conv_panel_waiting *waiting = piece->waiting;
  int line = 0, lines = waiting->add ? 0 : waiting->lines;
  sums sum;
  load_sums(sum, tile, piece);
  for (int i = 0; i < piece->chunk->steps; i++) {
    int stored = conv_divide_up(piece->chunk->step[i].channels, TOGETHER);
    if (stored > 0 && line + stored <= lines) {
      add_step(sum, tile, piece, i, true, line);
      line += stored;
    } else {
      add_step(sum, tile, piece, i, false, 0);
    }
  }
  if (line < waiting->lines) store_lines(waiting, line);
  waiting->lines = 0;
  if (piece->slope != 1) activate(sum, tile, piece->slope);
  if (piece->end)
    store_sums(sum, tile, piece->end);
  else
    store_voxels(sum, tile, piece);
}

typedef void multiply_function(const struct piece *piece);

#define DEFINE(run, runs, blocks, step)                                                \
  static void multiply_##run##_##runs##_##blocks##_##step(const struct piece *piece) { \
    multiply(piece, (struct tile){run, runs, blocks, step});                           \
  }
#define NAME(run, runs, blocks, step) \
  [blocks - 1][step - 1][run > 1][runs - 1] = multiply_##run##_##runs##_##blocks##_##step,
#define RUNS(DO, run, blocks, step) \
  DO(run, 1, blocks, step) DO(run, 2, blocks, step) DO(run, 3, blocks, step)
#define STEPS(DO, run, blocks) RUNS(DO, run, blocks, 1) RUNS(DO, run, blocks, 2)
#if defined SIMD_ISA_AVX512
#define ALL(DO) STEPS(DO, 4, 2) STEPS(DO, 4, 1) STEPS(DO, 1, 2) STEPS(DO, 1, 1)
#elif defined SIMD_ISA_AVX2
#define ALL(DO) STEPS(DO, 2, 1) STEPS(DO, 1, 1)
#else
#define ALL(DO) STEPS(DO, 1, 1)
#endif
ALL(DEFINE)
/* [blocks - 1][step - 1][whether runs are longer than 1][runs - 1] */
static multiply_function *const functions[CONV_PANEL_BLOCKS][2][2][MOST_RUNS] = {ALL(NAME)};

/* --- tiles --- */

/* Runs of `length` voxels, `in_row` of each row from voxel `from` on; the next one. */
struct runs {
  int length, in_row, from, left;
  int row, in;
};

static void next_run(struct runs *runs) {
  runs->left--;
  if (++runs->in == runs->in_row) runs->in = 0, runs->row++;
}

static const float *source_at(const struct conv_panel *panel,
                              const struct conv_panel_source *source, const struct runs *runs) {
  return source->x + source->row * (size_t)runs->row +
         (ptrdiff_t)panel->step * CHANNEL_BLOCK * (runs->from + runs->in * runs->length);
}

static float *target_at(const struct conv_panel *panel, const struct runs *runs) {
  return panel->y + panel->row * (size_t)runs->row +
         panel->step_y * (size_t)(runs->from + runs->in * runs->length);
}

/* Where the sums of a tile go, once they are complete. */
static void let_wait(const struct conv_panel *panel, float *const y[MOST_RUNS], int count,
                     int length, struct conv_panel_waiting *waiting) {
  int line = 0;
  for (int b = 0; b < panel->blocks; b++)
    for (int r = 0; r < count; r++) {
      float *to = y[r] + panel->pitch * (size_t)b;
      for (int t = 0; t < length; t++, to += panel->step_y) waiting->to[line++] = to;
    }
  waiting->lines = line;
  waiting->add = panel->add, waiting->stream = panel->stream;
}

/* All tiles of some runs, with a chunk of a source; `between` holds their sums between chunks.
 * Returns the floats of those. */
static size_t multiply_runs(const struct conv_panel *panel, const struct conv_panel_source *source,
                            const struct chunk *chunk, struct runs runs, float *between,
                            struct conv_panel_waiting *waiting) {
  static const float zeros[CONV_PANEL_BLOCKS * CHANNEL_BLOCK];
  float *at = between;
  while (runs.left > 0) {
    int count = conv_at_most(runs.left, MOST_RUNS), places = count * runs.length;
    struct piece piece = {
        .panel = panel, .chunk = chunk, .slope = 1, .end = at, .waiting = waiting};
    for (int r = 0; r < count; r++, next_run(&runs)) {
      piece.x[r] = source_at(panel, source, &runs);
      piece.y[r] = target_at(panel, &runs);
    }
    piece.next = source_at(panel, source, &runs);
    piece.start = at, piece.start_place = CHANNEL_BLOCK;
    piece.start_block = (size_t)places * CHANNEL_BLOCK;
    if (chunk->first) {
      piece.start = panel->bias ? panel->bias : zeros;
      piece.start_place = 0, piece.start_block = CHANNEL_BLOCK;
    }
    if (chunk->last) piece.end = chunk->waits ? waiting->sums[0] : NULL, piece.slope = panel->slope;
    functions[panel->blocks - 1][panel->step - 1][runs.length > 1][count - 1](&piece);
    if (chunk->last && chunk->waits) let_wait(panel, piece.y, count, runs.length, waiting);
    at += (size_t)panel->blocks * (size_t)places * CHANNEL_BLOCK;
  }
  return (size_t)(at - between);
}

static void multiply_chunk(const struct conv_panel *panel, const struct conv_panel_source *source,
                           const struct chunk *chunk, float *between,
                           struct conv_panel_waiting *waiting) {
  int in_row = panel->width / RUN, rest = panel->width % RUN;
  struct runs whole = {.length = RUN, .in_row = in_row, .left = in_row * panel->rows};
  struct runs single = {
      .length = 1, .in_row = rest, .from = in_row * RUN, .left = rest * panel->rows};
  between += multiply_runs(panel, source, chunk, whole, between, waiting);
  multiply_runs(panel, source, chunk, single, between, waiting);
}

static int count_steps(const struct conv_panel_source *source) {
  return conv_divide_up(source->channels, CHANNEL_BLOCK) * source->taps;
}

/* `count` steps of a source from step `first` on. */
static struct chunk make_chunk(const struct conv_panel *panel,
                               const struct conv_panel_source *source, int first, int count) {
  struct chunk chunk = {.w = source->w + (size_t)first * CHANNEL_BLOCK * CHANNEL_BLOCK,
                        .block_pitch = source->block_pitch,
                        .steps = count};
  int steps = count_steps(source);
  int first_asked = steps * panel->pass / panel->passes;
  int end_asked = steps * (panel->pass + 1) / panel->passes;
  for (int i = 0; i < count; i++) {
    int group = (first + i) / source->taps, tap = (first + i) % source->taps;
    chunk.step[i] = (struct step){
        .at = (ptrdiff_t)source->group_pitch * group + source->tap_at[tap],
        .far = first_asked <= first + i && first + i < end_asked ? source->ahead : 0,
        .channels = conv_at_most(source->channels - group * CHANNEL_BLOCK, CHANNEL_BLOCK),
    };
  }
  return chunk;
}

void SIMD_NAME(conv_panel_multiply)(const struct conv_panel *panel,
                                    struct conv_panel_waiting *waiting) {
  _Alignas(64) float between[CONV_PANEL_PLACES * CONV_PANEL_BLOCKS * CHANNEL_BLOCK];
  for (int i = 0; i < panel->count; i++) {
    const struct conv_panel_source *source = &panel->sources[i];
    int steps = count_steps(source);
    int chunks = steps > 0 ? conv_divide_up(steps, MOST_STEPS) : 1; /* one without steps: biases */
    for (int c = 0; c < chunks; c++) {
      int first = steps * c / chunks, count = steps * (c + 1) / chunks - first;
      struct chunk chunk = make_chunk(panel, source, first, count);
      chunk.first = i == 0 && c == 0;
      chunk.waits = count >= LEAST_STEPS;
      chunk.last = i == panel->count - 1 && c == chunks - 1;
      multiply_chunk(panel, source, &chunk, between, waiting);
    }
  }
}
