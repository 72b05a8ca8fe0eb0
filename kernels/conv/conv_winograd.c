/* The kinds of axes of each family, and sizes. */
#include "kernels/conv/conv_winograd.h"

static const enum winograd_kind kinds[WINOGRAD_FAMILIES][3] = {
    [WINOGRAD_FULL_3D] = {WINOGRAD_FULL, WINOGRAD_FULL, WINOGRAD_FULL},
    [WINOGRAD_UP_3D] = {WINOGRAD_UP, WINOGRAD_UP, WINOGRAD_UP},
    [WINOGRAD_DOWN_3D] = {WINOGRAD_DOWN, WINOGRAD_DOWN, WINOGRAD_DOWN},
    [WINOGRAD_WIDE_3D] = {WINOGRAD_FULL, WINOGRAD_FULL, WINOGRAD_WIDE},
    [WINOGRAD_WIDE_UP_3D] = {WINOGRAD_UP, WINOGRAD_UP, WINOGRAD_WIDE_UP},
    [WINOGRAD_WIDE_DOWN_3D] = {WINOGRAD_DOWN, WINOGRAD_DOWN, WINOGRAD_WIDE_DOWN},
    [WINOGRAD_FULL_HW] = {WINOGRAD_ONE, WINOGRAD_FULL, WINOGRAD_FULL},
    [WINOGRAD_WIDE_HW] = {WINOGRAD_ONE, WINOGRAD_FULL, WINOGRAD_WIDE},
    [WINOGRAD_FULL_DH] = {WINOGRAD_FULL, WINOGRAD_FULL, WINOGRAD_ONE},
    [WINOGRAD_PPP] = {WINOGRAD_PAIR, WINOGRAD_PAIR, WINOGRAD_PAIR},
    [WINOGRAD_PPL] = {WINOGRAD_PAIR, WINOGRAD_PAIR, WINOGRAD_LONE},
    [WINOGRAD_PLP] = {WINOGRAD_PAIR, WINOGRAD_LONE, WINOGRAD_PAIR},
    [WINOGRAD_PLL] = {WINOGRAD_PAIR, WINOGRAD_LONE, WINOGRAD_LONE},
    [WINOGRAD_LPP] = {WINOGRAD_LONE, WINOGRAD_PAIR, WINOGRAD_PAIR},
    [WINOGRAD_LPL] = {WINOGRAD_LONE, WINOGRAD_PAIR, WINOGRAD_LONE},
    [WINOGRAD_LLP] = {WINOGRAD_LONE, WINOGRAD_LONE, WINOGRAD_PAIR},
    [WINOGRAD_LLL] = {WINOGRAD_LONE, WINOGRAD_LONE, WINOGRAD_LONE},
    [WINOGRAD_WIDE_PPP] = {WINOGRAD_PAIR, WINOGRAD_PAIR, WINOGRAD_WIDE_PAIR},
    [WINOGRAD_WIDE_PPL] = {WINOGRAD_PAIR, WINOGRAD_PAIR, WINOGRAD_WIDE_LONE},
    [WINOGRAD_WIDE_PLP] = {WINOGRAD_PAIR, WINOGRAD_LONE, WINOGRAD_WIDE_PAIR},
    [WINOGRAD_WIDE_PLL] = {WINOGRAD_PAIR, WINOGRAD_LONE, WINOGRAD_WIDE_LONE},
    [WINOGRAD_WIDE_LPP] = {WINOGRAD_LONE, WINOGRAD_PAIR, WINOGRAD_WIDE_PAIR},
    [WINOGRAD_WIDE_LPL] = {WINOGRAD_LONE, WINOGRAD_PAIR, WINOGRAD_WIDE_LONE},
    [WINOGRAD_WIDE_LLP] = {WINOGRAD_LONE, WINOGRAD_LONE, WINOGRAD_WIDE_PAIR},
    [WINOGRAD_WIDE_LLL] = {WINOGRAD_LONE, WINOGRAD_LONE, WINOGRAD_WIDE_LONE},
    [WINOGRAD_SPREAD_3D] = {WINOGRAD_SPREAD, WINOGRAD_SPREAD, WINOGRAD_SPREAD},
    [WINOGRAD_SPREAD_UP_3D] = {WINOGRAD_SPREAD_UP, WINOGRAD_SPREAD_UP, WINOGRAD_SPREAD_UP},
    [WINOGRAD_SPREAD_WIDE_3D] = {WINOGRAD_SPREAD, WINOGRAD_SPREAD, WINOGRAD_SPREAD_WIDE},
    [WINOGRAD_SPREAD_WIDE_UP_3D] = {WINOGRAD_SPREAD_UP, WINOGRAD_SPREAD_UP,
                                    WINOGRAD_SPREAD_WIDE_UP},
    [WINOGRAD_SPREAD_WIDE_PPP] = {WINOGRAD_SPREAD_UP, WINOGRAD_SPREAD_UP,
                                  WINOGRAD_SPREAD_WIDE_PAIR},
    [WINOGRAD_SPREAD_HW] = {WINOGRAD_ONE, WINOGRAD_SPREAD, WINOGRAD_SPREAD},
    [WINOGRAD_SPREAD_WIDE_HW] = {WINOGRAD_ONE, WINOGRAD_SPREAD, WINOGRAD_SPREAD_WIDE},
    [WINOGRAD_SPREAD_DH] = {WINOGRAD_SPREAD, WINOGRAD_SPREAD, WINOGRAD_ONE},
};

