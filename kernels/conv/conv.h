/* Convolution in three dimensions over one or several inputs, with bias and LeakyReLU: what models
 * fill in, and what its kernels ask about a node. */
#pragma once
#include <assert.h>
#include "kernels/op.h"

/* Inputs [n c_i d h w] are concatenated by channel in their order, without being stored together;
 * an input marked `upsample` has half the extents and is read through a nearest x2 upsampling.
 * y [n co od oh ow] = leaky(w * x + bias), od = floor((d + 2 padding - kernel) / stride) + 1. */
struct conv_arguments {
  int kernel[3], stride[3], padding[3]; /* d h w */
  int out_channels;
  bool bias;
  bool head;   /* y is float32 (float64) also where activations are of a 16-bit type */
  bool linear; /* a fully connected layer: kernel 1 on inputs of one voxel, whose weight is
                  [co][ci], as nn.Linear's */
  float slope; /* of the LeakyReLU below 0; 1: no activation; 0: ReLU, whose derivative at 0 is 0 */
  bool upsample[OP_MAX_INPUTS]; /* stride must be 1 where any is set */
  /* 0: PyTorch's default, weight and bias uniform in +-1/sqrt(fan in); above 0: normal weights of
   * this deviation and a bias of 0 */
  double initial_deviation;
  /* above 0: the bias starts at the logit of this probability, as heads of rare classes should */
  double prior;
};
static_assert(sizeof(struct conv_arguments) <= OP_ARGUMENT_BYTES, "must fit a node");

extern const struct op op_conv;

/* The order of parameters; weight is [co][ci][kd][kh][kw], ci over all inputs. */
enum { CONV_WEIGHT, CONV_BIAS };

static inline const struct conv_arguments *conv_arguments_of(const struct node *node) {
  return (const struct conv_arguments *)node->arguments;
}

/* The extents of input i as the convolution sees them: after the upsampling. */
struct shape conv_input_shape(const struct node *node, int i);

/* Channels of all inputs together. */
int conv_input_channels(const struct node *node);

/* Whether any input is read through an upsampling. */
bool conv_any_upsampled(const struct node *node);
