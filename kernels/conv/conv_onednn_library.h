/* A convolution of one sample as oneDNN computes it: which ones it has fast code for, running one,
 * and its order of the weights. Each runs on one thread, so that its bits depend on its shape alone
 * and several can run side by side. Internal to the folder. */
#pragma once
#include "kernels/op.h"

enum conv_onednn_direction { CONV_ONEDNN_FORWARD, CONV_ONEDNN_DATA, CONV_ONEDNN_WEIGHT };

/* Zeroed before it is filled: problems are compared as bytes. */
struct conv_onednn_problem {
  enum conv_onednn_direction direction;
  struct tensor x, y; /* n = 1, dense, blocked or planar */
  /* Channels that x has; where it is blocked, x.shape.c counts its zeros, too, since oneDNN reads
   * no part of a block. */
  int x_channels;
  int kernel[3], stride[3], before[3], after[3]; /* d h w; padding on both sides of x */
  int64_t y_step, x_step; /* floats from the weights of a channel of y (x) to those of the next */
  /* y = leaky(w * x + bias + y), where asked for; forward only */
  bool bias, add;
  float slope;
};

struct conv_onednn;

/* What computes a problem: made once and kept to the end of the process. NULL where oneDNN has
 * nothing but slow code for it and it is much work. Not to be called by several threads at a time.
 */
const struct conv_onednn *conv_onednn_find(const struct conv_onednn_problem *problem);

/* Bytes of the weights in oneDNN's order, and of the memory for one call beside its tensors. */
size_t conv_onednn_weight_bytes(const struct conv_onednn *convolution);
size_t conv_onednn_scratch_bytes(const struct conv_onednn *convolution);

/* Whether two have the same order of the weights. */
bool conv_onednn_alike(const struct conv_onednn *a, const struct conv_onednn *b);

/* Between oneDNN's order of the weights and that of the parameter block, of which `plain` is the
 * first element: packed := plain, or for CONV_ONEDNN_WEIGHT plain := packed. room: as many bytes as
 * packed. */
CHECKED enum status conv_onednn_reorder(const struct conv_onednn *convolution, void *plain,
                                        void *packed, void *room);

/* The tensors of a call: which is computed, the direction says. */
struct conv_onednn_call {
  const void *x, *y, *weight, *bias; /* bias: only where the problem has one */
  void *scratch;
};

/* False where oneDNN fails. */
bool conv_onednn_run(const struct conv_onednn *convolution, const struct conv_onednn_call *call);

/* oneDNN's version, as 20603. */
size_t conv_onednn_version(void);
