/* The weight gradient on tiles: rows are channels of the source, columns lanes of the target's
 * gradient, and 32 voxels are summed at once. Boxes of voxels of both are copied to a thread's own
 * memory, plane by plane: the source's channel by channel, the gradient's in pairs of neighbours
 * with zeros between rows, twice, so that pairs begin at even and at odd voxels. The voxels of a
 * plane of a box lie in one line, and a tap along h and w is a distance on it, by which the
 * gradient's pairs are moved. Of a planar source rows are 4 taps along w of its up to 4 channels.
 * Space is cut into chunks whose number depends on the shape alone; each has its own sums, added up
 * in order. */
#include "kernels/conv/conv_amx.h"
#include "kernels/conv/conv_bf16.h"
#include "kernels/conv/conv_pieces.h"
#if defined SIMD_ISA_AVX512

enum {
  WANTED_TASKS = 16,
  LEAST_TASKS = 4,
  LEAST_VOXELS = 4096, /* of a chunk */
  MOST_CHUNKS = 16,
  TASK_BLOCKS = 4,
  TASK_GROUPS = 4,
  TILES_TOGETHER = 6, /* of sums: taps along w times blocks */
  PLANAR = CONV_AMX_PLANAR,
  PAIR_LINES = CONV_AMX_DEPTH / 2,
  /* zeros in front of the gradient's pairs and behind them, in voxels: a tile, and taps along w */
  MARGIN = 2 * CONV_AMX_DEPTH + 2 * CONV_MOST_TAPS,
};

/* Everything that depends on shapes. Sizes of a thread's memory in words. */
struct grid {
  const struct tensor *target;
  const struct conv_packing *packing;
  const struct conv_source *source;
  struct conv_amx_reach reach[3];
  int step[3], phases[3], length[3];
  int height, width, pitch, rows; /* of a box; rows: of a part of the source's window */
  bool planar;                    /* the source: groups are sets of taps along w */
  int across, parts, tiles;       /* of a source's window: parts along w, all, tiles of one */
  size_t group, plane, pairs;     /* of the window of a group, of all; of a block's pairs */
  bool odd;                       /* some taps are an odd distance away */
  int lane_blocks;                /* of a task at most */
  int together, chunks, blocks, groups, planes; /* groups: sets of `together` */
};

struct task {
  int block, blocks, group, groups, n, d, h, w, phase[3];
  const void *data; /* the target's gradient */
  float *partial;
  uint32_t *windows, *pairs;
  uint16_t *line; /* of voxels of 16 channels */
  uint16_t *row;  /* of a planar source */
};

/* --- cutting --- */

static size_t line_words(const struct grid *grid) {
  size_t target = (size_t)grid->height * (size_t)grid->pitch + 2 * MARGIN + 2;
  size_t source = (size_t)grid->tiles * CONV_AMX_DEPTH;
  return (target > source ? target : source) * CHANNEL_BLOCK / 2;
}

/* Groups of channels of the source, or where it is planar sets of taps along w. */
static int groups_of(const struct grid *grid) {
  return grid->planar ? conv_divide_up(grid->reach[2].span, PLANAR)
                      : conv_packing_groups(grid->packing);
}

/* Of voxels of a planar source that a row sees. */
static int row_voxels(const struct grid *grid) {
  return grid->planar ? grid->step[2] * grid->pitch + PLANAR * grid->together : 0;
}

