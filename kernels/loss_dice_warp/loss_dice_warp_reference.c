/* loss_dice_warp voxel by voxel: the eight corners give their weights to their labels. */
#include <string.h>
#include "kernels/common/real.h"
#include "kernels/loss_dice_warp/dice.h"
#include "kernels/warp/warp_sample.h"

enum { CORNERS = 8 };

struct voxel {
  int label[CORNERS];
  int fixed;
  struct warp_axis at[3];
};

static struct voxel voxel_make(const struct node *node, const struct io *io, int n,
                               const int at[3]) {
  const struct loss_dice_warp_arguments *arguments = (const void *)node->arguments;
  const struct shape *s = &node->x[0].shape;
  const int extent[3] = {s->d, s->h, s->w};
  const unsigned char *moving = io->x[0], *fixed = io->x[1];
  const real *u = io->x[2];
  struct voxel voxel = {.fixed = fixed[tensor_at(&node->x[1], n, 0, at[0], at[1], at[2])]};
  for (int a = 0; a < 3; a++)
    voxel.at[a] = warp_axis(at[a], u[tensor_at(&node->x[2], n, a, at[0], at[1], at[2])], extent[a],
                            arguments->padding);
  for (int i = 0; i < CORNERS; i++) {
    int d = voxel.at[0].low + (i & 1), h = voxel.at[1].low + (i >> 1 & 1);
    int w = voxel.at[2].low + (i >> 2 & 1);
    bool is_inside = warp_corner_inside(voxel.at, extent, i);
    voxel.label[i] = is_inside ? moving[tensor_at(&node->x[0], n, 0, d, h, w)] : DICE_OUTSIDE;
  }
  return voxel;
}

static void add_voxel(const struct voxel *voxel, int classes, double *sums) {
  if (voxel->fixed < classes) sums[voxel->fixed * DICE_SUMS + DICE_TRUE]++;
  for (int i = 0; i < CORNERS; i++) {
    int label = voxel->label[i];
    if (label >= classes) continue;
    double weight = (double)warp_corner_weight(voxel->at, i);
    sums[label * DICE_SUMS + DICE_PREDICTED] += weight;
    if (label == voxel->fixed) sums[label * DICE_SUMS + DICE_OVERLAP] += weight;
  }
}

static double voxel_slope(const struct voxel *voxel, const struct dice_slopes *slopes, int axis) {
  double slope = 0;
  for (int i = 0; i < CORNERS; i++) {
    bool match = voxel->label[i] == voxel->fixed;
    slope += (double)warp_corner_slope(voxel->at, i, axis) * slopes->of[match][voxel->label[i]];
  }
  return slope;
}

static enum status loss_dice_warp_forward(const struct node *node, const struct io *io,
                                          struct stream *stream) {
  (void)stream;
  int classes = ((const struct loss_dice_warp_arguments *)(const void *)node->arguments)->classes;
  const struct shape *s = &node->x[0].shape;
  double *sums = io->saved[0];
  memset(sums, 0, tensor_bytes(&node->saved[0]));
  for (int n = 0; n < s->n; n++)
    for (int64_t i = 0; i < shape_voxels(*s); i++) {
      int at[3] = {(int)(i / s->w / s->h), (int)(i / s->w % s->h), (int)(i % s->w)};
      struct voxel voxel = voxel_make(node, io, n, at);
      add_voxel(&voxel, classes, sums + (int64_t)n * classes * DICE_SUMS);
    }
  *(double *)io->y = dice_loss(node, sums);
  return STATUS_OK;
}

static enum status loss_dice_warp_backward(const struct node *node, const struct io *io,
                                           struct stream *stream) {
  (void)stream;
  int classes = ((const struct loss_dice_warp_arguments *)(const void *)node->arguments)->classes;
  const struct shape *s = &node->x[0].shape;
  const double *sums = io->saved[0];
  real *dx = io->dx[2];
  if (!dx) return STATUS_OK;
  if (!io->dx_add[2]) memset(dx, 0, tensor_bytes(&node->x[2]));
  for (int n = 0; n < s->n; n++) {
    struct dice_slopes slopes;
    dice_slopes(node, sums + (int64_t)n * classes * DICE_SUMS, *(const double *)io->dy, &slopes);
    for (int64_t i = 0; i < shape_voxels(*s); i++) {
      int at[3] = {(int)(i / s->w / s->h), (int)(i / s->w % s->h), (int)(i % s->w)};
      struct voxel voxel = voxel_make(node, io, n, at);
      for (int a = 0; a < 3; a++)
        dx[tensor_at(&node->x[2], n, a, at[0], at[1], at[2])] +=
            (real)voxel_slope(&voxel, &slopes, a);
    }
  }
  return STATUS_OK;
}

extern const struct kernel REAL_NAME(loss_dice_warp_reference);
const struct kernel REAL_NAME(loss_dice_warp_reference) = {
    .name = "reference",
    .device = DEVICE_CPU,
    .dtype = REAL_DTYPE,
    .training = true,
    .forward = loss_dice_warp_forward,
    .backward = loss_dice_warp_backward,
};
