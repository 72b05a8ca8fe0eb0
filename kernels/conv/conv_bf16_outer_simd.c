/* The weight gradient of blocked bfloat16 tensors: pairs of neighbouring voxels along w, so that
 * one instruction adds the outer products of both. Some rows of the target's gradient and of the
 * source are first written to a scratch, channel by channel in pairs, with zeros outside. Space is
 * cut into chunks whose number depends on the shape alone; each has its own sums, added up in
 * order. */
#include "kernels/conv/conv_bf16.h"
#if defined SIMD_ISA_AVX512

enum {
  WANTED_TASKS = 64,
  MOST_CHUNKS = 16,
  BLOCKS_TOGETHER = 2, /* blocks of the target's lanes that share the source's pairs */
  MOST_PAIRS = 256,    /* of a block of the target's rows that are taken together */
  MOST_ROWS = 64,
  /* A source's rows are up to 2 * rows + CONV_MOST_TAPS - 2 of up to 3 pairs more. */
  MOST_SOURCE_PAIRS = CONV_MOST_TAPS * (MOST_PAIRS + 3),
};

/* Pairs [row][pair][16 channels]. */
struct scratch {
  int rows, pairs, source_pairs; /* in use */
  _Alignas(64) uint32_t target[BLOCKS_TOGETHER][MOST_PAIRS * CHANNEL_BLOCK];
  _Alignas(64) uint32_t source[MOST_SOURCE_PAIRS * CHANNEL_BLOCK];
};

/* Some lane blocks and one source group, for one chunk of planes. */
struct task {
  const struct tensor *target;
  const uint16_t *data;
  const struct conv_source *source;
  int block, blocks, group, n, d, phase[3]; /* d: target position */
  float *partial;                           /* of the chunk */
};

/* Target rows h and pairs of voxels along w, of one phase. */
struct part {
  int h, rows, pair, pairs;
};

static inline CONV_BF16_TARGET __m512i all_of(const uint32_t *pair) {
  return _mm512_set1_epi32((int)*pair);
}

/* sums[i][16] += target[pair][16] * source[pair][i] over all rows and pairs. */
static CONV_BF16_TARGET void add_products(float *sums, const uint32_t *target,
                                          const uint32_t *source, int rows, int pairs,
                                          int64_t source_pitch) {
  __m512 sum[CHANNEL_BLOCK];
  SIMD_UNROLL
  for (int i = 0; i < CHANNEL_BLOCK; i++) sum[i] = _mm512_loadu_ps(sums + i * CHANNEL_BLOCK);
  for (int row = 0; row < rows; row++, source += source_pitch) {
    const uint32_t *values = source;
    for (int pair = 0; pair < pairs; pair++, values += CHANNEL_BLOCK, target += CHANNEL_BLOCK) {
      __m512bh vector = (__m512bh)_mm512_load_si512(target);
      SIMD_UNROLL
      for (int i = 0; i < CHANNEL_BLOCK; i++)
        sum[i] = _mm512_dpbf16_ps(sum[i], vector, (__m512bh)all_of(values + i));
    }
  }
  SIMD_UNROLL
  for (int i = 0; i < CHANNEL_BLOCK; i++) _mm512_storeu_ps(sums + i * CHANNEL_BLOCK, sum[i]);
}

static inline __m256i voxel(const uint16_t *row, int extent, int at) {
  if (at < 0 || at >= extent) return _mm256_setzero_si256();
  return _mm256_loadu_si256((const __m256i *)(row + (int64_t)at * CHANNEL_BLOCK));
}

static inline void store_pair(uint32_t *to, __m512i both) {
  _mm512_store_si512(to, conv_bf16_pair_up(both));
}

/* Pair i: voxels `from` + 2 step i and one step further of a row of `extent` voxels. */
static void write_pairs(const uint16_t *row, int extent, int from, int step, int pairs,
                        uint32_t *to) {
  int i = 0;
  do {
    for (; i < pairs && step == 1 && from >= 0 && from + 1 < extent; i++, from += 2)
      store_pair(to + i * CHANNEL_BLOCK, _mm512_loadu_si512(row + (int64_t)from * CHANNEL_BLOCK));
    for (; i < pairs && !(step == 1 && from >= 0 && from + 1 < extent); i++, from += 2 * step) {
      __m256i first = voxel(row, extent, from), second = voxel(row, extent, from + step);
      store_pair(to + i * CHANNEL_BLOCK,
                 _mm512_inserti64x4(_mm512_castsi256_si512(first), second, 1));
    }
  } while (i < pairs);
}

