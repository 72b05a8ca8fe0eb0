/* The weight gradient through the transformed domain: for each point the outer products of the
 * source's transformed windows with the target's transformed gradient, summed over tiles. Batches
 * are cut into chunks whose number depends on the shape alone; each has its own sums, added up in
 * order. */
#include "kernels/conv/conv_outer_multiply.h"
#include "kernels/conv/conv_winograd_transform.h"
#include "kernels/conv/conv_winograd_weights.h"

enum {
  TASK_GROUPS = 2, /* of a source of one phase; 1 of one of 8 */
  TASK_BLOCKS = 2,
  MORE_BLOCKS = 4, /* where all phases together have few points */
  FEW_POINTS = 225,
  WANTED_TASKS = 64,
  MOST_CHUNKS = 16,
  /* Tasks enough without chunks of a single batch, which hardly pay for their sums' way back; on
   * the processor's tiles batches are smaller, and this many a chunk at least. */
  ENOUGH_TASKS = 16,
  AMX_BATCHES = 4,
  /* After so many tiles the sums of points are added to those of taps, lest small products get
   * lost in large sums. */
  TILES_TOGETHER = 48 * 24,
  SMALL = 24, /* points, of which there are sums of more blocks in a thread's memory */
  /* Of all there is in a thread's memory: on the processor's tiles 2 + 4 blocks of 96 points of 32
   * tiles, and the sums of 2 x 4; otherwise at most MORE_BLOCKS + 1 of 45 points of 48 tiles, and
   * the sums of FEW_POINTS. */
  MOST_FLOATS = 6 * 96 * 33 * CHANNEL_BLOCK + 8 * 96 * WINOGRAD_SUMS,
};

/* A thread's own memory: windows of one block of channels, or of all of a task on the processor's
 * tiles, behind them the gradients of a task's blocks, and sums
 * [phase][group][block][point][16][16]. */
struct scratch {
  _Alignas(64) float v[MOST_FLOATS];
  float *m, *sums;
};

struct pass {
  const struct winograd_grid *grid;
  enum winograd_family family; /* the target's */
  const struct winograd_source *sources;
  struct winograd_source gradient; /* the target's */
  const struct conv_packing *packing;
  const float *zeros;
  bool amx;
  int phases, batch, points;
  size_t pitch;
  int64_t tiles, batches;                              /* of all samples */
  struct winograd_products products[CONV_MOST_COPIES]; /* of the phases */
  int before[CONV_MOST_COPIES + 1];                    /* points of all phases before one */
};

/* How the work is cut: depends on shapes alone. */
struct cut {
  int together;               /* groups of a task */
  int blocks_together;        /* of a task, too */
  int chunks, groups, blocks; /* groups and blocks: of so many */
};

/* Some channels of the source and of the target. */
struct task {
  int group, groups, block, blocks;
  float *partial;
};

/* sums[value][16] = (add: +=) x[tile][value] * dy[tile][16] over `tiles` tiles. */
typedef void outer_function(float *sums, size_t sums_pitch, const float *x, const float *dy,
                            size_t dy_pitch, int tiles, bool add);

WINOGRAD_INLINE void outer(float *sums, size_t sums_pitch, const float *x, const float *dy,
                           size_t dy_pitch, int tiles, bool add, const int values,
                           const int blocks) {
  simd sum[OUTER_BLOCKS][OUTER_VALUES_OF_ONE][SIMD_PER_BLOCK] = {0};
  for (int t = 0; t < tiles; t++, x += CHANNEL_BLOCK, dy += CHANNEL_BLOCK)
    conv_outer_add(sum, x, dy, dy_pitch, values, blocks);
  conv_outer_store(sums, sums_pitch, sum, add, values, blocks);
}

static void outer_one(float *sums, size_t sums_pitch, const float *x, const float *dy,
                      size_t dy_pitch, int tiles, bool add) {
  outer(sums, sums_pitch, x, dy, dy_pitch, tiles, add, OUTER_VALUES_OF_ONE, 1);
}

