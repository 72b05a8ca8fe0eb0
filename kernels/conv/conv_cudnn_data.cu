/* Bringing a node's tensors into the form cuDNN takes, and back. */
#include "kernels/common/cuda.h"
extern "C" {
#include "kernels/conv/conv.h"
}
#include "kernels/conv/conv_cudnn.h"

enum { THREADS = 256 };

/* One input as a part of the gathered one. */
struct part {
  struct cuda_strides strides;
  int channels, first; /* of the gathered channels */
  int d, h, w;         /* stored extents */
  int up;              /* 1: read through a x2 upsampling */
};

static struct part part_of(const struct node *node, int input) {
  const struct tensor *x = &node->x[input];
  struct part part;
  part.strides = cuda_strides_of(x);
  part.channels = x->shape.c;
  part.first = 0;
  for (int i = 0; i < input; i++) part.first += node->x[i].shape.c;
  part.d = x->shape.d;
  part.h = x->shape.h;
  part.w = x->shape.w;
  part.up = conv_arguments_of(node)->upsample[input];
  return part;
}

/* Where a gathered voxel lies in the stored input. */
__device__ static int64_t stored_voxel(const struct part &part, int64_t voxel) {
  int w = part.w << part.up, h = part.h << part.up;
  int column = (int)(voxel % w), row = (int)(voxel / w % h), plane = (int)(voxel / w / h);
  return ((int64_t)(plane >> part.up) * part.h + (row >> part.up)) * part.w + (column >> part.up);
}

template <typename From, typename To>
__global__ void gather(struct part part, int64_t voxels, int all, const From *from, To *to) {
  int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= voxels * part.channels) return;
  int64_t voxel = i / part.channels, n = blockIdx.y;
  int c = (int)(i % part.channels);
  float value = to_float(from[n * part.strides.sample + c * part.strides.channel +
                              stored_voxel(part, voxel) * part.strides.voxel]);
  to[(n * voxels + voxel) * all + part.first + c] = from_float<To>(value);
}

/* One stored voxel and channel: the sum over the gathered voxels that read it, in their order. */
template <typename From, typename To>
__global__ void scatter(struct part part, int64_t voxels, int all, bool add, const From *from,
                        To *to) {
  int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x, n = blockIdx.y;
  int64_t stored = (int64_t)part.d * part.h * part.w;
  if (i >= stored * part.channels) return;
  int64_t voxel = i / part.channels;
  int c = (int)(i % part.channels), side = 1 << part.up;
  int column = (int)(voxel % part.w) * side, row = (int)(voxel / part.w % part.h) * side;
  int64_t plane = voxel / part.w / part.h * side;
  float sum = 0;
  for (int child = 0; child < side * side * side; child++) {
    int64_t d = plane + child / (side * side), h = row + child / side % side;
    int64_t at = (d * part.h * side + h) * part.w * side + column + child % side;
    sum += to_float(from[(n * voxels + at) * all + part.first + c]);
  }
  To *target = to + n * part.strides.sample + c * part.strides.channel + voxel * part.strides.voxel;
  *target = from_float<To>(add ? to_float(*target) + sum : sum);
}

/* Weights between PyTorch's order, where taps are fastest, and cuDNN's, where channels are. */
template <typename To>
__global__ void pack(int channels, int taps, int64_t count, const float *from, To *to) {
  int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= count) return;
  int c = (int)(i % channels), tap = (int)(i / channels % taps);
  to[i] = from_float<To>(from[(i / channels / taps * channels + c) * taps + tap]);
}

__global__ void unpack(int channels, int taps, int64_t count, const float *from, float *to) {
  int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= count) return;
  int tap = (int)(i % taps), c = (int)(i / taps % channels);
  to[i] = from[(i / taps / channels * taps + tap) * channels + c];
}

template <typename T>
__global__ void finish(int channels, int64_t count, float slope, const float *bias, T *y) {
  int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= count) return;
  float value = to_float(y[i]) + (bias ? bias[i % channels] : 0);
  y[i] = from_float<T>(value < 0 ? slope * value : value);
}

static int64_t gathered_voxels(const struct node *node) {
  return shape_voxels(conv_input_shape(node, 0));
}

