/* loss_lncc by the definition, one window at a time. */
#include <string.h>
#include "kernels/common/real.h"
#include "kernels/loss_lncc/loss_lncc.h"

enum { SUMS = 5 };

/* One channel of one sample: `at` finds a voxel's element. */
struct volume {
  const struct tensor *tensor;
  int n, c, window;
};

static double per_voxel(const struct volume *volume) {
  return 1 / ((double)volume->window * volume->window * volume->window);
}

static bool inside(const struct shape *s, int d, int h, int w) {
  return d >= 0 && d < s->d && h >= 0 && h < s->h && w >= 0 && w < s->w;
}

static int64_t at(const struct volume *volume, int d, int h, int w) {
  return tensor_at(volume->tensor, volume->n, volume->c, d, h, w);
}

static struct loss_lncc_moments moments(const struct volume *volume, const real *own,
                                        const real *other, const int centre[3]) {
  double sum[SUMS] = {0};
  int r = volume->window / 2;
  for (int d = centre[0] - r; d <= centre[0] + r; d++)
    for (int h = centre[1] - r; h <= centre[1] + r; h++)
      for (int w = centre[2] - r; w <= centre[2] + r; w++) {
        if (!inside(&volume->tensor->shape, d, h, w)) continue;
        double a = own[at(volume, d, h, w)], b = other[at(volume, d, h, w)];
        const double term[SUMS] = {a, b, a * a, b * b, a * b};
        for (int i = 0; i < SUMS; i++) sum[i] += term[i];
      }
  return loss_lncc_moments(sum[0], sum[1], sum[2], sum[3], sum[4], per_voxel(volume));
}

/* Calls each(context, volume, {d, h, w}) for every voxel of every channel. */
static void visit(const struct node *node, void *context,
                  void (*each)(void *, const struct volume *, const int *)) {
  struct shape s = node->x[0].shape;
  int window = ((const struct loss_lncc_arguments *)(const void *)node->arguments)->window;
  for (int n = 0; n < s.n; n++)
    for (int c = 0; c < s.c; c++)
      for (int64_t i = 0; i < shape_voxels(s); i++) {
        struct volume volume = {&node->x[0], n, c, window};
        int centre[3] = {(int)(i / s.w / s.h), (int)(i / s.w % s.h), (int)(i % s.w)};
        each(context, &volume, centre);
      }
}

struct pass {
  const real *own, *other;
  real *dx;
  double sum, scale;
};

static void add_correlation(void *context, const struct volume *volume, const int *centre) {
  struct pass *pass = context;
  struct loss_lncc_moments m = moments(volume, pass->own, pass->other, centre);
  pass->sum += m.cross * m.cross / m.denominator;
}

/* Carries the slopes of one window to all voxels in it. */
static void spread_slopes(void *context, const struct volume *volume, const int *centre) {
  struct pass *pass = context;
  int r = volume->window / 2;
  struct loss_lncc_moments m = moments(volume, pass->own, pass->other, centre);
  struct loss_lncc_slopes slopes = loss_lncc_slopes(m, m.cross / m.denominator);
  for (int d = centre[0] - r; d <= centre[0] + r; d++)
    for (int h = centre[1] - r; h <= centre[1] + r; h++)
      for (int w = centre[2] - r; w <= centre[2] + r; w++) {
        if (!inside(&volume->tensor->shape, d, h, w)) continue;
        int64_t i = at(volume, d, h, w);
        double slope = slopes.own_other * (double)pass->other[i] +
                       2 * slopes.own_own * (double)pass->own[i] + slopes.constant;
        pass->dx[i] += (real)(pass->scale * slope);
      }
}

static double logical_elements(const struct tensor *x) {
  return (double)x->shape.n * x->shape.c * (double)shape_voxels(x->shape);
}

static enum status loss_lncc_forward(const struct node *node, const struct io *io,
                                     struct stream *stream) {
  (void)stream;
  struct pass pass = {.own = io->x[0], .other = io->x[1]};
  visit(node, &pass, add_correlation);
  *(double *)io->y = -pass.sum / logical_elements(&node->x[0]);
  return STATUS_OK;
}

static enum status loss_lncc_backward(const struct node *node, const struct io *io,
                                      struct stream *stream) {
  (void)stream;
  double scale = -*(const double *)io->dy / logical_elements(&node->x[0]);
  for (int input = 0; input < 2; input++) {
    struct pass pass = {io->x[input], io->x[1 - input], io->dx[input], 0, scale};
    if (!pass.dx) continue;
    if (!io->dx_add[input]) memset(pass.dx, 0, tensor_bytes(&node->x[input]));
    visit(node, &pass, spread_slopes);
  }
  return STATUS_OK;
}

extern const struct kernel REAL_NAME(loss_lncc_reference);
const struct kernel REAL_NAME(loss_lncc_reference) = {
    .name = "reference",
    .device = DEVICE_CPU,
    .dtype = REAL_DTYPE,
    .training = true,
    .forward = loss_lncc_forward,
    .backward = loss_lncc_backward,
};
