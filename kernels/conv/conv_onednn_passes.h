/* What stands around oneDNN's convolutions where a tensor is not as it reads or writes it: inputs
 * read through an upsampling, results and gradients of 1 to 4 channels. Compiled once per
 * instruction set. Internal to the folder. */
#pragma once
#include "kernels/op.h"

struct conv_onednn_passes {
  bool (*available)(void);
  /* to := from in the layout of `to`; doubled along each axis where to's extents are twice
   * from's. */
  void (*spread)(const struct tensor *from, const float *data, const struct tensor *to,
                 float *result);
  /* Its adjoint: to := (or +=) from, of a doubled one the sums of eight voxels. `from` is
   * blocked. */
  void (*collect)(const struct tensor *from, const float *data, const struct tensor *to,
                  float *result, bool add);
  /* to[0..count) := (or +=) from; on the calling thread alone. */
  void (*move)(const float *from, float *to, int64_t count, bool add);
  /* conv_activation and the floats of its `partial` (kernels/conv/conv_direct.h). */
  void (*activation)(const struct tensor *tensor, const float *y, float *dy, float slope, float *db,
                     float *partial);
  size_t (*activation_size)(const struct tensor *tensor);
};

/* The best compilation for this processor. */
const struct conv_onednn_passes *conv_onednn_passes(void);