template <typename T>
static enum status gather_all(const struct node *node, const struct io *io, void *to,
                              struct stream *stream) {
  int64_t voxels = gathered_voxels(node);
  for (int i = 0; i < node->input_count; i++) {
    struct part part = part_of(node, i);
    dim3 grid(cuda_blocks(voxels * part.channels, THREADS), (unsigned)node->x[i].shape.n);
    int all = conv_input_channels(node);
    if (node->x[i].dtype == DTYPE_F32)
      CUDA_LAUNCH((gather<float, T>), grid, THREADS, 0, stream, part, voxels, all,
                  (const float *)io->x[i], (T *)to);
    else
      CUDA_LAUNCH((gather<T, T>), grid, THREADS, 0, stream, part, voxels, all, (const T *)io->x[i],
                  (T *)to);
  }
  return cuda_launched(node->name);
}

template <typename T>
static enum status scatter_all(const struct node *node, const struct io *io, const void *from,
                               struct stream *stream) {
  int64_t voxels = gathered_voxels(node);
  for (int i = 0; i < node->input_count; i++) {
    if (!io->dx[i]) continue;
    struct part part = part_of(node, i);
    int64_t stored = shape_voxels(node->x[i].shape) * part.channels;
    dim3 grid(cuda_blocks(stored, THREADS), (unsigned)node->x[i].shape.n);
    int all = conv_input_channels(node);
    if (node->x[i].dtype == DTYPE_F32)
      CUDA_LAUNCH((scatter<T, float>), grid, THREADS, 0, stream, part, voxels, all, io->dx_add[i],
                  (const T *)from, (float *)io->dx[i]);
    else
      CUDA_LAUNCH((scatter<T, T>), grid, THREADS, 0, stream, part, voxels, all, io->dx_add[i],
                  (const T *)from, (T *)io->dx[i]);
  }
  return cuda_launched(node->name);
}

static int taps_of(const struct node *node) {
  const int *kernel = conv_arguments_of(node)->kernel;
  return kernel[0] * kernel[1] * kernel[2];
}

template <typename T>
static enum status pack_all(const struct node *node, const void *w, void *to,
                            struct stream *stream) {
  int64_t count = parameter_count(&node->parameter[CONV_WEIGHT]);
  CUDA_LAUNCH(pack<T>, cuda_blocks(count, THREADS), THREADS, 0, stream, conv_input_channels(node),
              taps_of(node), count, (const float *)w, (T *)to);
  return cuda_launched(node->name);
}

template <typename T>
static enum status finish_all(const struct node *node, const void *bias, void *y,
                              struct stream *stream) {
  int64_t count = tensor_elements(&node->y);
  CUDA_LAUNCH(finish<T>, cuda_blocks(count, THREADS), THREADS, 0, stream, node->y.shape.c, count,
              conv_arguments_of(node)->slope, (const float *)bias, (T *)y);
  return cuda_launched(node->name);
}

/* The functions for a node's type, in the order of enum dtype. */
static const struct {
  enum status (*gather)(const struct node *, const struct io *, void *, struct stream *);
  enum status (*scatter)(const struct node *, const struct io *, const void *, struct stream *);
  enum status (*pack)(const struct node *, const void *, void *, struct stream *);
  enum status (*finish)(const struct node *, const void *, void *, struct stream *);
} types[] = {
    {gather_all<float>, scatter_all<float>, pack_all<float>, finish_all<float>},
    {nullptr, nullptr, nullptr, nullptr},
    {gather_all<__nv_bfloat16>, scatter_all<__nv_bfloat16>, pack_all<__nv_bfloat16>,
     finish_all<__nv_bfloat16>},
    {gather_all<__half>, scatter_all<__half>, pack_all<__half>, finish_all<__half>},
};
static_assert(DTYPE_F32 == 0 && DTYPE_BF16 == 2 && DTYPE_F16 == 3, "the order of `types`");

enum status conv_cudnn_gather(const struct node *node, const struct io *io, void *to,
                              struct stream *stream) {
  return types[node->dtype].gather(node, io, to, stream);
}

enum status conv_cudnn_scatter(const struct node *node, const struct io *io, const void *from,
                               struct stream *stream) {
  return types[node->dtype].scatter(node, io, from, stream);
}

enum status conv_cudnn_pack(const struct node *node, const void *w, void *to,
                            struct stream *stream) {
  return types[node->dtype].pack(node, w, to, stream);
}

enum status conv_cudnn_unpack(const struct node *node, const void *from, void *dw,
                              struct stream *stream) {
  int64_t count = parameter_count(&node->parameter[CONV_WEIGHT]);
  CUDA_LAUNCH(unpack, cuda_blocks(count, THREADS), THREADS, 0, stream, conv_input_channels(node),
              taps_of(node), count, (const float *)from, (float *)dw);
  return cuda_launched(node->name);
}

enum status conv_cudnn_finish(const struct node *node, const void *bias, void *y,
                              struct stream *stream) {
  return types[node->dtype].finish(node, bias, y, stream);
}
