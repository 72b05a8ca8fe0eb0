/* Changes of an image's intensities, other ones for each sample, in this order: noise, a factor,
 * contrast, gamma. Inputs: x [n c d h w] float32; numbers [n INTENSITY_NUMBERS 1 1 1] float32. y is
 * like x. There is no gradient.
 *
 *   noise     z = x + deviation * normal, another number for each voxel and channel
 *   factor    z = factor * z
 *   contrast  z = mean + contrast * (z - mean), cut to the range of z before
 *   gamma     u = (z - low) / (high - low);  u = 1 - (1 - u)^gamma_inverted;  u = u^gamma;
 *             z = low + u * (high - low)
 *
 * mean, low and high are those of a sample's channel as the step before has left it (Isensee et
 * al., "nnU-Net", Nature Methods 2021, has these steps in this order). A channel that is the same
 * everywhere has no contrast and no gamma. Neutral numbers leave a sample as it is, bit for bit. */
#pragma once
#include "kernels/op.h"

/* A set of bits: which steps a node takes. Others may come between two nodes that read the same
 * numbers. */
enum intensity_steps {
  INTENSITY_NOISE = 1 << 0,
  INTENSITY_FACTOR = 1 << 1,
  INTENSITY_CONTRAST = 1 << 2,
  INTENSITY_GAMMA = 1 << 3,
  INTENSITY_ALL = (1 << 4) - 1,
};

struct intensity_arguments {
  enum intensity_steps steps;
};

/* A sample's numbers, as they follow each other. INTENSITY_NUMBERS is a multiple of 16, so that
 * they lie side by side in every layout: an array of these structs is the whole input. */
struct intensity_numbers {
  float deviation;      /* of the noise; 0: none */
  float key[2];         /* of the noise (Philox4x32-10): whole numbers below 2^24 */
  float factor;         /* 1: as it is */
  float contrast;       /* 1: as it is */
  float gamma;          /* above 0; 1: as it is */
  float gamma_inverted; /* above 0; 1: as it is */
  float unused[9];
};
enum { INTENSITY_NUMBERS = 16 };

/* Numbers that change nothing. */
static inline struct intensity_numbers intensity_neutral(void) {
  struct intensity_numbers numbers = {.factor = 1, .contrast = 1, .gamma = 1, .gamma_inverted = 1};
  return numbers;
}

extern const struct op op_intensity;

static inline const struct intensity_arguments *intensity_arguments_of(const struct node *node) {
  return (const struct intensity_arguments *)node->arguments;
}
