/* loss_dice_warp on the GPU. The volumes of the classes are added as whole numbers of 2^-19 voxels:
 * integers give the same sum in any order, so that every thread may add to the tally of its block
 * and every block to that of the sample. A weight is rounded by 1e-6 at most, to either side alike;
 * voxels whose eight corners carry one label, which is nearly all of them, count exactly. */
#include <limits.h>
#include "kernels/common/cuda_reduce.h"
extern "C" {
#include "kernels/loss_dice_warp/dice.h"
#include "kernels/warp/warp_sample.h"
}

enum {
  THREADS = 256,
  VOXELS = 4096, /* of a block */
  ONE = 1 << 19, /* of one voxel; a block's sum fits 32 bits */
  CORNERS = 8,
  FIXED = 2 * DICE_TABLE, /* a tally: [match][label] of warped voxels, then fixed voxels by label */
  TALLIES = FIXED + DICE_LABELS,
};

/* Samples, their labels and displacement. */
struct samples {
  int d, h, w, voxels;
  enum warp_padding padding;
  const unsigned char *moving, *fixed;
  const float *u;
  struct cuda_strides strides; /* of u */
};

/* What a class's part of the loss depends on. */
struct classes {
  int first, end;
  double smooth_numerator, smooth_denominator, terms;
};

/* A displaced voxel: where it falls, and the labels of the corners (as warp_sample.h numbers them).
 */
struct voxel {
  struct warp_axis at[3];
  int label[CORNERS];
  bool uniform; /* they are one label of the volume */
};

__device__ inline void voxel_make(struct voxel &voxel, const struct samples &samples, int n,
                                  int index) {
  const int extent[3] = {samples.d, samples.h, samples.w};
  int row = index / samples.w;
  const int at[3] = {row / samples.h, row % samples.h, index % samples.w};
  const float *u = samples.u + n * samples.strides.sample + index * samples.strides.voxel;
  const unsigned char *moving = samples.moving + (int64_t)n * samples.voxels;
  for (int a = 0; a < 3; a++)
    voxel.at[a] = warp_axis(at[a], u[a * samples.strides.channel], extent[a], samples.padding);
  voxel.uniform = true;
  for (int i = 0; i < CORNERS; i++) {
    /* with clamped coordinates corner 0 lies inside, and the weights of those outside are 0 */
    int label = i > 0 && samples.padding == WARP_BORDER ? voxel.label[0] : (int)DICE_OUTSIDE;
    if (warp_corner_inside(voxel.at, extent, i))
      label = moving[warp_corner_voxel(voxel.at, extent, i)];
    voxel.label[i] = label;
    voxel.uniform &= label == voxel.label[0];
  }
  voxel.uniform &= voxel.label[0] != DICE_OUTSIDE;
}

/* --- forward --- */

__device__ inline int key_of(int label, int fixed) {
  return (label == fixed) * DICE_TABLE + label;
}

/* Adds `amount` at every lane's key (-1: none). All lanes must call; mostly their keys agree. */
__device__ inline void tally_add(unsigned *tally, int key, unsigned amount) {
  int first = __shfl_sync(0xffffffffu, key, 0);
  if (__all_sync(0xffffffffu, key == first)) {
    if (threadIdx.x % CUDA_WARP == 0 && key >= 0) atomicAdd(&tally[key], CUDA_WARP * amount);
  } else if (key >= 0) {
    atomicAdd(&tally[key], amount);
  }
}

/* Corners of two labels, which is the rule at a border, are added together. */
__device__ inline void tally_corners(unsigned *tally, const struct voxel &voxel, int fixed) {
  int one = voxel.label[0], two = one;
  unsigned ones = 0, twos = 0;
  for (int i = 0; i < CORNERS; i++) {
    unsigned weight = (unsigned)(warp_corner_weight(voxel.at, i) * (float)ONE + 0.5f);
    int label = voxel.label[i];
    if (two == one) two = label;
    if (label == one)
      ones += weight;
    else if (label == two)
      twos += weight;
    else
      atomicAdd(&tally[key_of(label, fixed)], weight);
  }
  atomicAdd(&tally[key_of(one, fixed)], ones);
  if (two != one) atomicAdd(&tally[key_of(two, fixed)], twos);
}

