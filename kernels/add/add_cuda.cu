/* add on CUDA, element by element. */
#include "kernels/common/cuda_elements.h"

template <typename T>
struct add_sum {
  const T *x[OP_MAX_INPUTS];
  T *y;
  int count;
  template <int LANES>
  __device__ void run(int64_t at) const {
    float sum[LANES], value[LANES];
    cuda_load<T, LANES>(x[0] + at, sum);
#pragma unroll
    for (int k = 1; k < OP_MAX_INPUTS; k++) {
      if (k >= count) break;
      cuda_load<T, LANES>(x[k] + at, value);
#pragma unroll
      for (int i = 0; i < LANES; i++) sum[i] += value[i];
    }
    cuda_store<T, LANES>(y + at, sum);
  }
};

/* Every input's gradient from one reading of dy. */
template <typename T>
struct add_give {
  const T *dy;
  T *dx[OP_MAX_INPUTS];
  bool add[OP_MAX_INPUTS];
  template <int LANES>
  __device__ void run(int64_t at) const {
    float gradient[LANES];
    cuda_load<T, LANES>(dy + at, gradient);
#pragma unroll
    for (int k = 0; k < OP_MAX_INPUTS; k++) {
      float given[LANES];
      if (!dx[k]) continue;
#pragma unroll
      for (int i = 0; i < LANES; i++) given[i] = gradient[i];
      cuda_give<T, LANES>(dx[k] + at, given, add[k]);
    }
  }
};

template <typename T>
static enum status add_forward(const struct node *node, const struct io *io,
                               struct stream *stream) {
  add_sum<T> each = {{}, (T *)io->y, node->input_count};
  bool aligned = cuda_aligned(io->y);
  for (int k = 0; k < node->input_count; k++) {
    each.x[k] = (const T *)io->x[k];
    aligned = aligned && cuda_aligned(io->x[k]);
  }
  return cuda_each_element<T>(node, each, tensor_elements(&node->y), aligned, stream);
}

template <typename T>
static enum status add_backward(const struct node *node, const struct io *io,
                                struct stream *stream) {
  add_give<T> each = {(const T *)io->dy, {}, {}};
  bool aligned = cuda_aligned(io->dy);
  for (int k = 0; k < node->input_count; k++) {
    each.dx[k] = (T *)io->dx[k];
    each.add[k] = io->dx_add[k];
    aligned = aligned && cuda_aligned(io->dx[k]);
  }
  return cuda_each_element<T>(node, each, tensor_elements(&node->y), aligned, stream);
}

#define ADD_KERNEL(suffix, type, dtype_) \
  CUDA_KERNEL(add_cuda, suffix) = {      \
      .name = "hand",                    \
      .device = DEVICE_CUDA,             \
      .dtype = dtype_,                   \
      .training = true,                  \
      .forward = add_forward<type>,      \
      .backward = add_backward<type>,    \
  }

ADD_KERNEL(f32, float, DTYPE_F32);
ADD_KERNEL(bf16, __nv_bfloat16, DTYPE_BF16);
ADD_KERNEL(f16, __half, DTYPE_F16);
