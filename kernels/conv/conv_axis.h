/* The index arithmetic of convolution passes along one axis. A pass computes every voxel of a
 * target from taps of a source: y from x forward, dx from dy backward. Where an input is upsampled
 * or strided, target voxels of different parity (phases) see different taps. */
#pragma once
#include <stdbool.h>

enum { CONV_MOST_KERNEL = 7, CONV_MOST_TAPS = CONV_MOST_KERNEL + 1, CONV_MOST_PHASES = 2 };

/* Target voxel phases*j + phase reads source voxels step*j + first[phase] + tap, tap < taps[phase].
 * Kernel index k counts at the (at most two) taps tap[phase][k], -1 for none: several k on one tap
 * are kernel values that add up because they read the same stored voxel. */
struct conv_axis {
  int phases, step;
  int first[CONV_MOST_PHASES], taps[CONV_MOST_PHASES];
  int tap[CONV_MOST_PHASES][CONV_MOST_KERNEL][2];
};

struct conv_extent {
  int kernel, stride, padding;
  bool upsample; /* the input is stored at half the extent */
};

/* From an input to y, in `phases` phases (1, or 2 at stride 1); an upsampled input needs 2. */
struct conv_axis conv_axis_forward(struct conv_extent extent, int phases);

/* From an input to y, where phases are the input's: stored voxels stride*j + phase, of which target
 * voxel t reads j = t + first[phase] + tap. */
struct conv_axis conv_axis_parts(struct conv_extent extent);

/* From dy to the gradient of a stored input. */
struct conv_axis conv_axis_gradient(struct conv_extent extent);

/* The number of target voxels of a phase. */
static inline int conv_axis_length(int target_extent, int phases, int phase) {
  return (target_extent - phase + phases - 1) / phases;
}

/* The largest tap count of any phase. */
int conv_axis_most_taps(const struct conv_axis *axis);