/* Blocks: x a sample's voxels, y samples. total: [n TALLIES], zero before. */
__global__ void __launch_bounds__(THREADS)
    dice_tally(struct samples samples, unsigned long long *total) {
  __shared__ unsigned tally[TALLIES];
  for (int i = threadIdx.x; i < TALLIES; i += THREADS) tally[i] = 0;
  __syncthreads();
  const unsigned char *fixed = samples.fixed + (int64_t)blockIdx.y * samples.voxels;
  for (int k = 0; k < VOXELS / THREADS; k++) {
    int64_t index = (int64_t)blockIdx.x * VOXELS + k * THREADS + threadIdx.x;
    struct voxel voxel;
    bool inside = index < samples.voxels, corners = false;
    int label = inside ? fixed[index] : -1, key = -1;
    if (inside) {
      voxel_make(voxel, samples, blockIdx.y, (int)index);
      corners = !voxel.uniform;
      if (voxel.uniform) key = key_of(voxel.label[0], label);
    }
    tally_add(tally + FIXED, label, 1);
    tally_add(tally, key, ONE);
    if (corners) tally_corners(tally, voxel, label);
  }
  __syncthreads();
  for (int i = threadIdx.x; i < TALLIES; i += THREADS)
    if (tally[i]) atomicAdd(&total[(int64_t)blockIdx.y * TALLIES + i], tally[i]);
}

/* One block. sums: [n classes DICE_SUMS]. */
__global__ void __launch_bounds__(THREADS)
    dice_conclude(const unsigned long long *total, int samples, struct classes classes,
                  double *sums, double *y) {
  double loss = 0;
  for (int i = threadIdx.x; i < samples * classes.end; i += THREADS) {
    int k = i % classes.end;
    const unsigned long long *tally = total + (int64_t)(i / classes.end) * TALLIES;
    double *s = sums + (int64_t)i * DICE_SUMS;
    s[DICE_OVERLAP] = (double)tally[DICE_TABLE + k] / (double)ONE;
    s[DICE_PREDICTED] = s[DICE_OVERLAP] + (double)tally[k] / (double)ONE;
    s[DICE_TRUE] = (double)tally[FIXED + k];
    if (k >= classes.first)
      loss += dice_class_loss(s, classes.smooth_numerator, classes.smooth_denominator);
  }
  loss = block_sum<THREADS>(loss);
  if (threadIdx.x == 0) *y = loss / classes.terms;
}

/* --- backward --- */

/* slope: [match][label], as struct dice_slopes. */
__device__ inline void slopes_make(const double *sums, const struct classes &classes, double dy,
                                   float *slope) {
  for (int k = threadIdx.x; k < DICE_TABLE; k += THREADS) {
    const double *s = sums + k * DICE_SUMS;
    double by_volume = 0, by_overlap = 0;
    if (k >= classes.first && k < classes.end) {
      by_volume = dice_volume_slope(s, classes.smooth_numerator, classes.smooth_denominator);
      by_overlap = dice_overlap_slope(s, classes.smooth_denominator);
    }
    slope[k] = (float)(dy / classes.terms * by_volume);
    slope[DICE_TABLE + k] = (float)(dy / classes.terms * (by_volume + by_overlap));
  }
}

__device__ inline void voxel_gradient(const struct voxel &voxel, const float *slope, int fixed,
                                      float gradient[3]) {
  for (int i = 0; i < CORNERS && !voxel.uniform; i++) {
    float own = slope[key_of(voxel.label[i], fixed)];
    for (int a = 0; a < 3; a++) gradient[a] += own * warp_corner_slope(voxel.at, i, a);
  }
}

