/* Convolution to a blocked target whose rows are short: voxels of all rows, planes and samples are
 * lined up in batches, what each tap sees of them is copied side by side, and a batch is one matrix
 * product over taps and channels. */
#include "kernels/conv/conv_direct.h"
#include "kernels/conv/conv_multiply.h"

enum {
  BATCH = 96,
  MOST_TAPS = 64,
  MOST_BLOCKS = 8, /* blocks of target channels that share copied voxels */
  LONGEST_ROW = 4, /* longer ones are computed row by row */
  LEAST_CHANNELS = 32,
  /* floats from tap to tap: one more than the batch, lest taps drive each other out of a cache */
  PITCH = (BATCH + 1) * CHANNEL_BLOCK,
};

/* A thread's own memory: a block of source channels seen by all taps, and sums. */
struct scratch {
  _Alignas(64) float seen[MOST_TAPS * PITCH], sums[MOST_BLOCKS * PITCH];
};

/* Voxels first .. first + count - 1 of one phase of the target, all samples in a row. */
struct batch {
  int phase[3], length[3]; /* length: of the phase along each axis */
  int64_t first;
  int count, block, blocks;
};

/* Voxels side by side along w. */
struct run {
  int n, at[3], count;
};

static struct run find_run(const struct batch *batch, int done) {
  const int *length = batch->length;
  int64_t index = batch->first + done;
  struct run run = {.at[2] = (int)(index % length[2])};
  index /= length[2];
  run.at[1] = (int)(index % length[1]);
  index /= length[1];
  run.at[0] = (int)(index % length[0]);
  run.n = (int)(index / length[0]);
  int row = length[2] - run.at[2], left = batch->count - done;
  run.count = row < left ? row : left;
  return run;
}

static int taps_of(const struct conv_packing *packing, const int phase[3]) {
  const struct conv_axis *a = packing->axis;
  return a[0].taps[phase[0]] * a[1].taps[phase[1]] * a[2].taps[phase[2]];
}

static inline void copy_voxel(float *to, const float *from) {
  SIMD_UNROLL
  for (int p = 0; p < CHANNEL_BLOCK; p += SIMD_WIDTH)
    simd_store(to + p, from ? simd_load(from + p) : (simd){0});
}

/* What one tap sees of a run; `row` is NULL outside the source. */
static void see_row(float *to, const float *row, int extent, int from, int step, int count) {
  for (int t = 0, w = from; t < count; t++, w += step, to += CHANNEL_BLOCK)
    copy_voxel(to, row && w >= 0 && w < extent ? row + (int64_t)w * CHANNEL_BLOCK : NULL);
}

static void see_run(const struct conv_source *source, int group, const struct batch *batch,
                    const struct run *run, float *to) {
  const struct conv_axis *a = source->packing.axis;
  const struct shape s = source->tensor->shape;
  int from[3];
  for (int i = 0; i < 3; i++) from[i] = a[i].step * run->at[i] + a[i].first[batch->phase[i]];
  for (int d = from[0]; d < from[0] + a[0].taps[batch->phase[0]]; d++)
    for (int h = from[1]; h < from[1] + a[1].taps[batch->phase[1]]; h++) {
      bool inside = d >= 0 && d < s.d && h >= 0 && h < s.h;
      const float *row =
          inside ? conv_row(source->tensor, source->data, run->n, group, d, h) : NULL;
      for (int w = 0; w < a[2].taps[batch->phase[2]]; w++, to += PITCH)
        see_row(to, row, s.w, from[2] + w, a[2].step, run->count);
    }
}

static void add_group(const struct conv_source *source, int group, const struct batch *batch,
                      bool add, struct scratch *scratch) {
  const struct conv_packing *packing = &source->packing;
  const float *w = source->packed + conv_packing_at(packing, batch->phase, batch->block, group);
  struct conv_product products[MOST_TAPS];
  int taps = taps_of(packing, batch->phase);
  struct run run;
  for (int done = 0; done < batch->count; done += run.count) {
    run = find_run(batch, done);
    see_run(source, group, batch, &run, scratch->seen + done * CHANNEL_BLOCK);
  }
  for (int tap = 0; tap < taps; tap++)
    products[tap] =
        (struct conv_product){.x = scratch->seen + tap * PITCH,
                              .w = w + tap * CHANNEL_BLOCK * CHANNEL_BLOCK,
                              .block_pitch = conv_packing_block_stride(packing, batch->phase),
                              .groups = 1};
  SIMD_NAME(conv_multiply)
  (scratch->sums, PITCH, products, taps, batch->count, batch->blocks, add);
}

