/* leaky_relu on CUDA, element by element. */
#include "kernels/common/cuda_elements.h"
extern "C" {
#include "kernels/leaky_relu/leaky_relu.h"
}

template <typename T>
struct leaky_forward {
  const T *x;
  T *y;
  float slope;
  template <int LANES>
  __device__ void run(int64_t at) const {
    float value[LANES];
    cuda_load<T, LANES>(x + at, value);
#pragma unroll
    for (int i = 0; i < LANES; i++) value[i] = value[i] > 0 ? value[i] : value[i] * slope;
    cuda_store<T, LANES>(y + at, value);
  }
};

template <typename T>
struct leaky_backward {
  const T *y, *dy;
  T *dx;
  float slope;
  bool add;
  template <int LANES>
  __device__ void run(int64_t at) const {
    float value[LANES], gradient[LANES];
    cuda_load<T, LANES>(y + at, value);
    cuda_load<T, LANES>(dy + at, gradient);
#pragma unroll
    for (int i = 0; i < LANES; i++) gradient[i] *= value[i] > 0 ? 1 : slope;
    cuda_give<T, LANES>(dx + at, gradient, add);
  }
};

static float slope_of(const struct node *node) {
  return ((const struct leaky_relu_arguments *)node->arguments)->slope;
}

template <typename T>
static enum status leaky_relu_forward(const struct node *node, const struct io *io,
                                      struct stream *stream) {
  bool aligned = cuda_aligned(io->x[0]) && cuda_aligned(io->y);
  leaky_forward<T> each = {(const T *)io->x[0], (T *)io->y, slope_of(node)};
  return cuda_each_element<T>(node, each, tensor_elements(&node->y), aligned, stream);
}

template <typename T>
static enum status leaky_relu_backward(const struct node *node, const struct io *io,
                                       struct stream *stream) {
  if (!io->dx[0]) return STATUS_OK;
  bool aligned = cuda_aligned(io->y) && cuda_aligned(io->dy) && cuda_aligned(io->dx[0]);
  leaky_backward<T> each = {(const T *)io->y, (const T *)io->dy, (T *)io->dx[0], slope_of(node),
                            io->dx_add[0]};
  return cuda_each_element<T>(node, each, tensor_elements(&node->y), aligned, stream);
}

#define LEAKY_RELU_KERNEL(suffix, type, dtype_) \
  CUDA_KERNEL(leaky_relu_cuda, suffix) = {      \
      .name = "hand",                           \
      .device = DEVICE_CUDA,                    \
      .dtype = dtype_,                          \
      .training = true,                         \
      .forward = leaky_relu_forward<type>,      \
      .backward = leaky_relu_backward<type>,    \
  }

LEAKY_RELU_KERNEL(f32, float, DTYPE_F32);
LEAKY_RELU_KERNEL(bf16, __nv_bfloat16, DTYPE_BF16);
LEAKY_RELU_KERNEL(f16, __half, DTYPE_F16);
