/* Convolution to a blocked target through the transformed domain: batches of tiles, whose windows,
 * products and results stay in a core's second-level cache. */
#include "kernels/conv/conv_winograd_transform.h"

enum {
  MOST_GROUPS = 4, /* blocks of source channels that are multiplied together */
  MOST_BLOCKS = 4, /* blocks of target channels that share transformed windows */
  MOST_PRODUCTS = 27,
  MOST_ENTERED = 16, /* sources in v */
};

/* A thread's own memory, and the batch whose shared windows are in v; -1: none. */
struct scratch {
  int64_t batch;
  _Alignas(64) float v[MOST_GROUPS * WINOGRAD_AMX_BATCH_FLOATS];
  float m[MOST_BLOCKS * WINOGRAD_AMX_BATCH_FLOATS];
};

struct pass {
  const struct winograd_target *targets;
  const struct winograd_grid *grid;
  const struct winograd_source *sources;
  int parts, count;
  const float *zeros;
  bool amx;
  conv_multiplier *multiply;
  int together;      /* groups that are entered together */
  int batch, blocks; /* tiles together; of target channels in all */
  size_t pitch;
  size_t batch_floats;
  int64_t tiles, batches; /* of all samples */
  /* v holds all windows of a batch, and all parts see the same: they are transformed once, of
   * several parts as of the one that is all pairs, whose points are all that the others have */
  bool shared;
  struct winograd_products products[WINOGRAD_FAMILIES]; /* by the source's */
};

/* Tiles and blocks of channels of a part of the target. */
struct portion {
  const struct winograd_target *target;
  const struct winograd_source *sources;
  int block, blocks, tiles;
  int64_t batch;
  struct winograd_runs runs;
};

/* Some groups of a source whose windows are in v: their product at point 0, and how far it is to
 * the next point's. */
struct entered {
  const struct winograd_source *source;
  struct conv_product product;
  size_t w_pitch;
};

static enum winograd_family shared_windows_of(const struct pass *pass,
                                              const struct winograd_source *source) {
  return pass->parts > 1 ? winograd_target_family(source->family) : source->family;
}
static enum winograd_family windows_of(const struct pass *pass,
                                       const struct winograd_source *source) {
  return pass->shared ? shared_windows_of(pass, source) : source->family;
}

static struct entered entered_at(const struct pass *pass, const struct portion *portion,
                                 const struct winograd_source *source, int group, const float *v) {
  const int groups = tensor_stored_channels(source->tensor) / CHANNEL_BLOCK;
  size_t points = (size_t)winograd_family_points(source->family);
  size_t entered_points = (size_t)winograd_family_entered(windows_of(pass, source));
  struct entered entered = {.source = source, .w_pitch = winograd_weights_pitch(groups, pass->amx)};
  entered.product.x = v;
  entered.product.ahead = entered.w_pitch;
  entered.product.group_pitch = pass->pitch * entered_points;
  entered.product.block_pitch = entered.w_pitch * points;
  entered.product.w = source->weights + entered.product.block_pitch * (size_t)portion->block +
                      winograd_weights_at(group, pass->amx);
  return entered;
}

/* Of what has been entered so far. */
static void multiply_entered(const struct pass *pass, const struct portion *portion,
                             const struct entered *entered, int count, bool add, float *m) {
  const int points = winograd_family_returned(portion->target->family);
  for (int point = 0; point < points; point++, m += pass->pitch) {
    struct conv_product products[MOST_PRODUCTS];
    int used = 0;
    for (int i = 0; i < count; i++) {
      const struct winograd_products *of = &pass->products[entered[i].source->family];
      for (int j = of->start[point]; j < of->start[point + 1]; j++, used++) {
        products[used] = entered[i].product;
        products[used].x += pass->pitch * (size_t)of->factors[j].window;
        products[used].w += entered[i].w_pitch * (size_t)of->factors[j].weights;
      }
    }
    if (used == 0 && add) continue;
    pass->multiply(m, pass->batch_floats, products, used, portion->tiles, portion->blocks, add);
  }
}

/* The sums of all sources at all points, as many groups at a time as v holds. */
static void compute(const struct pass *pass, const struct portion *portion,
                    struct scratch *scratch) {
  const bool known_windows = pass->shared && scratch->batch == portion->batch;
  struct entered entered[MOST_ENTERED];
  int count = 0;
  size_t used = 0;
  bool add = false;
  const size_t most = MOST_GROUPS * pass->batch_floats;
  for (int i = 0; i < pass->count; i++) {
    const struct winograd_source *source = &portion->sources[i];
    struct winograd_source windows = *source;
    windows.family = windows_of(pass, source);
    size_t size = pass->pitch * (size_t)winograd_family_entered(windows.family);
    int groups = tensor_stored_channels(source->tensor) / CHANNEL_BLOCK;
    for (int group = 0; group < groups; group++, used += size) {
      bool known = count > 0 && entered[count - 1].source == source;
      bool full = group % pass->together == 0 &&
                  used + size * (size_t)conv_at_most(groups - group, pass->together) > most;
      if (full || (!known && count == MOST_ENTERED)) {
        multiply_entered(pass, portion, entered, count, add, scratch->m);
        add = true, known = false, used = 0, count = 0;
      }
      if (!known) entered[count++] = entered_at(pass, portion, source, group, scratch->v + used);
      entered[count - 1].product.groups++;
      if (!known_windows) SIMD_NAME(winograd_enter)
      (scratch->v + used, pass->pitch, &windows, group, &portion->runs, pass->zeros);
    }
  }
  multiply_entered(pass, portion, entered, count, add, scratch->m);
  scratch->batch = portion->batch;
}

