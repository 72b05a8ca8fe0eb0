/* low_resolution by the definition: one voxel, one corner at a time, any layouts. */
#include <string.h>
#include "kernels/low_resolution/axis.h"

static real blend(const struct tensor *tensor, const real *x, int n, int c,
                  const struct low_place place[3]) {
  double sum = 0;
  for (int corner = 0; corner < 8; corner++) {
    double weight = 1;
    int at[3];
    for (int k = 0; k < 3; k++) {
      bool up = corner >> k & 1;
      at[k] = up ? place[k].high : place[k].low;
      weight *= (double)(up ? place[k].fraction : 1 - place[k].fraction);
    }
    sum += weight * (double)x[tensor_at(tensor, n, c, at[0], at[1], at[2])];
  }
  return (real)sum;
}

static enum status low_resolution_forward(const struct node *node, const struct io *io,
                                          struct stream *stream) {
  (void)stream;
  const struct shape *s = &node->y.shape;
  const int extent[3] = {s->d, s->h, s->w};
  memset(io->y, 0, tensor_bytes(&node->y)); /* padding channels */
  for (int n = 0; n < s->n; n++) {
    const real *zoom = (const real *)io->x[1] + tensor_at(&node->x[1], n, 0, 0, 0, 0);
    unsigned points[3];
    for (int k = 0; k < 3; k++) points[k] = low_points(extent[k], zoom[k]);
#pragma omp parallel for schedule(static)
    for (int d = 0; d < s->d; d++)
      for (int h = 0; h < s->h; h++)
        for (int w = 0; w < s->w; w++) {
          const struct low_place place[3] = {low_place_of(s->d, points[0], d),
                                             low_place_of(s->h, points[1], h),
                                             low_place_of(s->w, points[2], w)};
          for (int c = 0; c < s->c; c++)
            ((real *)io->y)[tensor_at(&node->y, n, c, d, h, w)] =
                blend(&node->x[0], io->x[0], n, c, place);
        }
  }
  return STATUS_OK;
}

extern const struct kernel REAL_NAME(low_resolution_reference);
const struct kernel REAL_NAME(low_resolution_reference) = {
    .name = "reference",
    .device = DEVICE_CPU,
    .dtype = REAL_DTYPE,
    .training = false,
    .forward = low_resolution_forward,
};
