/* Convolution to a blocked target whose voxels never share what they read: each phase sees at most
 * two taps along an axis, all inside the source, as with kernel 1 or a kernel as large as its
 * stride. Sources are read and the target is written where they lie; a few voxels at a time, whose
 * sums stay in registers until they are stored. */
#include "kernels/conv/conv_panel.h"
#include "kernels/conv/conv_point.h"
#include "kernels/conv/conv_point_few.h"

enum {
  MOST_BLOCKS = 8, /* blocks of target channels of a task */
  LEAST_WIDTH = 4,
  PLACES_AHEAD = 24, /* of what is read but once: near enough to stay in a first-level cache */
};

/* How the target is cut; all extents are those of the first, longest, phase. */
struct grid {
  struct tensor target;
  struct tensor source[OP_MAX_INPUTS];
  size_t pitch, source_pitch[OP_MAX_INPUTS]; /* floats from block to block */
  int phases[3], length[3];
  int width, rows; /* of a batch */
  int segments, bands, groups, blocks;
  struct conv_few few;
};

/* Rows h .. h + rows - 1 of plane d of one phase, of each voxels w .. w + width - 1. */
struct batch {
  int n, d, h, rows, w, width, block, blocks;
  int ahead; /* voxels to what is asked for meanwhile; 0: to the next batch */
};

static bool all_plain(const struct conv_source *sources, int count) {
  for (int i = 0; i < count; i++)
    if (!conv_point_is_plain(&sources[i].packing)) return false;
  return true;
}

static struct grid make_grid(const struct tensor *target, const struct conv_source *sources,
                             int count) {
  const struct conv_axis *axis = sources[0].packing.axis;
  bool flat = all_plain(sources, count);
  struct grid grid = {.target = flat ? conv_point_flatten(target) : *target};
  grid.pitch = (size_t)shape_voxels(target->shape) * CHANNEL_BLOCK;
  for (int i = 0; i < count; i++) {
    grid.source[i] = flat ? conv_point_flatten(sources[i].tensor) : *sources[i].tensor;
    grid.source_pitch[i] = (size_t)shape_voxels(sources[i].tensor->shape) * CHANNEL_BLOCK;
  }
  const struct shape s = grid.target.shape;
  const int extent[] = {s.d, s.h, s.w};
  for (int i = 0; i < 3; i++) {
    grid.phases[i] = axis[i].phases;
    grid.length[i] = conv_axis_length(extent[i], axis[i].phases, 0);
  }
  grid.segments = conv_divide_up(grid.length[2], CONV_PANEL_PLACES);
  grid.width = conv_divide_up(conv_divide_up(grid.length[2], grid.segments), 4) * 4;
  grid.rows = conv_at_most(CONV_PANEL_PLACES / grid.width, grid.length[1]);
  grid.bands = conv_divide_up(grid.length[1], grid.rows);
  grid.blocks = tensor_stored_channels(target) / CHANNEL_BLOCK;
  grid.groups = conv_divide_up(grid.blocks, MOST_BLOCKS);
  return grid;
}

static struct batch find_batch(const struct grid *grid, int64_t index) {
  struct batch batch = {.block = (int)(index % grid->groups) * MOST_BLOCKS};
  index /= grid->groups;
  batch.w = (int)(index % grid->segments) * grid->width, index /= grid->segments;
  batch.h = (int)(index % grid->bands) * grid->rows, index /= grid->bands;
  batch.d = (int)(index % grid->length[0]);
  batch.n = (int)(index / grid->length[0]);
  batch.rows = grid->rows;
  batch.width = grid->width;
  batch.blocks = conv_at_most(grid->blocks - batch.block, MOST_BLOCKS);
  return batch;
}

/* How far what the next batch reads of a source lies behind what this one does. */
static ptrdiff_t find_ahead(const struct grid *grid, const struct batch *batch, ptrdiff_t across,
                            ptrdiff_t row) {
  if (batch->ahead > 0) return across * batch->ahead;
  if (grid->blocks <= CONV_PANEL_BLOCKS && grid->length[0] * grid->length[1] == 1)
    return across * PLACES_AHEAD;
  if (batch->w + batch->width >= grid->length[2]) return row * batch->rows - across * batch->w;
  return across * batch->width;
}

