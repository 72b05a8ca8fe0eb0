/* Weights into the transformed domain and their gradients back out of it, channel by channel; 16
 * lanes side by side. */
#include "kernels/conv/conv_winograd_weights.h"
#include "kernels/conv/conv_winograd_transform.h"

enum { MOST_POINTS = 6, MOST_TAPS_OF_KIND = 3, MOST_CELLS = WINOGRAD_MOST_POINTS };

/* How much of each tap is in each point of a kind, conv_winograd.h's u; adjoints have the same. */
WINOGRAD_INLINE float share_of(const enum winograd_kind kind, const int point, const int tap) {
  static const float shares[][MOST_POINTS][MOST_TAPS_OF_KIND] = {
      [WINOGRAD_ONE] = {{1}},
      [WINOGRAD_FULL] = {{1, 0, 0}, {0.5F, 0.5F, 0.5F}, {0.5F, -0.5F, 0.5F}, {0, 0, 1}},
      [WINOGRAD_UP] = {{1, 0, 0}, {1, 1, 1}, {0, 0, 1}},
      [WINOGRAD_PAIR] = {{1, 0}, {1, 1}, {0, 1}},
      [WINOGRAD_LONE] = {{1}, {1}},
      [WINOGRAD_WIDE] = {{4 / 9.F, 0, 0},
                         {-0.4F, -0.4F, -0.4F},
                         {-0.4F, 0.4F, -0.4F},
                         {8 / 45.F, 12 / 45.F, 0.4F},
                         {8 / 45.F, -12 / 45.F, 0.4F},
                         {0, 0, 1}},
      [WINOGRAD_WIDE_UP] = {{4 / 9.F, 0, 0},
                            {-0.8F, -0.8F, -0.8F},
                            {4 / 9.F, 6 / 9.F, 1},
                            {-4 / 45.F, 6 / 45.F, -0.2F},
                            {0, 0, 1}},
      [WINOGRAD_WIDE_PAIR] = {{-1 / 2.F, -1 / 4.F},
                              {1 / 2.F, -1 / 4.F},
                              {1 / 6.F, 1 / 4.F},
                              {-1 / 6.F, 1 / 4.F},
                              {0, 1}},
      [WINOGRAD_WIDE_LONE] = {{-1 / 2.F}, {1 / 2.F}, {1 / 6.F}, {-1 / 6.F}},
  };
  if (kind == WINOGRAD_DOWN) return shares[WINOGRAD_UP][point][tap];
  if (kind == WINOGRAD_WIDE_DOWN) return shares[WINOGRAD_WIDE_UP][point][tap];
  return shares[kind][point][tap];
}

/* What has no share is left out: to the compiler they are constants. */
WINOGRAD_INLINE void add_share(simd *sum, const float share, simd value) {
  if (share == 1)
    *sum += value;
  else if (share != 0)
    *sum += share * value;
}

/* One point from the taps along an axis. */
WINOGRAD_INLINE simd point_of(const simd k[], const enum winograd_kind kind, const int point) {
  simd sum = {0};
  SIMD_UNROLL
  for (int tap = 0; tap < winograd_taps(kind); tap++)
    add_share(&sum, share_of(kind, point, tap), k[tap]);
  return sum;
}

/* One tap's gradient from those of the points: the adjoint. */
WINOGRAD_INLINE simd tap_of(const simd u[], const enum winograd_kind kind, const int tap) {
  simd sum = {0};
  SIMD_UNROLL
  for (int point = 0; point < winograd_points(kind); point++)
    add_share(&sum, share_of(kind, point, tap), u[point]);
  return sum;
}

/* Cells [outer][from][inner] become [outer][to][inner], points from taps or taps from points. */
WINOGRAD_INLINE void along(const bool to_points, const enum winograd_kind kind, const simd *from,
                           simd *to, const int outer, const int inner) {
  const int taps = winograd_taps(kind), points = winograd_points(kind);
  const int from_count = to_points ? taps : points, to_count = to_points ? points : taps;
  for (int o = 0; o < outer; o++)
    for (int i = 0; i < inner; i++) {
      simd line[MOST_POINTS];
      SIMD_UNROLL
      for (int k = 0; k < from_count; k++) line[k] = from[(o * from_count + k) * inner + i];
      SIMD_UNROLL
      for (int k = 0; k < to_count; k++)
        to[(o * to_count + k) * inner + i] =
            to_points ? point_of(line, kind, k) : tap_of(line, kind, k);
    }
}

