/* window for planar images: rows of voxels into planes, or each voxel into its block of channels.
 */
#include "kernels/common/simd.h"
#include "kernels/window/table.h"

enum { CHUNK = 1 << 12 }; /* voxels per piece of work */

static void chunk_planes(const struct window_table *table, const float *x, float *y, int count,
                         int channels, int64_t plane) {
  for (int k = 0; k < channels; k++)
    for (int i = 0; i < count; i++) y[k * plane + i] = window_value(table, k, x[i]);
}

static void chunk_blocks(const struct window_table *table, const float *x, float *y, int count) {
  for (int i = 0; i < count; i++)
    for (int k = 0; k < CHANNEL_BLOCK; k++)
      y[(int64_t)i * CHANNEL_BLOCK + k] = window_value(table, k, x[i]);
}

static enum status window_forward(const struct node *node, const struct io *io,
                                  struct stream *stream) {
  (void)stream;
  const struct window_table table = window_table_make(node);
  const struct shape *s = &node->y.shape;
  int64_t voxels = shape_voxels(*s), chunks = (voxels + CHUNK - 1) / CHUNK;
  bool planar = node->y.layout == LAYOUT_PLANAR;
#pragma omp parallel for schedule(static)
  for (int64_t i = 0; i < s->n * chunks; i++) {
    int64_t n = i / chunks, first = i % chunks * CHUNK, left = voxels - first;
    int count = left < CHUNK ? (int)left : CHUNK;
    const float *x = (const float *)io->x[0] + n * voxels + first;
    float *y = io->y;
    if (planar)
      chunk_planes(&table, x, y + n * s->c * voxels + first, count, s->c, voxels);
    else
      chunk_blocks(&table, x, y + (n * voxels + first) * CHANNEL_BLOCK, count);
  }
  return STATUS_OK;
}

static bool window_applies(const struct node *node) {
  return simd_available() && node->x[0].layout == LAYOUT_PLANAR && node->y.layout != LAYOUT_LAST;
}

extern const struct kernel SIMD_NAME(window_simd);
const struct kernel SIMD_NAME(window_simd) = {
    .name = SIMD_LABEL("simd"),
    .device = DEVICE_CPU,
    .dtype = DTYPE_F32,
    .training = false,
    .applies = window_applies,
    .forward = window_forward,
};
