/* An image of each sample resampled once under an affine map of its own, which may bend, too: how
 * rotated, shifted and deformed examples are made on the device that trains. Inputs: source
 * [n c D H W], float32 or bytes (labels, packed masks); motion [n AFFINE_MOTION 1 1 1] float32;
 * OPTIONAL control [n 3 gd gh gw] float32. y [n c d h w] of the source's type; bytes are planar.
 * There is no gradient.
 *
 * Output voxel v = (d, h, w) is the source at p = A v + b + u(v), in voxels of the source. What the
 * source has outside its box of valid voxels is what `fill` says, for whole voxels: a position
 * between a valid voxel and the outside blends both. A v + b is computed in double from float32
 * numbers, so that no order of operations matters: all kernels find the same cells.
 *
 * u is a cubic B-spline whose coefficients `control` holds, channel k for axis k, in voxels of the
 * source (Rueckert et al., "Nonrigid registration using free-form deformations", IEEE TMI 1999).
 * The grid's points are the middles of gd x gh x gw equal parts of y: coefficient i of an axis is
 * at v = (i + 1/2) extent / g - 1/2, and the outermost coefficients go on for ever. So 1 point on
 * an axis is no change along it, and coefficients that are all alike shift. u is computed in
 * double. */
#pragma once
#include "kernels/op.h"

enum affine_mode {
  AFFINE_LINEAR,  /* trilinear */
  AFFINE_NEAREST, /* floor(p + 1/2) on each axis: for bytes, which take nothing else */
};

/* What lies outside the box. */
enum affine_fill {
  AFFINE_ZERO,
  AFFINE_EDGE,  /* p is clamped to the box: the nearest valid voxel's value */
  AFFINE_NOISE, /* normal numbers of the motion's mean and deviation: one for each voxel and channel
                   of y, drawn with Philox4x32-10 under the motion's key; not for bytes */
  AFFINE_CROP,  /* as AFFINE_EDGE: for sources with a larger field of view than y's, where a mask
                   cuts off what may still come from outside */
};

/* Which voxels of y are kept; the others are 0. c = (extent - 1) / 2 is the middle of y. */
enum affine_mask {
  AFFINE_NO_MASK,
  AFFINE_SPHERE, /* the sum over axes of ((v - c) / radius)^2 is at most 1 */
  AFFINE_BOX,    /* |v - c| <= radius on every axis */
};

struct affine_arguments {
  int size[3]; /* d h w of y */
  enum affine_mode mode;
  enum affine_fill fill;
  enum affine_mask mask;
  float radius[3]; /* of the mask along d h w, in voxels of y: a sphere in mm has its radius divided
                      by the spacing */
};

/* A sample's motion, as its values follow each other. AFFINE_MOTION is a multiple of 16, so that
 * they lie side by side in every layout: an array of these structs is the whole input. Prepare A
 * and b in double and round once. */
struct affine_motion {
  float matrix[3][4];       /* A | b, by rows: from (d, h, w, 1) of y to (d, h, w) of the source */
  float first[3], count[3]; /* the box of valid voxels; cut to the source's extents */
  float key[2];             /* of the noise: whole numbers below 2^24 */
  float mean, deviation;    /* of the noise */
  float unused[10];
};
enum { AFFINE_MOTION = 32 };

enum { AFFINE_SOURCE, AFFINE_NUMBERS, AFFINE_CONTROL }; /* inputs */

static inline bool affine_bends(const struct node *node) {
  return node->input_count > AFFINE_CONTROL;
}

extern const struct op op_affine;

static inline const struct affine_arguments *affine_arguments_of(const struct node *node) {
  return (const struct affine_arguments *)node->arguments;
}