/* Of 16 x 16 channels each: points[point] = the transform of packed[tap]. */
WINOGRAD_INLINE void to_points(const float *packed, float *points, size_t point_pitch, bool stream,
                               const enum winograd_kind kd, const enum winograd_kind kh,
                               const enum winograd_kind kw) {
  const int td = winograd_taps(kd), th = winograd_taps(kh), tw = winograd_taps(kw);
  const int pd = winograd_points(kd), ph = winograd_points(kh), pw = winograd_points(kw);
  for (int lane = 0; lane < WINOGRAD_SQUARE; lane += SIMD_WIDTH) {
    simd cells[MOST_CELLS], other[MOST_CELLS];
    float *to = points + lane;
    for (int i = 0; i < td * th * tw; i++)
      cells[i] = simd_load(packed + WINOGRAD_SQUARE * i + lane);
    along(true, kw, cells, other, td * th, 1);
    along(true, kh, other, cells, td, pw);
    along(true, kd, cells, other, 1, ph * pw);
    for (int i = 0; i < pd * ph * pw; i++, to += point_pitch) {
      if (stream)
        simd_stream(to, other[i]);
      else
        simd_store(to, other[i]);
    }
  }
}

/* Of 16 x 16 channels each: packed[tap] = (add: +=) the adjoint of points[point]. */
WINOGRAD_INLINE void to_taps(const float *points, float *packed, bool add,
                             const enum winograd_kind kd, const enum winograd_kind kh,
                             const enum winograd_kind kw) {
  const int td = winograd_taps(kd), th = winograd_taps(kh), tw = winograd_taps(kw);
  const int pd = winograd_points(kd), ph = winograd_points(kh), pw = winograd_points(kw);
  for (int lane = 0; lane < WINOGRAD_SQUARE; lane += SIMD_WIDTH) {
    simd cells[MOST_CELLS], other[MOST_CELLS];
    for (int i = 0; i < pd * ph * pw; i++) cells[i] = simd_load(points + WINOGRAD_SUMS * i + lane);
    along(false, kd, cells, other, 1, ph * pw);
    along(false, kh, other, cells, td, pw);
    along(false, kw, cells, other, td * th, 1);
    for (int i = 0; i < td * th * tw; i++) {
      float *to = packed + WINOGRAD_SQUARE * i + lane;
      if (add) other[i] += simd_load(to);
      simd_store(to, other[i]);
    }
  }
}

