/* The weight gradient: for each tap, the outer products of 16 lanes of the target's gradient with
 * the source's channels, summed in registers along rows of voxels. Space is cut into chunks whose
 * number depends on the shape alone; each has its own sums, added up in order. */
#include "kernels/conv/conv_direct.h"

#if defined SIMD_ISA_AVX512
enum { MOST_VALUES = 16 };
#elif defined SIMD_ISA_AVX2
enum { MOST_VALUES = 6 };
#else
enum { MOST_VALUES = 3 };
#endif

enum {
  WANTED_TASKS = 64,
  MOST_CHUNKS = 16,
  FEW_TAPS = 8,
  VOXELS_TOGETHER = 192, /* a few rows, so that the sums are seldom loaded and stored */
};

/* Voxels whose outer products are summed: `voxels` of each of `rows` rows. Distances in floats. */
struct sweep {
  const float *vector, *values;
  int voxels, rows;
  int64_t vector_step, values_step, vector_pitch, values_pitch;
};

typedef void outer_function(float *sums, const struct sweep *sweep);

/* sums[i][16] += vector[16] * values[i] over all voxels; `count` is a constant to the compiler.
 * Where it is small, `sets` voxels are summed side by side to keep the multipliers busy. */
static inline __attribute__((always_inline)) void outer(float *sums, const struct sweep *sweep,
                                                        const int count, const int sets) {
  simd sum[MOST_VALUES][SIMD_PER_BLOCK] = {0};
  for (int row = 0; row < sweep->rows; row++) {
    const float *vector = sweep->vector + row * sweep->vector_pitch;
    const float *values = sweep->values + row * sweep->values_pitch;
    for (int left = sweep->voxels; left > 0; left -= sets) {
      SIMD_UNROLL
      for (int set = 0; set < sets; set++) {
        if (set >= left) break;
        SIMD_UNROLL
        for (int i = 0; i < count; i++) {
          SIMD_UNROLL
          for (int p = 0; p < SIMD_PER_BLOCK; p++)
            sum[set * count + i][p] += simd_load(vector + p * SIMD_WIDTH) * simd_all(values[i]);
        }
        vector += sweep->vector_step;
        values += sweep->values_step;
      }
    }
  }
  SIMD_UNROLL
  for (int i = 0; i < count; i++) {
    SIMD_UNROLL
    for (int p = 0; p < SIMD_PER_BLOCK; p++) {
      float *to = sums + i * CHANNEL_BLOCK + p * SIMD_WIDTH;
      SIMD_UNROLL
      for (int set = 1; set < sets; set++) sum[i][p] += sum[set * count + i][p];
      simd_store(to, simd_load(to) + sum[i][p]);
    }
  }
}

#define DEFINE(count)                                                             \
  static void outer_##count(float *sums, const struct sweep *sweep) {             \
    outer(sums, sweep, count, SIMD_WIDTH<16 || count> 8 ? 1 : count > 4 ? 2 : 4); \
  }
#define NAME(count) outer_##count,
#if defined SIMD_ISA_AVX512
#define COUNTS(DO) \
  DO(1)            \
  DO(2) DO(3) DO(4) DO(5) DO(6) DO(7) DO(8) DO(9) DO(10) DO(11) DO(12) DO(13) DO(14) DO(15) DO(16)
#elif defined SIMD_ISA_AVX2
#define COUNTS(DO) DO(1) DO(2) DO(3) DO(4) DO(5) DO(6)
#else
#define COUNTS(DO) DO(1) DO(2) DO(3)
#endif
COUNTS(DEFINE)
static outer_function *const outers[] = {COUNTS(NAME)};

static void add_outer(float *sums, struct sweep sweep, int count) {
  for (int first = 0; first < count; first += MOST_VALUES) {
    int values = count - first < MOST_VALUES ? count - first : MOST_VALUES;
    outers[values - 1](sums + first * CHANNEL_BLOCK, &sweep);
    sweep.values += values;
  }
}

/* A range of target positions along an axis. */
struct range {
  int from, to;
};

/* Where a tap stays inside the source. */
static struct range inside(const struct conv_axis *axis, int phase, int tap, int extent,
                           struct range within) {
  int first = axis->first[phase] + tap, step = axis->step;
  int from = first >= 0 ? 0 : (step - 1 - first) / step;
  int to = extent - first <= 0 ? 0 : (extent - first + step - 1) / step;
  return (struct range){from > within.from ? from : within.from, to < within.to ? to : within.to};
}