__global__ void __launch_bounds__(THREADS)
    dice_backward(struct samples samples, struct classes classes, const double *sums,
                  const double *dy, bool add, float *dx) {
  __shared__ float slope[2 * DICE_TABLE];
  int n = blockIdx.y;
  slopes_make(sums + (int64_t)n * classes.end * DICE_SUMS, classes, *dy, slope);
  __syncthreads();
  for (int k = 0; k < VOXELS / THREADS; k++) {
    int64_t index = (int64_t)blockIdx.x * VOXELS + k * THREADS + threadIdx.x;
    struct voxel voxel;
    float gradient[3] = {};
    if (index >= samples.voxels) break;
    voxel_make(voxel, samples, n, (int)index);
    if (add && voxel.uniform) continue;
    voxel_gradient(voxel, slope, samples.fixed[(int64_t)n * samples.voxels + index], gradient);
    float *to = dx + n * samples.strides.sample + index * samples.strides.voxel;
    for (int a = 0; a < 3; a++) {
      float *own = to + a * samples.strides.channel;
      *own = (add ? *own : 0) + gradient[a];
    }
  }
}

/* --- the kernel --- */

static const struct loss_dice_warp_arguments *arguments_of(const struct node *node) {
  return (const struct loss_dice_warp_arguments *)(const void *)node->arguments;
}

static struct samples samples_make(const struct node *node, const struct io *io) {
  const struct shape *s = &node->x[0].shape;
  struct samples samples = {s->d,
                            s->h,
                            s->w,
                            (int)shape_voxels(*s),
                            arguments_of(node)->padding,
                            (const unsigned char *)io->x[0],
                            (const unsigned char *)io->x[1],
                            (const float *)io->x[2],
                            cuda_strides_of(&node->x[2])};
  return samples;
}

static struct classes classes_make(const struct node *node) {
  const struct loss_dice_warp_arguments *arguments = arguments_of(node);
  struct classes classes = {dice_first_class(node), arguments->classes, arguments->smooth_numerator,
                            arguments->smooth_denominator, dice_terms(node)};
  return classes;
}

static dim3 sample_blocks(const struct node *node) {
  return dim3(cuda_blocks(shape_voxels(node->x[0].shape), VOXELS), node->x[0].shape.n);
}

static bool loss_dice_warp_applies(const struct node *node) {
  return shape_voxels(node->x[0].shape) <= INT_MAX && node->x[0].shape.n <= 65535;
}

static void loss_dice_warp_prepare(struct node *node) {
  node->forward_workspace = (size_t)node->x[0].shape.n * TALLIES * sizeof(unsigned long long);
}

static enum status loss_dice_warp_forward(const struct node *node, const struct io *io,
                                          struct stream *stream) {
  unsigned long long *total = (unsigned long long *)io->workspace;
  CUDA_TRY(cudaMemsetAsync(total, 0, node->forward_workspace, cuda_stream(stream)));
  CUDA_LAUNCH(dice_tally, sample_blocks(node), THREADS, 0, stream, samples_make(node, io), total);
  CUDA_LAUNCH(dice_conclude, 1, THREADS, 0, stream, total, node->x[0].shape.n, classes_make(node),
              (double *)io->saved[0], (double *)io->y);
  return cuda_launched(node->name);
}

static enum status loss_dice_warp_backward(const struct node *node, const struct io *io,
                                           struct stream *stream) {
  if (!io->dx[2]) return STATUS_OK;
  CUDA_LAUNCH(dice_backward, sample_blocks(node), THREADS, 0, stream, samples_make(node, io),
              classes_make(node), (const double *)io->saved[0], (const double *)io->dy,
              io->dx_add[2], (float *)io->dx[2]);
  return cuda_launched(node->name);
}

CUDA_KERNEL(loss_dice_warp_cuda, f32) = {
    .name = "hand",
    .device = DEVICE_CUDA,
    .dtype = DTYPE_F32,
    .training = true,
    .applies = loss_dice_warp_applies,
    .prepare = loss_dice_warp_prepare,
    .forward = loss_dice_warp_forward,
    .backward = loss_dice_warp_backward,
};