static void leave(const struct pass *pass, const struct portion *portion, const float *m) {
  for (int b = 0; b < portion->blocks; b++) SIMD_NAME(winograd_leave)
  (portion->target, pass->grid, portion->block + b, &portion->runs,
   m + pass->batch_floats * (size_t)b, pass->pitch);
}

/* Chunks of blocks that share windows. */
static int chunks_of(const struct pass *pass) {
  return (pass->blocks + MOST_BLOCKS - 1) / MOST_BLOCKS;
}

/* Work `index`, of all batches, parts and chunks: in turns that read the larger of sources and
 * weights but once. */
static void find_portion(const struct pass *pass, int64_t index, bool by_weights,
                         struct portion *portion) {
  const int64_t chunks = chunks_of(pass), units = chunks * pass->parts;
  const int64_t unit = by_weights ? index / pass->batches : index % units;
  const int64_t batch = by_weights ? index % pass->batches : index / units;
  const int64_t first = batch * pass->batch, end = first + pass->batch;
  portion->batch = batch;
  portion->target = &pass->targets[unit / chunks];
  portion->sources = &pass->sources[unit / chunks * pass->count];
  portion->block = (int)(unit % chunks) * MOST_BLOCKS;
  int blocks = pass->blocks - portion->block;
  portion->blocks = blocks < MOST_BLOCKS ? blocks : MOST_BLOCKS;
  portion->tiles = (int)((end < pass->tiles ? end : pass->tiles) - first);
  winograd_find_runs(pass->grid, first, first + portion->tiles, &portion->runs);
}

/* Whether there are more weights than voxels of the sources. */
static bool weights_are_more(const struct pass *pass) {
  int64_t weights = 0, sources = 0;
  for (int i = 0; i < pass->parts * pass->count; i++) {
    const struct winograd_source *source = &pass->sources[i];
    weights += (int64_t)winograd_family_points(source->family) * pass->blocks *
               tensor_stored_channels(source->tensor) * CHANNEL_BLOCK;
    sources += tensor_elements(source->tensor);
  }
  return weights > sources;
}

static bool share_windows(const struct pass *pass) {
  const struct winograd_source *first = &pass->sources[0];
  const int groups = tensor_stored_channels(first->tensor) / CHANNEL_BLOCK;
  bool same = pass->count == 1;
  for (int i = 0; i < pass->parts; i++)
    same = same && memcmp(pass->sources[i].first, first->first, sizeof first->first) == 0;
  const int points = winograd_family_entered(shared_windows_of(pass, first));
  return same && pass->pitch * (size_t)(points * groups) <= MOST_GROUPS * pass->batch_floats;
}

static void find_products(struct pass *pass) {
  for (int i = 0; i < pass->parts * pass->count; i++) {
    const struct winograd_source *source = &pass->sources[i];
    winograd_find_products(pass->targets[i / pass->count].family, source->family,
                           windows_of(pass, source), &pass->products[source->family]);
  }
}

void SIMD_NAME(winograd_rows)(const struct winograd_target *targets, int parts,
                              const struct winograd_grid *grid,
                              const struct winograd_source *sources, int count, const float *zeros,
                              bool amx) {
  const struct tensor *tensor = targets[0].whole->tensor;
  struct pass pass = {targets,
                      grid,
                      sources,
                      parts,
                      count,
                      zeros,
                      amx,
                      .multiply = SIMD_NAME(conv_multiplier_of)(amx),
                      .together = amx ? 2 : 1,
                      .batch = winograd_batch(targets[0].family, amx),
                      .batch_floats = amx ? WINOGRAD_AMX_BATCH_FLOATS : WINOGRAD_BATCH_FLOATS};
  pass.blocks = tensor_stored_channels(tensor) / CHANNEL_BLOCK;
  pass.pitch = winograd_pitch(pass.batch);
  pass.tiles = tensor->shape.n * winograd_grid_tiles(grid);
  pass.batches = (pass.tiles + pass.batch - 1) / pass.batch;
  const bool by_weights = weights_are_more(&pass);
  pass.shared = share_windows(&pass);
  find_products(&pass);
  const int64_t total = pass.batches * parts * chunks_of(&pass);
#pragma omp parallel
  {
    struct scratch scratch;
    scratch.batch = -1;
    SIMD_NAME(conv_multiply_begin)(amx);
#pragma omp for schedule(static)
    for (int64_t index = 0; index < total; index++) {
      struct portion portion;
      find_portion(&pass, index, by_weights, &portion);
      compute(&pass, &portion, &scratch);
      leave(&pass, &portion, scratch.m);
    }
    SIMD_NAME(conv_multiply_end)(amx);
  }
}
