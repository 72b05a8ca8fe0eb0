/* The weight gradient through the transformed domain: for each point the outer products of the
 * source's transformed windows with the target's transformed gradient, summed over tiles. Batches
 * are cut into chunks whose number depends on the shape alone; each has its own sums, added up in
 * order. */
#include "kernels/conv/conv_winograd_transform.h"
#include "kernels/conv/conv_winograd_weights.h"

/* Blocks of 16 channels in one task; values whose sums fit the registers, of one block of the
 * target's channels and of two. */
#if defined SIMD_ISA_AVX512
enum { MOST_BLOCKS = 2, VALUES_OF_ONE = 16, VALUES_OF_TWO = 8 };
#elif defined SIMD_ISA_AVX2
enum { MOST_BLOCKS = 1, VALUES_OF_ONE = 4, VALUES_OF_TWO = 4 };
#else
enum { MOST_BLOCKS = 1, VALUES_OF_ONE = 2, VALUES_OF_TWO = 2 };
#endif

enum {
  TASK_GROUPS = 2,
  TASK_BLOCKS = 2,
  WANTED_TASKS = 64,
  MOST_CHUNKS = 16,
  /* After so many tiles the sums of points are added to those of taps, lest small products get
   * lost in large sums. */
  TILES_TOGETHER = 48 * 24,
  MOST_POINTS = 64,
};

/* A thread's own memory: windows, gradients, and sums [group][block][point][16][16]. */
struct scratch {
  _Alignas(64) float v[TASK_GROUPS * WINOGRAD_BATCH_FLOATS];
  float m[TASK_BLOCKS * WINOGRAD_BATCH_FLOATS];
  float sums[TASK_GROUPS * TASK_BLOCKS * MOST_POINTS * WINOGRAD_PAIR];
};

struct pass {
  const struct tensor *target;
  const struct winograd_grid *grid;
  const struct winograd_source *source;
  struct winograd_source gradient; /* the target's */
  const struct conv_packing *packing;
  const float *zeros;
  int batch, points;
  size_t pitch;
  int64_t tiles, batches; /* of a sample */
};

/* How the work is cut: depends on shapes alone. */
struct cut {
  int chunks, groups, blocks; /* groups and blocks: of TASK_GROUPS and TASK_BLOCKS */
};

/* Some channels of the source and of the target. */
struct task {
  int group, groups, block, blocks;
  float *partial;
};

/* sums[value][16] += x[tile][value] * dy[tile][16] over `tiles` tiles. */
typedef void outer_function(float *sums, size_t sums_pitch, const float *x, const float *dy,
                            size_t dy_pitch, int tiles);

WINOGRAD_INLINE void outer(float *sums, size_t sums_pitch, const float *x, const float *dy,
                           size_t dy_pitch, int tiles, const int values, const int blocks) {
  simd sum[MOST_BLOCKS][VALUES_OF_ONE][SIMD_PER_BLOCK] = {0};
  for (int t = 0; t < tiles; t++, x += CHANNEL_BLOCK, dy += CHANNEL_BLOCK) {
    simd vector[MOST_BLOCKS][SIMD_PER_BLOCK];
    SIMD_UNROLL
    for (int b = 0; b < blocks; b++) {
      SIMD_UNROLL
      for (int p = 0; p < SIMD_PER_BLOCK; p++)
        vector[b][p] = simd_load(dy + dy_pitch * (size_t)b + p * SIMD_WIDTH);
    }
    SIMD_UNROLL
    for (int i = 0; i < values; i++) {
      simd value = simd_all(x[i]);
      SIMD_UNROLL
      for (int b = 0; b < blocks; b++) {
        SIMD_UNROLL
        for (int p = 0; p < SIMD_PER_BLOCK; p++) sum[b][i][p] += value * vector[b][p];
      }
    }
  }
  SIMD_UNROLL
  for (int b = 0; b < blocks; b++) {
    SIMD_UNROLL
    for (int i = 0; i < values; i++) {
      SIMD_UNROLL
      for (int p = 0; p < SIMD_PER_BLOCK; p++) {
        float *to = sums + sums_pitch * (size_t)b + i * CHANNEL_BLOCK + p * SIMD_WIDTH;
        simd_store(to, simd_load(to) + sum[b][i][p]);
      }
    }
  }
}

