/* A convolution as cuDNN computes it, through its graph API (cudnnBackend*, "NVIDIA cuDNN Backend
 * API"): which engines there are for a shape, and running one. Internal to the folder. */
#pragma once
#include "kernels/op.h"

enum conv_cudnn_direction { CONV_CUDNN_FORWARD, CONV_CUDNN_DATA, CONV_CUDNN_WEIGHT };

/* x and y are channels last, w and its gradient [co][kd][kh][kw][ci]; the gradient of w is float32,
 * all else of type `dtype`; sums are float32. */
struct conv_cudnn_problem {
  enum conv_cudnn_direction direction;
  enum dtype dtype;
  struct shape x, y;
  int kernel[3], stride[3], padding[3]; /* d h w */
  int choice; /* which of cuDNN's engines, in the order of its own ranking; 0: its first */
};

struct conv_cudnn_plan;

/* The plan for a problem: made once and kept to the end of the process. Only engines that repeat
 * their bits are taken, and for float32 only those that compute in float32. NULL when cuDNN has no
 * such engine (or not that many), or when there is no GPU. */
const struct conv_cudnn_plan *conv_cudnn_find(const struct conv_cudnn_problem *problem);

/* Bytes that a plan wants beside its tensors. */
size_t conv_cudnn_workspace(const struct conv_cudnn_plan *plan);

/* Computes the tensor that the direction names from the other two. Device memory, aligned to 16
 * bytes. */
CHECKED enum status conv_cudnn_run(const struct conv_cudnn_plan *plan, const void *x, const void *w,
                                   const void *y, void *workspace, struct stream *stream);

/* cuDNN's version, as 91900. */
size_t conv_cudnn_version(void);
