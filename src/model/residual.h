/* Residual networks' pieces (He, Zhang, Ren, Sun, CVPR 2016), in three dimensions and with the
 * names of torchvision's ResNet: a convolution without bias and its norm, basic blocks of two
 * convolutions around a shortcut, and bottlenecks of three. */
#pragma once
#include "config/config.h"
#include "graph/graph.h"

/* What every step of building a network needs. */
struct residual_builder {
  struct graph *graph;
  const struct config *config; /* model.norm and what belongs to it */
  const char *prefix;          /* in front of every name */
};

struct residual_conv {
  int channels, kernel[3], stride[3]; /* zero padding kernel / 2 */
};

/* A convolution "PREFIX + conv" (with bias where there is no norm), its norm "PREFIX + norm", the
 * sum with `shortcut` (a value of the same shape; -1: none) and LeakyReLU of `slope` (0: ReLU, 1:
 * none). x becomes the result. */
CHECKED enum status residual_conv_norm(const struct residual_builder *builder, const char *conv,
                                       const char *norm, struct residual_conv options, int shortcut,
                                       double slope, int *x);

/* What follows a convolution: "PREFIX + name", as above. */
CHECKED enum status residual_norm(const struct residual_builder *builder, const char *name,
                                  int shortcut, double slope, int *x);

struct residual_stage {
  int blocks;
  int middle;   /* channels of the second of a bottleneck's convolutions; 0: basic blocks */
  int channels; /* of what it gives */
  int kernel[3], stride[3]; /* of the convolutions of more than one voxel; of the first block */
};

/* Stage `number` (from 1): "layerNUMBER.BLOCK.conv1" and so on. Where the first block changes the
 * shape, its shortcut is a convolution of one voxel. A bottleneck's stride is that of its second
 * convolution, as in torchvision. */
CHECKED enum status residual_stage(const struct residual_builder *builder, int number,
                                   const struct residual_stage *stage, int *x);