static void outer_two(float *sums, size_t sums_pitch, const float *x, const float *dy,
                      size_t dy_pitch, int tiles, bool add) {
  outer(sums, sums_pitch, x, dy, dy_pitch, tiles, add, OUTER_VALUES_OF_ALL, OUTER_BLOCKS);
}

/* The sums of a phase, of a group and block of the task. */
static float *sums_at(const struct pass *pass, const struct task *task, struct scratch *scratch,
                      int phase, int group, int block) {
  int before = pass->before[phase], points = pass->before[phase + 1] - before;
  int squares = before * task->groups * task->blocks + (group * task->blocks + block) * points;
  return scratch->sums + (size_t)squares * WINOGRAD_SUMS;
}

/* Floats of the windows of a block of channels. */
static size_t group_pitch(const struct pass *pass, int phase) {
  return pass->pitch * (size_t)winograd_family_entered(pass->sources[phase].family);
}

/* All products of a batch with one block of channels of a source. */
static void add_products(const struct pass *pass, const struct task *task, struct scratch *scratch,
                         int phase, int group, int tiles, bool add) {
  const size_t pair_pitch = (size_t)(pass->before[phase + 1] - pass->before[phase]) * WINOGRAD_SUMS;
  const size_t block_pitch = pass->pitch * (size_t)pass->points;
  const struct winograd_products *products = &pass->products[phase];
  for (int point = 0; point < pass->points; point++) {
    const int product = products->start[point];
    if (product == products->start[point + 1]) continue;
    const int own = products->factors[product].weights;
    const float *x = scratch->v + pass->pitch * (size_t)products->factors[product].window;
    for (int block = 0, together; block < task->blocks; block += together) {
      together = task->blocks - block < OUTER_BLOCKS ? 1 : OUTER_BLOCKS;
      outer_function *outer_of = together > 1 ? outer_two : outer_one;
      int values = together > 1 ? OUTER_VALUES_OF_ALL : OUTER_VALUES_OF_ONE;
      float *sums = sums_at(pass, task, scratch, phase, group, block) + own * WINOGRAD_SUMS;
      const float *dy = scratch->m + block_pitch * (size_t)block + pass->pitch * (size_t)point;
      for (int i = 0; i < CHANNEL_BLOCK; i += values)
        outer_of(sums + i * CHANNEL_BLOCK, pair_pitch, x + i, dy, block_pitch, tiles, add);
    }
  }
}

/* The same with all of the task's blocks of channels of a source, on the processor's tiles. */
static void add_products_amx(const struct pass *pass, const struct task *task,
                             struct scratch *scratch, int phase, int tiles, bool add) {
#if defined SIMD_ISA_AVX512
  const size_t points = (size_t)(pass->before[phase + 1] - pass->before[phase]);
  const struct winograd_products *products = &pass->products[phase];
  struct conv_outer_amx outer = {.group_pitch = points * WINOGRAD_SUMS * (size_t)task->blocks,
                                 .block_pitch = points * WINOGRAD_SUMS,
                                 .x_pitch = group_pitch(pass, phase),
                                 .lanes_pitch = pass->pitch * (size_t)pass->points,
                                 .groups = task->groups,
                                 .blocks = task->blocks,
                                 .places = tiles,
                                 .add = add};
  for (int point = 0; point < pass->points; point++) {
    const int product = products->start[point];
    if (product == products->start[point + 1]) continue;
    const struct winograd_factors factors = products->factors[product];
    outer.sums = sums_at(pass, task, scratch, phase, 0, 0) + factors.weights * WINOGRAD_SUMS;
    outer.x = scratch->v + pass->pitch * (size_t)factors.window;
    outer.lanes = scratch->m + pass->pitch * (size_t)point;
    SIMD_NAME(conv_outer_amx)(&outer);
  }
#else
  (void)pass, (void)task, (void)scratch, (void)phase, (void)tiles, (void)add;
#endif
}

/* Transforms a block of channels; behind a short batch there are zeros, which the processor's tiles
 * add, too. */