/* What the voxels of a batch see of source `i` in a phase. */
static struct conv_panel_source find_source(const struct grid *grid,
                                            const struct conv_source *source, int i,
                                            const struct batch *batch, const int phase[3]) {
  const struct conv_packing *packing = &source->packing;
  const struct conv_axis *a = packing->axis;
  const struct shape s = grid->source[i].shape;
  const int at[] = {batch->d, batch->h, batch->w};
  int from[3], taps[3];
  for (int k = 0; k < 3; k++) {
    from[k] = a[k].step * at[k] + a[k].first[phase[k]];
    taps[k] = a[k].taps[phase[k]];
  }
  struct conv_panel_source found = {
      .x = source->data + tensor_at(&grid->source[i], batch->n, 0, from[0], from[1], from[2]),
      .w = source->packed + conv_packing_at(packing, phase, batch->block, 0),
      .group_pitch = grid->source_pitch[i],
      .block_pitch = conv_packing_block_stride(packing, phase),
      .row = (size_t)a[1].step * (size_t)s.w * CHANNEL_BLOCK,
      .taps = taps[0] * taps[1] * taps[2],
      .channels = packing->channels,
  };
  for (int tap = 0; tap < found.taps; tap++) {
    int d = tap / taps[2] / taps[1], h = tap / taps[2] % taps[1], w = tap % taps[2];
    found.tap_at[tap] = (((ptrdiff_t)d * s.h + h) * s.w + w) * CHANNEL_BLOCK;
  }
  found.ahead = find_ahead(grid, batch, (ptrdiff_t)a[2].step * CHANNEL_BLOCK, (ptrdiff_t)found.row);
  return found;
}

static bool streams(const struct conv_target *target) {
  return !target->add && tensor_bytes(target->tensor) >= SIMD_STREAM_BYTES &&
         (uintptr_t)target->data % sizeof(float[CHANNEL_BLOCK]) == 0;
}

static void compute_phase(const struct grid *grid, const struct conv_target *target,
                          const struct conv_source *sources, int count, const struct batch *batch,
                          int index, struct conv_panel_waiting *waiting) {
  const int *phases = grid->phases;
  const int phase[] = {index / phases[2] / phases[1], index / phases[2] % phases[1],
                       index % phases[2]};
  const struct shape s = grid->target.shape;
  const int together = conv_divide_up(grid->blocks, CONV_PANEL_BLOCKS);
  if (batch->d >= conv_axis_length(s.d, phases[0], phase[0])) return;
  struct conv_panel_source found[OP_MAX_INPUTS];
  for (int i = 0; i < count; i++) found[i] = find_source(grid, &sources[i], i, batch, phase);
  struct conv_panel panel = {
      .sources = found,
      .count = count,
      .rows = conv_at_most(conv_axis_length(s.h, phases[1], phase[1]) - batch->h, batch->rows),
      .width = conv_at_most(conv_axis_length(s.w, phases[2], phase[2]) - batch->w, batch->width),
      .step = sources[0].packing.axis[2].step,
      .passes = phases[0] * phases[1] * phases[2] * together,
      .y =
          target->data + tensor_at(&grid->target, batch->n, batch->block * CHANNEL_BLOCK,
                                   phases[0] * batch->d + phase[0], phases[1] * batch->h + phase[1],
                                   phases[2] * batch->w + phase[2]),
      .pitch = grid->pitch,
      .row = (size_t)phases[1] * (size_t)s.w * CHANNEL_BLOCK,
      .step_y = (size_t)phases[2] * CHANNEL_BLOCK,
      .bias = target->bias ? target->bias + batch->block * CHANNEL_BLOCK : NULL,
      .slope = target->slope,
      .add = target->add,
      .stream = streams(target),
  };
  for (int b = 0; b < batch->blocks; b += panel.blocks) {
    panel.blocks = conv_at_most(batch->blocks - b, CONV_PANEL_BLOCKS);
    panel.pass = index * together + (batch->block + b) / CONV_PANEL_BLOCKS;
    SIMD_NAME(conv_panel_multiply)(&panel, waiting);
    panel.y += panel.pitch * (size_t)panel.blocks;
    if (panel.bias) panel.bias += panel.blocks * CHANNEL_BLOCK;
    for (int i = 0; i < count; i++) found[i].w += found[i].block_pitch * (size_t)panel.blocks;
  }
}

