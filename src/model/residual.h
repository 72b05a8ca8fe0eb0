/* Residual networks' pieces (He, Zhang, Ren, Sun, CVPR 2016), in three dimensions and with the
 * names of torchvision's ResNet: a convolution without bias and its norm, and blocks of two 3x3x3
 * convolutions around a shortcut. */
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

/* A convolution "PREFIX + conv", its norm "PREFIX + norm", the sum with `shortcut` (a value of the
 * same shape; -1: none) and LeakyReLU of `slope` (0: ReLU, 1: none). x becomes the result. */
CHECKED enum status residual_conv_norm(const struct residual_builder *builder, const char *conv,
                                       const char *norm, struct residual_conv options, int shortcut,
                                       double slope, int *x);

/* Stage `number` (from 1): "layerNUMBER.BLOCK.conv1" and so on. Its first block has `stride`; where
 * that or the number of channels changes the shape, its shortcut is a 1x1x1 convolution. */
CHECKED enum status residual_basic_stage(const struct residual_builder *builder, int number,
                                         int blocks, int channels, int stride, int *x);
