/* Volumes on a coarser or finer grid: nearest or trilinear interpolation. */
#pragma once
#include "kernels/op.h"

enum resize_mode { RESIZE_NEAREST, RESIZE_TRILINEAR };

struct resize_arguments {
  enum resize_mode mode;
  int size[3];        /* output extents, d h w */
  bool align_corners; /* trilinear: corner voxels keep their centres; else the volume's faces do */
  double multiply;    /* every value times this: a displacement in voxels changes with the grid */
};

/* Whether the node is exactly a nearest-neighbour doubling of all three axes with multiply 1. */
bool resize_is_nearest_double(const struct node *node);

/* The two input positions that output `o` of an axis is made of, and the weight of the second:
 * nearest is floor(o*input/output); trilinear is o*(input-1)/(output-1) with aligned corners,
 * (o+1/2)*input/output - 1/2, not below 0, without: as torch.nn.functional.interpolate. */
struct resize_source {
  int low, high;
  double weight; /* of high; 1 - weight of low */
};
struct resize_source resize_source(const struct resize_arguments *arguments, int input, int output,
                                   int o);
