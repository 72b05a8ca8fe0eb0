/* window on the GPU, element by element of y: neighbours share the voxel they read. */
#include "kernels/common/cuda_elements.h"
#include "kernels/common/cuda_tile.h"
extern "C" {
#include "kernels/window/table.h"
}

struct window_each {
  struct window_table table;
  struct cuda_divider channels;
  const float *x;
  float *y;
  template <int LANES>
  __device__ void run(int64_t at) const {
    float value[LANES];
    unsigned k, voxel = cuda_divide((unsigned)at, channels, &k);
    float seen = x[voxel];
#pragma unroll
    for (int i = 0; i < LANES; i++) {
      value[i] = window_value(&table, (int)k, seen);
      if (++k < channels.divisor || i + 1 == LANES) continue;
      k = 0;
      seen = x[++voxel];
    }
    cuda_store<float, LANES>(y + at, value);
  }
};

static enum status window_forward(const struct node *node, const struct io *io,
                                  struct stream *stream) {
  const struct window_each each = {window_table_make(node),
                                   cuda_divider_make((unsigned)node->y.shape.c),
                                   (const float *)io->x[0], (float *)io->y};
  return cuda_each_element<float>(node, each, tensor_elements(&node->y), cuda_aligned(io->y),
                                  stream);
}

static bool window_applies(const struct node *node) {
  return tensor_elements(&node->y) <= INT32_MAX && node->y.layout == LAYOUT_LAST;
}

CUDA_KERNEL(window_cuda, f32) = {
    .name = "hand",
    .device = DEVICE_CUDA,
    .dtype = DTYPE_F32,
    .training = false,
    .applies = window_applies,
    .prepare = NULL,
    .forward = window_forward,
    .backward = NULL,
};