static void enter_group(const struct pass *pass, const struct winograd_source *source, int group,
                        const struct winograd_runs *runs, int tiles, float *v) {
  SIMD_NAME(winograd_enter)(v, pass->pitch, source, group, runs, pass->zeros);
  if (!pass->amx || tiles == pass->batch) return;
  const int points = winograd_family_entered(source->family);
  for (int point = 0; point < points; point++)
    memset(v + pass->pitch * (size_t)point + tiles * CHANNEL_BLOCK, 0,
           sizeof(float[CHANNEL_BLOCK]) * (size_t)(pass->batch - tiles));
}

static void add_batch(const struct pass *pass, const struct task *task, struct scratch *scratch,
                      int64_t index, bool add) {
  const int64_t first = index * pass->batch, end = first + pass->batch;
  const int tiles = (int)((end < pass->tiles ? end : pass->tiles) - first);
  struct winograd_runs runs;
  winograd_find_runs(pass->grid, first, first + tiles, &runs);
  for (int i = 0; i < task->blocks; i++)
    enter_group(pass, &pass->gradient, task->block + i, &runs, tiles,
                scratch->m + pass->pitch * (size_t)(pass->points * i));
  for (int phase = 0; phase < pass->phases; phase++)
    for (int i = 0; i < task->groups; i++) {
      float *v = scratch->v + (pass->amx ? group_pitch(pass, phase) * (size_t)i : 0);
      enter_group(pass, &pass->sources[phase], task->group + i, &runs, tiles, v);
      if (!pass->amx)
        add_products(pass, task, scratch, phase, i, tiles, add);
      else if (i + 1 == task->groups)
        add_products_amx(pass, task, scratch, phase, tiles, add);
    }
}

/* Sums of points become sums of taps, or are added to those. */
static void flush(const struct pass *pass, const struct task *task, struct scratch *scratch,
                  bool add) {
  for (int index = 0; index < pass->phases; index++) {
    int phase[3];
    conv_packing_split_phase(pass->packing, index, phase);
    for (int block = 0; block < task->blocks; block++)
      for (int group = 0; group < task->groups; group++) SIMD_NAME(winograd_to_taps)
    (pass->sources[index].family, sums_at(pass, task, scratch, index, group, block),
     task->partial +
         conv_packing_at(pass->packing, phase, task->block + block, task->group + group),
     add);
  }
}

static void run_task(const struct pass *pass, const struct task *task, struct scratch *scratch,
                     int64_t first, int64_t end) {
  const int64_t together = TILES_TOGETHER / pass->batch;
  for (int64_t index = first; index < end; index++) {
    int64_t done = index - first;
    add_batch(pass, task, scratch, index, done % together > 0);
    if (done % together == together - 1 || index == end - 1)
      flush(pass, task, scratch, done >= together);
  }
}

/* Whether there are channels enough for each piece to be multiplied often, and no parts, for each
 * of which the gradient's pieces would be made again. */
static bool pays_on_tiles(const struct conv_packing *packing) {
  return conv_packing_phases(packing) == 1 &&
         conv_packing_groups(packing) >= CONV_OUTER_AMX_BLOCKS &&
         conv_packing_lane_blocks(packing) >= CONV_OUTER_AMX_BLOCKS;
}

/* Twice as many tiles as fit one block of channels, where there is but one, or few points: the sums
 * are loaded and stored half as often. The processor's tiles sum 32 at once. */
static int batch_of(enum winograd_family family, const struct conv_packing *packing, bool amx) {
  if (amx) return winograd_family_points(family) <= SMALL ? 64 : 32;
  bool one = conv_packing_groups(packing) == 1 && conv_packing_lane_blocks(packing) == 1;
  return winograd_batch(family, false) * (one && conv_packing_phases(packing) == 1 ? 2 : 1);
}

static struct pass make_pass(const struct tensor *target, const struct winograd_grid *grid,
                             enum winograd_family family, const struct conv_packing *packing,
                             bool amx) {
  amx = amx && pays_on_tiles(packing);
  struct pass pass = {.grid = grid,
                      .family = family,
                      .packing = packing,
                      .amx = amx,
                      .phases = conv_packing_phases(packing),
                      .batch = batch_of(family, packing, amx)};
  pass.pitch = winograd_pitch(pass.batch);
  pass.points = winograd_family_points(family);
  pass.tiles = target->shape.n * winograd_grid_tiles(grid);
  pass.batches = (pass.tiles + pass.batch - 1) / pass.batch;
  for (int i = 0; i < pass.phases; i++)
    pass.before[i + 1] =
        pass.before[i] + winograd_family_points(winograd_phase_family(packing, i, family));
  return pass;
}

