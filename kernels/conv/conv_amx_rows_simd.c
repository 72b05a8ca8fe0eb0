/* Convolution on tiles: boxes of target voxels, plane by plane along d. The source voxels that a
 * plane sees are copied to a thread's own memory, channels side by side and zeros around them, so
 * that a voxel's taps along w are one run of values; a ring of planes holds what the next plane
 * sees again. The voxels of a plane of a box lie in one line there, some behind each row that do
 * not count, and 32 or 64 of them make the rows of tiles. */
#include "kernels/conv/conv_amx.h"
#if defined SIMD_ISA_AVX512

enum {
  MOST_VALUES = CONV_AMX_SCRATCH / 2, /* bfloat16 */
  PAIRS_TOGETHER = 2,                 /* blocks of target channels that share a tile's voxels */
  TILES_TOGETHER = 4,                 /* of sums */
  TASK_BLOCKS = 16,
  WANTED_TASKS = 32,
  LEAST_PLANES = 4,
  MOST_RUNS = OP_MAX_INPUTS * CONV_MOST_TAPS * CONV_MOST_TAPS,
};

/* A source and its window in a thread's memory: a ring of as many planes as it reaches along d,
 * each in parts of every step-th row. Sizes in values. */
struct seen {
  const struct conv_source *source;
  struct conv_amx_reach reach[3];
  int step[3], channels, rows; /* rows: of a part */
  int64_t voxels;              /* of a row */
  int64_t part, plane, start;
};

/* How the target is cut, in voxels of the first, longest, phase. */
struct grid {
  const struct conv_target *target;
  int phases[3], length[3];
  int height, width, pitch; /* of a box; pitch: voxels from row to row of it */
  int bands, segments, chunks, planes, groups, blocks;
  int count;
  struct seen seen[OP_MAX_INPUTS];
  int64_t values;
  bool stream; /* the target, past the caches */
};

/* A box: rows from h and voxels from w on, planes d to end. */
struct box {
  int n, h, w, d, end, block, blocks;
};

/* What voxels of a box see of a row of a source: `count` times 32 values, and their weights. */
struct run {
  const uint16_t *values;
  const float *tiles;
  int64_t stride; /* bytes from voxel to voxel */
  size_t block;   /* words from block to block of the tiles */
  int count;
};

/* --- cutting --- */

static void measure_source(const struct grid *grid, struct seen *seen) {
  const int extent = seen->step[1] * (grid->height - 1) + seen->reach[1].span;
  seen->rows = conv_divide_up(extent, seen->step[1]);
  seen->voxels = (int64_t)grid->pitch * seen->step[2];
  seen->part = seen->rows * seen->voxels * seen->channels;
  seen->plane = seen->part * seen->step[1];
}

/* All sources' windows, and as much behind the last one as its last tiles reach beyond it. */
static int64_t measure(struct grid *grid) {
  int64_t values = 0, behind = 0;
  grid->pitch = 0;
  for (int i = 0; i < grid->count; i++) {
    const struct seen *seen = &grid->seen[i];
    int pitch = grid->width - 1 + conv_divide_up(seen->reach[2].span, seen->step[2]);
    if (pitch > grid->pitch) grid->pitch = pitch;
  }
  for (int i = 0; i < grid->count; i++) {
    struct seen *seen = &grid->seen[i];
    measure_source(grid, seen);
    seen->start = values;
    values += seen->plane * seen->reach[0].span;
    int64_t last = (int64_t)TILES_TOGETHER * CONV_AMX_ROWS * seen->step[2] + seen->reach[2].span;
    last = last * seen->channels + CONV_AMX_DEPTH;
    if (last > behind) behind = last;
  }
  return grid->values = values + behind;
}

static bool find_box(struct grid *grid) {
  do {
    if (!conv_amx_next_box(grid->length, &grid->height, &grid->width)) return false;
  } while (measure(grid) > MOST_VALUES);
  return true;
}

