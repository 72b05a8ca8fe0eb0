/* The weight gradient of convolutions whose target voxels share no source voxel: outer products of
 * the target's lanes with the source's channels where they lie, summed over batches of voxels.
 * Batches are cut into chunks whose number depends on the shape alone; each has its own sums, added
 * up in order. */
#include "kernels/conv/conv_outer_multiply.h"
#include "kernels/conv/conv_point.h"

enum {
  TASK_BLOCKS = 2,
  TASK_PAIRS = 32,   /* of blocks and groups, of all taps: their sums fit a first-level cache */
  MOST_PLACES = 128, /* whose lanes stay in a first-level cache while all pairs pass */
  WANTED_TASKS = 64,
  MOST_CHUNKS = 16,
  SUMS = 4,          /* side by side, to hide their latency */
  BATCHES_AHEAD = 2, /* of what another convolution asks for: farther than the sums do */
};

/* How the work is cut: depends on shapes alone. */
struct cut {
  int chunks, blocks, groups; /* tasks */
  int task_groups;
  int segments, bands, width, rows;
  int64_t batches;
};

struct pass {
  struct tensor target, source;
  const float *lanes, *values;
  const struct conv_packing *packing;
  int taps[3];
  size_t lanes_pitch; /* from block to block */
  const struct conv_point_also *also;
  struct cut cut;
};

/* Some channels of the source and of the target. */
struct task {
  int group, groups, block, blocks;
  float *partial;
  float *lane_sums, *value_sums; /* of the channels of all blocks and groups; NULL: not wanted */
};

static struct pass make_pass(const struct tensor *target, const struct tensor *source,
                             const struct conv_packing *packing) {
  const struct conv_axis *a = packing->axis;
  bool flat = conv_point_is_plain(packing);
  struct pass pass = {.target = flat ? conv_point_flatten(target) : *target,
                      .source = flat ? conv_point_flatten(source) : *source,
                      .packing = packing,
                      .taps = {a[0].taps[0], a[1].taps[0], a[2].taps[0]}};
  struct cut *cut = &pass.cut;
  const struct shape s = pass.target.shape;
  int taps = pass.taps[0] * pass.taps[1] * pass.taps[2];
  pass.lanes_pitch = (size_t)shape_voxels(s) * CHANNEL_BLOCK;
  cut->segments = conv_divide_up(s.w, MOST_PLACES);
  cut->width = conv_divide_up(s.w, cut->segments);
  cut->rows = conv_at_most(conv_divide_up(MOST_PLACES, cut->width), s.h);
  cut->bands = conv_divide_up(s.h, cut->rows);
  cut->batches = (int64_t)s.n * s.d * cut->bands * cut->segments;
  int groups = conv_packing_groups(packing), blocks = conv_packing_lane_blocks(packing);
  cut->task_groups = TASK_PAIRS / taps / conv_at_most(blocks, TASK_BLOCKS);
  cut->groups = conv_divide_up(groups, cut->task_groups);
  cut->blocks = conv_divide_up(blocks, TASK_BLOCKS);
  cut->chunks = conv_at_most(WANTED_TASKS / (cut->groups * cut->blocks), MOST_CHUNKS);
  if (cut->chunks > cut->batches) cut->chunks = (int)cut->batches;
  if (cut->chunks < 1) cut->chunks = 1;
  return pass;
}

/* sums[16] += the vectors of some places. */
static void add_sums(float *sums, const float *from, size_t step, int places) {
  simd sum[SUMS][SIMD_PER_BLOCK] = {{{0}}};
  for (; places > 0; places -= SUMS, from += step * SUMS) {
    SIMD_UNROLL
    for (int i = 0; i < SUMS; i++) {
      if (i >= places) break;
      SIMD_UNROLL
      for (int p = 0; p < SIMD_PER_BLOCK; p++)
        sum[i][p] += simd_load(from + step * (size_t)i + p * SIMD_WIDTH);
    }
  }
  SIMD_UNROLL
  for (int p = 0; p < SIMD_PER_BLOCK; p++) {
    simd total = (sum[0][p] + sum[1][p]) + (sum[2][p] + sum[3][p]);
    simd_store(sums + p * SIMD_WIDTH, simd_load(sums + p * SIMD_WIDTH) + total);
  }
}

static void add_row_sums(float *sums, const float *from, size_t step, size_t row, int places,
                         int rows) {
  for (int r = 0; r < rows; r++, from += row) add_sums(sums, from, step, places);
}

/* Where the values of a batch's first place begin for pair `pair` of a task: taps of a group side
 * by side. */
