/* What a layer is for oneDNN: a list of convolutions of dense pieces of its tensors. A piece is one
 * block of 16 channels (one planar channel) of some planes, or whole blocks of a sample; so
 * oneDNN reads and writes all tensors in place, and the pieces depend on shapes alone, not on
 * threads. Internal to the folder. */
#pragma once
#include "kernels/conv/conv_onednn_library.h"

/* Zeroed before it is filled: layers are compared as bytes. */
struct conv_onednn_layer {
  enum conv_onednn_direction direction;
  /* FORWARD: target from the sources side by side. DATA: target dx from source dy. WEIGHT: from
   * source x and target dy. All float32; targets are blocked. */
  int source_count;
  struct tensor source[OP_MAX_INPUTS];
  struct tensor target;
  int kernel[3], stride[3], padding[3];
  int64_t y_step, x_step; /* as in struct conv_onednn_problem; x and y are oneDNN's */
  bool bias, add;
  float slope;
};

/* One convolution. Positions are in floats from the start of a tensor, of the packed weights (of
 * one chunk's) and of the bias. */
struct conv_onednn_step {
  const struct conv_onednn *convolution;
  int source;
  int64_t source_at, target_at, weight_at, bias_at;
};

/* Weights that several steps share. */
struct conv_onednn_pack {
  const struct conv_onednn *convolution;
  int64_t plain_at, packed_at;
};

struct conv_onednn_program {
  struct conv_onednn_layer layer;
  int tasks;  /* independent of each other; the steps of one run in order */
  int *first; /* [tasks + 1]: of the steps */
  struct conv_onednn_step *steps;
  int packs;
  struct conv_onednn_pack *pack;
  int64_t weights;      /* floats of all packed weights */
  int chunks;           /* WEIGHT: sums of the weights that are made apart */
  int64_t most_weights; /* of one pack */
  size_t scratch;       /* bytes of a task */
  struct conv_onednn_program *next;
};

/* The program of a layer: made once and kept to the end of the process. NULL where oneDNN is not
 * fast. Not to be called by several threads at a time. */
const struct conv_onednn_program *conv_onednn_program(const struct conv_onednn_layer *layer);

/* Bytes of workspace that running it takes, 64-byte aligned. */
size_t conv_onednn_program_bytes(const struct conv_onednn_program *program);

/* The memory of a run. `plain`: weights or, for WEIGHT, their gradient, in the parameter block's
 * order, from the first channel of the first source on. */
struct conv_onednn_memory {
  const float *source[OP_MAX_INPUTS];
  float *target;
  void *plain;
  const float *bias;
  void *workspace;
};

CHECKED enum status conv_onednn_program_run(const struct conv_onednn_program *program,
                                            const struct conv_onednn_memory *memory);