enum winograd_kind winograd_axis_kind(enum winograd_family family, int axis) {
  return kinds[family][axis];
}

int winograd_family_points(enum winograd_family family) {
  int points = 1;
  for (int i = 0; i < 3; i++) points *= winograd_points(kinds[family][i]);
  return points;
}

int winograd_family_entered(enum winograd_family family) {
  int points = 1;
  for (int i = 0; i < 3; i++) points *= winograd_entered(kinds[family][i]);
  return points;
}

int winograd_family_returned(enum winograd_family target) {
  int points = 1;
  for (int i = 0; i < 3; i++) points *= winograd_returned(kinds[target][i]);
  return points;
}

size_t winograd_zero_size(const struct tensor *source) {
  return (size_t)source->shape.w * CHANNEL_BLOCK;
}

struct winograd_view winograd_view_of(const struct tensor *tensor, const int phases[3],
                                      const int phase[3]) {
  const struct shape s = tensor->shape;
  const int extent[] = {s.d, s.h, s.w};
  const int64_t pitch[] = {(int64_t)s.h * s.w * CHANNEL_BLOCK, (int64_t)s.w * CHANNEL_BLOCK,
                           CHANNEL_BLOCK};
  struct winograd_view view = {.block = pitch[0] * s.d};
  view.sample = view.block * (tensor_stored_channels(tensor) / CHANNEL_BLOCK);
  for (int i = 0; i < 3; i++) {
    view.extent[i] = conv_axis_length(extent[i], phases[i], phase[i]);
    view.pitch[i] = pitch[i] * phases[i];
    view.start += pitch[i] * phase[i];
  }
  return view;
}

struct winograd_view winograd_view_all(const struct tensor *tensor) {
  static const int phases[] = {1, 1, 1}, phase[] = {0, 0, 0};
  return winograd_view_of(tensor, phases, phase);
}

enum winograd_family winograd_phase_family(const struct conv_packing *packing, int phase,
                                           enum winograd_family family) {
  int along[3], lone = 0;
  if (!winograd_is_part(family)) return family;
  conv_packing_split_phase(packing, phase, along);
  for (int i = 0; i < 3; i++)
    if (packing->axis[i].taps[along[i]] == 1) lone += 4 >> i;
  return (enum winograd_family)((int)family + lone);
}

size_t winograd_phase_start(const struct conv_packing *packing, int phase,
                            enum winograd_family family, bool amx) {
  size_t points = 0;
  for (int i = 0; i < phase; i++)
    points += (size_t)winograd_family_points(winograd_phase_family(packing, i, family));
  return points * winograd_weights_pitch(conv_packing_groups(packing), amx) *
         (size_t)conv_packing_lane_blocks(packing);
}

size_t winograd_weights_size(const struct conv_packing *packing, enum winograd_family family,
                             bool amx) {
  return winograd_phase_start(packing, conv_packing_phases(packing), family, amx);
}

bool winograd_is_part(enum winograd_family family) {
  return family >= WINOGRAD_PPP && family <= WINOGRAD_WIDE_LLL;
}

enum winograd_family winograd_target_family(enum winograd_family family) {
  if (winograd_is_part(family))
    return family >= WINOGRAD_WIDE_PPP ? WINOGRAD_WIDE_PPP : WINOGRAD_PPP;
  if (family == WINOGRAD_WIDE_UP_3D) return WINOGRAD_WIDE_3D;
  return family == WINOGRAD_UP_3D ? WINOGRAD_FULL_3D : family;
}