static const float *values_at(const struct pass *pass, const struct task *task, const int at[4],
                              int pair) {
  const struct conv_axis *a = pass->packing->axis;
  const int *taps = pass->taps;
  int kernel = taps[0] * taps[1] * taps[2], tap = pair % kernel;
  return pass->values + tensor_at(&pass->source, at[0],
                                  (task->group + pair / kernel) * CHANNEL_BLOCK,
                                  a[0].step * at[1] + a[0].first[0] + tap / taps[2] / taps[1],
                                  a[1].step * at[2] + a[1].first[0] + tap / taps[2] % taps[1],
                                  a[2].step * at[3] + a[2].first[0] + tap % taps[2]);
}

/* Everything that one batch adds to the sums of a task. */
static void add_batch(const struct pass *pass, const struct task *task, int64_t index, bool add) {
  const struct cut *cut = &pass->cut;
  const struct conv_packing *packing = pass->packing;
  const struct conv_axis *a = packing->axis;
  const struct shape t = pass->target.shape, s = pass->source.shape;
  const int no_phase[3] = {0};
  int at[4]; /* n d h w */
  at[3] = (int)(index % cut->segments) * cut->width, index /= cut->segments;
  at[2] = (int)(index % cut->bands) * cut->rows, index /= cut->bands;
  at[1] = (int)(index % t.d), at[0] = (int)(index / t.d);
  int kernel = pass->taps[0] * pass->taps[1] * pass->taps[2], pairs = task->groups * kernel;
  struct conv_sweep sweep = {
      .lanes = pass->lanes +
               tensor_at(&pass->target, at[0], task->block * CHANNEL_BLOCK, at[1], at[2], at[3]),
      .step = (size_t)a[2].step * CHANNEL_BLOCK,
      .values_row = (size_t)a[1].step * (size_t)s.w * CHANNEL_BLOCK,
      .lanes_row = (size_t)t.w * CHANNEL_BLOCK,
      .lanes_pitch = pass->lanes_pitch,
      .places = conv_at_most(t.w - at[3], cut->width),
      .rows = conv_at_most(t.h - at[2], cut->rows),
      .parts = pairs};
  bool last = at[3] + cut->width >= t.w;
  ptrdiff_t width = (ptrdiff_t)cut->width * CHANNEL_BLOCK;
  ptrdiff_t next_batch =
      last ? (ptrdiff_t)sweep.values_row * cut->rows - (ptrdiff_t)at[3] * (ptrdiff_t)sweep.step
           : width * a[2].step;
  sweep.lanes_ahead =
      last ? (ptrdiff_t)sweep.lanes_row * cut->rows - (ptrdiff_t)at[3] * CHANNEL_BLOCK : width;
  if (task->lane_sums)
    for (int b = 0; b < task->blocks; b++)
      add_row_sums(task->lane_sums + (task->block + b) * CHANNEL_BLOCK,
                   sweep.lanes + sweep.lanes_pitch * (size_t)b, CHANNEL_BLOCK, sweep.lanes_row,
                   sweep.places, sweep.rows);
  size_t block_stride = conv_packing_block_stride(packing, no_phase);
  float *sums = task->partial + conv_packing_at(packing, no_phase, task->block, task->group);
  const float *first = values_at(pass, task, at, 0), *next = first;
  for (; sweep.part < pairs; sweep.part++, sums += CHANNEL_BLOCK * CHANNEL_BLOCK) {
    int group = task->group + sweep.part / kernel;
    int channels = conv_at_most(packing->channels - group * CHANNEL_BLOCK, CHANNEL_BLOCK);
    sweep.values = next;
    next = sweep.part + 1 < pairs ? values_at(pass, task, at, sweep.part + 1) : first + next_batch;
    sweep.values_ahead = next - sweep.values;
    sweep.value_sums = task->value_sums ? task->value_sums + group * CHANNEL_BLOCK : NULL;
    SIMD_NAME(conv_outer_multiply)(sums, block_stride, &sweep, channels, task->blocks, add);
  }
}

/* What else is computed from the voxels of batch `index`. */
static void compute_also(const struct pass *pass, int64_t index,
                         struct conv_panel_waiting *waiting) {
  const struct cut *cut = &pass->cut;
  int first = (int)(index % cut->segments) * cut->width, n = (int)(index / cut->segments);
  SIMD_NAME(conv_point_part)
  (pass->also->target, pass->also->source, n, first,
   conv_at_most(pass->target.shape.w - first, cut->width), BATCHES_AHEAD * cut->width, waiting);
}

