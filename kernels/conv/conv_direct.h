/* The passes that the direct kernels are made of. Each is compiled once per instruction set. */
#pragma once
#include <string.h>
#include "kernels/common/simd.h"
#include "kernels/conv/conv.h"
#include "kernels/conv/conv_accumulate.h"
#include "kernels/conv/conv_packing.h"

/* What a pass reads: a float tensor, planar (groups of 1 channel) or blocked (of 16), or a blocked
 * bfloat16 tensor, whose words of 32 bits are pairs of channels. */
struct conv_source {
  const struct tensor *tensor;
  const float *data; /* words */
  struct conv_packing packing;
  /* words: a group begins where the packing says; the pairs of one fill the first half of it */
  const float *packed;
};

/* What a pass computes: leaky(bias + the sum over all sources). All sources have its phases. */
struct conv_target {
  const struct tensor *tensor;
  float *data;       /* conv_rows: or bfloat16, as the tensor says */
  const float *bias; /* padded to the stored channels; NULL: none */
  float slope;       /* 1: no activation */
  bool add;          /* to what is there */
};

/* A blocked target from any sources. */
void SIMD_NAME(conv_rows)(const struct conv_target *target, const struct conv_source *sources,
                          int count);

/* The same where sources are of pairs, too; `pairs` is for those. */
void SIMD_NAME(conv_rows_of_pairs)(const struct conv_target *target,
                                   const struct conv_source *sources, int count,
                                   conv_accumulator *pairs);

/* The same for targets with short rows. */
bool SIMD_NAME(conv_flat_pays)(const struct tensor *target, const struct conv_source *sources,
                               int count);
void SIMD_NAME(conv_flat)(const struct conv_target *target, const struct conv_source *sources,
                          int count);

/* A planar target of 1 to 4 channels from blocked sources: 1 phase, step 1; packed with the
 * sources' channels as lanes and the target's as one group. */
void SIMD_NAME(conv_planar)(const struct conv_target *target, const struct conv_source *sources,
                            int count);

/* The weight gradient of a pass: the outer products of a blocked target's lanes (its gradient)
 * with a source, summed over voxels, in the source's packing; `packed` is unused. partial:
 * conv_outer_size() floats; the result is at its start. */
size_t SIMD_NAME(conv_outer_size)(const struct tensor *target, const struct conv_packing *packing);
void SIMD_NAME(conv_outer)(const struct tensor *target, const float *data,
                           const struct conv_source *source, float *partial);

/* partial[0] += partial[1] + ..., `size` floats each; readable up to a multiple of 16. */
void SIMD_NAME(conv_fold_chunks)(float *partial, size_t size, int chunks);

/* dy *= the LeakyReLU's derivative (slope 1: left alone); db := the sum of dy over all voxels
 * (NULL: not wanted). partial: conv_activation_size() floats. */
void SIMD_NAME(conv_activation)(const struct tensor *tensor, const float *y, float *dy, float slope,
                                float *db, float *partial);

/* The passes of a node: the target from all inputs; io->dw of one input from io->dy; the target,
 * which is the gradient of one input, from io->dy. Activations are the target's, not the node's.
 * Their workspaces (in floats, rounded up so that several lie one after another) are known from the
 * node. */
struct conv_passes {
  size_t (*output_size)(const struct node *node);
  size_t (*weights_size)(const struct node *node, int input);
  size_t (*data_size)(const struct node *node, int input);
  void (*output)(const struct node *node, const struct io *io, const struct conv_target *target,
                 float *workspace);
  void (*weights)(const struct node *node, const struct io *io, int input, float *workspace);
  void (*data)(const struct node *node, const struct io *io, int input,
               const struct conv_target *target, float *workspace);
  /* May be NULL, both: whether the weights of input 0 come with the sums over all voxels of dy's
   * channels, or of x's, at no more than the cost of adding; and those. */
  bool (*can_sum)(const struct node *node, bool of_input);
  void (*weights_and_sums)(const struct node *node, const struct io *io, float *workspace,
                           bool of_input, float *sums);
};

/* conv_direct_simd.c: whether the direct passes apply, and those. */
bool SIMD_NAME(conv_direct_applies)(const struct node *node);
extern const struct conv_passes SIMD_NAME(conv_direct_passes);