static size_t measure(struct grid *grid) {
  const struct conv_amx_reach *reach = grid->reach;
  grid->pitch = grid->width - 1 + conv_divide_up(reach[2].span, grid->step[2]);
  grid->odd = reach[2].span > grid->step[2] || (reach[1].span > grid->step[1] && grid->pitch % 2);
  grid->rows = conv_divide_up(grid->step[1] * (grid->height - 1) + reach[1].span, grid->step[1]);
  grid->across = grid->planar ? 1 : grid->step[2];
  grid->parts = grid->step[1] * grid->across;
  grid->tiles = conv_divide_up(grid->rows * grid->pitch + CONV_MOST_TAPS, CONV_AMX_DEPTH) + 1;
  grid->group = (size_t)CONV_AMX_WORDS * (size_t)(grid->parts * grid->tiles);
  grid->plane = grid->group * (size_t)grid->together;
  grid->pairs =
      ((size_t)grid->height * (size_t)grid->pitch / 2 + MARGIN + 1) * (size_t)CHANNEL_BLOCK;
  return grid->plane * (size_t)reach[0].span + 2 * (size_t)grid->lane_blocks * grid->pairs +
         line_words(grid) + (size_t)row_voxels(grid) * PLANAR / 2;
}

static bool find_box(struct grid *grid) {
  do {
    if (!conv_amx_next_box(grid->length, &grid->height, &grid->width)) return false;
  } while (measure(grid) > CONV_AMX_SCRATCH / sizeof(uint32_t));
  return true;
}

/* Blocks and groups of a task, and into how many chunks space is cut: no more than have a good many
 * voxels each, since every one has its own sums; where there are few, tasks get fewer channels. */
static void share_work(struct grid *grid) {
  const int blocks = conv_packing_lane_blocks(grid->packing);
  const int64_t voxels = shape_voxels(grid->target->shape) * grid->target->shape.n;
  const int most = voxels / LEAST_VOXELS < MOST_CHUNKS ? (int)(voxels / LEAST_VOXELS) : MOST_CHUNKS;
  grid->lane_blocks = conv_at_most(blocks, TASK_BLOCKS);
  grid->together = grid->planar ? groups_of(grid) : conv_at_most(groups_of(grid), TASK_GROUPS);
  for (;;) {
    grid->groups = conv_divide_up(groups_of(grid), grid->together);
    grid->blocks = conv_divide_up(blocks, grid->lane_blocks);
    const int tasks = grid->groups * grid->blocks;
    grid->chunks = conv_at_most(conv_at_most(WANTED_TASKS / tasks, most), grid->planes);
    if (grid->chunks < 1) grid->chunks = 1;
    if (tasks * grid->chunks >= LEAST_TASKS) return;
    if (!grid->planar && grid->together > 1)
      grid->together /= 2;
    else if (grid->lane_blocks > 1)
      grid->lane_blocks /= 2;
    else
      return;
  }
}

static bool make_grid(const struct tensor *target, const struct conv_packing *packing,
                      struct grid *grid) {
  const struct shape s = target->shape;
  const int extent[] = {s.d, s.h, s.w};
  *grid = (struct grid){.target = target, .planar = packing->group == PLANAR};
  for (int i = 0; i < 3; i++) {
    grid->reach[i] = conv_amx_reach_of(&packing->axis[i]);
    grid->step[i] = packing->axis[i].step;
    grid->phases[i] = packing->axis[i].phases;
    grid->length[i] = conv_axis_length(extent[i], grid->phases[i], 0);
  }
  grid->planes = s.n * grid->length[0];
  grid->packing = packing;
  share_work(grid);
  return find_box(grid);
}

/* --- windows --- */

/* Two voxels of 16 channels as 16 pairs. */
static inline __m512i pair_up(const uint16_t *voxels) {
  return conv_bf16_pair_up(_mm512_loadu_si512(voxels));
}

/* A tile [channel][16 pairs of voxels] of 32 voxels. */
static void turn(const uint16_t *voxels, uint32_t *tile) {
  __m512i row[16];
  SIMD_UNROLL
  for (int i = 0; i < 16; i++) row[i] = pair_up(voxels + 2 * i * CHANNEL_BLOCK);
  pieces_turn(row, tile);
}

