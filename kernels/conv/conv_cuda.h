/* The parts that the CUDA kernels of conv are made of: who computes y, who the weight gradient and
 * who the data gradient of an input, and the passes (conv_axis.h) that all of them work on. For C
 * and, after kernels/common/cuda.h, for .cu files. */
#pragma once
#ifdef __cplusplus
extern "C" {
#endif
#include "kernels/conv/conv.h"
#include "kernels/conv/conv_axis.h"

/* What becomes of the sums of a pass: the target is leaky(sum + bias), or that is added to it. */
struct conv_cuda_end {
  const float *bias; /* NULL: none */
  float slope;       /* 1: no activation */
  bool add;
};

/* One way to compute one thing of a node on the GPU: y (`input` is then 0 and all inputs are
 * meant), dw of the channels of one input, or dx of one input. Backward parts find in io->dy the
 * gradient in front of the activation, as stored. node->activation is the type that matrices are
 * computed in. */
struct conv_cuda_part {
  bool (*applies)(const struct node *node, int input);
  /* Bytes that run may use at `workspace`, which is aligned to 256 bytes; NULL: none. */
  size_t (*workspace)(const struct node *node, int input);
  /* end: of y and dx; NULL for others. */
  void (*run)(const struct node *node, const struct io *io, int input,
              const struct conv_cuda_end *end, void *workspace, struct stream *stream);
};

/* conv_cuda.cu: the best part for a pass of a node that applies, NULL if there is none; the
 * workspace that it takes; a call of it. */
enum conv_cuda_pass { CONV_CUDA_FORWARD, CONV_CUDA_WEIGHTS, CONV_CUDA_DATA };
const struct conv_cuda_part *conv_cuda_find(enum conv_cuda_pass pass, const struct node *node,
                                            int input);
size_t conv_cuda_workspace(enum conv_cuda_pass pass, const struct node *node, int input);
void conv_cuda_run(enum conv_cuda_pass pass, const struct node *node, const struct io *io,
                   int input, const struct conv_cuda_end *end, struct stream *stream);

/* conv_cuda_matrix.cu: tensor cores, for channels last in multiples of 16 bytes */
extern const struct conv_cuda_part conv_cuda_matrix_forward, conv_cuda_matrix_data;
/* conv_cuda_gradient.cu: tensor cores */
extern const struct conv_cuda_part conv_cuda_matrix_weights;
/* conv_cuda_thin.cu: 1 to 4 channels on one side of the weights; stride 1 or 2, no upsampling */
extern const struct conv_cuda_part conv_cuda_thin_forward, conv_cuda_thin_data;
extern const struct conv_cuda_part conv_cuda_thin_weights;
/* conv_cuda_any.cu: any channels, layouts, kernels and strides (kernels up to CONV_MOST_KERNEL) */
extern const struct conv_cuda_part conv_cuda_any_forward, conv_cuda_any_data;
extern const struct conv_cuda_part conv_cuda_any_weights;

/* conv_cuda_activation.cu: io->dy *= the LeakyReLU's derivative by io->y, in place (slope 1: left
 * alone); io->dw[CONV_BIAS] := the sum of dy over all voxels (where the node has a bias). */
extern const struct conv_cuda_part conv_cuda_activation;

/* The extent of convolution along one axis as conv_axis.h takes it. */
static inline struct conv_extent conv_cuda_extent(const struct node *node, int input, int axis) {
  const struct conv_arguments *a = conv_arguments_of(node);
  struct conv_extent extent = {a->kernel[axis], a->stride[axis], a->padding[axis],
                               a->upsample[input]};
  return extent;
}

/* How the weights between one input and y lie in the parameter: element [co][c of the input][tap k]
 * is at offset + co * output + c * input + k. */
struct conv_cuda_weights {
  int64_t offset, output, input;
  int kernel[3];
};
static inline struct conv_cuda_weights conv_cuda_weights_of(const struct node *node, int input) {
  const struct conv_arguments *a = conv_arguments_of(node);
  struct conv_cuda_weights weights;
  weights.input = (int64_t)a->kernel[0] * a->kernel[1] * a->kernel[2];
  weights.output = weights.input * conv_input_channels(node);
  weights.offset = 0;
  for (int i = 0; i < input; i++) weights.offset += node->x[i].shape.c * weights.input;
  for (int i = 0; i < 3; i++) weights.kernel[i] = a->kernel[i];
  return weights;
}

static inline size_t conv_cuda_round(size_t bytes) {
  return (bytes + 255) / 256 * 256;
}

#ifdef __cplusplus
}
#endif
