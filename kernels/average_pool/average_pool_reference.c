/* average_pool by the definition, any layouts. Sums are double. */
#include "kernels/common/real.h"
#include "kernels/op.h"

static int64_t first_voxel(const struct tensor *tensor, int64_t plane, int channels) {
  return tensor_at(tensor, (int)(plane / channels), (int)(plane % channels), 0, 0, 0);
}

static enum status average_pool_forward(const struct node *node, const struct io *io,
                                        struct stream *stream) {
  (void)stream;
  const struct tensor *x = &node->x[0];
  int channels = tensor_stored_channels(&node->y);
  int64_t voxels = shape_voxels(x->shape), stride = tensor_voxel_stride(x);
#pragma omp parallel for schedule(static)
  for (int64_t plane = 0; plane < (int64_t)x->shape.n * channels; plane++) {
    bool real_channel = plane % channels < x->shape.c;
    int64_t from = real_channel ? first_voxel(x, plane, channels) : 0;
    double sum = 0;
    for (int64_t i = 0; real_channel && i < voxels; i++)
      sum += (double)((const real *)io->x[0])[from + i * stride];
    ((real *)io->y)[first_voxel(&node->y, plane, channels)] = (real)(sum / (double)voxels);
  }
  return STATUS_OK;
}

static enum status average_pool_backward(const struct node *node, const struct io *io,
                                         struct stream *stream) {
  (void)stream;
  const struct tensor *x = &node->x[0];
  int channels = tensor_stored_channels(x);
  int64_t voxels = shape_voxels(x->shape), stride = tensor_voxel_stride(x);
  if (!io->dx[0]) return STATUS_OK;
#pragma omp parallel for schedule(static)
  for (int64_t plane = 0; plane < (int64_t)x->shape.n * channels; plane++) {
    real *dx = (real *)io->dx[0] + first_voxel(x, plane, channels), gradient = 0;
    if (plane % channels < x->shape.c)
      gradient = ((const real *)io->dy)[first_voxel(&node->y, plane, channels)] / (real)voxels;
    for (int64_t i = 0; i < voxels; i++)
      dx[i * stride] = io->dx_add[0] ? dx[i * stride] + gradient : gradient;
  }
  return STATUS_OK;
}

extern const struct kernel REAL_NAME(average_pool_reference);
const struct kernel REAL_NAME(average_pool_reference) = {
    .name = "reference",
    .device = DEVICE_CPU,
    .dtype = REAL_DTYPE,
    .training = true,
    .forward = average_pool_forward,
    .backward = average_pool_backward,
};
