/* Convolution to a blocked target through the transformed domain: batches of tiles, whose windows,
 * products and results stay in a core's second-level cache. */
#include "kernels/conv/conv_multiply.h"
#include "kernels/conv/conv_winograd_transform.h"

enum {
  MOST_GROUPS = 3, /* blocks of source channels that are multiplied together */
  MOST_BLOCKS = 4, /* blocks of target channels that share transformed windows */
  MOST_PARTS = OP_MAX_INPUTS,
  MOST_PRODUCTS = 27,
};

/* A thread's own memory. */
struct scratch {
  _Alignas(64) float v[MOST_GROUPS * WINOGRAD_BATCH_FLOATS], m[MOST_BLOCKS * WINOGRAD_BATCH_FLOATS];
};

struct pass {
  const struct conv_target *target;
  const struct winograd_grid *grid;
  const struct winograd_source *sources;
  int count;
  const float *zeros;
  int batch, points; /* tiles together; points of the target's transform */
  size_t pitch;
  int64_t tiles, batches; /* of a sample */
};

/* Tiles of a sample and blocks of target channels. */
struct portion {
  int n, block, blocks, tiles;
  int64_t first;
};

/* Some groups of a source whose windows are in v: their product at point 0, and how far it is to
 * the next point's. */
struct part {
  const struct winograd_source *source;
  struct conv_product product;
  size_t w_pitch;
};

static void enter(const struct pass *pass, const struct portion *portion,
                  const struct winograd_source *source, int group, float *v) {
  int64_t end = portion->first + portion->tiles;
  for (int64_t tile = portion->first; tile < end;) {
    struct winograd_run run =
        winograd_find_run(pass->grid, portion->n, tile, end, (int)(tile - portion->first));
    SIMD_NAME(winograd_enter_run)(v, pass->pitch, source, group, &run, pass->zeros);
    tile += run.count;
  }
}

/* Point `point` of the target's transform among those of a family; -1: always zero. */
static int point_in_family(enum winograd_family family, int point) {
  static const int kept[] = {0, 1, -1, 2};
  if (family != WINOGRAD_UP_3D) return point;
  int d = kept[point / 16], h = kept[point / 4 % 4], w = kept[point % 4];
  return d < 0 || h < 0 || w < 0 ? -1 : (d * 3 + h) * 3 + w;
}

static struct part part_of(const struct pass *pass, const struct portion *portion,
                           const struct winograd_source *source, int group, const float *v) {
  size_t channels = (size_t)tensor_stored_channels(source->tensor);
  size_t points = (size_t)winograd_family_points(source->family);
  struct part part = {.source = source, .w_pitch = channels * CHANNEL_BLOCK};
  part.product.x = v;
  part.product.group_pitch = pass->pitch * points;
  part.product.block_pitch = part.w_pitch * points;
  part.product.w = source->weights + part.product.block_pitch * (size_t)portion->block +
                   (size_t)(group * WINOGRAD_PAIR);
  return part;
}

static struct conv_product product_at(const struct pass *pass, const struct part *part, int point) {
  struct conv_product product = part->product;
  product.x += pass->pitch * (size_t)point;
  product.w += part->w_pitch * (size_t)point;
  return product;
}

static void multiply_points(const struct pass *pass, const struct portion *portion,
                            const struct part *parts, int count, bool add, float *m) {
  for (int point = 0; point < pass->points; point++, m += pass->pitch) {
    struct conv_product products[MOST_PARTS];
    int used = 0;
    for (int i = 0; i < count; i++) {
      int own = point_in_family(parts[i].source->family, point);
      if (own >= 0) products[used++] = product_at(pass, &parts[i], own);
    }
    if (used == 0 && add) continue;
    SIMD_NAME(conv_multiply)
    (m, WINOGRAD_BATCH_FLOATS, products, used, portion->tiles, portion->blocks, add);
  }
}

/* Of a DOWN source the target is the sum over all points. */
static void multiply_down(const struct pass *pass, const struct portion *portion,
                          const struct part *part, bool add, float *m) {
  struct conv_product products[MOST_PRODUCTS];
  int points = winograd_family_points(part->source->family);
  for (int point = 0; point < points; point++) products[point] = product_at(pass, part, point);
  SIMD_NAME(conv_multiply)
  (m, WINOGRAD_BATCH_FLOATS, products, points, portion->tiles, portion->blocks, add);
}

