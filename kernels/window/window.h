/* An image seen through windows of its values, as a display shows computed tomography: x [n 1 d h
 * w] float32 -> y [n K d h w] float32, K the number of windows. Channel k is
 *   clip((x - low_k) / (high_k - low_k), 0, 1) * (to - from) + from
 * (DICOM PS3.3 C.11.2.1.3.2, LINEAR_EXACT, with low and high the ends of the window); where x is
 * not a number, `from`. There is no gradient. */
#pragma once
#include "kernels/op.h"

enum { WINDOW_MOST = CHANNEL_BLOCK };

struct window_arguments {
  int count;                                 /* 1 .. WINDOW_MOST */
  float low[WINDOW_MOST], high[WINDOW_MOST]; /* low < high */
  float from, to;                            /* what low and high become */
};

extern const struct op op_window;

static inline const struct window_arguments *window_arguments_of(const struct node *node) {
  return (const struct window_arguments *)node->arguments;
}