/* What a kernel made of passes does: see struct kernel. */
void SIMD_NAME(conv_prepare_passes)(const struct conv_passes *passes, struct node *node);
void SIMD_NAME(conv_run_forward)(const struct conv_passes *passes, const struct node *node,
                                 const struct io *io);
void SIMD_NAME(conv_run_backward)(const struct conv_passes *passes, const struct node *node,
                                  const struct io *io);

/* Defines the CPU kernel SIMD_NAME(kernel_name) that consists of `passes`; its other members
 * follow. */
#define CONV_PASSES_KERNEL(kernel_name, passes, ...)                        \
  static void prepare(struct node *node) {                                  \
    SIMD_NAME(conv_prepare_passes)(&(passes), node);                        \
  }                                                                         \
  static enum status forward(const struct node *node, const struct io *io,  \
                             struct stream *stream) {                       \
    (void)stream;                                                           \
    SIMD_NAME(conv_run_forward)(&(passes), node, io);                       \
    return STATUS_OK;                                                       \
  }                                                                         \
  static enum status backward(const struct node *node, const struct io *io, \
                              struct stream *stream) {                      \
    (void)stream;                                                           \
    SIMD_NAME(conv_run_backward)(&(passes), node, io);                      \
    return STATUS_OK;                                                       \
  }                                                                         \
  const struct kernel SIMD_NAME(kernel_name) = {.device = DEVICE_CPU,       \
                                                .training = true,           \
                                                .prepare = prepare,         \
                                                .forward = forward,         \
                                                .backward = backward,       \
                                                __VA_ARGS__}

/* How the weights between an input and the output are stored, for a pass whose lanes are output
 * channels or input channels; axes and group are left to the caller. */
struct conv_packing SIMD_NAME(conv_packing_of)(const struct node *node, int input,
                                               bool lanes_are_outputs);

/* The floats in front of an input's first channel in the weights. */
int64_t SIMD_NAME(conv_weight_offset)(const struct node *node, int input);

/* The bias of a tensor's channels as conv_target takes it: conv_bias_size floats at `padded`. */
size_t SIMD_NAME(conv_bias_size)(const struct tensor *tensor);
const float *SIMD_NAME(conv_bias)(const struct tensor *tensor, const float *bias, float *padded);

/* How many floats conv_activation's `partial` takes. */
size_t SIMD_NAME(conv_activation_size)(const struct tensor *tensor);

static inline size_t conv_round_to_line(size_t floats) {
  return (floats + 15) / 16 * 16;
}

/* db := the sums over planes, [n][channel group][d][channel of the group], of all channels. */
void SIMD_NAME(conv_bias_gradient)(const struct tensor *tensor, const float *partial, float *db);

static inline int conv_group_of(const struct tensor *tensor) {
  return tensor->layout == LAYOUT_BLOCKED ? CHANNEL_BLOCK : 1;
}

/* Words of 32 bits of a voxel of a group. */
static inline int conv_words_of(const struct tensor *tensor) {
  return conv_group_of(tensor) / (tensor->dtype == DTYPE_BF16 ? 2 : 1);
}

static inline __attribute__((always_inline)) simd conv_leaky(simd value, float slope) {
  simd_int above = value > 0;
  return (simd)((above & (simd_int)value) | (~above & (simd_int)(value * slope)));
}

/* Group `group` of a tensor at the start of row (d, h). */
static inline const float *conv_row(const struct tensor *tensor, const float *data, int n,
                                    int group, int d, int h) {
  int64_t at = tensor_at(tensor, n, group * conv_group_of(tensor), d, h, 0);
  return data + at / (tensor->dtype == DTYPE_BF16 ? 2 : 1);
}

/* `length` voxels of a row of `extent` voxels from voxel `from`: in place, or where they reach
 * outside copied to `edge` with zeros around. */
static inline const float *conv_window(const float *row, int extent, int group, int from,
                                       int length, float *edge) {
  if (from >= 0 && from + length <= extent) return row + (int64_t)from * group;
  int low = from < 0 ? -from : 0, high = extent - from < length ? extent - from : length;
  if (low > length) low = length;
  if (high < low) high = low;
  memset(edge, 0, sizeof(float) * low * group);
  if (high > low)
    memcpy(edge + (int64_t)low * group, row + (int64_t)(from + low) * group,
           sizeof(float) * (high - low) * group);
  memset(edge + (int64_t)high * group, 0, sizeof(float) * (length - high) * group);
  return edge;
}