/* Along one axis: the target's point that a source's point counts in, and the window's it is of. */
static int target_point(enum winograd_kind target, enum winograd_kind kind, int point) {
  static const int of_up[] = {0, 1, 3}, of_wide_up[] = {0, 1, 3, 4, 5}, of_down[] = {0, 1, 2, 2, 3};
  if (target == WINOGRAD_DOWN) return 0;
  if (target == WINOGRAD_WIDE_DOWN) return of_down[point];
  if (target == WINOGRAD_FULL && kind == WINOGRAD_UP) return of_up[point];
  if (target == WINOGRAD_WIDE && kind == WINOGRAD_WIDE_UP) return of_wide_up[point];
  return point;
}
static int window_point(enum winograd_kind kind, int point) {
  static const int of_wide_up[] = {0, 1, 2, 2, 3};
  return kind == WINOGRAD_WIDE_UP ? of_wide_up[point] : point;
}

/* The same of all axes together. */
static void find_points(enum winograd_family target, enum winograd_family family,
                        enum winograd_family windows, int point, int *to, int *window) {
  int pitch = 1, window_pitch = 1;
  *to = *window = 0;
  for (int i = 2; i >= 0; i--) {
    const enum winograd_kind kind = kinds[family][i];
    int at = point % winograd_points(kind);
    *to += pitch * target_point(kinds[target][i], kind, at);
    *window += window_pitch * window_point(kind, at);
    point /= winograd_points(kind);
    pitch *= winograd_returned(kinds[target][i]);
    window_pitch *= winograd_entered(kinds[windows][i]);
  }
}

void winograd_find_products(enum winograd_family target, enum winograd_family family,
                            enum winograd_family windows, struct winograd_products *products) {
  const int points = winograd_family_points(family), returned = winograd_family_returned(target);
  int to[WINOGRAD_MOST_POINTS], window[WINOGRAD_MOST_POINTS], end[WINOGRAD_MOST_POINTS] = {0};
  for (int i = 0; i < points; i++) {
    find_points(target, family, windows, i, &to[i], &window[i]);
    end[to[i]]++;
  }
  products->start[0] = 0;
  for (int i = 0; i < returned; i++) {
    products->start[i + 1] = products->start[i] + end[i];
    end[i] = products->start[i];
  }
  for (int i = 0; i < points; i++)
    products->factors[end[to[i]]++] = (struct winograd_factors){i, window[i]};
}

enum winograd_family winograd_spread_family(enum winograd_family target) {
  switch (target) {
    case WINOGRAD_FULL_HW:
      return WINOGRAD_SPREAD_HW;
    case WINOGRAD_WIDE_HW:
      return WINOGRAD_SPREAD_WIDE_HW;
    case WINOGRAD_FULL_DH:
      return WINOGRAD_SPREAD_DH;
    case WINOGRAD_WIDE_3D:
      return WINOGRAD_SPREAD_WIDE_3D;
    case WINOGRAD_WIDE_UP_3D:
      return WINOGRAD_SPREAD_WIDE_UP_3D;
    case WINOGRAD_WIDE_PPP:
      return WINOGRAD_SPREAD_WIDE_PPP;
    case WINOGRAD_UP_3D:
    case WINOGRAD_PPP:
      return WINOGRAD_SPREAD_UP_3D;
    default:
      return WINOGRAD_SPREAD_3D;
  }
}

/* Multiply-adds of vectors that other work takes the time of (measured on AVX-512). */
enum {
  COST_OF_ENTERING = 3, /* of a point of a tile and a block of channels */
  COST_OF_LEAVING = 4,  /* likewise */
  COST_OF_POINTS = 300, /* of the weights of a point of 16 x 16 channels: bound by memory */
  COST_OF_TAPS = 500,   /* of those of a tap of the direct kernel */
  TILES_TOGETHER = 8,   /* what tiles are rounded up to */
  /* On the processor's tiles, where groups come in twos: of a product of 16 x 16 channels, 16
   * without them, if a core's second cache holds a source's weights, and if not; of a tile's
   * pieces, for each AMX_BLOCKS blocks of the target; of the weights of a point in pieces. */
  AMX_COST_OF_NEAR_PRODUCT = 10,
  AMX_COST_OF_FAR_PRODUCT = 12,
  AMX_NEAR_BYTES = 1 << 20,
  AMX_COST_OF_PIECES = 3,
  AMX_BLOCKS = 4,
  AMX_COST_OF_POINTS = 400,
};

/* Less would be lost again in a whole step, where tiles gain less than where one layer is timed. */
#define AMX_LEAST_GAIN 1.2