static struct grid make_grid(const struct conv_target *target, const struct conv_source *sources,
                             int count) {
  struct grid grid = {.target = target, .count = count};
  const struct shape s = target->tensor->shape;
  const int extent[] = {s.d, s.h, s.w};
  for (int i = 0; i < 3; i++) {
    grid.phases[i] = sources[0].packing.axis[i].phases;
    grid.length[i] = conv_axis_length(extent[i], grid.phases[i], 0);
  }
  for (int i = 0; i < count; i++) {
    struct seen *seen = &grid.seen[i];
    seen->source = &sources[i];
    seen->channels = conv_amx_channels(sources[i].tensor);
    for (int k = 0; k < 3; k++) {
      seen->reach[k] = conv_amx_reach_of(&sources[i].packing.axis[k]);
      seen->step[k] = sources[i].packing.axis[k].step;
    }
  }
  grid.blocks = conv_divide_up(target->tensor->shape.c, CHANNEL_BLOCK);
  /* every other voxel would be half a line */
  grid.stream = !target->add && target->tensor->layout == LAYOUT_BLOCKED && grid.phases[2] == 1 &&
                tensor_bytes(target->tensor) >= SIMD_STREAM_BYTES &&
                (uintptr_t)target->data % CONV_AMX_LINE == 0;
  return grid;
}

static int at_least_1(int value) {
  return value > 1 ? value : 1;
}

static int64_t cut(struct grid *grid) {
  grid->bands = conv_divide_up(grid->length[1], grid->height);
  grid->segments = conv_divide_up(grid->length[2], grid->width);
  grid->groups = conv_divide_up(grid->blocks, TASK_BLOCKS);
  int tasks = grid->target->tensor->shape.n * grid->bands * grid->segments * grid->groups;
  int chunks = conv_at_most(conv_divide_up(WANTED_TASKS, tasks), grid->length[0] / LEAST_PLANES);
  grid->planes = conv_divide_up(grid->length[0], at_least_1(chunks));
  grid->chunks = conv_divide_up(grid->length[0], grid->planes);
  return (int64_t)tasks * grid->chunks;
}

static struct box find_task(const struct grid *grid, int64_t index) {
  struct box box = {.block = (int)(index % grid->groups) * TASK_BLOCKS};
  index /= grid->groups;
  box.d = (int)(index % grid->chunks) * grid->planes, index /= grid->chunks;
  box.w = (int)(index % grid->segments) * grid->width, index /= grid->segments;
  box.h = (int)(index % grid->bands) * grid->height;
  box.n = (int)(index / grid->bands);
  box.end = conv_at_most(box.d + grid->planes, grid->length[0]);
  box.blocks = conv_at_most(grid->blocks - box.block, TASK_BLOCKS);
  return box;
}

/* --- windows --- */

static void copy_plane(const struct seen *seen, const struct box *box, int d, uint16_t *window) {
  const int first = seen->step[1] * box->h + seen->reach[1].low;
  const int from = seen->step[2] * box->w + seen->reach[2].low;
  for (int i = 0; i < seen->rows * seen->step[1]; i++) {
    const int at[] = {box->n, 0, d, first + i, from};
    SIMD_NAME(conv_amx_copy)
    (seen->source->tensor, seen->source->data, at, 1, seen->voxels, seen->channels,
     window + i % seen->step[1] * seen->part + i / seen->step[1] * seen->voxels * seen->channels);
  }
}

static uint16_t *plane_at(const struct seen *seen, int d, uint16_t *windows) {
  const int plane = (d - seen->reach[0].low) % seen->reach[0].span;
  return windows + seen->start + seen->plane * plane;
}

/* What plane d of the box sees that the plane before it did not. */
static void copy_planes(const struct grid *grid, const struct box *box, int d, uint16_t *windows) {
  for (int i = 0; i < grid->count; i++) {
    const struct seen *seen = &grid->seen[i];
    int from = seen->step[0] * d + seen->reach[0].low, to = from + seen->reach[0].span;
    if (d > box->d && from < to - seen->step[0]) from = to - seen->step[0];
    for (int plane = from < 0 ? 0 : from; plane < to; plane++)
      if (plane < seen->source->tensor->shape.d)
        copy_plane(seen, box, plane, plane_at(seen, plane, windows));
  }
}

/* --- sums --- */

static int find_runs(const struct grid *grid, const struct box *box, int d, const int phase[3],
                     uint16_t *windows, struct run *runs) {
  int found = 0;
  for (int i = 0; i < grid->count; i++) {
    const struct seen *seen = &grid->seen[i];
    const struct conv_packing *packing = &seen->source->packing;
    const struct conv_axis *a = packing->axis;
    const size_t block = conv_amx_block_size(packing, phase);
    const int tiles = conv_amx_tiles(packing, phase);
    const float *w = seen->source->packed + conv_amx_at(packing, phase) + block * box->block;
    const int from = a[0].step * d + a[0].first[phase[0]];
    const int row = a[1].first[phase[1]] - seen->reach[1].low;
    const int voxel = a[2].first[phase[2]] - seen->reach[2].low;
    for (int td = 0; td < a[0].taps[phase[0]]; td++)
      for (int th = row; th < row + a[1].taps[phase[1]]; th++, w += tiles * CONV_AMX_WORDS) {
        if (from + td < 0 || from + td >= seen->source->tensor->shape.d) continue;
        const uint16_t *values = plane_at(seen, from + td, windows) + th % a[1].step * seen->part;
        runs[found++] = (struct run){
            .values = values + (th / a[1].step * seen->voxels + voxel) * seen->channels,
            .tiles = w,
            .stride = (int64_t)a[2].step * seen->channels * (int64_t)sizeof(uint16_t),
            .block = block,
            .count = tiles,
        };
      }
  }
  return found;
}