/* One lane block and source group, for one chunk of planes. */
struct task {
  const struct tensor *target;
  const float *vectors;
  const struct conv_source *source;
  int first_block, blocks, first_group, groups; /* that go over a few rows together */
  int block, group, n, d, phase[3];             /* d: target position */
  float *partial;                               /* of the chunk */
};

/* Fills in the addresses of source row (d, h + ...) for target rows `h` and voxels `w`. */
static struct sweep sweep_of(const struct task *task, int td, int th, int tw, struct range h,
                             struct range w) {
  const struct conv_source *source = task->source;
  const struct conv_axis *a = source->packing.axis;
  const int *phase = task->phase;
  int group = source->packing.group;
  int from[] = {a[0].step * task->d + a[0].first[phase[0]] + td,
                a[1].step * h.from + a[1].first[phase[1]] + th,
                a[2].step * w.from + a[2].first[phase[2]] + tw};
  int64_t vector = tensor_at(task->target, task->n, task->block * CHANNEL_BLOCK,
                             a[0].phases * task->d + phase[0], a[1].phases * h.from + phase[1],
                             a[2].phases * w.from + phase[2]);
  int64_t values =
      tensor_at(source->tensor, task->n, task->group * group, from[0], from[1], from[2]);
  return (struct sweep){
      .vector = task->vectors + vector,
      .values = source->data + values,
      .voxels = w.to - w.from,
      .rows = h.to - h.from,
      .vector_step = a[2].phases * CHANNEL_BLOCK,
      .values_step = (int64_t)a[2].step * group,
      .vector_pitch = (int64_t)a[1].phases * task->target->shape.w * CHANNEL_BLOCK,
      .values_pitch = (int64_t)a[1].step * source->tensor->shape.w * group,
  };
}

static void add_tap(const struct task *task, float *sums, int td, int th, int tw, struct range h,
                    struct range w, int taps) {
  if (w.from >= w.to) return;
  add_outer(sums + tw * task->source->packing.group * CHANNEL_BLOCK,
            sweep_of(task, td, th, tw, h, w), taps * task->source->packing.group);
}

static struct range whole_row(const struct task *task) {
  const struct conv_axis *axis = &task->source->packing.axis[2];
  return (struct range){0, conv_axis_length(task->target->shape.w, axis->phases, task->phase[2])};
}

/* A blocked source fills the registers with one tap's channels. */
static void add_taps_one_by_one(const struct task *task, float *sums, int td, int th,
                                struct range h) {
  const struct conv_axis *axis = &task->source->packing.axis[2];
  int extent = task->source->tensor->shape.w;
  for (int tw = 0; tw < axis->taps[task->phase[2]]; tw++) {
    struct range w = inside(axis, task->phase[2], tw, extent, whole_row(task));
    add_tap(task, sums, td, th, tw, h, w, 1);
  }
}

/* A planar source takes all taps along w together, but for the ends of the row. */
static void add_taps_together(const struct task *task, float *sums, int td, int th,
                              struct range h) {
  const struct conv_axis *axis = &task->source->packing.axis[2];
  int extent = task->source->tensor->shape.w, phase = task->phase[2], taps = axis->taps[phase];
  struct range whole = whole_row(task);
  struct range all = inside(axis, phase, 0, extent, whole);
  all = inside(axis, phase, taps - 1, extent, all);
  if (all.from >= all.to) all = (struct range){whole.to, whole.to};
  add_tap(task, sums, td, th, 0, h, all, taps);
  for (int tw = 0; tw < taps; tw++) {
    struct range own = inside(axis, phase, tw, extent, whole);
    int left = own.to < all.from ? own.to : all.from;
    add_tap(task, sums, td, th, tw, h, (struct range){own.from, left}, 1);
    if (all.to < whole.to) {
      int right = own.from > all.to ? own.from : all.to;
      add_tap(task, sums, td, th, tw, h, (struct range){right, own.to}, 1);
    }
  }
}

/* Asks for part `part` of `parts` of `rows` rows of `floats` floats that lie `pitch` apart.
 * Inlined by force: gcc 12 removes calls of functions that do nothing but prefetch. */