/* Taps that see a voxel inside, of all voxels of an axis. */
static int count_taps(const struct node *node, int axis) {
  const struct conv_arguments *a = conv_arguments_of(node);
  const struct shape x = conv_input_shape(node, 0), y = node->y.shape;
  const int from[] = {x.d, x.h, x.w}, to[] = {y.d, y.h, y.w};
  int count = 0;
  for (int i = 0; i < to[axis]; i++)
    for (int k = 0; k < a->kernel[axis]; k++) {
      int at = i * a->stride[axis] + k - a->padding[axis];
      count += at >= 0 && at < from[axis];
    }
  return count;
}

/* Of all parts of a source together: along an axis a kernel of 3 is a PAIR and a LONE tap, one of 4
 * two PAIRs. */
static double count_points(const struct node *node, enum winograd_family family) {
  const int *kernel = conv_arguments_of(node)->kernel;
  double points = 1;
  if (!winograd_is_part(family)) return winograd_family_points(family);
  for (int i = 0; i < 3; i++) {
    const int pair = winograd_points(kinds[family][i]);
    points *= kernel[i] == 3 ? 2 * pair - 1 : 2 * pair;
  }
  return points;
}

static double count_tiles(const struct node *node, enum winograd_family family, int samples) {
  const struct shape s = node->y.shape;
  const int extent[] = {s.d, s.h, s.w};
  int64_t tiles = samples;
  for (int i = 0; i < 3; i++) {
    int outputs = winograd_outputs(winograd_axis_kind(family, i));
    tiles *= (extent[i] + outputs - 1) / outputs;
  }
  return (double)((tiles + TILES_TOGETHER - 1) / TILES_TOGETHER * TILES_TOGETHER);
}

/* Of `points` points of a source with so many groups of channels, at a target of `blocks`. */
static double source_cost(double tiles, double points, int groups, int blocks, bool amx) {
  if (!amx) return points * (tiles * CHANNEL_BLOCK + COST_OF_POINTS) * groups * blocks;
  const double bytes =
      (double)sizeof(float) * (double)winograd_weights_pitch(groups, true) * points * blocks;
  const double product =
      bytes > AMX_NEAR_BYTES ? AMX_COST_OF_FAR_PRODUCT : AMX_COST_OF_NEAR_PRODUCT;
  const int even = 2 * conv_divide_up(groups, 2), chunks = conv_divide_up(blocks, AMX_BLOCKS);
  return points * even * blocks * (tiles * product + AMX_COST_OF_POINTS) +
         points * tiles * AMX_COST_OF_PIECES * groups * chunks;
}

double winograd_cost(const struct node *node, enum winograd_family family, int samples, bool amx) {
  const int blocks = tensor_stored_channels(&node->y) / CHANNEL_BLOCK;
  const double tiles = count_tiles(node, family, samples);
  double cost = tiles * winograd_family_returned(family) * COST_OF_LEAVING * blocks;
  for (int i = 0; i < node->input_count; i++) {
    enum winograd_family own =
        conv_arguments_of(node)->upsample[i] ? winograd_up_family(family) : family;
    double points = count_points(node, own), entered = points;
    if (!winograd_is_part(own)) entered = winograd_family_entered(own);
    const int groups = tensor_stored_channels(&node->x[i]) / CHANNEL_BLOCK;
    cost += source_cost(tiles, points, groups, blocks, amx);
    cost += tiles * entered * COST_OF_ENTERING * groups;
  }
  return cost;
}

static double direct_cost(const struct node *node) {
  const struct shape s = node->y.shape;
  const int *kernel = conv_arguments_of(node)->kernel;
  const double blocks = tensor_stored_channels(&node->y) / CHANNEL_BLOCK;
  double seen = s.n, taps = 1, cost = 0;
  for (int i = 0; i < 3; i++) seen *= count_taps(node, i), taps *= kernel[i];
  for (int i = 0; i < node->input_count; i++) {
    double pairs = tensor_stored_channels(&node->x[i]) / CHANNEL_BLOCK * blocks;
    bool upsampled = conv_arguments_of(node)->upsample[i];
    double products = upsampled ? (double)shape_voxels(s) * s.n * 8 : seen;
    cost += (products * CHANNEL_BLOCK + taps * COST_OF_TAPS) * pairs;
  }
  return cost;
}

bool winograd_pays(const struct node *node, enum winograd_family family, bool amx) {
  const int samples = node->y.shape.n;
  const double cost = winograd_cost(node, family, samples, amx);
  const double without = amx ? winograd_cost(node, family, samples, false) : cost;
  if (amx && AMX_LEAST_GAIN * cost >= without) return false;
  return cost < direct_cost(node);
}
