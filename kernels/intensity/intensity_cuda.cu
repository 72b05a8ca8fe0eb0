/* intensity on the GPU: mean and range of the channels of samples that ask for them, in a number of
 * partial sums that follows from the extents, then the change. A thread takes the four voxels whose
 * noise comes from one block of random numbers. Images of any layout but blocks. */
#include "kernels/common/cuda_reduce.h"
extern "C" {
#include "kernels/intensity/intensity_curve.h"
}

/* LEAST: blocks of random numbers per block of threads; MOST: partial sums of a channel. */
enum { THREADS = 256, LEAST = 1024, MOST = 256 };

/* One call, by value. */
struct job {
  struct cuda_strides from, to;
  int voxels, channels, groups, partials;
  enum intensity_steps steps;
};

struct part {
  double sum;
  float low, high;
};

static struct job job_make(const struct node *node) {
  struct job job = {};
  job.from = cuda_strides_of(&node->x[0]);
  job.to = cuda_strides_of(&node->y);
  job.voxels = (int)shape_voxels(node->y.shape);
  job.channels = node->y.shape.c;
  job.groups = (job.voxels + INTENSITY_GROUP - 1) / INTENSITY_GROUP * INTENSITY_LANES;
  const int partials = cuda_partials(job.groups, LEAST);
  job.partials = partials < MOST ? partials : (int)MOST;
  job.steps = intensity_arguments_of(node)->steps;
  return job;
}

/* Four voxels of a channel, 16 apart. */
struct four {
  int first, count; /* those beyond the image do not count */
  float value[INTENSITY_WORDS];
};

/* Behind noise and factor. */
__device__ inline struct four four_load(const struct job &job,
                                        const struct intensity_change &change, const float *x,
                                        int block, int channel) {
  struct four four;
  float noise[INTENSITY_WORDS] = {};
  four.first = block / INTENSITY_LANES * INTENSITY_GROUP + block % INTENSITY_LANES;
  four.count = 0;
  if (four.first < job.voxels)
    four.count = (job.voxels - four.first + INTENSITY_LANES - 1) / INTENSITY_LANES;
  if (change.deviation != 0) intensity_noise(&change, block, channel, noise);
#pragma unroll
  for (int i = 0; i < INTENSITY_WORDS; i++) {
    four.value[i] = 0;
    if (i >= four.count) continue;
    const float value = x[(four.first + i * INTENSITY_LANES) * job.from.voxel];
    four.value[i] = (change.deviation != 0 ? value + noise[i] : value) * change.factor;
  }
  return four;
}

/* The part of a block of threads, in thread 0. */
__device__ inline struct part part_gather(struct part own) {
  __shared__ float lows[THREADS / CUDA_WARP], highs[THREADS / CUDA_WARP];
  const int lane = threadIdx.x % CUDA_WARP, warp = threadIdx.x / CUDA_WARP;
  own.sum = block_sum<THREADS>(own.sum);
  for (int distance = CUDA_WARP / 2; distance > 0; distance /= 2) {
    own.low = fminf(own.low, __shfl_xor_sync(0xffffffffu, own.low, distance));
    own.high = fmaxf(own.high, __shfl_xor_sync(0xffffffffu, own.high, distance));
  }
  if (lane == 0) {
    lows[warp] = own.low;
    highs[warp] = own.high;
  }
  __syncthreads();
  for (int i = 0; i < THREADS / CUDA_WARP; i++) {
    own.low = fminf(own.low, lows[i]);
    own.high = fmaxf(own.high, highs[i]);
  }
  return own;
}

/* grid: partial sums x channels of samples. */
__global__ void __launch_bounds__(THREADS)
    intensity_measure(struct job job, const float *__restrict__ x,
                      const float *__restrict__ numbers, struct part *parts) {
  const int plane = (int)blockIdx.y, n = plane / job.channels, c = plane % job.channels;
  const struct intensity_change change =
      intensity_change_load(numbers + n * INTENSITY_NUMBERS, job.steps);
  struct part part = {0, INFINITY, -INFINITY};
  if (!intensity_bends(&change)) return; /* the whole block */
  x += n * job.from.sample + c * job.from.channel;
  const int step = (int)gridDim.x * THREADS;
  for (int block = (int)blockIdx.x * THREADS + (int)threadIdx.x; block < job.groups;
       block += step) {
    const struct four four = four_load(job, change, x, block, c);
#pragma unroll
    for (int i = 0; i < INTENSITY_WORDS; i++) {
      if (i >= four.count) continue;
      part.sum += (double)four.value[i];
      part.low = fminf(part.low, four.value[i]);
      part.high = fmaxf(part.high, four.value[i]);
    }
  }
  part = part_gather(part);
  if (threadIdx.x == 0) parts[(int64_t)plane * job.partials + blockIdx.x] = part;
}