/* sums[block][tile of voxels]: 32 voxels from `voxel` on in 2 blocks. bias: of the first block. */
static TILES_TARGET void sum_two_blocks(const struct run *runs, int count, int block, int64_t voxel,
                                        const float *bias, float *sums) {
  _tile_loadd(0, bias, 0);
  _tile_loadd(1, bias, 0);
  _tile_loadd(2, bias + CHANNEL_BLOCK, 0);
  _tile_loadd(3, bias + CHANNEL_BLOCK, 0);
  for (const struct run *run = runs; run < runs + count; run++) {
    const char *values = (const char *)run->values + voxel * run->stride;
    const char *next = values + CONV_AMX_ROWS * run->stride;
    const float *w = run->tiles + run->block * (size_t)block;
    for (int left = run->count; left > 0; left--) {
      _tile_loadd(4, values, run->stride);
      _tile_loadd(6, w, CONV_AMX_LINE);
      _tile_dpbf16ps(0, 4, 6);
      _tile_loadd(5, next, run->stride);
      _tile_dpbf16ps(1, 5, 6);
      _tile_loadd(7, w + run->block, CONV_AMX_LINE);
      _tile_dpbf16ps(2, 4, 7);
      _tile_dpbf16ps(3, 5, 7);
      values += CONV_AMX_LINE, next += CONV_AMX_LINE, w += CONV_AMX_WORDS;
    }
  }
  _tile_stored(0, sums, CONV_AMX_LINE);
  _tile_stored(1, sums + CONV_AMX_WORDS, CONV_AMX_LINE);
  _tile_stored(2, sums + 2 * CONV_AMX_WORDS, CONV_AMX_LINE);
  _tile_stored(3, sums + 3 * CONV_AMX_WORDS, CONV_AMX_LINE);
}

/* The same for 64 voxels in one block. */
static TILES_TARGET void sum_one_block(const struct run *runs, int count, int block, int64_t voxel,
                                       const float *bias, float *sums) {
  _tile_loadd(0, bias, 0);
  _tile_loadd(1, bias, 0);
  _tile_loadd(2, bias, 0);
  _tile_loadd(3, bias, 0);
  for (const struct run *run = runs; run < runs + count; run++) {
    const int64_t stride = run->stride;
    const char *values = (const char *)run->values + voxel * stride;
    const float *w = run->tiles + run->block * (size_t)block;
    for (int left = run->count; left > 0; left--) {
      _tile_loadd(7, w, CONV_AMX_LINE);
      _tile_loadd(4, values, stride);
      _tile_dpbf16ps(0, 4, 7);
      _tile_loadd(5, values + CONV_AMX_ROWS * stride, stride);
      _tile_dpbf16ps(1, 5, 7);
      _tile_loadd(6, values + 2 * CONV_AMX_ROWS * stride, stride);
      _tile_dpbf16ps(2, 6, 7);
      _tile_loadd(4, values + 3 * CONV_AMX_ROWS * stride, stride);
      _tile_dpbf16ps(3, 4, 7);
      values += CONV_AMX_LINE, w += CONV_AMX_WORDS;
    }
  }
  _tile_stored(0, sums, CONV_AMX_LINE);
  _tile_stored(1, sums + CONV_AMX_WORDS, CONV_AMX_LINE);
  _tile_stored(2, sums + 2 * CONV_AMX_WORDS, CONV_AMX_LINE);
  _tile_stored(3, sums + 3 * CONV_AMX_WORDS, CONV_AMX_LINE);
}

/* --- storing --- */

/* The voxels of one phase of a plane of a box. Distances in elements. */
struct place {
  int64_t at, block, row, voxel; /* at: the first one in block 0 */
  int height, width;
};

