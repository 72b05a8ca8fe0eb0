/* The first stage: windows of a source, transformed. */
#include "kernels/conv/conv_winograd_transform.h"

static struct winograd_window find_window(const struct winograd_source *source, int group,
                                          const struct winograd_run *run, const float *zeros) {
  const struct shape s = source->tensor->shape;
  const enum winograd_family family = source->family;
  enum winograd_kind kd = winograd_axis_kind(family, 0), kh = winograd_axis_kind(family, 1);
  enum winograd_kind kw = winograd_axis_kind(family, 2);
  struct winograd_window window = {.columns = s.w,
                                   .column = source->first[2] + run->w * winograd_step(kw)};
  int d0 = source->first[0] + run->d * winograd_step(kd);
  int h0 = source->first[1] + run->h * winograd_step(kh);
  for (int i = 0; i < winograd_window(kd); i++)
    for (int j = 0; j < winograd_window(kh); j++) {
      int d = d0 + i, h = h0 + j;
      bool inside = d >= 0 && d < s.d && h >= 0 && h < s.h;
      window.zeros[i][j] = zeros;
      window.rows[i][j] =
          inside ? conv_row(source->tensor, source->data, run->n, group, d, h) : zeros;
    }
  int below = h0 + winograd_window(kh) - 1 + winograd_step(kh);
  if (h0 >= 0 && below < s.h && d0 >= 0 && d0 + winograd_window(kd) <= s.d)
    window.below = (int64_t)winograd_step(kh) * s.w * CHANNEL_BLOCK;
  return window;
}

typedef void enter_function(float *v, size_t pitch, const struct winograd_window *window,
                            int tiles);

#define ENTER(name, kd, kh, kw)                                                               \
  static void name(float *v, size_t pitch, const struct winograd_window *window, int tiles) { \
    winograd_enter(v, pitch, window, tiles, WINOGRAD_##kd, WINOGRAD_##kh, WINOGRAD_##kw);     \
  }
ENTER(enter_full_3d, FULL, FULL, FULL)
ENTER(enter_up_3d, UP, UP, UP)
ENTER(enter_down_3d, DOWN, DOWN, DOWN)
ENTER(enter_full_hw, ONE, FULL, FULL)
ENTER(enter_full_dh, FULL, FULL, ONE)
ENTER(spread_3d, SPREAD, SPREAD, SPREAD)
ENTER(spread_up_3d, SPREAD_UP, SPREAD_UP, SPREAD_UP)
ENTER(spread_hw, ONE, SPREAD, SPREAD)
ENTER(spread_dh, SPREAD, SPREAD, ONE)

static enter_function *const enters[WINOGRAD_FAMILIES] = {
    [WINOGRAD_FULL_3D] = enter_full_3d,     [WINOGRAD_UP_3D] = enter_up_3d,
    [WINOGRAD_DOWN_3D] = enter_down_3d,     [WINOGRAD_FULL_HW] = enter_full_hw,
    [WINOGRAD_FULL_DH] = enter_full_dh,     [WINOGRAD_SPREAD_3D] = spread_3d,
    [WINOGRAD_SPREAD_UP_3D] = spread_up_3d, [WINOGRAD_SPREAD_HW] = spread_hw,
    [WINOGRAD_SPREAD_DH] = spread_dh};

void SIMD_NAME(winograd_enter_run)(float *v, size_t pitch, const struct winograd_source *source,
                                   int group, const struct winograd_run *run, const float *zeros) {
  struct winograd_window window = find_window(source, group, run, zeros);
  enters[source->family](v + (size_t)run->at * CHANNEL_BLOCK, pitch, &window, run->count);
}