static void write_target(const struct task *task, const struct part *part,
                         struct scratch *scratch) {
  const struct conv_axis *a = task->source->packing.axis;
  const int *phase = task->phase;
  int step = a[2].phases, width = task->target->shape.w;
  for (int b = 0; b < task->blocks; b++)
    for (int row = 0; row < part->rows; row++) {
      int64_t at =
          tensor_at(task->target, task->n, (task->block + b) * CHANNEL_BLOCK,
                    a[0].phases * task->d + phase[0], a[1].phases * (part->h + row) + phase[1], 0);
      write_pairs(task->data + at, width, 2 * part->pair * step + phase[2], step, part->pairs,
                  scratch->target[b] + (size_t)row * part->pairs * CHANNEL_BLOCK);
    }
}

/* The source's rows of plane d that all taps along h see, from tap `tap` along w on. */
static void write_source(const struct task *task, const struct part *part, int d, int tap,
                         struct scratch *scratch) {
  const struct conv_source *source = task->source;
  const struct conv_axis *a = source->packing.axis;
  struct shape s = source->tensor->shape;
  int first = a[1].step * part->h + a[1].first[task->phase[1]];
  int rows = a[1].step * (part->rows - 1) + a[1].taps[task->phase[1]];
  int from = 2 * a[2].step * part->pair + a[2].first[task->phase[2]] + tap;
  scratch->source_pairs = part->pairs + (a[2].taps[task->phase[2]] - 1 - tap) / (2 * a[2].step);
  uint32_t *to = scratch->source;
  for (int h = first; h < first + rows; h++, to += scratch->source_pairs * CHANNEL_BLOCK) {
    bool inside = h >= 0 && h < s.h;
    const float *row =
        conv_row(source->tensor, source->data, task->n, task->group, d, inside ? h : 0);
    write_pairs((const uint16_t *)row, inside ? s.w : 0, from, a[2].step, scratch->source_pairs,
                to);
  }
}

/* The taps along h, and along w from `tap` on those that see the same pairs farther on. */
static void add_taps(const struct task *task, const struct part *part, int td, int tap,
                     const struct scratch *scratch) {
  const struct conv_packing *packing = &task->source->packing;
  const struct conv_axis *a = packing->axis;
  int taps_h = a[1].taps[task->phase[1]], taps_w = a[2].taps[task->phase[2]];
  int64_t pitch = (int64_t)scratch->source_pairs * CHANNEL_BLOCK;
  for (int th = 0; th < taps_h; th++)
    for (int tw = tap; tw < taps_w; tw += 2 * a[2].step)
      for (int b = 0; b < task->blocks; b++) {
        size_t at = conv_packing_at(packing, task->phase, task->block + b, task->group);
        int64_t place = ((int64_t)td * taps_h + th) * taps_w + tw;
        add_products(task->partial + at + place * CHANNEL_BLOCK * CHANNEL_BLOCK, scratch->target[b],
                     scratch->source + th * pitch + (tw - tap) / (2 * a[2].step) * CHANNEL_BLOCK,
                     part->rows, part->pairs, a[1].step * pitch);
      }
}

static void add_part(const struct task *task, const struct part *part, struct scratch *scratch) {
  const struct conv_axis *a = task->source->packing.axis;
  int first = a[0].step * task->d + a[0].first[task->phase[0]];
  write_target(task, part, scratch);
  for (int td = 0; td < a[0].taps[task->phase[0]]; td++) {
    int d = first + td;
    if (d < 0 || d >= task->source->tensor->shape.d) continue;
    for (int tap = 0; tap < 2 * a[2].step && tap < a[2].taps[task->phase[2]]; tap++) {
      write_source(task, part, d, tap, scratch);
      add_taps(task, part, td, tap, scratch);
    }
  }
}

static int smaller(int a, int b) {
  return a < b ? a : b;
}