/* A row of voxels of group `group` from (d, h, w) on. */
static void copy_row(const struct grid *grid, const struct task *task, int d, int h, int w,
                     int group, uint16_t *to) {
  const struct conv_source *source = grid->source;
  if (!grid->planar) {
    const int at[] = {task->n, group * CHANNEL_BLOCK, d, h, w};
    SIMD_NAME(conv_amx_copy)
    (source->tensor, source->data, at, grid->step[2], grid->pitch, CHANNEL_BLOCK, to);
    return;
  }
  const int at[] = {task->n, 0, d, h, w};
  SIMD_NAME(conv_amx_copy)
  (source->tensor, source->data, at, 1, row_voxels(grid), PLANAR, task->row);
  const uint16_t *taps = task->row + PLANAR * PLANAR * group;
  for (int i = 0; i < grid->pitch; i++, taps += PLANAR * grid->step[2], to += CHANNEL_BLOCK)
    _mm256_storeu_si256((__m256i *)to, _mm256_loadu_si256((const __m256i *)taps));
}

/* Part (h, w) of the source's window: every step-th row and voxel. */
static void copy_part(const struct grid *grid, const struct task *task, int d, int group, int h,
                      int w, uint32_t *tiles) {
  const int from = grid->step[2] * task->w + grid->reach[2].low + w;
  const int first = grid->step[1] * task->h + grid->reach[1].low + h;
  const int voxels = grid->rows * grid->pitch;
  for (int row = 0; row < grid->rows; row++)
    copy_row(grid, task, d, first + row * grid->step[1], from, group,
             task->line + (size_t)row * (size_t)grid->pitch * CHANNEL_BLOCK);
  memset(task->line + (size_t)voxels * CHANNEL_BLOCK, 0,
         sizeof(uint16_t[CHANNEL_BLOCK]) * (size_t)(grid->tiles * CONV_AMX_DEPTH - voxels));
  for (int tile = 0; tile < grid->tiles; tile++)
    turn(task->line + (size_t)tile * CONV_AMX_DEPTH * CHANNEL_BLOCK, tiles + tile * CONV_AMX_WORDS);
}

static uint32_t *plane_at(const struct grid *grid, const struct task *task, int d) {
  return task->windows + grid->plane * (size_t)((d - grid->reach[0].low) % grid->reach[0].span);
}

/* What the target's plane sees that the one before it, unless it is the first, did not. */
static void copy_planes(const struct grid *grid, const struct task *task, bool first) {
  int from = grid->step[0] * task->d + grid->reach[0].low, to = from + grid->reach[0].span;
  if (!first && from < to - grid->step[0]) from = to - grid->step[0];
  for (int d = from < 0 ? 0 : from; d < to && d < grid->source->tensor->shape.d; d++)
    for (int g = 0; g < task->groups; g++)
      for (int part = 0; part < grid->parts; part++)
        copy_part(grid, task, d, task->group + g, part / grid->across, part % grid->across,
                  plane_at(grid, task, d) + grid->group * (size_t)g +
                      (size_t)(part * grid->tiles) * CONV_AMX_WORDS);
}

static size_t pair_lines(const struct grid *grid) {
  return grid->pairs / CHANNEL_BLOCK;
}

/* The gradient's pairs that begin at even voxels, and those that begin at odd ones. */
static void copy_gradient(const struct grid *grid, const struct task *task, int block,
                          uint32_t *even, uint32_t *odd) {
  const struct shape s = grid->target->shape;
  const int *phases = grid->phases, *phase = task->phase;
  const int height = conv_axis_length(s.h, phases[1], phase[1]) - task->h;
  const int width = conv_at_most(conv_axis_length(s.w, phases[2], phase[2]) - task->w, grid->width);
  uint16_t *to = task->line + MARGIN * CHANNEL_BLOCK;
  memset(task->line, 0, sizeof(uint16_t[MARGIN * CHANNEL_BLOCK]));
  for (int row = 0; row < grid->height; row++, to += grid->pitch * CHANNEL_BLOCK) {
    const int count = row < height && width > 0 ? width : 0;
    const int at[] = {task->n, block * CHANNEL_BLOCK, phases[0] * task->d + phase[0],
                      phases[1] * (task->h + row) + phase[1], phases[2] * task->w + phase[2]};
    SIMD_NAME(conv_amx_copy)
    (grid->target, task->data, at, phases[2], count, CHANNEL_BLOCK, to);
    memset(to + count * CHANNEL_BLOCK, 0,
           sizeof(uint16_t[CHANNEL_BLOCK]) * (size_t)(grid->pitch - count));
  }
  memset(to, 0, sizeof(uint16_t[(MARGIN + 2) * CHANNEL_BLOCK]));
  for (size_t i = 0; i + 1 < pair_lines(grid); i++) {
    const uint16_t *voxels = task->line + 2 * i * CHANNEL_BLOCK;
    _mm512_storeu_si512(even + i * CHANNEL_BLOCK, pair_up(voxels));
    if (grid->odd) _mm512_storeu_si512(odd + i * CHANNEL_BLOCK, pair_up(voxels + CHANNEL_BLOCK));
  }
}