static inline __attribute__((always_inline)) void prefetch(const float *from, int rows,
                                                           int64_t floats, int64_t pitch, int part,
                                                           int parts) {
  for (int row = 0; row < rows; row++, from += pitch)
    for (int64_t i = floats * part / parts; i < floats * (part + 1) / parts; i += CHANNEL_BLOCK)
      __builtin_prefetch(from + i);
}

/* Asks for a part of the target rows that follow `rows`. */
static inline __attribute__((always_inline)) void prefetch_target(const struct task *task,
                                                                  struct range rows, int part,
                                                                  int parts) {
  const struct conv_axis *a = task->source->packing.axis;
  struct shape s = task->target->shape;
  int h = a[1].phases * rows.to + task->phase[1], count = rows.to - rows.from;
  if (h + a[1].phases * (count - 1) >= s.h) return;
  const float *from = conv_row(task->target, task->vectors, task->n, task->block,
                               a[0].phases * task->d + task->phase[0], h);
  int64_t floats = (int64_t)s.w * CHANNEL_BLOCK;
  prefetch(from, count, floats, a[1].phases * floats, part, parts);
}

/* Asks for a part of the rows of source plane d that the target rows after `rows` are the first to
 * read. */
static inline __attribute__((always_inline)) void prefetch_source(const struct task *task, int d,
                                                                  struct range rows, int part,
                                                                  int parts) {
  const struct conv_source *source = task->source;
  const struct conv_axis *axis = &source->packing.axis[1];
  struct shape s = source->tensor->shape;
  int count = (rows.to - rows.from) * axis->step;
  int h =
      axis->step * rows.to + axis->first[task->phase[1]] + axis->taps[task->phase[1]] - axis->step;
  if (h < 0 || h + count > s.h) return;
  int64_t floats = (int64_t)s.w * source->packing.group;
  prefetch(conv_row(source->tensor, source->data, task->n, task->group, d, h), count, floats,
           floats, part, parts);
}

/* All taps for target rows `rows` of the plane at task->d. */
static void add_rows(const struct task *task, struct range rows) {
  const struct conv_source *source = task->source;
  const struct conv_axis *a = source->packing.axis;
  struct shape s = source->tensor->shape;
  const int *phase = task->phase;
  int taps_d = a[0].taps[phase[0]], taps_h = a[1].taps[phase[1]], taps_w = a[2].taps[phase[2]];
  float *sums = task->partial + conv_packing_at(&source->packing, phase, task->block, task->group);
  for (int td = 0; td < taps_d; td++) {
    int d = a[0].step * task->d + a[0].first[phase[0]] + td;
    for (int th = 0; th < taps_h; th++, sums += taps_w * source->packing.group * CHANNEL_BLOCK) {
      prefetch_target(task, rows, td * taps_h + th, taps_d * taps_h);
      if (d < 0 || d >= s.d) continue;
      prefetch_source(task, d, rows, th, taps_h);
      struct range h = inside(&a[1], phase[1], th, s.h, rows);
      if (h.from >= h.to) continue;
      if (source->packing.group == 1)
        add_taps_together(task, sums, td, th, h);
      else
        add_taps_one_by_one(task, sums, td, th, h);
    }
  }
}

static void add_pairs(struct task *task, struct range rows) {
  for (task->block = task->first_block; task->block < task->first_block + task->blocks;
       task->block++)
    for (task->group = task->first_group; task->group < task->first_group + task->groups;
         task->group++)
      add_rows(task, rows);
}

/* All phases go over a few rows together: they share the lines of the target. */
static void add_plane(struct task *task, int phases) {
  const struct conv_packing *packing = &task->source->packing;
  const struct conv_axis *a = packing->axis;
  struct shape s = task->target->shape;
  int height = conv_axis_length(s.h, a[1].phases, 0), width = conv_axis_length(s.w, a[2].phases, 0);
  int voxels = VOXELS_TOGETHER * (packing->group == 1 ? 4 : 1);
  int together = (voxels + width - 1) / width;
  for (int h = 0; h < height; h += together)
    for (int phase = 0; phase < phases; phase++) {
      conv_packing_split_phase(packing, phase, task->phase);
      int most = conv_axis_length(s.h, a[1].phases, task->phase[1]);
      if (task->d < conv_axis_length(s.d, a[0].phases, task->phase[0]))
        add_pairs(task, (struct range){h, h + together < most ? h + together : most});
    }
}

