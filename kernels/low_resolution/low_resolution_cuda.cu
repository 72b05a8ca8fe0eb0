/* low_resolution on the GPU: a thread makes a column of voxels along d from the eight that each is
 * between, which neighbours share. */
#include "kernels/common/cuda_tile.h"
extern "C" {
#include "kernels/low_resolution/axis.h"
}

enum { THICK = 4 };

/* One call, by value. */
struct job {
  struct cuda_tiles tiles; /* planes are channels of samples */
  struct cuda_divider channels;
  struct shape shape;
  struct cuda_strides from, to;
};

__device__ inline int64_t voxel_at(const struct job &job, int d, int h, int w) {
  return ((int64_t)d * job.shape.h + h) * job.shape.w + w;
}

/* x of a channel in slice d at the four places of (h, w). */
__device__ inline float slice_value(const struct job &job, const float *x, int d,
                                    const struct low_place &h, const struct low_place &w) {
  float line[2];
#pragma unroll
  for (int i = 0; i < 2; i++) {
    const int64_t row = voxel_at(job, d, i ? h.high : h.low, 0);
    const float low = x[(row + w.low) * job.from.voxel], high = x[(row + w.high) * job.from.voxel];
    line[i] = low + w.fraction * (high - low);
  }
  return line[0] + h.fraction * (line[1] - line[0]);
}

__global__ void __launch_bounds__(CUDA_TILE_THREADS)
    low_resolution_blend(struct job job, const float *__restrict__ x,
                         const float *__restrict__ numbers, float *__restrict__ y) {
  const struct cuda_column column = cuda_column_find(job.tiles);
  unsigned channel;
  const int sample = (int)cuda_divide((unsigned)column.plane, job.channels, &channel);
  const float *zoom = numbers + sample * LOW_RESOLUTION_NUMBERS;
  if (!column.inside) return;
  const unsigned points = low_points(job.shape.d, zoom[0]);
  const struct low_place h =
      low_place_of(job.shape.h, low_points(job.shape.h, zoom[1]), column.row);
  const struct low_place w =
      low_place_of(job.shape.w, low_points(job.shape.w, zoom[2]), column.item);
  x += sample * job.from.sample + channel * job.from.channel;
  y += sample * job.to.sample + channel * job.to.channel;
  for (int d = column.first; d < column.end; d++) {
    const struct low_place place = low_place_of(job.shape.d, points, d);
    const float low = slice_value(job, x, place.low, h, w);
    const float high = slice_value(job, x, place.high, h, w);
    y[voxel_at(job, d, column.row, column.item) * job.to.voxel] =
        low + place.fraction * (high - low);
  }
}

static enum status low_resolution_forward(const struct node *node, const struct io *io,
                                          struct stream *stream) {
  struct job job;
  job.shape = node->y.shape;
  job.tiles = cuda_tiles_make(job.shape.w, job.shape.h, job.shape.d, THICK);
  job.channels = cuda_divider_make((unsigned)job.shape.c);
  job.from = cuda_strides_of(&node->x[0]);
  job.to = cuda_strides_of(&node->y);
  CUDA_LAUNCH(low_resolution_blend, cuda_tiles_grid(&job.tiles, (int64_t)job.shape.n * job.shape.c),
              cuda_tiles_block(&job.tiles), 0, stream, job, (const float *)io->x[0],
              (const float *)io->x[1], (float *)io->y);
  return cuda_launched(node->name);
}

CUDA_KERNEL(low_resolution_cuda, f32) = {
    .name = "hand",
    .device = DEVICE_CUDA,
    .dtype = DTYPE_F32,
    .training = false,
    .applies = NULL,
    .prepare = NULL,
    .forward = low_resolution_forward,
    .backward = NULL,
};