#define FAMILY(family, kd, kh, kw)                                                               \
  static void to_points_##family(const float *packed, float *points, size_t point_pitch,         \
                                 bool stream) {                                                  \
    to_points(packed, points, point_pitch, stream, WINOGRAD_##kd, WINOGRAD_##kh, WINOGRAD_##kw); \
  }                                                                                              \
  static void to_taps_##family(const float *points, float *packed, bool add) {                   \
    to_taps(points, packed, add, WINOGRAD_##kd, WINOGRAD_##kh, WINOGRAD_##kw);                   \
  }
#define ENTRY(family, kd, kh, kw) [WINOGRAD_##family] = {to_points_##family, to_taps_##family},
#define FAMILIES(DO)                      \
  DO(FULL_3D, FULL, FULL, FULL)           \
  DO(UP_3D, UP, UP, UP)                   \
  DO(DOWN_3D, DOWN, DOWN, DOWN)           \
  DO(WIDE_3D, FULL, FULL, WIDE)           \
  DO(WIDE_UP_3D, UP, UP, WIDE_UP)         \
  DO(WIDE_DOWN_3D, DOWN, DOWN, WIDE_DOWN) \
  DO(FULL_HW, ONE, FULL, FULL)            \
  DO(WIDE_HW, ONE, FULL, WIDE)            \
  DO(FULL_DH, FULL, FULL, ONE)            \
  DO(PPP, PAIR, PAIR, PAIR)               \
  DO(PPL, PAIR, PAIR, LONE)               \
  DO(PLP, PAIR, LONE, PAIR)               \
  DO(PLL, PAIR, LONE, LONE)               \
  DO(LPP, LONE, PAIR, PAIR)               \
  DO(LPL, LONE, PAIR, LONE)               \
  DO(LLP, LONE, LONE, PAIR)               \
  DO(LLL, LONE, LONE, LONE)               \
  DO(WIDE_PPP, PAIR, PAIR, WIDE_PAIR)     \
  DO(WIDE_PPL, PAIR, PAIR, WIDE_LONE)     \
  DO(WIDE_PLP, PAIR, LONE, WIDE_PAIR)     \
  DO(WIDE_PLL, PAIR, LONE, WIDE_LONE)     \
  DO(WIDE_LPP, LONE, PAIR, WIDE_PAIR)     \
  DO(WIDE_LPL, LONE, PAIR, WIDE_LONE)     \
  DO(WIDE_LLP, LONE, LONE, WIDE_PAIR)     \
  DO(WIDE_LLL, LONE, LONE, WIDE_LONE)
FAMILIES(FAMILY)
static const struct {
  void (*to_points)(const float *packed, float *points, size_t point_pitch, bool stream);
  void (*to_taps)(const float *points, float *packed, bool add);
} families[] = {FAMILIES(ENTRY)};

enum {
  MOST_TAPS = 64,         /* of all phases */
  STREAM_BYTES = 8 << 20, /* what caches hold too little of until it is multiplied */
};

/* A source's weights on their way. */
struct transform {
  const struct conv_packing *packing;
  enum winograd_family family;
  bool amx, stream;
  size_t point_pitch;
  const float *w;
  float *weights;
};

/* Where a phase's points of a block begin, and their family. */
static float *points_at(const struct transform *to, int phase, int block,
                        enum winograd_family *part) {
  *part = winograd_phase_family(to->packing, phase, to->family);
  return to->weights + winograd_phase_start(to->packing, phase, to->family, to->amx) +
         to->point_pitch * (size_t)(winograd_family_points(*part) * block);
}

/* copies[phase] := the taps of a block and group of each phase, in `packed`. */
static void pack_taps(const struct transform *to, int block, int group, float *packed,
                      float **copies) {
  for (int i = 0; i < conv_packing_phases(to->packing); i++) {
    int phase[3];
    conv_packing_split_phase(to->packing, i, phase);
    copies[i] = packed;
    packed += conv_packing_group_size(to->packing, phase);
  }
  conv_pack_group(to->packing, to->w, block, group, copies);
}

static void transform_group(const struct transform *to, int block, int group) {
  float packed[MOST_TAPS * WINOGRAD_SQUARE], *copies[CONV_MOST_COPIES];
  pack_taps(to, block, group, packed, copies);
  for (int i = 0; i < conv_packing_phases(to->packing); i++) {
    enum winograd_family part;
    float *points = points_at(to, i, block, &part) + winograd_weights_at(group, false);
    families[part].to_points(copies[i], points, to->point_pitch, to->stream);
  }
}

/* Two groups, of which the second may be lacking, in pieces. */
static void transform_pair(const struct transform *to, int block, int group) {
  const int both = conv_at_most(conv_packing_groups(to->packing) - group, 2);
  float packed[2][MOST_TAPS * WINOGRAD_SQUARE], points[2][MOST_CELLS * WINOGRAD_SQUARE];
  float *copies[2][CONV_MOST_COPIES];
  for (int k = 0; k < both; k++) pack_taps(to, block, group + k, packed[k], copies[k]);
  for (int i = 0; i < conv_packing_phases(to->packing); i++) {
    enum winograd_family part;
    float *pieces = points_at(to, i, block, &part) + winograd_weights_at(group, true);
    for (int k = 0; k < both; k++)
      families[part].to_points(copies[k][i], points[k], WINOGRAD_SQUARE, false);
    for (int p = 0; p < winograd_family_points(part); p++, pieces += to->point_pitch)
      SIMD_NAME(conv_split)
    (points[0] + WINOGRAD_SQUARE * p, both > 1 ? points[1] + WINOGRAD_SQUARE * p : NULL, pieces,
     to->stream);
  }
}

void SIMD_NAME(winograd_weights)(const struct conv_packing *packing, enum winograd_family family,
                                 bool amx, const float *w, float *weights) {
  const int blocks = conv_packing_lane_blocks(packing), groups = conv_packing_groups(packing);
  const int together = amx ? 2 : 1, units = conv_divide_up(groups, together);
  const struct transform to = {
      .packing = packing,
      .family = family,
      .amx = amx,
      .stream = sizeof(float) * winograd_weights_size(packing, family, amx) >= STREAM_BYTES,
      .point_pitch = winograd_weights_pitch(groups, amx),
      .w = w,
      .weights = weights};
#pragma omp parallel for schedule(static)
  for (int unit = 0; unit < blocks * units; unit++) {
    (amx ? transform_pair : transform_group)(&to, unit / units, unit % units * together);
    if (to.stream) simd_flush();
  }
}

void SIMD_NAME(winograd_to_taps)(enum winograd_family family, const float *points, float *packed,
                                 bool add) {
  families[family].to_taps(points, packed, add);
}
