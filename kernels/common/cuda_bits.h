/* Losses of logits and bits (kernels/common/bits.h) on the GPU: a thread has 8 channels of a voxel,
 * whose truth is one byte. */
#pragma once
#include "kernels/common/cuda_reduce.h"
#include "kernels/common/cuda_tile.h"

enum { BITS_LANES = 8, BITS_THREADS = 256, BITS_LEAST = 1024 /* bytes of a block */ };

/* What makes a byte whole: a probability, a loss and slopes of 0. */
#define BITS_NOTHING (-200.0f)

/* Kernels take it by value. */
struct cuda_bits {
  struct cuda_strides logits, bits;
  int samples, classes, groups, voxels, items; /* groups: bytes of a voxel; items: of a sample */
  bool last, whole; /* channels lie side by side; groups are 8 logits that begin at 16 bytes */
  struct cuda_divider by_groups, by_voxels;
};

static inline struct cuda_bits cuda_bits_of(const struct node *node) {
  const struct tensor *x = &node->x[0];
  struct cuda_bits bits;
  bits.logits = cuda_strides_of(x);
  bits.bits = cuda_strides_of(&node->x[1]);
  bits.samples = x->shape.n;
  bits.classes = x->shape.c;
  bits.groups = node->x[1].shape.c;
  bits.voxels = (int)shape_voxels(x->shape);
  bits.items = bits.voxels * bits.groups;
  bits.last = bits.logits.channel == 1;
  bits.whole = bits.last && bits.classes % BITS_LANES == 0;
  bits.by_groups = cuda_divider_make((unsigned)bits.groups);
  bits.by_voxels = cuda_divider_make((unsigned)bits.voxels);
  return bits;
}

/* What all their kernels ask of a node: items are counted in ints. */
static inline bool cuda_bits_applies(const struct node *node) {
  return shape_voxels(node->x[0].shape) * node->x[1].shape.c < INT32_MAX - (1 << 16) &&
         node->x[0].layout != LAYOUT_BLOCKED && node->x[1].layout != LAYOUT_BLOCKED &&
         node->x[0].shape.n <= 65535;
}

/* Which voxel and byte item `index` of a sample is: neighbours lie side by side in the logits. */
struct bits_item {
  int voxel, group;
};
__device__ inline struct bits_item bits_item_of(const struct cuda_bits &bits, int index) {
  unsigned rest;
  const unsigned quotient =
      cuda_divide((unsigned)index, bits.last ? bits.by_groups : bits.by_voxels, &rest);
  struct bits_item item = {(int)(bits.last ? quotient : rest), (int)(bits.last ? rest : quotient)};
  return item;
}

/* The 8 logits and bits of sample n. */
template <typename T>
__device__ inline unsigned bits_load(const struct cuda_bits &bits, const T *x,
                                     const unsigned char *map, int n, struct bits_item item,
                                     float (&z)[BITS_LANES]) {
  constexpr int LANES = cuda_most_lanes<T>;
  const int left = bits.classes - item.group * BITS_LANES;
  const T *from = x + n * bits.logits.sample + item.voxel * bits.logits.voxel +
                  item.group * BITS_LANES * bits.logits.channel;
  const unsigned byte =
      map[n * bits.bits.sample + item.voxel * bits.bits.voxel + item.group * bits.bits.channel];
  if (bits.whole) {
#pragma unroll
    for (int part = 0; part < BITS_LANES; part += LANES) {
      float value[LANES];
      cuda_load<T, LANES>(from + part, value);
#pragma unroll
      for (int l = 0; l < LANES; l++) z[part + l] = value[l];
    }
    return byte;
  }
#pragma unroll
  for (int i = 0; i < BITS_LANES; i++)
    z[i] = i < left ? to_float(from[i * bits.logits.channel]) : BITS_NOTHING;
  return left < BITS_LANES ? byte & ((1u << left) - 1) : byte;
}

template <typename T>
__device__ inline void bits_give(const struct cuda_bits &bits, T *dx, int n, struct bits_item item,
                                 bool add, const float (&slope)[BITS_LANES]) {
  constexpr int LANES = cuda_most_lanes<T>;
  const int left = bits.classes - item.group * BITS_LANES;
  T *to = dx + n * bits.logits.sample + item.voxel * bits.logits.voxel +
          item.group * BITS_LANES * bits.logits.channel;
  if (bits.whole) {
#pragma unroll
    for (int part = 0; part < BITS_LANES; part += LANES) {
      float value[LANES];
#pragma unroll
      for (int l = 0; l < LANES; l++) value[l] = slope[part + l];
      cuda_give<T, LANES>(to + part, value, add);
    }
    return;
  }
#pragma unroll
  for (int i = 0; i < BITS_LANES; i++) {
    T *own = to + i * bits.logits.channel;
    if (i < left) *own = from_float<T>(add ? to_float(*own) + slope[i] : slope[i]);
  }
}

/* A loss brings, for its gradient:
 *   size_t floats(const struct cuda_bits &) const: of shared memory of its own
 *   void begin(const struct cuda_bits &, int n, float *own) const: all threads, once per block
 *   float slope(float z, bool truth, int channel, const float *own) const */
template <typename T, class Loss>
__global__ void __launch_bounds__(BITS_THREADS)
    bits_backward(const __grid_constant__ struct cuda_bits bits, const T *x,
                  const unsigned char *map, const __grid_constant__ Loss loss, T *dx, bool add) {
  CUDA_DYNAMIC_SHARED(float, own);
  loss.begin(bits, blockIdx.y, own);
  const int end = min(((int)blockIdx.x + 1) * BITS_LEAST, bits.items);
  for (int i = blockIdx.x * BITS_LEAST + (int)threadIdx.x; i < end; i += BITS_THREADS) {
    const struct bits_item item = bits_item_of(bits, i);
    float z[BITS_LANES];
    const unsigned truth = bits_load(bits, x, map, blockIdx.y, item, z);
#pragma unroll
    for (int l = 0; l < BITS_LANES; l++) {
      const int channel = min(item.group * BITS_LANES + l, bits.classes - 1);
      z[l] = loss.slope(z[l], truth >> l & 1, channel, own);
    }
    bits_give(bits, dx, blockIdx.y, item, add, z);
  }
}

/* dx[0] of a loss. */
template <typename T, class Loss>
static inline enum status cuda_bits_backward(const struct node *node, const struct io *io,
                                             const Loss &loss, struct stream *stream) {
  const struct cuda_bits bits = cuda_bits_of(node);
  const dim3 grid(cuda_blocks(bits.items, BITS_LEAST), (unsigned)bits.samples);
  CUDA_LAUNCH((bits_backward<T, Loss>), grid, BITS_THREADS, sizeof(float) * loss.floats(bits),
              stream, bits, (const T *)io->x[0], (const unsigned char *)io->x[1], loss,
              (T *)io->dx[0], io->dx_add[0]);
  return cuda_launched(node->name);
}

/* 1 / (1 + e^-x), and what it leaves of 1. */
struct bits_chance {
  float p, rest;
};
__device__ inline struct bits_chance bits_sigmoid(float x) {
  const float small = expf(-fabsf(x)), one = 1 / (1 + small), other = small * one;
  struct bits_chance chance = {x > 0 ? one : other, x > 0 ? other : one};
  return chance;
}
