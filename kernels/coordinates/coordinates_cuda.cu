/* coordinates on the GPU. */
#include "kernels/common/cuda_tile.h"
extern "C" {
#include "kernels/coordinates/coordinate.h"
}

enum { THICK = 4 };

template <typename T>
__global__ void __launch_bounds__(CUDA_TILE_THREADS)
    coordinates_fill(struct cuda_tiles tiles, struct shape shape, struct cuda_strides to, T *y) {
  const struct cuda_column column = cuda_column_find(tiles);
  if (!column.inside) return;
  for (int d = column.first; d < column.end; d++) {
    const int64_t voxel = ((int64_t)d * shape.h + column.row) * shape.w + column.item;
    T *at = y + column.plane * to.sample + voxel * to.voxel;
    at[0] = from_float<T>(coordinate(d, shape.d));
    at[to.channel] = from_float<T>(coordinate(column.row, shape.h));
    at[2 * to.channel] = from_float<T>(coordinate(column.item, shape.w));
  }
}

template <typename T>
static enum status coordinates_forward(const struct node *node, const struct io *io,
                                       struct stream *stream) {
  const struct shape &shape = node->y.shape;
  const struct cuda_tiles tiles = cuda_tiles_make(shape.w, shape.h, shape.d, THICK);
  CUDA_LAUNCH(coordinates_fill<T>, cuda_tiles_grid(&tiles, shape.n), cuda_tiles_block(&tiles), 0,
              stream, tiles, shape, cuda_strides_of(&node->y), (T *)io->y);
  return cuda_launched(node->name);
}

static enum status coordinates_backward(const struct node *node, const struct io *io,
                                        struct stream *stream) {
  if (io->dx[0] && !io->dx_add[0])
    CUDA_TRY(cudaMemsetAsync(io->dx[0], 0, tensor_bytes(&node->x[0]), cuda_stream(stream)));
  return STATUS_OK;
}

#define COORDINATES_KERNEL(suffix, type, dtype_) \
  CUDA_KERNEL(coordinates_cuda, suffix) = {      \
      .name = "hand",                            \
      .device = DEVICE_CUDA,                     \
      .dtype = dtype_,                           \
      .training = true,                          \
      .applies = NULL,                           \
      .prepare = NULL,                           \
      .forward = coordinates_forward<type>,      \
      .backward = coordinates_backward,          \
  }

COORDINATES_KERNEL(f32, float, DTYPE_F32);
COORDINATES_KERNEL(bf16, __nv_bfloat16, DTYPE_BF16);
COORDINATES_KERNEL(f16, __half, DTYPE_F16);