static struct cut cut_work(const struct pass *pass) {
  struct cut cut = {.together = TASK_GROUPS, .blocks_together = TASK_BLOCKS};
  if (pass->amx) cut.blocks_together = CONV_OUTER_AMX_BLOCKS;
  if (pass->amx && pass->points <= SMALL) cut.together = CONV_OUTER_AMX_BLOCKS;
  if (pass->phases > 1) {
    cut.together = 1;
    if (pass->before[pass->phases] <= FEW_POINTS) cut.blocks_together = MORE_BLOCKS;
  }
  const int blocks = conv_packing_lane_blocks(pass->packing);
  cut.blocks_together = conv_at_most(blocks, cut.blocks_together);
  cut.groups = (conv_packing_groups(pass->packing) + cut.together - 1) / cut.together;
  cut.blocks = (blocks + cut.blocks_together - 1) / cut.blocks_together;
  cut.chunks = WANTED_TASKS / (cut.blocks * cut.groups);
  if (cut.chunks > MOST_CHUNKS) cut.chunks = MOST_CHUNKS;
  const int64_t least = pass->amx ? AMX_BATCHES : cut.blocks * cut.groups < ENOUGH_TASKS ? 1 : 2;
  const int64_t most = pass->batches / least;
  if (cut.chunks > most) cut.chunks = (int)most;
  if (cut.chunks < 1) cut.chunks = 1;
  return cut;
}

size_t SIMD_NAME(winograd_outer_size)(const struct tensor *target, const struct winograd_grid *grid,
                                      enum winograd_family family,
                                      const struct conv_packing *packing, bool amx) {
  struct pass pass = make_pass(target, grid, family, packing, amx);
  return conv_packing_size(packing) * (size_t)cut_work(&pass).chunks;
}

void SIMD_NAME(winograd_outer)(const struct tensor *target, const float *dy,
                               const struct winograd_grid *grid, enum winograd_family family,
                               const struct winograd_source *sources,
                               const struct conv_packing *packing, const float *zeros,
                               float *partial, bool amx) {
  struct pass pass = make_pass(target, grid, family, packing, amx);
  pass.sources = sources, pass.zeros = zeros;
  for (int i = 0; i < pass.phases; i++)
    winograd_find_products(family, sources[i].family, sources[i].family, &pass.products[i]);
  pass.gradient = (struct winograd_source){.tensor = target,
                                           .data = dy,
                                           .family = winograd_spread_family(family),
                                           .view = winograd_view_all(target)};
  memcpy(pass.gradient.first, grid->first, sizeof grid->first);
  struct cut cut = cut_work(&pass);
  const size_t size = conv_packing_size(packing);
#pragma omp parallel
  {
    struct scratch scratch;
    scratch.m = scratch.v + pass.pitch * (size_t)(pass.points * (pass.amx ? cut.together : 1));
    scratch.sums = scratch.m + pass.pitch * (size_t)(pass.points * cut.blocks_together);
    SIMD_NAME(conv_multiply_begin)(pass.amx);
#pragma omp for schedule(static)
    for (int index = 0; index < cut.chunks * cut.groups * cut.blocks; index++) {
      int chunk = index / cut.groups / cut.blocks;
      struct task task = {.group = index % cut.groups * cut.together,
                          .block = index / cut.groups % cut.blocks * cut.blocks_together,
                          .partial = partial + size * (size_t)chunk};
      task.groups = conv_at_most(conv_packing_groups(packing) - task.group, cut.together);
      task.blocks =
          conv_at_most(conv_packing_lane_blocks(packing) - task.block, cut.blocks_together);
      run_task(&pass, &task, &scratch, pass.batches * chunk / cut.chunks,
               pass.batches * (chunk + 1) / cut.chunks);
    }
    SIMD_NAME(conv_multiply_end)(pass.amx);
  }
  SIMD_NAME(conv_fold_chunks)(partial, size, cut.chunks);
}
