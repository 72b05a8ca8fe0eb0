/* Pieces that networks are made of. Each adds nodes to a graph and gives the new value. */
#pragma once
#include "graph/graph.h"

/* A convolution with a kernel of 3 along every axis, stride 1, zero padding 1, bias, and LeakyReLU
 * of `slope` (1: none). */
CHECKED enum status block_conv3(struct graph *graph, const char *name, int input, int channels,
                                double slope, int *output);

/* The same without activation, and its output is float32 in mixed precision too: what a network
 * ends with. initial_deviation: see conv_arguments. */
CHECKED enum status block_head3(struct graph *graph, const char *name, int input, int channels,
                                double initial_deviation, int *output);

/* A fully connected layer on [n c 1 1 1], with bias and LeakyReLU of `slope` (1: none, 0: ReLU);
 * its weight is [channels][c]. `head`: its output is float32 in mixed precision too.
 * initial_deviation: see conv_arguments. */
CHECKED enum status block_linear(struct graph *graph, const char *name, int input, int channels,
                                 double slope, bool head, double initial_deviation, int *output);

/* What normalises and activates what a convolution gives. */
struct block_norm {
  const char *kind; /* "batch", "group", "instance" or "none" */
  int groups;       /* of "group" */
  bool affine;      /* with weight and bias */
  bool running;     /* "batch": with the running statistics, in graphs that predict */
  double epsilon;
  double slope; /* of LeakyReLU; 1: none, 0: ReLU */
};

/* activation(norm(input) + residual), one node where there is a norm; residual: a value like the
 * input, or -1. Parameters are called as PyTorch's: NAME.weight, .bias, .running_mean,
 * .running_var. STATUS_USAGE: an unknown kind. */
CHECKED enum status block_normalise(struct graph *graph, const char *name, int input,
                                    const struct block_norm *norm, int residual, int *output);

/* A convolution of one voxel with bias, float32 in mixed precision too: what gives each voxel its
 * `classes` logits. prior: see conv_arguments. */
CHECKED enum status block_logits(struct graph *graph, const char *name, int input, int classes,
                                 double prior, int *output);

/* Drops elements with a probability, under the samples' keys: see kernels/dropout. key -1 or
 * probability 0: the input itself. number: another for each in a network. */
struct block_dropout {
  int key;
  double probability;
  int number;
};
CHECKED enum status block_dropout(struct graph *graph, const char *name, int input,
                                  const struct block_dropout *dropout, int *output);

/* Logits of whole samples, [n classes 1 1 1] float32, from features [n c d h w]: their mean over
 * all voxels, a hidden layer "NAME.fc1" of `hidden` numbers with ReLU (0: none) and "NAME.fc2". */
CHECKED enum status block_classify(struct graph *graph, const char *name, int input, int hidden,
                                   int classes, int *output);

/* Which axes a network works along: all, or, of planes, h and w. A kernel, stride or padding of
 * `side` along these, and of `other` along the rest. */
void block_axes(int extents[3], bool planes, int side, int other);

/* Max-pooling that halves every axis; of planes h and w. */
CHECKED enum status block_halve(struct graph *graph, const char *name, int input, bool planes,
                                int *output);

/* What doubles every axis, of planes h and w, by a transposed convolution. */
struct block_up {
  int channels, kernel; /* 2, 3 or 4 */
  bool planes, bias;
};
CHECKED enum status block_up(struct graph *graph, const char *name, int input,
                             const struct block_up *up, int *output);

/* Nearest upsampling that doubles every axis (folded into a following convolution by the plan). */
CHECKED enum status block_double(struct graph *graph, const char *name, int input, int *output);

/* Concatenation by channel (folded likewise). One input: the input itself. */
CHECKED enum status block_concat(struct graph *graph, const char *name, const int *inputs,
                                 int count, int *output);

/* Trilinear resize, corners aligned, of a displacement to extents d h w; its values change with the
 * grid's spacing along with `multiply`. */
CHECKED enum status block_resize(struct graph *graph, const char *name, int input,
                                 const int size[3], double multiply, int *output);