/* grid: channels of samples; as many threads as there may be partial sums. */
__global__ void __launch_bounds__(THREADS)
    intensity_fold(struct job job, const float *__restrict__ numbers, const struct part *parts,
                   struct intensity_curve *curves) {
  static_assert(MOST <= THREADS, "one partial sum per thread");
  const int plane = (int)blockIdx.x;
  const struct intensity_change change =
      intensity_change_load(numbers + plane / job.channels * INTENSITY_NUMBERS, job.steps);
  struct part part = {0, INFINITY, -INFINITY};
  struct intensity_range range = {0, 0, 0};
  if (intensity_bends(&change)) {
    if ((int)threadIdx.x < job.partials) part = parts[(int64_t)plane * job.partials + threadIdx.x];
    part = part_gather(part);
    range.mean = (float)(part.sum / job.voxels);
    range.low = part.low;
    range.high = part.high;
  }
  if (threadIdx.x == 0) curves[plane] = intensity_curve_make(&change, range);
}

/* grid: blocks x channels of samples; curves: NULL where no step needs them. */
__global__ void __launch_bounds__(THREADS)
    intensity_change_all(struct job job, const float *__restrict__ x,
                         const float *__restrict__ numbers, const struct intensity_curve *curves,
                         float *__restrict__ y) {
  const int plane = (int)blockIdx.y, n = plane / job.channels, c = plane % job.channels;
  const int block = (int)blockIdx.x * THREADS + (int)threadIdx.x;
  if (block >= job.groups) return;
  const struct intensity_change change =
      intensity_change_load(numbers + n * INTENSITY_NUMBERS, job.steps);
  x += n * job.from.sample + c * job.from.channel;
  y += n * job.to.sample + c * job.to.channel;
  const bool bends = curves && intensity_bends(&change);
  const struct four four = four_load(job, change, x, block, c);
#pragma unroll
  for (int i = 0; i < INTENSITY_WORDS; i++)
    if (i < four.count)
      y[(four.first + i * INTENSITY_LANES) * job.to.voxel] =
          bends ? intensity_bend(&curves[plane], four.value[i]) : four.value[i];
}

static bool needs_curves(const struct node *node) {
  return intensity_arguments_of(node)->steps & (INTENSITY_CONTRAST | INTENSITY_GAMMA);
}

static int64_t plane_count(const struct node *node) {
  return (int64_t)node->y.shape.n * node->y.shape.c;
}

static void intensity_prepare(struct node *node) {
  const size_t parts = (size_t)job_make(node).partials * sizeof(struct part);
  if (needs_curves(node))
    node->forward_workspace = (size_t)plane_count(node) * (parts + sizeof(struct intensity_curve));
}

static enum status intensity_forward(const struct node *node, const struct io *io,
                                     struct stream *stream) {
  const struct job job = job_make(node);
  const unsigned planes = (unsigned)plane_count(node);
  const float *x = (const float *)io->x[0], *numbers = (const float *)io->x[1];
  struct part *parts = (struct part *)io->workspace;
  struct intensity_curve *curves = NULL;
  if (needs_curves(node)) {
    curves = (struct intensity_curve *)(parts + (int64_t)planes * job.partials);
    CUDA_LAUNCH(intensity_measure, dim3((unsigned)job.partials, planes), THREADS, 0, stream, job, x,
                numbers, parts);
    CUDA_LAUNCH(intensity_fold, planes, THREADS, 0, stream, job, numbers, parts, curves);
  }
  CUDA_LAUNCH(intensity_change_all, dim3(cuda_blocks(job.groups, THREADS), planes), THREADS, 0,
              stream, job, x, numbers, curves, (float *)io->y);
  return cuda_launched(node->name);
}

/* A grid has at most 65535 blocks on its second axis. */
static bool intensity_applies(const struct node *node) {
  return plane_count(node) <= 65535;
}

CUDA_KERNEL(intensity_cuda, f32) = {
    .name = "hand",
    .device = DEVICE_CUDA,
    .dtype = DTYPE_F32,
    .training = false,
    .applies = intensity_applies,
    .prepare = intensity_prepare,
    .forward = intensity_forward,
    .backward = NULL,
};
