/* blur by the definition: each voxel is the weighted sum of a box. Any layouts. */
#include <string.h>
#include "kernels/blur/weights.h"

struct sample {
  const struct node *node;
  const struct io *io;
  int n;
  struct blur_axis axis[3];
};

static real voxel_of(const struct sample *sample, int c, const int at[3]) {
  const struct tensor *x = &sample->node->x[0];
  const struct blur_axis *axis = sample->axis;
  const int extent[3] = {x->shape.d, x->shape.h, x->shape.w};
  double sum = 0;
  int j[3];
  for (j[0] = -axis[0].radius; j[0] <= axis[0].radius; j[0]++)
    for (j[1] = -axis[1].radius; j[1] <= axis[1].radius; j[1]++)
      for (j[2] = -axis[2].radius; j[2] <= axis[2].radius; j[2]++) {
        double weight = 1;
        int place[3];
        for (int k = 0; k < 3; k++) {
          weight *= (double)axis[k].weight[j[k] < 0 ? -j[k] : j[k]];
          place[k] = blur_clamp(at[k] + j[k], extent[k]);
        }
        int64_t from = tensor_at(x, sample->n, c, place[0], place[1], place[2]);
        sum += weight * (double)((const real *)sample->io->x[0])[from];
      }
  return (real)sum;
}

static void blur_sample(const struct sample *sample) {
  const struct tensor *y = &sample->node->y;
#pragma omp parallel for schedule(static)
  for (int d = 0; d < y->shape.d; d++)
    for (int c = 0; c < y->shape.c; c++)
      for (int h = 0; h < y->shape.h; h++)
        for (int w = 0; w < y->shape.w; w++) {
          const int at[3] = {d, h, w};
          ((real *)sample->io->y)[tensor_at(y, sample->n, c, d, h, w)] = voxel_of(sample, c, at);
        }
}

static enum status blur_forward(const struct node *node, const struct io *io,
                                struct stream *stream) {
  (void)stream;
  struct sample sample = {.node = node, .io = io};
  memset(io->y, 0, tensor_bytes(&node->y)); /* padding channels */
  for (; sample.n < node->y.shape.n; sample.n++) {
    const real *deviation = (const real *)io->x[1] + tensor_at(&node->x[1], sample.n, 0, 0, 0, 0);
    for (int k = 0; k < 3; k++) sample.axis[k] = blur_axis_of(deviation[k]);
    blur_sample(&sample);
  }
  return STATUS_OK;
}

extern const struct kernel REAL_NAME(blur_reference);
const struct kernel REAL_NAME(blur_reference) = {
    .name = "reference",
    .device = DEVICE_CPU,
    .dtype = REAL_DTYPE,
    .training = false,
    .forward = blur_forward,
};