static void outer_one(float *sums, size_t sums_pitch, const float *x, const float *dy,
                      size_t dy_pitch, int tiles) {
  outer(sums, sums_pitch, x, dy, dy_pitch, tiles, VALUES_OF_ONE, 1);
}

static void outer_two(float *sums, size_t sums_pitch, const float *x, const float *dy,
                      size_t dy_pitch, int tiles) {
  outer(sums, sums_pitch, x, dy, dy_pitch, tiles, VALUES_OF_TWO, MOST_BLOCKS);
}

/* All products of a batch. */
static void add_products(const struct pass *pass, const struct task *task, struct scratch *scratch,
                         int tiles) {
  const size_t pair_pitch = (size_t)pass->points * WINOGRAD_PAIR;
  const size_t group_pitch = pass->pitch * (size_t)pass->points;
  for (int point = 0; point < pass->points; point++)
    for (int group = 0; group < task->groups; group++)
      for (int block = 0, together; block < task->blocks; block += together) {
        together = task->blocks - block < MOST_BLOCKS ? 1 : MOST_BLOCKS;
        outer_function *add = together > 1 ? outer_two : outer_one;
        int values = together > 1 ? VALUES_OF_TWO : VALUES_OF_ONE;
        float *sums = scratch->sums + pair_pitch * (size_t)(group * TASK_BLOCKS + block) +
                      (size_t)point * WINOGRAD_PAIR;
        const float *x = scratch->v + group_pitch * (size_t)group + pass->pitch * (size_t)point;
        const float *dy = scratch->m + group_pitch * (size_t)block + pass->pitch * (size_t)point;
        for (int i = 0; i < CHANNEL_BLOCK; i += values)
          add(sums + i * CHANNEL_BLOCK, pair_pitch, x + i, dy, group_pitch, tiles);
      }
}

static void add_batch(const struct pass *pass, const struct task *task, struct scratch *scratch,
                      int64_t index) {
  int n = (int)(index / pass->batches);
  int64_t first = index % pass->batches * pass->batch;
  int64_t end = first + pass->batch < pass->tiles ? first + pass->batch : pass->tiles;
  const size_t group_pitch = pass->pitch * (size_t)pass->points;
  for (int64_t tile = first; tile < end;) {
    struct winograd_run run = winograd_find_run(pass->grid, n, tile, end, (int)(tile - first));
    for (int i = 0; i < task->groups; i++) SIMD_NAME(winograd_enter_run)
    (scratch->v + group_pitch * (size_t)i, pass->pitch, pass->source, task->group + i, &run,
     pass->zeros);
    for (int i = 0; i < task->blocks; i++) SIMD_NAME(winograd_enter_run)
    (scratch->m + group_pitch * (size_t)i, pass->pitch, &pass->gradient, task->block + i, &run,
     pass->zeros);
    tile += run.count;
  }
  add_products(pass, task, scratch, (int)(end - first));
}

/* Sums of points become sums of taps. */
static void flush(const struct pass *pass, const struct task *task, struct scratch *scratch) {
  const int no_phase[3] = {0};
  const size_t pair_pitch = (size_t)pass->points * WINOGRAD_PAIR;
  for (int block = 0; block < task->blocks; block++)
    for (int group = 0; group < task->groups; group++) SIMD_NAME(winograd_add_taps)
  (pass->source->family, scratch->sums + pair_pitch * (size_t)(group * TASK_BLOCKS + block),
   task->partial +
       conv_packing_at(pass->packing, no_phase, task->block + block, task->group + group));
  memset(scratch->sums, 0, sizeof scratch->sums);
}

