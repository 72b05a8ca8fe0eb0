/* The first stage: windows of a source, transformed. */
#include "kernels/conv/conv_winograd_transform.h"

static void find_window(const struct winograd_source *source, int group,
                        const struct winograd_run *run, const float *zeros,
                        struct winograd_window *window) {
  const struct winograd_view *view = &source->view;
  const enum winograd_family family = source->family;
  enum winograd_kind kd = winograd_axis_kind(family, 0), kh = winograd_axis_kind(family, 1);
  enum winograd_kind kw = winograd_axis_kind(family, 2);
  const int d0 = source->first[0] + run->d * winograd_step(kd);
  const int h0 = source->first[1] + run->h * winograd_step(kh);
  const float *start = source->data + view->start + run->n * view->sample + group * view->block;
  for (int i = 0; i < winograd_window(kd); i++)
    for (int j = 0; j < winograd_window(kh); j++) {
      int d = d0 + i, h = h0 + j;
      bool inside = d >= 0 && d < view->extent[0] && h >= 0 && h < view->extent[1];
      window->zeros[i][j] = zeros;
      window->rows[i][j] = inside ? start + d * view->pitch[0] + h * view->pitch[1] : zeros;
    }
  const int below = h0 + winograd_window(kh) - 1 + winograd_step(kh);
  const bool any_below =
      h0 >= 0 && below < view->extent[1] && d0 >= 0 && d0 + winograd_window(kd) <= view->extent[0];
  window->below = any_below ? winograd_step(kh) * view->pitch[1] : 0;
  window->columns = view->extent[2];
  window->column = source->first[2] + run->w * winograd_step(kw);
  window->pitch = view->pitch[2];
}

typedef void enter_function(float *v, size_t pitch, const struct winograd_window *window,
                            int tiles);

#define ENTER(name, kd, kh, kw)                                                                   \
  static void name(float *v, size_t pitch, const struct winograd_window *window, int tiles) {     \
    winograd_enter_windows(v, pitch, window, tiles, WINOGRAD_##kd, WINOGRAD_##kh, WINOGRAD_##kw); \
  }
ENTER(enter_full_3d, FULL, FULL, FULL)
ENTER(enter_up_3d, UP, UP, UP)
ENTER(enter_down_3d, DOWN, DOWN, DOWN)
ENTER(enter_wide_3d, FULL, FULL, WIDE)
ENTER(enter_wide_up_3d, UP, UP, WIDE_UP)
ENTER(enter_wide_down_3d, DOWN, DOWN, WIDE_DOWN)
ENTER(enter_full_hw, ONE, FULL, FULL)
ENTER(enter_wide_hw, ONE, FULL, WIDE)
ENTER(enter_full_dh, FULL, FULL, ONE)
ENTER(enter_ppp, PAIR, PAIR, PAIR)
ENTER(enter_ppl, PAIR, PAIR, LONE)
ENTER(enter_plp, PAIR, LONE, PAIR)
ENTER(enter_pll, PAIR, LONE, LONE)
ENTER(enter_lpp, LONE, PAIR, PAIR)
ENTER(enter_lpl, LONE, PAIR, LONE)
ENTER(enter_llp, LONE, LONE, PAIR)
ENTER(enter_lll, LONE, LONE, LONE)
ENTER(enter_wide_ppp, PAIR, PAIR, WIDE_PAIR)
ENTER(enter_wide_ppl, PAIR, PAIR, WIDE_LONE)
ENTER(enter_wide_plp, PAIR, LONE, WIDE_PAIR)
ENTER(enter_wide_pll, PAIR, LONE, WIDE_LONE)
ENTER(enter_wide_lpp, LONE, PAIR, WIDE_PAIR)
ENTER(enter_wide_lpl, LONE, PAIR, WIDE_LONE)
ENTER(enter_wide_llp, LONE, LONE, WIDE_PAIR)
ENTER(enter_wide_lll, LONE, LONE, WIDE_LONE)
ENTER(spread_3d, SPREAD, SPREAD, SPREAD)
ENTER(spread_up_3d, SPREAD_UP, SPREAD_UP, SPREAD_UP)
ENTER(spread_wide_3d, SPREAD, SPREAD, SPREAD_WIDE)
ENTER(spread_wide_up_3d, SPREAD_UP, SPREAD_UP, SPREAD_WIDE_UP)
ENTER(spread_wide_ppp, SPREAD_UP, SPREAD_UP, SPREAD_WIDE_PAIR)
ENTER(spread_hw, ONE, SPREAD, SPREAD)
ENTER(spread_wide_hw, ONE, SPREAD, SPREAD_WIDE)
ENTER(spread_dh, SPREAD, SPREAD, ONE)

static enter_function *const enters[WINOGRAD_FAMILIES] = {
    [WINOGRAD_FULL_3D] = enter_full_3d,
    [WINOGRAD_UP_3D] = enter_up_3d,
    [WINOGRAD_DOWN_3D] = enter_down_3d,
    [WINOGRAD_WIDE_3D] = enter_wide_3d,
    [WINOGRAD_WIDE_UP_3D] = enter_wide_up_3d,
    [WINOGRAD_WIDE_DOWN_3D] = enter_wide_down_3d,
    [WINOGRAD_FULL_HW] = enter_full_hw,
    [WINOGRAD_WIDE_HW] = enter_wide_hw,
    [WINOGRAD_FULL_DH] = enter_full_dh,
    [WINOGRAD_PPP] = enter_ppp,
    [WINOGRAD_PPL] = enter_ppl,
    [WINOGRAD_PLP] = enter_plp,
    [WINOGRAD_PLL] = enter_pll,
    [WINOGRAD_LPP] = enter_lpp,
    [WINOGRAD_LPL] = enter_lpl,
    [WINOGRAD_LLP] = enter_llp,
    [WINOGRAD_LLL] = enter_lll,
    [WINOGRAD_WIDE_PPP] = enter_wide_ppp,
    [WINOGRAD_WIDE_PPL] = enter_wide_ppl,
    [WINOGRAD_WIDE_PLP] = enter_wide_plp,
    [WINOGRAD_WIDE_PLL] = enter_wide_pll,
    [WINOGRAD_WIDE_LPP] = enter_wide_lpp,
    [WINOGRAD_WIDE_LPL] = enter_wide_lpl,
    [WINOGRAD_WIDE_LLP] = enter_wide_llp,
    [WINOGRAD_WIDE_LLL] = enter_wide_lll,
    [WINOGRAD_SPREAD_3D] = spread_3d,
    [WINOGRAD_SPREAD_UP_3D] = spread_up_3d,
    [WINOGRAD_SPREAD_WIDE_3D] = spread_wide_3d,
    [WINOGRAD_SPREAD_WIDE_UP_3D] = spread_wide_up_3d,
    [WINOGRAD_SPREAD_WIDE_PPP] = spread_wide_ppp,
    [WINOGRAD_SPREAD_HW] = spread_hw,
    [WINOGRAD_SPREAD_WIDE_HW] = spread_wide_hw,
    [WINOGRAD_SPREAD_DH] = spread_dh,
};

void SIMD_NAME(winograd_enter)(float *v, size_t pitch, const struct winograd_source *source,
                               int group, const struct winograd_runs *runs, const float *zeros) {
  enter_function *enter = enters[source->family];
  for (int i = 0; i < runs->count; i++) {
    const struct winograd_run *run = &runs->run[i];
    struct winograd_window window;
    find_window(source, group, run, zeros, &window);
    enter(v + (size_t)run->at * CHANNEL_BLOCK, pitch, &window, run->count);
  }
}