/* --- sums --- */

/* Tiles of sums, each with its pairs, which share a source's tiles. */
struct sums {
  int count;
  float *to[TILES_TOGETHER];
  const uint32_t *pairs[TILES_TOGETHER];
};

/* sums += source tiles * pairs over `tiles` tiles; `count` is a constant to the compiler. */
static inline __attribute__((always_inline)) TILES_TARGET void add_products(const struct sums *sums,
                                                                            const uint32_t *source,
                                                                            int tiles,
                                                                            const int count) {
  const size_t step = PAIR_LINES * CHANNEL_BLOCK;
  _tile_loadd(0, sums->to[0], CONV_AMX_LINE);
  if (count > 1) _tile_loadd(1, sums->to[1], CONV_AMX_LINE);
  if (count > 2) _tile_loadd(2, sums->to[2], CONV_AMX_LINE);
  if (count > 3) _tile_loadd(3, sums->to[3], CONV_AMX_LINE);
  if (count > 4) _tile_loadd(4, sums->to[4], CONV_AMX_LINE);
  if (count > 5) _tile_loadd(5, sums->to[5], CONV_AMX_LINE);
  for (int tile = 0; tile < tiles; tile++, source += CONV_AMX_WORDS) {
    const size_t at = step * (size_t)tile;
    _tile_loadd(6, source, CONV_AMX_LINE);
#define ADD(k)                                          \
  if (count > k) {                                      \
    _tile_loadd(7, sums->pairs[k] + at, CONV_AMX_LINE); \
    _tile_dpbf16ps(k, 6, 7);                            \
  }
    ADD(0) ADD(1) ADD(2) ADD(3) ADD(4) ADD(5)
#undef ADD
  }
  _tile_stored(0, sums->to[0], CONV_AMX_LINE);
  if (count > 1) _tile_stored(1, sums->to[1], CONV_AMX_LINE);
  if (count > 2) _tile_stored(2, sums->to[2], CONV_AMX_LINE);
  if (count > 3) _tile_stored(3, sums->to[3], CONV_AMX_LINE);
  if (count > 4) _tile_stored(4, sums->to[4], CONV_AMX_LINE);
  if (count > 5) _tile_stored(5, sums->to[5], CONV_AMX_LINE);
}

#define DEFINE(count)                                                                   \
  static TILES_TARGET void add_##count(const struct sums *sums, const uint32_t *source, \
                                       int tiles) {                                     \
    add_products(sums, source, tiles, count);                                           \
  }
DEFINE(1)
DEFINE(2)
DEFINE(3)
DEFINE(4)
DEFINE(5)
DEFINE(6)
typedef void add_function(const struct sums *sums, const uint32_t *source, int tiles);
static add_function *const adds[] = {add_1, add_2, add_3, add_4, add_5, add_6};

/* The pairs that meet source voxels from `voxel` on where a tap is `distance` voxels away. */
static const uint32_t *pairs_at(const struct grid *grid, const struct task *task, int block,
                                int voxel, int distance) {
  const int from = MARGIN + voxel - distance;
  const uint32_t *pairs = task->pairs + grid->pairs * (size_t)(2 * block + from % 2);
  return pairs + (size_t)(from / 2) * CHANNEL_BLOCK;
}

