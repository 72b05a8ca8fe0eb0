/* dropout on the GPU: a thread has 16 bytes of a voxel's channels where these lie together, and one
 * block of random words for each four of them; else one element. */
#include "kernels/common/cuda_tile.h"
extern "C" {
#include "kernels/dropout/mask.h"
}

enum { THREADS = 256, GROUP = 4 };

/* One call, by value. A sample's elements are counted as they lie: `inner` of them side by side
 * are the channels of a voxel (channels last) or the voxels of a channel. */
struct job {
  struct dropout_mask mask;
  int64_t elements; /* of a sample */
  struct cuda_divider inner;
  bool last, add;
};

static struct job job_make(const struct node *node, bool add) {
  const struct tensor *x = &node->x[0];
  struct job job;
  job.mask = dropout_mask_make(node);
  job.last = x->layout == LAYOUT_LAST;
  job.elements = x->shape.c * shape_voxels(x->shape);
  job.inner = cuda_divider_make((unsigned)(job.last ? x->shape.c : shape_voxels(x->shape)));
  job.add = add;
  return job;
}

/* Elements [at, at + LANES) of the sample: of more than one lane they are channels of a voxel. */
template <typename T, int LANES>
__device__ inline void drop(const struct job &job, const uint32_t (&key)[2], unsigned at,
                            const T *from, T *to) {
  float value[LANES];
  unsigned rest, quotient = cuda_divide(at, job.inner, &rest);
  const unsigned voxel = job.last ? quotient : rest, channel = job.last ? rest : quotient;
  cuda_load<T, LANES>(from + at, value);
#pragma unroll
  for (int first = 0; first < LANES; first += GROUP) {
    uint32_t word[GROUP];
    dropout_words(&job.mask, key, voxel, (channel + first) / GROUP, word);
    if (LANES == 1) word[0] = word[channel % GROUP];
#pragma unroll
    for (int j = 0; j < (LANES < GROUP ? LANES : GROUP); j++)
      value[first + j] = word[j] < job.mask.threshold ? 0 : value[first + j] * job.mask.scale;
  }
  cuda_give<T, LANES>(to + at, value, job.add);
}

/* rows_kept: NULL, or where the keys are written for backward. */
template <typename T, int LANES>
__global__ void __launch_bounds__(THREADS)
    dropout_apply(struct job job, const float *rows, float *rows_kept, const T *from, T *to) {
  const float *row = rows + blockIdx.y * DROPOUT_KEY;
  const uint32_t key[2] = {(uint32_t)row[0], (uint32_t)row[1]};
  const int64_t at = ((int64_t)blockIdx.x * THREADS + threadIdx.x) * LANES;
  if (rows_kept && blockIdx.x == 0 && threadIdx.x < DROPOUT_KEY)
    rows_kept[blockIdx.y * DROPOUT_KEY + threadIdx.x] = row[threadIdx.x];
  if (at >= job.elements) return;
  from += blockIdx.y * job.elements;
  to += blockIdx.y * job.elements;
  drop<T, LANES>(job, key, (unsigned)at, from, to);
}

template <typename T>
static enum status launch(const struct node *node, const struct job &job, const void *rows,
                          void *rows_kept, const void *from, void *to, struct stream *stream) {
  constexpr int LANES = cuda_most_lanes<T>;
  const bool together =
      job.last && node->x[0].shape.c % LANES == 0 && cuda_aligned(from) && cuda_aligned(to);
  const dim3 grid(cuda_blocks(job.elements, THREADS * (together ? LANES : 1)),
                  (unsigned)node->x[0].shape.n);
  if (together)
    CUDA_LAUNCH((dropout_apply<T, LANES>), grid, THREADS, 0, stream, job, (const float *)rows,
                (float *)rows_kept, (const T *)from, (T *)to);
  else
    CUDA_LAUNCH((dropout_apply<T, 1>), grid, THREADS, 0, stream, job, (const float *)rows,
                (float *)rows_kept, (const T *)from, (T *)to);
  return cuda_launched(node->name);
}

static bool dropout_applies(const struct node *node) {
  const struct tensor *x = &node->x[0];
  return x->shape.c * shape_voxels(x->shape) <= INT32_MAX && x->shape.n <= 65535 &&
         x->layout != LAYOUT_BLOCKED && node->x[1].dtype == DTYPE_F32;
}

template <typename T>
static enum status dropout_forward(const struct node *node, const struct io *io,
                                   struct stream *stream) {
  return launch<T>(node, job_make(node, false), io->x[1], io->saved[0], io->x[0], io->y, stream);
}

template <typename T>
static enum status dropout_backward(const struct node *node, const struct io *io,
                                    struct stream *stream) {
  if (!io->dx[0]) return STATUS_OK;
  return launch<T>(node, job_make(node, io->dx_add[0]), io->saved[0], NULL, io->dy, io->dx[0],
                   stream);
}

#define DROPOUT_KERNEL(suffix, type, dtype_) \
  CUDA_KERNEL(dropout_cuda, suffix) = {      \
      .name = "hand",                        \
      .device = DEVICE_CUDA,                 \
      .dtype = dtype_,                       \
      .training = true,                      \
      .applies = dropout_applies,            \
      .prepare = NULL,                       \
      .forward = dropout_forward<type>,      \
      .backward = dropout_backward<type>,    \
  }

DROPOUT_KERNEL(f32, float, DTYPE_F32);
DROPOUT_KERNEL(bf16, __nv_bfloat16, DTYPE_BF16);
DROPOUT_KERNEL(f16, __half, DTYPE_F16);
