/* integrate by the definition, one voxel and corner at a time, any layouts. */
#include "kernels/common/real.h"
#include "kernels/integrate/integrate.h"
#include "kernels/warp/warp_sample.h"

enum { LANES = 4 };

struct field {
  int extent[3];
  int64_t samples, voxels;
};

static struct field field_of(const struct node *node) {
  const struct shape *s = &node->y.shape;
  return (struct field){{s->d, s->h, s->w}, s->n, shape_voxels(*s)};
}

/* Where the voxel falls that field `v` moves. */
static void split(const struct field *f, const real *v, int64_t voxel, struct warp_axis at[3]) {
  const int64_t row = voxel / f->extent[2];
  const int index[3] = {(int)(row / f->extent[1]), (int)(row % f->extent[1]),
                        (int)(voxel % f->extent[2])};
  for (int k = 0; k < 3; k++)
    at[k] = warp_axis(index[k], v[voxel * LANES + k], f->extent[k], WARP_ZEROS);
}

/* to = v + v(p + v(p)) for one sample. */
static void square(const struct field *f, const real *v, real *to) {
  for (int64_t i = 0; i < f->voxels; i++) {
    struct warp_axis at[3];
    split(f, v, i, at);
    for (int k = 0; k < LANES; k++) to[i * LANES + k] = v[i * LANES + k];
    for (int corner = 0; corner < 8; corner++) {
      if (!warp_corner_inside(at, f->extent, corner)) continue;
      const real *from = v + warp_corner_voxel(at, f->extent, corner) * LANES;
      for (int k = 0; k < 3; k++) to[i * LANES + k] += warp_corner_weight(at, corner) * from[k];
    }
  }
}

/* dv = the gradient of v, given that of its square. */
static void square_backward(const struct field *f, const real *v, const real *gradient, real *dv) {
  for (int64_t i = 0; i < f->voxels * LANES; i++) dv[i] = gradient[i];
  for (int64_t i = 0; i < f->voxels; i++) {
    struct warp_axis at[3];
    split(f, v, i, at);
    const real *g = gradient + i * LANES;
    for (int corner = 0; corner < 8; corner++) {
      if (!warp_corner_inside(at, f->extent, corner)) continue;
      int64_t voxel = warp_corner_voxel(at, f->extent, corner);
      real along = 0;
      for (int c = 0; c < 3; c++) {
        along += g[c] * v[voxel * LANES + c];
        dv[voxel * LANES + c] += warp_corner_weight(at, corner) * g[c];
      }
      for (int k = 0; k < 3; k++) dv[i * LANES + k] += warp_corner_slope(at, corner, k) * along;
    }
  }
}

/* Where channel k of a voxel, counted through all samples, is stored. */
static int64_t place(const struct field *f, const struct tensor *tensor, int64_t voxel, int k) {
  int64_t step = tensor->layout == LAYOUT_BLOCKED ? CHANNEL_BLOCK : 1;
  return tensor_at(tensor, (int)(voxel / f->voxels), k, 0, 0, 0) + voxel % f->voxels * step;
}

static void load_scaled(const struct field *f, const struct tensor *tensor, const real *from,
                        real scale, real *to) {
  for (int64_t i = 0; i < f->samples * f->voxels; i++) {
    for (int k = 0; k < 3; k++) to[i * LANES + k] = from[place(f, tensor, i, k)] * scale;
    to[i * LANES + 3] = 0;
  }
}

static void store_scaled(const struct field *f, const struct tensor *tensor, const real *from,
                         real scale, bool add, real *to) {
  for (int64_t i = 0; !add && i < tensor_elements(tensor); i++) to[i] = 0;
  for (int64_t i = 0; i < f->samples * f->voxels; i++)
    for (int k = 0; k < 3; k++) to[place(f, tensor, i, k)] += from[i * LANES + k] * scale;
}

static void integrate_prepare(struct node *node) {
  int64_t field = node->y.shape.n * shape_voxels(node->y.shape) * LANES;
  node->forward_workspace = (size_t)field * sizeof(real);
  node->backward_workspace = 2 * node->forward_workspace;
}

static enum status integrate_forward(const struct node *node, const struct io *io,
                                     struct stream *stream) {
  (void)stream;
  int steps = ((const struct integrate_arguments *)(const void *)node->arguments)->steps;
  struct field f = field_of(node);
  int64_t sample = f.voxels * LANES;
  real *last = io->workspace, *first = steps ? io->saved[0] : last;
  load_scaled(&f, &node->x[0], io->x[0], (real)integrate_scale(node), first);
  for (int step = 0; step < steps; step++) {
    real *from = first + step * f.samples * sample;
    real *to = step + 1 < steps ? from + f.samples * sample : last;
    for (int n = 0; n < f.samples; n++) square(&f, from + n * sample, to + n * sample);
  }
  store_scaled(&f, &node->y, last, 1, false, io->y);
  return STATUS_OK;
}

static enum status integrate_backward(const struct node *node, const struct io *io,
                                      struct stream *stream) {
  (void)stream;
  if (!io->dx[0]) return STATUS_OK;
  int steps = ((const struct integrate_arguments *)(const void *)node->arguments)->steps;
  struct field f = field_of(node);
  int64_t sample = f.voxels * LANES;
  real *gradient = io->workspace, *dv = gradient + f.samples * sample;
  load_scaled(&f, &node->y, io->dy, 1, gradient);
  for (int step = steps - 1; step >= 0; step--) {
    const real *v = (const real *)io->saved[0] + step * f.samples * sample;
    for (int n = 0; n < f.samples; n++)
      square_backward(&f, v + n * sample, gradient + n * sample, dv + n * sample);
    real *swap = gradient;
    gradient = dv;
    dv = swap;
  }
  store_scaled(&f, &node->x[0], gradient, (real)integrate_scale(node), io->dx_add[0], io->dx[0]);
  return STATUS_OK;
}

extern const struct kernel REAL_NAME(integrate_reference);
const struct kernel REAL_NAME(integrate_reference) = {
    .name = "reference",
    .device = DEVICE_CPU,
    .dtype = REAL_DTYPE,
    .training = true,
    .prepare = integrate_prepare,
    .forward = integrate_forward,
    .backward = integrate_backward,
};