/* Taps (td, th, from) to (td, th, end - 1), in fours where the source is planar, and what they see:
 * tiles `first` to first + tiles - 1 of part `part` of the window. */
struct row {
  int td, th, from, end, part, first, tiles;
  int line, voxel; /* where tap 0 along w sees voxels: on the line, and from the row's start */
};

/* What a row gives to the sums of a group and all blocks, a few at a time. */
static void add_part(const struct grid *grid, const struct task *task, int group,
                     const struct row *row, const uint32_t *source) {
  const struct conv_packing *packing = &grid->source->packing;
  const struct conv_axis *a = packing->axis;
  const int *phase = task->phase;
  const int taps_w = a[2].taps[phase[2]] / (grid->planar ? PLANAR : 1);
  const int first = (row->td * a[1].taps[phase[1]] + row->th) * taps_w;
  struct sums sums = {0};
  for (int tap = row->from; tap < row->end; tap++) {
    const int voxel = row->voxel + (grid->planar ? 0 : tap);
    if (voxel % grid->across != row->part) continue;
    for (int b = 0; b < task->blocks; b++) {
      size_t at = conv_packing_at(packing, phase, task->block + b, grid->planar ? 0 : group);
      sums.to[sums.count] = task->partial + at + (size_t)(first + tap) * CONV_AMX_WORDS;
      sums.pairs[sums.count++] =
          pairs_at(grid, task, b, row->first * CONV_AMX_DEPTH, row->line + voxel / grid->across);
      if (sums.count < TILES_TOGETHER) continue;
      adds[sums.count - 1](&sums, source, row->tiles);
      sums.count = 0;
    }
  }
  if (sums.count > 0) adds[sums.count - 1](&sums, source, row->tiles);
}

/* Taps (td, th) of a group; window: the group's, of plane d. */
static void add_row(const struct grid *grid, const struct task *task, int group, int td, int th,
                    const uint32_t *window) {
  const struct conv_axis *a = grid->source->packing.axis;
  const int *phase = task->phase, taps = a[2].taps[phase[2]];
  const int at = a[1].first[phase[1]] - grid->reach[1].low + th;
  struct row row = {.td = td, .th = th, .end = taps, .line = at / grid->step[1] * grid->pitch};
  row.voxel = a[2].first[phase[2]] - grid->reach[2].low;
  if (grid->planar) row.from = group, row.end = conv_at_most(group + 1, taps / PLANAR);
  const int most = (row.voxel + (grid->planar ? 0 : taps - 1)) / grid->across;
  row.first = row.line / CONV_AMX_DEPTH;
  row.tiles = conv_divide_up(row.line + most + grid->height * grid->pitch, CONV_AMX_DEPTH);
  row.tiles -= row.first;
  for (row.part = 0; row.part < grid->across; row.part++) {
    const int part = at % grid->step[1] * grid->across + row.part;
    const size_t tile = (size_t)(part * grid->tiles + row.first);
    add_part(grid, task, task->group + group, &row, window + tile * CONV_AMX_WORDS);
  }
}

static void add_phase(const struct grid *grid, const struct task *task) {
  const struct conv_axis *a = grid->source->packing.axis;
  const int *phase = task->phase;
  if (task->d >= conv_axis_length(grid->target->shape.d, grid->phases[0], phase[0])) return;
  for (int b = 0; b < task->blocks; b++) {
    uint32_t *even = task->pairs + grid->pairs * (size_t)(2 * b);
    copy_gradient(grid, task, task->block + b, even, even + grid->pairs);
  }
  const int from = grid->step[0] * task->d + a[0].first[phase[0]];
  for (int td = 0; td < a[0].taps[phase[0]]; td++) {
    if (from + td < 0 || from + td >= grid->source->tensor->shape.d) continue;
    const uint32_t *window = plane_at(grid, task, from + td);
    for (int th = 0; th < a[1].taps[phase[1]]; th++)
      for (int g = 0; g < task->groups; g++)
        add_row(grid, task, g, td, th, window + grid->group * (size_t)g);
  }
}