/* How the work is cut: depends on shapes alone. */
struct cut {
  int chunks, phases, planes;   /* planes: of all samples of a phase */
  int together, blocks, groups; /* blocks and groups: each of so many together */
};

/* With few taps most of the time goes into reading rows, which blocks and groups then share. */
static int find_together(const struct conv_packing *packing) {
  const struct conv_axis *a = packing->axis;
  int taps = conv_axis_most_taps(&a[0]) * conv_axis_most_taps(&a[1]) * conv_axis_most_taps(&a[2]);
  return packing->group > 1 && taps <= FEW_TAPS ? 2 : 1;
}

static struct cut cut_work(const struct tensor *target, const struct conv_packing *packing) {
  const struct conv_axis *a = packing->axis;
  struct cut cut = {.phases = a[0].phases * a[1].phases * a[2].phases,
                    .blocks = conv_packing_lane_blocks(packing),
                    .groups = conv_packing_groups(packing),
                    .planes = target->shape.n * conv_axis_length(target->shape.d, a[0].phases, 0)};
  cut.together = find_together(packing);
  cut.blocks = (cut.blocks + cut.together - 1) / cut.together;
  cut.groups = (cut.groups + cut.together - 1) / cut.together;
  cut.chunks = WANTED_TASKS / (cut.blocks * cut.groups);
  if (cut.chunks > MOST_CHUNKS) cut.chunks = MOST_CHUNKS;
  if (cut.chunks > cut.planes) cut.chunks = cut.planes;
  if (cut.chunks < 1) cut.chunks = 1;
  return cut;
}

size_t SIMD_NAME(conv_outer_size)(const struct tensor *target, const struct conv_packing *packing) {
  return conv_packing_size(packing) * (size_t)cut_work(target, packing).chunks;
}

static void run_task(struct task *task, const struct cut *cut, int chunk) {
  const struct conv_packing *packing = &task->source->packing;
  for (int phase = 0; phase < cut->phases; phase++) {
    conv_packing_split_phase(packing, phase, task->phase);
    for (int block = 0; block < task->blocks; block++)
      memset(task->partial + conv_packing_at(packing, task->phase, task->first_block + block,
                                             task->first_group),
             0, sizeof(float) * conv_packing_group_size(packing, task->phase) * task->groups);
  }
  int depth = cut->planes / task->target->shape.n;
  int first = (int)((int64_t)cut->planes * chunk / cut->chunks);
  int last = (int)((int64_t)cut->planes * (chunk + 1) / cut->chunks);
  for (int plane = first; plane < last; plane++) {
    task->n = plane / depth;
    task->d = plane % depth;
    add_plane(task, cut->phases);
  }
}

void SIMD_NAME(conv_fold_chunks)(float *partial, size_t size, int chunks) {
  if (chunks == 1) return;
#pragma omp parallel for schedule(static)
  for (int64_t i = 0; i < (int64_t)size; i += SIMD_WIDTH) {
    simd sum = simd_load(partial + i);
    for (int chunk = 1; chunk < chunks; chunk++) sum += simd_load(partial + size * chunk + i);
    simd_store(partial + i, sum);
  }
}

void SIMD_NAME(conv_outer)(const struct tensor *target, const float *data,
                           const struct conv_source *source, float *partial) {
  const struct conv_packing *packing = &source->packing;
  struct cut cut = cut_work(target, packing);
  size_t size = conv_packing_size(packing);
  int tasks = cut.chunks * cut.blocks * cut.groups;
#pragma omp parallel for schedule(static)
  for (int index = 0; index < tasks; index++) {
    struct task task = {.target = target, .vectors = data, .source = source};
    task.first_group = index % cut.groups * cut.together;
    task.first_block = index / cut.groups % cut.blocks * cut.together;
    task.groups = conv_at_most(conv_packing_groups(packing) - task.first_group, cut.together);
    task.blocks = conv_at_most(conv_packing_lane_blocks(packing) - task.first_block, cut.together);
    int chunk = index / cut.groups / cut.blocks;
    task.partial = partial + size * chunk;
    run_task(&task, &cut, chunk);
  }
  SIMD_NAME(conv_fold_chunks)(partial, size, cut.chunks);
}