static struct place find_place(const struct grid *grid, const struct box *box, int d,
                               const int phase[3]) {
  const struct tensor *tensor = grid->target->tensor;
  const struct shape s = tensor->shape;
  const int *phases = grid->phases;
  const int64_t voxel = tensor_voxel_stride(tensor);
  int height = conv_axis_length(s.h, phases[1], phase[1]) - box->h;
  int width = conv_axis_length(s.w, phases[2], phase[2]) - box->w;
  return (struct place){
      .at = tensor_at(tensor, box->n, 0, phases[0] * d + phase[0], phases[1] * box->h + phase[1],
                      phases[2] * box->w + phase[2]),
      .block = shape_voxels(s) * CHANNEL_BLOCK,
      .row = phases[1] * s.w * voxel,
      .voxel = phases[2] * voxel,
      .height = conv_at_most(height, grid->height),
      .width = conv_at_most(width, grid->width),
  };
}

/* `count` sums from voxel `voxel` of a plane's line on, row by row. */
static void store(const struct conv_target *target, const struct place *place, int pitch, int block,
                  int voxel, const float *sums, int count, bool stream) {
  for (int end = voxel + count, next; voxel < end;
       sums += (next - voxel) * CHANNEL_BLOCK, voxel = next) {
    const int row = voxel / pitch, w = voxel % pitch;
    if (row >= place->height) return;
    next = conv_at_most(end, voxel - w + pitch);
    const int many = conv_at_most(next - voxel, place->width - w);
    const int64_t at = place->at + place->block * block + place->row * row + place->voxel * w;
    SIMD_NAME(conv_amx_store)(target, at, place->voxel, sums, many, stream);
  }
}

static void compute_phase(const struct grid *grid, const struct box *box, int d, const int phase[3],
                          uint16_t *windows) {
  static const float zeros[PAIRS_TOGETHER * CHANNEL_BLOCK];
  const struct conv_target *target = grid->target;
  struct run runs[MOST_RUNS];
  _Alignas(64) float sums[TILES_TOGETHER * CONV_AMX_WORDS];
  if (d >= conv_axis_length(target->tensor->shape.d, grid->phases[0], phase[0])) return;
  const struct place place = find_place(grid, box, d, phase);
  const int count = find_runs(grid, box, d, phase, windows, runs);
  for (int b = 0, blocks; b < box->blocks; b += blocks) {
    blocks = conv_at_most(box->blocks - b, PAIRS_TOGETHER);
    const int block = box->block + b, voxels = TILES_TOGETHER / blocks * CONV_AMX_ROWS;
    const float *bias = target->bias ? target->bias + block * CHANNEL_BLOCK : zeros;
    for (int voxel = 0; voxel < place.height * grid->pitch; voxel += voxels) {
      (blocks == 2 ? sum_two_blocks : sum_one_block)(runs, count, b, voxel, bias, sums);
      for (int i = 0; i < blocks; i++)
        store(target, &place, grid->pitch, block + i, voxel, sums + i * voxels * CHANNEL_BLOCK,
              voxels, grid->stream);
    }
  }
}

static void compute_task(const struct grid *grid, const struct box *box, uint16_t *windows) {
  const int *phases = grid->phases;
  for (int d = box->d; d < box->end; d++) {
    copy_planes(grid, box, d, windows);
    for (int i = 0; i < phases[0] * phases[1] * phases[2]; i++) {
      const int phase[] = {i / phases[2] / phases[1], i / phases[2] % phases[1], i % phases[2]};
      compute_phase(grid, box, d, phase, windows);
    }
  }
}

bool SIMD_NAME(conv_amx_rows_fits)(const struct conv_target *target,
                                   const struct conv_source *sources, int count) {
  struct grid grid = make_grid(target, sources, count);
  return find_box(&grid);
}

void SIMD_NAME(conv_amx_rows)(const struct conv_target *target, const struct conv_source *sources,
                              int count) {
  struct grid grid = make_grid(target, sources, count);
  find_box(&grid);
  const int64_t tasks = cut(&grid);
#pragma omp parallel
  {
    _Alignas(64) uint16_t windows[MOST_VALUES];
    memset(windows, 0,
           sizeof(*windows) * (size_t)grid.values); /* what nobody writes counts 0 times */
    tiles_begin();
#pragma omp for schedule(static)
    for (int64_t index = 0; index < tasks; index++) {
      struct box box = find_task(&grid, index);
      compute_task(&grid, &box, windows);
    }
    tiles_end();
    if (grid.stream) simd_flush();
  }
}
#endif