static void run_task(const struct pass *pass, const struct task *task, struct scratch *scratch,
                     int64_t first, int64_t end) {
  const int no_phase[3] = {0};
  for (int block = task->block; block < task->block + task->blocks; block++)
    for (int group = task->group; group < task->group + task->groups; group++)
      memset(task->partial + conv_packing_at(pass->packing, no_phase, block, group), 0,
             sizeof(float) * conv_packing_group_size(pass->packing, no_phase));
  memset(scratch->sums, 0, sizeof scratch->sums);
  const int together = TILES_TOGETHER / pass->batch;
  for (int64_t index = first; index < end; index++) {
    add_batch(pass, task, scratch, index);
    if ((index - first) % together == together - 1 || index == end - 1) flush(pass, task, scratch);
  }
}

/* Twice as many tiles as fit one block of channels, where there is but one, or few points: the sums
 * are loaded and stored half as often. */
static int batch_of(enum winograd_family family, const struct conv_packing *packing) {
  bool one = conv_packing_groups(packing) == 1 && conv_packing_lane_blocks(packing) == 1;
  return winograd_batch(family) * (one || family == WINOGRAD_UP_3D ? 2 : 1);
}

static struct pass make_pass(const struct tensor *target, const struct winograd_grid *grid,
                             enum winograd_family family, const struct conv_packing *packing) {
  struct pass pass = {
      .target = target, .grid = grid, .packing = packing, .batch = batch_of(family, packing)};
  pass.pitch = winograd_pitch(pass.batch);
  pass.points = winograd_family_points(family);
  pass.tiles = (int64_t)grid->tiles[0] * grid->tiles[1] * grid->tiles[2];
  pass.batches = (pass.tiles + pass.batch - 1) / pass.batch;
  return pass;
}

static struct cut cut_work(const struct pass *pass, const struct conv_packing *packing) {
  struct cut cut = {.groups = (conv_packing_groups(packing) + TASK_GROUPS - 1) / TASK_GROUPS,
                    .blocks = (conv_packing_lane_blocks(packing) + TASK_BLOCKS - 1) / TASK_BLOCKS};
  int64_t batches = pass->batches * pass->target->shape.n;
  cut.chunks = WANTED_TASKS / (cut.blocks * cut.groups);
  if (cut.chunks > MOST_CHUNKS) cut.chunks = MOST_CHUNKS;
  if (cut.chunks > batches) cut.chunks = (int)batches;
  if (cut.chunks < 1) cut.chunks = 1;
  return cut;
}

size_t SIMD_NAME(winograd_outer_size)(const struct tensor *target, const struct winograd_grid *grid,
                                      enum winograd_family family,
                                      const struct conv_packing *packing) {
  struct pass pass = make_pass(target, grid, family, packing);
  return conv_packing_size(packing) * (size_t)cut_work(&pass, packing).chunks;
}

void SIMD_NAME(winograd_outer)(const struct tensor *target, const float *dy,
                               const struct winograd_grid *grid,
                               const struct winograd_source *source,
                               const struct conv_packing *packing, const float *zeros,
                               float *partial) {
  struct pass pass = make_pass(target, grid, source->family, packing);
  pass.source = source, pass.zeros = zeros;
  pass.gradient = (struct winograd_source){
      .tensor = target, .data = dy, .family = winograd_spread_family(source->family)};
  memcpy(pass.gradient.first, grid->first, sizeof grid->first);
  struct cut cut = cut_work(&pass, packing);
  const size_t size = conv_packing_size(packing);
  const int64_t batches = pass.batches * target->shape.n;
#pragma omp parallel
  {
    struct scratch scratch;
#pragma omp for schedule(static)
    for (int index = 0; index < cut.chunks * cut.groups * cut.blocks; index++) {
      int chunk = index / cut.groups / cut.blocks;
      struct task task = {.group = index % cut.groups * TASK_GROUPS,
                          .block = index / cut.groups % cut.blocks * TASK_BLOCKS,
                          .partial = partial + size * (size_t)chunk};
      task.groups = conv_at_most(conv_packing_groups(packing) - task.group, TASK_GROUPS);
      task.blocks = conv_at_most(conv_packing_lane_blocks(packing) - task.block, TASK_BLOCKS);
      run_task(&pass, &task, &scratch, batches * chunk / cut.chunks,
               batches * (chunk + 1) / cut.chunks);
    }
  }
  SIMD_NAME(conv_fold_chunks)(partial, size, cut.chunks);
}