/* What has been entered so far. */
static void multiply_parts(const struct pass *pass, const struct portion *portion,
                           const struct part *parts, int count, bool add, float *m) {
  if (parts[0].source->family == WINOGRAD_DOWN_3D)
    multiply_down(pass, portion, parts, add, m);
  else
    multiply_points(pass, portion, parts, count, add, m);
}

/* The sums of all sources at all points, as many groups at a time as v holds. */
static void compute(const struct pass *pass, const struct portion *portion,
                    struct scratch *scratch) {
  struct part parts[MOST_PARTS];
  int count = 0;
  size_t used = 0;
  bool add = false;
  for (int i = 0; i < pass->count; i++) {
    const struct winograd_source *source = &pass->sources[i];
    size_t size = pass->pitch * (size_t)winograd_family_points(source->family);
    int groups = tensor_stored_channels(source->tensor) / CHANNEL_BLOCK;
    for (int group = 0; group < groups; group++, used += size) {
      if (used + size > sizeof scratch->v / sizeof(float)) {
        multiply_parts(pass, portion, parts, count, add, scratch->m);
        add = true, used = 0, count = 0;
      }
      if (count == 0 || parts[count - 1].source != source)
        parts[count++] = part_of(pass, portion, source, group, scratch->v + used);
      parts[count - 1].product.groups++;
      enter(pass, portion, source, group, scratch->v + used);
    }
  }
  multiply_parts(pass, portion, parts, count, add, scratch->m);
}

static void leave(const struct pass *pass, const struct portion *portion, const float *m) {
  int64_t end = portion->first + portion->tiles;
  for (int64_t tile = portion->first; tile < end;) {
    struct winograd_run run =
        winograd_find_run(pass->grid, portion->n, tile, end, (int)(tile - portion->first));
    for (int b = 0; b < portion->blocks; b++) SIMD_NAME(winograd_leave_run)
    (pass->target, pass->grid, pass->sources[0].family, portion->block + b, &run,
     m + WINOGRAD_BATCH_FLOATS * (size_t)b, pass->pitch);
    tile += run.count;
  }
}

static struct portion find_portion(const struct pass *pass, int64_t index, int blocks) {
  int chunks = (blocks + MOST_BLOCKS - 1) / MOST_BLOCKS;
  struct portion portion = {.block = (int)(index % chunks) * MOST_BLOCKS};
  index /= chunks;
  portion.blocks = blocks - portion.block < MOST_BLOCKS ? blocks - portion.block : MOST_BLOCKS;
  portion.first = index % pass->batches * pass->batch;
  portion.n = (int)(index / pass->batches);
  int64_t left = pass->tiles - portion.first;
  portion.tiles = left < pass->batch ? (int)left : pass->batch;
  return portion;
}

void SIMD_NAME(winograd_rows)(const struct conv_target *target, const struct winograd_grid *grid,
                              const struct winograd_source *sources, int count,
                              const float *zeros) {
  struct pass pass = {target, grid,  sources,
                      count,  zeros, .batch = winograd_batch(sources[0].family)};
  pass.pitch = winograd_pitch(pass.batch);
  pass.points = winograd_target_points(sources[0].family);
  pass.tiles = (int64_t)grid->tiles[0] * grid->tiles[1] * grid->tiles[2];
  pass.batches = (pass.tiles + pass.batch - 1) / pass.batch;
  int blocks = tensor_stored_channels(target->tensor) / CHANNEL_BLOCK;
  int64_t chunks = (blocks + MOST_BLOCKS - 1) / MOST_BLOCKS;
  int64_t total = target->tensor->shape.n * pass.batches * chunks;
#pragma omp parallel
  {
    struct scratch scratch;
#pragma omp for schedule(static)
    for (int64_t index = 0; index < total; index++) {
      struct portion portion = find_portion(&pass, index, blocks);
      compute(&pass, &portion, &scratch);
      leave(&pass, &portion, scratch.m);
    }
  }
}