static void compute_few(const struct grid *grid, const struct conv_target *target,
                        const struct conv_source *source, const struct batch *batch) {
  static const int phase[3] = {0};
  const struct conv_panel_source found = find_source(grid, source, 0, batch, phase);
  const struct conv_few_source few = {
      .x = found.x,
      .w = found.w,
      .group_pitch = found.group_pitch,
      .block_pitch = found.block_pitch,
      .ahead = found.ahead,
      .groups = grid->few.groups,
  };
  const struct conv_few_target to = {
      .y = target->data +
           tensor_at(&grid->target, batch->n, batch->block * CHANNEL_BLOCK, 0, 0, batch->w),
      .pitch = grid->pitch,
      .bias = target->bias ? target->bias + batch->block * CHANNEL_BLOCK : NULL,
      .slope = target->slope,
      .stream = streams(target),
  };
  int width = conv_at_most(grid->length[2] - batch->w, batch->width);
  bool ends = batch->block + batch->blocks == grid->blocks;
  SIMD_NAME(conv_point_few)(&grid->few, &to, &few, width, batch->blocks, ends);
}

static void compute_batch(const struct grid *grid, const struct conv_target *target,
                          const struct conv_source *sources, int count, const struct batch *batch) {
  const int *phases = grid->phases;
  struct conv_panel_waiting waiting;
  if (grid->few.groups > 0) {
    compute_few(grid, target, &sources[0], batch);
    return;
  }
  SIMD_NAME(conv_panel_start)(&waiting);
  for (int index = 0; index < phases[0] * phases[1] * phases[2]; index++)
    compute_phase(grid, target, sources, count, batch, index, &waiting);
  SIMD_NAME(conv_panel_store_rest)(&waiting);
}

void SIMD_NAME(conv_point_part)(const struct conv_target *target, const struct conv_source *source,
                                int n, int first, int count, int ahead,
                                struct conv_panel_waiting *waiting) {
  struct grid grid = make_grid(target->tensor, source, 1);
  struct batch batch = {
      .n = n, .rows = 1, .w = first, .width = count, .blocks = grid.blocks, .ahead = ahead};
  compute_phase(&grid, target, source, 1, &batch, 0, waiting);
}

static bool axis_fits(const struct conv_axis *axis, int source, int target) {
  for (int phase = 0; phase < axis->phases; phase++) {
    int length = conv_axis_length(target, axis->phases, phase), taps = axis->taps[phase];
    if (taps > 2 || axis->step > 2) return false;
    if (taps == 0 || length == 0) continue;
    int first = axis->first[phase], last = axis->step * (length - 1) + first + taps - 1;
    if (first < 0 || last >= source || (taps > 1 && axis->step < taps)) return false;
  }
  return true;
}

bool SIMD_NAME(conv_point_fits)(const struct tensor *target, const struct conv_source *source) {
  const struct conv_axis *a = source->packing.axis;
  const struct shape s = source->tensor->shape, t = target->shape;
  return source->packing.group == CHANNEL_BLOCK && target->layout == LAYOUT_BLOCKED &&
         axis_fits(&a[0], s.d, t.d) && axis_fits(&a[1], s.h, t.h) && axis_fits(&a[2], s.w, t.w);
}

bool SIMD_NAME(conv_point_pays)(const struct tensor *target, const struct conv_source *sources,
                                int count) {
  for (int i = 0; i < count; i++) {
    if (!SIMD_NAME(conv_point_fits)(target, &sources[i])) return false;
    if (sources[i].packing.axis[2].step != sources[0].packing.axis[2].step) return false;
  }
  struct grid grid = make_grid(target, sources, count);
  return grid.length[2] >= LEAST_WIDTH;
}

void SIMD_NAME(conv_point)(const struct conv_target *target, const struct conv_source *sources,
                           int count) {
  struct grid grid = make_grid(target->tensor, sources, count);
  if (count == 1 && all_plain(sources, count))
    grid.few = SIMD_NAME(conv_point_find_few)(target, sources);
  int64_t batches =
      (int64_t)target->tensor->shape.n * grid.length[0] * grid.bands * grid.segments * grid.groups;
#pragma omp parallel
  {
#pragma omp for schedule(static)
    for (int64_t index = 0; index < batches; index++) {
      struct batch batch = find_batch(&grid, index);
      compute_batch(&grid, target, sources, count, &batch);
    }
    if (streams(target)) simd_flush();
  }
}
