/* concat on CUDA: one launch per input moves its strip of channels. Where x is channels last,
 * neighbouring threads take neighbouring channels, 16 bytes each where all strips allow it; where x
 * is planar, neighbouring voxels, and each thread goes through the channels. */
#include "kernels/common/cuda_vector.h"
extern "C" {
#include "kernels/concat/concat.h"
}

enum { THREADS = 256 };

/* From one tensor to another, both as [samples][voxels][groups of LANES channels]. */
struct concat_strip {
  struct cuda_strides from, to; /* the voxel's and channel's; `channel` counts elements */
  int64_t voxels;
  int groups;
  bool add;
};

template <typename T, int LANES>
__global__ void __launch_bounds__(THREADS)
    move_strip(const T *from, T *to, struct concat_strip strip) {
  int64_t voxel = (int64_t)blockIdx.x * blockDim.y + threadIdx.y;
  if (voxel >= strip.voxels) return;
  from += blockIdx.y * strip.from.sample + voxel * strip.from.voxel;
  to += blockIdx.y * strip.to.sample + voxel * strip.to.voxel;
  for (int group = threadIdx.x; group < strip.groups; group += blockDim.x) {
    float value[LANES];
    cuda_load<T, LANES>(from + group * LANES * strip.from.channel, value);
    cuda_give<T, LANES>(to + group * LANES * strip.to.channel, value, strip.add);
  }
}

static dim3 block_for(const struct concat_strip *strip, bool last) {
  int across = !last ? 1 : strip->groups < THREADS ? strip->groups : THREADS;
  return dim3((unsigned)across, (unsigned)(THREADS / across));
}

template <typename T, int LANES>
static void launch(const T *from, T *to, const struct concat_strip *strip, dim3 block, int samples,
                   struct stream *stream) {
  dim3 grid(cuda_blocks(strip->voxels, block.y), (unsigned)samples);
  CUDA_LAUNCH((move_strip<T, LANES>), grid, block, 0, stream, from, to, *strip);
}

/* Whether every strip of a node may be moved by 16 bytes. */
template <typename T>
static bool is_wide(const struct node *node, int input, const void *x, const void *y) {
  constexpr int LANES = cuda_most_lanes<T>;
  const struct tensor *from = &node->x[input];
  return from->layout == LAYOUT_LAST && node->y.layout == LAYOUT_LAST &&
         from->shape.c % LANES == 0 && node->y.shape.c % LANES == 0 &&
         concat_first_channel(node, input) % LANES == 0 && cuda_aligned(x) && cuda_aligned(y);
}

/* Between x[input] (or its gradient) and its channels of y. */
template <typename T>
static void move_input(const struct node *node, int input, T *x, T *y, bool forward, bool add,
                       struct stream *stream) {
  const struct tensor *tensor = &node->x[input];
  bool wide = is_wide<T>(node, input, x, y), last = tensor->layout == LAYOUT_LAST;
  int lanes = wide ? cuda_most_lanes<T> : 1;
  struct cuda_strides own = cuda_strides_of(tensor), joined = cuda_strides_of(&node->y);
  struct concat_strip strip = {forward ? own : joined, forward ? joined : own,
                               shape_voxels(tensor->shape), tensor->shape.c / lanes, add};
  y += concat_first_channel(node, input) * joined.channel;
  (wide ? launch<T, cuda_most_lanes<T>> : launch<T, 1>)(forward ? x : y, forward ? y : x, &strip,
                                                        block_for(&strip, last), tensor->shape.n,
                                                        stream);
}

template <typename T>
static enum status concat_forward(const struct node *node, const struct io *io,
                                  struct stream *stream) {
  for (int i = 0; i < node->input_count; i++)
    move_input<T>(node, i, (T *)io->x[i], (T *)io->y, true, false, stream);
  return cuda_launched(node->name);
}

template <typename T>
static enum status concat_backward(const struct node *node, const struct io *io,
                                   struct stream *stream) {
  for (int i = 0; i < node->input_count; i++)
    if (io->dx[i])
      move_input<T>(node, i, (T *)io->dx[i], (T *)io->dy, false, io->dx_add[i], stream);
  return cuda_launched(node->name);
}

#define CONCAT_KERNEL(suffix, type, dtype_) \
  CUDA_KERNEL(concat_cuda, suffix) = {      \
      .name = "hand",                       \
      .device = DEVICE_CUDA,                \
      .dtype = dtype_,                      \
      .training = true,                     \
      .forward = concat_forward<type>,      \
      .backward = concat_backward<type>,    \
  }

CONCAT_KERNEL(f32, float, DTYPE_F32);
CONCAT_KERNEL(bf16, __nv_bfloat16, DTYPE_BF16);
CONCAT_KERNEL(f16, __half, DTYPE_F16);