/* One phase of the plane at task->d. */
static void add_phase(const struct task *task, struct scratch *scratch) {
  const struct conv_axis *a = task->source->packing.axis;
  struct shape s = task->target->shape;
  int height = conv_axis_length(s.h, a[1].phases, task->phase[1]);
  int pairs = (conv_axis_length(s.w, a[2].phases, task->phase[2]) + 1) / 2;
  int strips = (pairs + MOST_PAIRS - 1) / MOST_PAIRS, width = (pairs + strips - 1) / strips;
  int rows = smaller(MOST_PAIRS / width, MOST_ROWS);
  for (int pair = 0; pair < pairs; pair += width)
    for (int h = 0; h < height; h += rows) {
      struct part part = {h, smaller(rows, height - h), pair, smaller(width, pairs - pair)};
      add_part(task, &part, scratch);
    }
}

/* How the work is cut: depends on shapes alone. */
struct cut {
  int chunks, phases, blocks, groups, planes; /* blocks: sets of those together */
};

static struct cut cut_work(const struct tensor *target, const struct conv_packing *packing) {
  const struct conv_axis *a = packing->axis;
  int blocks = conv_packing_lane_blocks(packing);
  struct cut cut = {.phases = a[0].phases * a[1].phases * a[2].phases,
                    .blocks = (blocks + BLOCKS_TOGETHER - 1) / BLOCKS_TOGETHER,
                    .groups = conv_packing_groups(packing),
                    .planes = target->shape.n * conv_axis_length(target->shape.d, a[0].phases, 0)};
  cut.chunks = smaller(WANTED_TASKS / (cut.blocks * cut.groups), MOST_CHUNKS);
  cut.chunks = smaller(cut.chunks, cut.planes);
  if (cut.chunks < 1) cut.chunks = 1;
  return cut;
}

size_t SIMD_NAME(conv_bf16_outer_size)(const struct tensor *target,
                                       const struct conv_packing *packing) {
  return conv_packing_size(packing) * (size_t)cut_work(target, packing).chunks;
}

static void clear(struct task *task, int phases) {
  const struct conv_packing *packing = &task->source->packing;
  for (int phase = 0; phase < phases; phase++) {
    conv_packing_split_phase(packing, phase, task->phase);
    for (int b = 0; b < task->blocks; b++)
      memset(task->partial + conv_packing_at(packing, task->phase, task->block + b, task->group), 0,
             sizeof(float) * conv_packing_group_size(packing, task->phase));
  }
}

static void run_task(struct task *task, const struct cut *cut, int chunk, struct scratch *scratch) {
  const struct conv_packing *packing = &task->source->packing;
  int depth = cut->planes / task->target->shape.n;
  int first = (int)((int64_t)cut->planes * chunk / cut->chunks);
  int last = (int)((int64_t)cut->planes * (chunk + 1) / cut->chunks);
  clear(task, cut->phases);
  for (int phase = 0; phase < cut->phases; phase++) {
    conv_packing_split_phase(packing, phase, task->phase);
    int planes = conv_axis_length(task->target->shape.d, packing->axis[0].phases, task->phase[0]);
    for (int plane = first; plane < last; plane++) {
      task->n = plane / depth;
      task->d = plane % depth;
      if (task->d < planes) add_phase(task, scratch);
    }
  }
}

void SIMD_NAME(conv_bf16_outer)(const struct tensor *target, const float *data,
                                const struct conv_source *source, float *partial) {
  const struct conv_packing *packing = &source->packing;
  struct cut cut = cut_work(target, packing);
  size_t size = conv_packing_size(packing);
  int tasks = cut.chunks * cut.blocks * cut.groups, blocks = conv_packing_lane_blocks(packing);
#pragma omp parallel
  {
    struct scratch scratch;
#pragma omp for schedule(static)
    for (int index = 0; index < tasks; index++) {
      struct task task = {.target = target, .data = (const uint16_t *)data, .source = source};
      task.group = index % cut.groups;
      task.block = index / cut.groups % cut.blocks * BLOCKS_TOGETHER;
      task.blocks = smaller(BLOCKS_TOGETHER, blocks - task.block);
      int chunk = index / cut.groups / cut.blocks;
      task.partial = partial + size * chunk;
      run_task(&task, &cut, chunk, &scratch);
    }
  }
  SIMD_NAME(conv_fold_chunks)(partial, size, cut.chunks);
}
#endif