static void clear(const struct grid *grid, struct task *task) {
  const struct conv_packing *packing = &grid->source->packing;
  const int groups = grid->planar ? 1 : task->groups;
  for (int copy = 0; copy < conv_packing_phases(packing); copy++) {
    conv_packing_split_phase(packing, copy, task->phase);
    size_t size = conv_packing_group_size(packing, task->phase) * (size_t)groups;
    for (int b = 0; b < task->blocks; b++)
      memset(task->partial + conv_packing_at(packing, task->phase, task->block + b, task->group), 0,
             sizeof(float) * size);
  }
}

/* Planes `first` to `last` of a box, counted through all samples. */
static void add_box(const struct grid *grid, struct task *task, int first, int last) {
  const int *phases = grid->phases;
  for (int plane = first; plane < last; plane++) {
    task->n = plane / grid->length[0];
    task->d = plane % grid->length[0];
    copy_planes(grid, task, plane == first || task->d == 0);
    for (int i = 0; i < phases[0] * phases[1] * phases[2]; i++) {
      task->phase[0] = i / phases[2] / phases[1];
      task->phase[1] = i / phases[2] % phases[1];
      task->phase[2] = i % phases[2];
      add_phase(grid, task);
    }
  }
}

static void run_task(const struct grid *grid, struct task *task, int chunk) {
  int first = (int)((int64_t)grid->planes * chunk / grid->chunks);
  int last = (int)((int64_t)grid->planes * (chunk + 1) / grid->chunks);
  clear(grid, task);
  for (task->h = 0; task->h < grid->length[1]; task->h += grid->height)
    for (task->w = 0; task->w < grid->length[2]; task->w += grid->width)
      add_box(grid, task, first, last);
}

bool SIMD_NAME(conv_amx_outer_fits)(const struct tensor *target,
                                    const struct conv_packing *packing) {
  struct grid grid;
  return make_grid(target, packing, &grid);
}

size_t SIMD_NAME(conv_amx_outer_size)(const struct tensor *target,
                                      const struct conv_packing *packing) {
  struct grid grid;
  make_grid(target, packing, &grid);
  return conv_packing_size(packing) * (size_t)grid.chunks;
}

void SIMD_NAME(conv_amx_outer)(const struct tensor *target, const float *data,
                               const struct conv_source *source, float *partial) {
  const struct conv_packing *packing = &source->packing;
  struct grid grid;
  make_grid(target, packing, &grid);
  grid.source = source;
  const size_t size = conv_packing_size(packing);
  const int groups = groups_of(&grid), blocks = conv_packing_lane_blocks(packing);
#pragma omp parallel
  {
    _Alignas(64) uint32_t memory[CONV_AMX_SCRATCH / sizeof(uint32_t)];
    struct task task = {.data = data, .windows = memory};
    task.pairs = memory + grid.plane * (size_t)grid.reach[0].span;
    task.row = (uint16_t *)(task.pairs + 2 * (size_t)grid.lane_blocks * grid.pairs);
    task.line = task.row + (size_t)row_voxels(&grid) * PLANAR;
    tiles_begin();
#pragma omp for schedule(static)
    for (int index = 0; index < grid.chunks * grid.blocks * grid.groups; index++) {
      task.group = index % grid.groups * grid.together;
      task.groups = conv_at_most(groups - task.group, grid.together);
      task.block = index / grid.groups % grid.blocks * grid.lane_blocks;
      task.blocks = conv_at_most(blocks - task.block, grid.lane_blocks);
      int chunk = index / grid.groups / grid.blocks;
      task.partial = partial + size * (size_t)chunk;
      run_task(&grid, &task, chunk);
    }
    tiles_end();
  }
  SIMD_NAME(conv_fold_chunks)(partial, size, grid.chunks);
}
#endif