static void run_task(const struct pass *pass, const struct task *task, int chunk) {
  const struct cut *cut = &pass->cut;
  struct conv_panel_waiting waiting;
  SIMD_NAME(conv_panel_start)(&waiting);
  int64_t first = cut->batches * chunk / cut->chunks;
  int64_t end = cut->batches * (chunk + 1) / cut->chunks;
  for (int64_t index = first; index < end; index++) {
    add_batch(pass, task, index, index > first);
    if (pass->also) compute_also(pass, index, &waiting);
  }
  SIMD_NAME(conv_panel_store_rest)(&waiting);
  if (pass->also) simd_flush();
}

bool SIMD_NAME(conv_point_outer_pays)(const struct tensor *target,
                                      const struct conv_source *source) {
  const struct conv_axis *a = source->packing.axis;
  return a[0].phases * a[1].phases * a[2].phases == 1 && SIMD_NAME(conv_point_fits)(target, source);
}

bool SIMD_NAME(conv_point_outer_sees_once)(const struct tensor *target,
                                           const struct conv_source *source) {
  if (!SIMD_NAME(conv_point_outer_pays)(target, source)) return false;
  struct pass pass = make_pass(target, source->tensor, &source->packing);
  return conv_point_is_plain(&source->packing) && pass.cut.groups * pass.cut.blocks == 1;
}

/* Whether the taps see every voxel of the source. */
static bool sees_all(const struct tensor *target, const struct conv_source *source) {
  const struct conv_axis *a = source->packing.axis;
  const struct shape t = target->shape, s = source->tensor->shape;
  const int extents[3][2] = {{t.d, s.d}, {t.h, s.h}, {t.w, s.w}};
  for (int i = 0; i < 3; i++)
    if (a[i].taps[0] != a[i].step || extents[i][0] * a[i].step != extents[i][1]) return false;
  return true;
}

bool SIMD_NAME(conv_point_outer_sums)(const struct tensor *target, const struct conv_source *source,
                                      bool of_source) {
  return SIMD_NAME(conv_point_outer_pays)(target, source) &&
         (!of_source || sees_all(target, source));
}

/* The floats of a chunk's sums of channels. */
static size_t sums_size(const struct tensor *target, const struct tensor *source) {
  int lanes = tensor_stored_channels(target), values = tensor_stored_channels(source);
  return (size_t)(lanes > values ? lanes : values);
}

size_t SIMD_NAME(conv_point_outer_size)(const struct tensor *target,
                                        const struct conv_source *source) {
  struct pass pass = make_pass(target, source->tensor, &source->packing);
  return (conv_packing_size(&source->packing) + sums_size(target, source->tensor)) *
         (size_t)pass.cut.chunks;
}

void SIMD_NAME(conv_point_outer)(const struct tensor *target, const float *data,
                                 const struct conv_source *source, float *partial,
                                 const struct conv_point_sums *sums,
                                 const struct conv_point_also *also) {
  const struct conv_packing *packing = &source->packing;
  struct pass pass = make_pass(target, source->tensor, packing);
  pass.lanes = data, pass.values = source->data, pass.also = also;
  const struct cut cut = pass.cut;
  size_t size = conv_packing_size(packing), channels = sums_size(target, source->tensor);
  float *channel_sums = partial + size * (size_t)cut.chunks;
  if (sums) memset(channel_sums, 0, sizeof(float) * channels * (size_t)cut.chunks);
#pragma omp parallel for schedule(static)
  for (int index = 0; index < cut.chunks * cut.groups * cut.blocks; index++) {
    int chunk = index / cut.groups / cut.blocks;
    struct task task = {.group = index % cut.groups * cut.task_groups,
                        .block = index / cut.groups % cut.blocks * TASK_BLOCKS,
                        .partial = partial + size * (size_t)chunk};
    task.groups = conv_at_most(conv_packing_groups(packing) - task.group, cut.task_groups);
    task.blocks = conv_at_most(conv_packing_lane_blocks(packing) - task.block, TASK_BLOCKS);
    float *own = channel_sums + channels * (size_t)chunk;
    if (sums && sums->of_source && task.block == 0) task.value_sums = own;
    if (sums && !sums->of_source && task.group == 0) task.lane_sums = own;
    run_task(&pass, &task, chunk);
  }
  SIMD_NAME(conv_fold_chunks)(partial, size, cut.chunks);
  if (!sums) return;
  const struct tensor *of = sums->of_source ? source->tensor : target;
  for (int c = 0; c < of->shape.c; c++) {
    double sum = 0;
    for (int chunk = 0; chunk < cut.chunks; chunk++)
      sum += channel_sums[channels * (size_t)chunk + (size_t)c];
    sums->channels[c] = (float)sum;
  }
}