static void store_block(const struct conv_target *target, const struct conv_axis *axis,
                        const struct batch *batch, int block, const float *sums) {
  static const float no_bias[CHANNEL_BLOCK];
  const float *bias = target->bias ? target->bias + block * CHANNEL_BLOCK : no_bias;
  struct run run;
  for (int done = 0; done < batch->count; done += run.count) {
    run = find_run(batch, done);
    int at[3];
    for (int i = 0; i < 3; i++) at[i] = axis[i].phases * run.at[i] + batch->phase[i];
    float *to =
        target->data + tensor_at(target->tensor, run.n, block * CHANNEL_BLOCK, at[0], at[1], at[2]);
    for (int t = 0; t < run.count;
         t++, sums += CHANNEL_BLOCK, to += (int64_t)axis[2].phases * CHANNEL_BLOCK)
      for (int p = 0; p < CHANNEL_BLOCK; p += SIMD_WIDTH) {
        simd value = conv_leaky(simd_load(sums + p) + simd_load(bias + p), target->slope);
        if (target->add) value += simd_load(to + p);
        simd_store(to + p, value);
      }
  }
}

static void compute_batch(const struct conv_target *target, const struct conv_source *sources,
                          int count, const struct batch *batch, struct scratch *scratch) {
  bool add = false;
  for (int i = 0; i < count; i++)
    for (int group = 0; group < conv_packing_groups(&sources[i].packing); group++, add = true)
      add_group(&sources[i], group, batch, add, scratch);
  for (int b = 0; b < batch->blocks; b++)
    store_block(target, sources[0].packing.axis, batch, batch->block + b,
                scratch->sums + b * PITCH);
}

/* Batches of a phase; the first phase is the longest. */
static int64_t count_batches(const struct conv_target *target, const struct conv_axis *axis) {
  struct shape s = target->tensor->shape;
  int64_t voxels = (int64_t)s.n * conv_axis_length(s.d, axis[0].phases, 0) *
                   conv_axis_length(s.h, axis[1].phases, 0) *
                   conv_axis_length(s.w, axis[2].phases, 0);
  return (voxels + BATCH - 1) / BATCH;
}

/* count 0: there is none, since a later phase may be shorter. */
static struct batch find_batch(const struct conv_target *target, const struct conv_axis *axis,
                               int64_t batches, int64_t index) {
  struct shape s = target->tensor->shape;
  const int extent[] = {s.d, s.h, s.w};
  int blocks = tensor_stored_channels(target->tensor) / CHANNEL_BLOCK;
  struct batch batch = {.first = index % batches * BATCH};
  int64_t voxels = s.n;
  index /= batches;
  for (int i = 2; i >= 0; i--) {
    batch.phase[i] = (int)(index % axis[i].phases), index /= axis[i].phases;
    batch.length[i] = conv_axis_length(extent[i], axis[i].phases, batch.phase[i]);
    voxels *= batch.length[i];
  }
  batch.block = (int)index * MOST_BLOCKS;
  batch.blocks = blocks - batch.block < MOST_BLOCKS ? blocks - batch.block : MOST_BLOCKS;
  int64_t left = voxels - batch.first;
  batch.count = left > BATCH ? BATCH : left > 0 ? (int)left : 0;
  return batch;
}

bool SIMD_NAME(conv_flat_pays)(const struct tensor *target, const struct conv_source *sources,
                               int count) {
  const struct conv_axis *axis = sources[0].packing.axis;
  if (conv_axis_length(target->shape.w, axis[2].phases, 0) > LONGEST_ROW) return false;
  if (tensor_stored_channels(target) < LEAST_CHANNELS) return false;
  for (int i = 0; i < count; i++) {
    const struct conv_axis *a = sources[i].packing.axis;
    if (sources[i].packing.group != CHANNEL_BLOCK) return false;
    if (conv_axis_most_taps(&a[0]) * conv_axis_most_taps(&a[1]) * conv_axis_most_taps(&a[2]) >
        MOST_TAPS)
      return false;
  }
  return true;
}

void SIMD_NAME(conv_flat)(const struct conv_target *target, const struct conv_source *sources,
                          int count) {
  const struct conv_axis *axis = sources[0].packing.axis;
  int blocks = tensor_stored_channels(target->tensor) / CHANNEL_BLOCK;
  int64_t batches = count_batches(target, axis);
  int64_t total = batches * axis[0].phases * axis[1].phases * axis[2].phases *
                  ((blocks + MOST_BLOCKS - 1) / MOST_BLOCKS);
#pragma omp parallel
  {
    struct scratch scratch;
#pragma omp for schedule(static)
    for (int64_t index = 0; index < total; index++) {
      struct batch batch = find_batch(target, axis, batches, index);
      if (batch.count > 0) compute_batch(target, sources, count, &batch, &scratch);
    }
  }
}
