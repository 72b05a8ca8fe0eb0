/* Weights into the transformed domain and their gradients back out of it, channel by channel; 16
 * lanes side by side. */
#include "kernels/conv/conv_winograd_weights.h"
#include "kernels/conv/conv_winograd_transform.h"

enum { MOST_POINTS = 4, MOST_CELLS = MOST_POINTS * MOST_POINTS * MOST_POINTS };

/* One point from the taps along an axis. */
WINOGRAD_INLINE simd point_of(const simd k[], const enum winograd_kind kind, const int point) {
  if (kind == WINOGRAD_ONE || point == 0) return k[0];
  if (point == winograd_points(kind) - 1) return k[2];
  if (kind != WINOGRAD_FULL) return k[0] + k[1] + k[2];
  if (point == 1) return (k[0] + k[1] + k[2]) * 0.5F;
  return (k[0] - k[1] + k[2]) * 0.5F;
}

/* One tap's gradient from those of the points: the adjoint. */
WINOGRAD_INLINE simd tap_of(const simd u[], const enum winograd_kind kind, const int tap) {
  if (kind == WINOGRAD_ONE) return u[0];
  if (kind == WINOGRAD_FULL) {
    if (tap == 1) return (u[1] - u[2]) * 0.5F;
    return (u[1] + u[2]) * 0.5F + u[tap == 0 ? 0 : 3];
  }
  if (tap == 1) return u[1];
  return u[1] + u[tap == 0 ? 0 : 2];
}

WINOGRAD_INLINE int taps_of(const enum winograd_kind kind) {
  return kind == WINOGRAD_ONE ? 1 : 3;
}

/* Cells [outer][from][inner] become [outer][to][inner], points from taps or taps from points. */
WINOGRAD_INLINE void along(const bool to_points, const enum winograd_kind kind, const simd *from,
                           simd *to, const int outer, const int inner) {
  const int taps = taps_of(kind), points = winograd_points(kind);
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
WINOGRAD_INLINE void to_points(const float *packed, float *points, size_t point_pitch,
                               const enum winograd_kind kd, const enum winograd_kind kh,
                               const enum winograd_kind kw) {
  const int td = taps_of(kd), th = taps_of(kh), tw = taps_of(kw);
  const int pd = winograd_points(kd), ph = winograd_points(kh), pw = winograd_points(kw);
  for (int lane = 0; lane < WINOGRAD_PAIR; lane += SIMD_WIDTH) {
    simd cells[MOST_CELLS], other[MOST_CELLS];
    for (int i = 0; i < td * th * tw; i++) cells[i] = simd_load(packed + WINOGRAD_PAIR * i + lane);
    along(true, kw, cells, other, td * th, 1);
    along(true, kh, other, cells, td, pw);
    along(true, kd, cells, other, 1, ph * pw);
    for (int i = 0; i < pd * ph * pw; i++)
      simd_store(points + point_pitch * (size_t)i + lane, other[i]);
  }
}

/* Of 16 x 16 channels each: packed[tap] += the adjoint of points[point]. */
WINOGRAD_INLINE void add_taps(const float *points, float *packed, const enum winograd_kind kd,
                              const enum winograd_kind kh, const enum winograd_kind kw) {
  const int td = taps_of(kd), th = taps_of(kh), tw = taps_of(kw);
  const int pd = winograd_points(kd), ph = winograd_points(kh), pw = winograd_points(kw);
  for (int lane = 0; lane < WINOGRAD_PAIR; lane += SIMD_WIDTH) {
    simd cells[MOST_CELLS], other[MOST_CELLS];
    for (int i = 0; i < pd * ph * pw; i++) cells[i] = simd_load(points + WINOGRAD_PAIR * i + lane);
    along(false, kd, cells, other, 1, ph * pw);
    along(false, kh, other, cells, td, pw);
    along(false, kw, cells, other, td * th, 1);
    for (int i = 0; i < td * th * tw; i++) {
      float *to = packed + WINOGRAD_PAIR * i + lane;
      simd_store(to, simd_load(to) + other[i]);
    }
  }
}

#define FAMILY(family, kd, kh, kw)                                                         \
  static void to_points_##family(const float *packed, float *points, size_t point_pitch) { \
    to_points(packed, points, point_pitch, WINOGRAD_##kd, WINOGRAD_##kh, WINOGRAD_##kw);   \
  }                                                                                        \
  static void add_taps_##family(const float *points, float *packed) {                      \
    add_taps(points, packed, WINOGRAD_##kd, WINOGRAD_##kh, WINOGRAD_##kw);                 \
  }
#define ENTRY(family, kd, kh, kw) [WINOGRAD_##family] = {to_points_##family, add_taps_##family},
#define FAMILIES(DO)            \
  DO(FULL_3D, FULL, FULL, FULL) \
  DO(UP_3D, UP, UP, UP)         \
  DO(DOWN_3D, DOWN, DOWN, DOWN) \
  DO(FULL_HW, ONE, FULL, FULL)  \
  DO(FULL_DH, FULL, FULL, ONE)
FAMILIES(FAMILY)
static const struct {
  void (*to_points)(const float *packed, float *points, size_t point_pitch);
  void (*add_taps)(const float *points, float *packed);
} families[] = {FAMILIES(ENTRY)};

void SIMD_NAME(winograd_weights)(enum winograd_family family, const struct conv_packing *packing,
                                 const float *packed, float *weights) {
  const int no_phase[3] = {0};
  int blocks = conv_packing_lane_blocks(packing), groups = conv_packing_groups(packing);
  const size_t point_pitch = (size_t)WINOGRAD_PAIR * (size_t)groups;
  const size_t block_pitch = point_pitch * (size_t)winograd_family_points(family);
#pragma omp parallel for schedule(static)
  for (int unit = 0; unit < blocks * groups; unit++) {
    int block = unit / groups, group = unit % groups;
    families[family].to_points(
        packed + conv_packing_at(packing, no_phase, block, group),
        weights + block_pitch * (size_t)block + (size_t)(WINOGRAD_PAIR * group), point_pitch);
  }
}

void SIMD_NAME(winograd_add_taps)(enum winograd_family family, const float *points, float *packed) {
  families[family].add_taps(points, packed);
}
