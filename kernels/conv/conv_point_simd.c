/* Convolution to a blocked target whose voxels never share what they read: each phase sees at most
 * two taps along an axis, all inside the source, as with kernel 1 or a kernel as large as its
 * stride. Sources are read and the target is written where they lie; a few voxels at a time, whose
 * sums stay in registers until they are stored. */
#include "kernels/conv/conv_multiply.h"
#include "kernels/conv/conv_point.h"
#include "kernels/conv/conv_point_few.h"

enum {
  MOST_PLACES = 384,  /* voxels that share weights */
  MOST_BLOCKS = 8,    /* blocks of target channels of a task */
  BLOCKS_AT_ONCE = 2, /* for which weights are read together */
  LEAST_WIDTH = 4,
  PLACES_AHEAD = 32, /* of what is read but once: near enough to stay in a first-level cache */
  MOST_PRODUCTS = 8 * OP_MAX_INPUTS,
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
  grid.segments = conv_divide_up(grid.length[2], MOST_PLACES);
  grid.width = conv_divide_up(conv_divide_up(grid.length[2], grid.segments), 4) * 4;
  grid.rows = conv_divide_up(MOST_PLACES * 3 / 4, grid.width);
  if (grid.rows > grid.length[1]) grid.rows = grid.length[1];
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

/* The products of all taps for the voxels of the first row of a batch; `ahead`: what the next batch
 * reads is asked for. */
static int find_products(const struct grid *grid, const struct conv_source *sources, int count,
                         const struct batch *batch, const int phase[3], bool ahead,
                         struct conv_product *products) {
  int found = 0;
  for (int i = 0; i < count; i++) {
    const struct conv_packing *packing = &sources[i].packing;
    const struct conv_axis *a = packing->axis;
    const struct tensor *tensor = &grid->source[i];
    const int at[] = {batch->d, batch->h, batch->w};
    int from[3], taps[3];
    for (int k = 0; k < 3; k++) {
      from[k] = a[k].step * at[k] + a[k].first[phase[k]];
      taps[k] = a[k].taps[phase[k]];
    }
    const float *w = sources[i].packed + conv_packing_at(packing, phase, batch->block, 0);
    int kernel = taps[0] * taps[1] * taps[2];
    size_t row = (size_t)a[1].step * (size_t)tensor->shape.w * CHANNEL_BLOCK;
    int64_t across = (int64_t)a[2].step * CHANNEL_BLOCK, next = across * batch->width;
    if (grid->blocks <= BLOCKS_AT_ONCE && grid->length[0] * grid->length[1] == 1)
      next = across * PLACES_AHEAD;
    else if (batch->w + batch->width >= grid->length[2])
      next = (int64_t)row * batch->rows - across * batch->w;
    for (int tap = 0; tap < kernel; tap++, w += CHANNEL_BLOCK * CHANNEL_BLOCK) {
      int d = from[0] + tap / taps[2] / taps[1], y = from[1] + tap / taps[2] % taps[1];
      products[found++] = (struct conv_product){
          .x = conv_row(tensor, sources[i].data, batch->n, 0, d, y) +
               (int64_t)(from[2] + tap % taps[2]) * CHANNEL_BLOCK,
          .w = w,
          .group_pitch = grid->source_pitch[i],
          .block_pitch = conv_packing_block_stride(packing, phase),
          .groups = conv_packing_groups(packing),
          .skip = (size_t)(kernel - 1) * CHANNEL_BLOCK * CHANNEL_BLOCK,
          .idle = conv_packing_groups(packing) * CHANNEL_BLOCK - packing->channels,
          .x_row = row,
          .x_ahead = ahead ? (size_t)next : 0,
      };
    }
  }
  return found;
}

static bool streams(const struct conv_target *target) {
  return !target->add && tensor_bytes(target->tensor) >= SIMD_STREAM_BYTES &&
         (uintptr_t)target->data % sizeof(float[CHANNEL_BLOCK]) == 0;
}

static void compute_phase(const struct grid *grid, const struct conv_target *target,
                          const struct conv_source *sources, int count, const struct batch *batch,
                          const int phase[3], bool first) {
  const int *phases = grid->phases;
  const struct shape s = grid->target.shape;
  const int step = sources[0].packing.axis[2].step;
  int width = conv_at_most(conv_axis_length(s.w, phases[2], phase[2]) - batch->w, batch->width);
  int end = conv_at_most(conv_axis_length(s.h, phases[1], phase[1]), batch->h + batch->rows);
  if (batch->d >= conv_axis_length(s.d, phases[0], phase[0])) return;
  struct batch part = *batch;
  struct conv_product products[MOST_PRODUCTS];
  const int together = grid->few.groups > 0 ? batch->blocks : BLOCKS_AT_ONCE;
  for (int b = 0; b < batch->blocks; b += together) {
    part.block = batch->block + b;
    part.blocks = conv_at_most(batch->blocks - b, together);
    int found = find_products(grid, sources, count, &part, phase, first && b == 0, products);
    struct conv_voxels voxels = {
        .y = target->data + tensor_at(&grid->target, batch->n, part.block * CHANNEL_BLOCK,
                                      phases[0] * batch->d + phase[0],
                                      phases[1] * batch->h + phase[1],
                                      phases[2] * batch->w + phase[2]),
        .pitch = grid->pitch,
        .step = (size_t)phases[2] * CHANNEL_BLOCK,
        .bias = target->bias ? target->bias + part.block * CHANNEL_BLOCK : NULL,
        .slope = target->slope,
        .add = target->add,
        .stream = streams(target),
    };
    if (grid->few.groups > 0) {
      bool ends = part.block + part.blocks == grid->blocks;
      SIMD_NAME(conv_point_few)(&grid->few, &voxels, products, width, part.blocks, ends);
      continue;
    }
    for (int h = batch->h; h < end; h++, voxels.y += (int64_t)phases[1] * s.w * CHANNEL_BLOCK) {
      SIMD_NAME(conv_multiply_voxels)(&voxels, products, found, width, part.blocks, step);
      for (int i = 0; i < found; i++) products[i].x += products[i].x_row;
    }
  }
}

static void compute_batch(const struct grid *grid, const struct conv_target *target,
                          const struct conv_source *sources, int count, const struct batch *batch) {
  const int *phases = grid->phases;
  for (int index = 0; index < phases[0] * phases[1] * phases[2]; index++) {
    const int phase[] = {index / phases[2] / phases[1], index / phases[2] % phases[1],
                         index % phases[2]};
    compute_phase(grid, target, sources, count, batch, phase, index == 0);
  }
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
