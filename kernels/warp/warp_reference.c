/* warp by the definition: one voxel, one corner, one channel at a time, any layouts. */
#include "kernels/common/real.h"
#include "kernels/warp/warp.h"
#include "kernels/warp/warp_sample.h"

/* One voxel of y and where it comes from: up to 8 voxels of the image with their weights, and the
 * derivatives of these with respect to the displacement. */
struct footprint {
  int n, d, h, w, count;
  int voxel[8][3];
  real weight[8], slope[8][3];
};

static void find_linear(struct footprint *foot, const real u[3], const int extent[3],
                        enum warp_padding padding) {
  const int index[3] = {foot->d, foot->h, foot->w};
  struct warp_axis at[3];
  for (int k = 0; k < 3; k++) at[k] = warp_axis(index[k], u[k], extent[k], padding);
  for (int corner = 0; corner < 8; corner++) {
    if (!warp_corner_inside(at, extent, corner)) continue;
    int i = foot->count++;
    foot->weight[i] = warp_corner_weight(at, corner);
    for (int k = 0; k < 3; k++) {
      foot->voxel[i][k] = at[k].low + (corner >> k & 1);
      foot->slope[i][k] = warp_corner_slope(at, corner, k);
    }
  }
}

static void find_nearest(struct footprint *foot, const real u[3], const int extent[3],
                         enum warp_padding padding) {
  const int index[3] = {foot->d, foot->h, foot->w};
  bool inside = true;
  for (int k = 0; k < 3; k++) {
    foot->voxel[0][k] = warp_nearest(index[k], u[k], extent[k], padding);
    foot->slope[0][k] = 0;
    inside &= warp_inside(foot->voxel[0][k], extent[k]);
  }
  foot->weight[0] = 1;
  foot->count = inside;
}

static void find(const struct node *node, const struct io *io, struct footprint *foot) {
  const struct warp_arguments *a = (const void *)node->arguments;
  const struct shape *s = &node->y.shape;
  const int extent[3] = {s->d, s->h, s->w};
  const real *field = io->x[1];
  real u[3];
  for (int k = 0; k < 3; k++)
    u[k] = field[tensor_at(&node->x[1], foot->n, k, foot->d, foot->h, foot->w)];
  foot->count = 0;
  (a->mode == WARP_LINEAR ? find_linear : find_nearest)(foot, u, extent, a->padding);
}

static int64_t image_at(const struct node *node, const struct footprint *foot, int c, int i) {
  return tensor_at(&node->x[0], foot->n, c, foot->voxel[i][0], foot->voxel[i][1],
                   foot->voxel[i][2]);
}

static void sample(const struct node *node, const struct io *io, const struct footprint *foot) {
  const real *image = io->x[0];
  for (int c = 0; c < node->y.shape.c; c++) {
    real sum = 0;
    for (int i = 0; i < foot->count; i++)
      sum += foot->weight[i] * image[image_at(node, foot, c, i)];
    ((real *)io->y)[tensor_at(&node->y, foot->n, c, foot->d, foot->h, foot->w)] = sum;
  }
}

static void add_gradients(const struct node *node, const struct io *io,
                          const struct footprint *foot) {
  const real *image = io->x[0], *dy = io->dy;
  real *dimage = io->dx[0], *dfield = io->dx[1], du[3] = {0};
  for (int c = 0; c < node->y.shape.c; c++) {
    real gradient = dy[tensor_at(&node->y, foot->n, c, foot->d, foot->h, foot->w)];
    for (int i = 0; i < foot->count; i++) {
      int64_t at = image_at(node, foot, c, i);
      if (dimage) dimage[at] += foot->weight[i] * gradient;
      for (int k = 0; k < 3; k++) du[k] += foot->slope[i][k] * image[at] * gradient;
    }
  }
  for (int k = 0; dfield && k < 3; k++)
    dfield[tensor_at(&node->x[1], foot->n, k, foot->d, foot->h, foot->w)] += du[k];
}

static void each_voxel(const struct node *node, const struct io *io,
                       void (*visit)(const struct node *, const struct io *,
                                     const struct footprint *)) {
  const struct shape *s = &node->y.shape;
  struct footprint foot;
  for (foot.n = 0; foot.n < s->n; foot.n++)
    for (foot.d = 0; foot.d < s->d; foot.d++)
      for (foot.h = 0; foot.h < s->h; foot.h++)
        for (foot.w = 0; foot.w < s->w; foot.w++) {
          find(node, io, &foot);
          visit(node, io, &foot);
        }
}

static enum status warp_forward(const struct node *node, const struct io *io,
                                struct stream *stream) {
  (void)stream;
  real *y = io->y;
  for (int64_t i = 0; i < tensor_elements(&node->y); i++) y[i] = 0; /* padding channels */
  each_voxel(node, io, sample);
  return STATUS_OK;
}

static enum status warp_backward(const struct node *node, const struct io *io,
                                 struct stream *stream) {
  (void)stream;
  for (int input = 0; input < 2; input++) {
    real *dx = io->dx[input];
    for (int64_t i = 0; dx && !io->dx_add[input] && i < tensor_elements(&node->x[input]); i++)
      dx[i] = 0;
  }
  each_voxel(node, io, add_gradients);
  return STATUS_OK;
}

extern const struct kernel REAL_NAME(warp_reference);
const struct kernel REAL_NAME(warp_reference) = {
    .name = "reference",
    .device = DEVICE_CPU,
    .dtype = REAL_DTYPE,
    .training = true,
    .forward = warp_forward,
    .backward = warp_backward,
};
