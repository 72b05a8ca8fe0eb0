/* Derives the taps of each phase from the definition of the convolution. */
#include "kernels/conv/conv_axis.h"

enum { NOWHERE = -1000 };

/* Where kernel index k of each phase reads the source, at j = 0, once or twice. */
struct reads {
  int at[CONV_MOST_PHASES][CONV_MOST_KERNEL][2];
};

static int halve(int value) {
  return value >= 0 ? value / 2 : -((1 - value) / 2);
}

static void find_range(struct conv_axis *axis, const struct reads *reads, int kernel, int phase) {
  int low = -NOWHERE, high = NOWHERE;
  for (int k = 0; k < kernel; k++)
    for (int i = 0; i < 2; i++) {
      int at = reads->at[phase][k][i];
      if (at == NOWHERE) continue;
      if (at < low) low = at;
      if (at > high) high = at;
    }
  axis->first[phase] = high == NOWHERE ? 0 : low;
  axis->taps[phase] = high == NOWHERE ? 0 : high - low + 1;
}

static struct conv_axis count_taps(const struct reads *reads, int kernel, int phases, int step) {
  struct conv_axis axis = {.phases = phases, .step = step};
  for (int phase = 0; phase < phases; phase++) {
    find_range(&axis, reads, kernel, phase);
    for (int k = 0; k < kernel; k++)
      for (int i = 0; i < 2; i++) {
        int at = reads->at[phase][k][i];
        axis.tap[phase][k][i] = at == NOWHERE ? -1 : at - axis.first[phase];
      }
  }
  return axis;
}

struct conv_axis conv_axis_forward(struct conv_extent extent, int phases) {
  struct reads reads;
  for (int phase = 0; phase < phases; phase++)
    for (int k = 0; k < extent.kernel; k++) {
      int at = extent.stride * phase + k - extent.padding;
      reads.at[phase][k][0] = extent.upsample ? halve(at) : at;
      reads.at[phase][k][1] = NOWHERE;
    }
  return count_taps(&reads, extent.kernel, phases, extent.upsample ? 1 : extent.stride * phases);
}

struct conv_axis conv_axis_parts(struct conv_extent extent) {
  struct reads reads;
  for (int phase = 0; phase < extent.stride; phase++)
    for (int k = 0; k < extent.kernel; k++) {
      int at = k - extent.padding - phase;
      reads.at[phase][k][0] = at % extent.stride == 0 ? at / extent.stride : NOWHERE;
      reads.at[phase][k][1] = NOWHERE;
    }
  return count_taps(&reads, extent.kernel, extent.stride, 1);
}

/* A stored voxel j was read as voxels 2j and 2j + 1. */
static struct conv_axis gradient_of_upsampled(struct conv_extent extent) {
  struct reads reads;
  for (int k = 0; k < extent.kernel; k++)
    for (int child = 0; child < 2; child++) reads.at[0][k][child] = child + extent.padding - k;
  return count_taps(&reads, extent.kernel, 1, 2);
}

struct conv_axis conv_axis_gradient(struct conv_extent extent) {
  if (extent.upsample) return gradient_of_upsampled(extent);
  struct reads reads;
  for (int phase = 0; phase < extent.stride; phase++)
    for (int k = 0; k < extent.kernel; k++) {
      int at = phase + extent.padding - k;
      reads.at[phase][k][0] = at % extent.stride == 0 ? at / extent.stride : NOWHERE;
      reads.at[phase][k][1] = NOWHERE;
    }
  return count_taps(&reads, extent.kernel, extent.stride, 1);
}

int conv_axis_most_taps(const struct conv_axis *axis) {
  int most = axis->taps[0];
  for (int phase = 1; phase < axis->phases; phase++)
    if (axis->taps[phase] > most) most = axis->taps[phase];
  return most;
}
