/* max_pool by the definition, any windows and layouts. */
#include "kernels/common/real.h"
#include "kernels/max_pool/max_pool.h"

struct place {
  int n, c, d, h, w;
};

/* The element of x that is voxel `number` of the window of output `at`. */
static int64_t window_element(const struct node *node, const struct place *at, int number) {
  const struct max_pool_arguments *a = (const void *)node->arguments;
  int w = number % a->kernel[2], h = number / a->kernel[2] % a->kernel[1];
  int d = number / a->kernel[2] / a->kernel[1];
  return tensor_at(&node->x[0], at->n, at->c, at->d * a->stride[0] + d, at->h * a->stride[1] + h,
                   at->w * a->stride[2] + w);
}

static void pool_one(const struct node *node, const struct io *io, const struct place *at) {
  const struct max_pool_arguments *a = (const void *)node->arguments;
  const real *x = io->x[0];
  int best = 0;
  for (int k = 1; k < a->kernel[0] * a->kernel[1] * a->kernel[2]; k++) {
    real largest = x[window_element(node, at, best)], value = x[window_element(node, at, k)];
    if (value > largest || value != value) best = k;
  }
  int64_t to = tensor_at(&node->y, at->n, at->c, at->d, at->h, at->w);
  ((real *)io->y)[to] = x[window_element(node, at, best)];
  ((unsigned char *)io->saved[0])[to] = (unsigned char)best;
}

static void unpool_one(const struct node *node, const struct io *io, const struct place *at) {
  int64_t from = tensor_at(&node->y, at->n, at->c, at->d, at->h, at->w);
  int best = ((const unsigned char *)io->saved[0])[from];
  ((real *)io->dx[0])[window_element(node, at, best)] += ((const real *)io->dy)[from];
}

static void each_output(const struct node *node, const struct io *io,
                        void (*visit)(const struct node *, const struct io *,
                                      const struct place *)) {
  const struct shape *s = &node->y.shape;
  struct place at;
  for (at.n = 0; at.n < s->n; at.n++)
    for (at.c = 0; at.c < s->c; at.c++)
      for (at.d = 0; at.d < s->d; at.d++)
        for (at.h = 0; at.h < s->h; at.h++)
          for (at.w = 0; at.w < s->w; at.w++) visit(node, io, &at);
}

static enum status max_pool_forward(const struct node *node, const struct io *io,
                                    struct stream *stream) {
  (void)stream;
  real *y = io->y;
  unsigned char *saved = io->saved[0];
  for (int64_t i = 0; i < tensor_elements(&node->y); i++) y[i] = 0;
  for (int64_t i = 0; i < tensor_elements(&node->saved[0]); i++) saved[i] = 0;
  each_output(node, io, pool_one);
  return STATUS_OK;
}

static enum status max_pool_backward(const struct node *node, const struct io *io,
                                     struct stream *stream) {
  (void)stream;
  real *dx = io->dx[0];
  if (!dx) return STATUS_OK;
  for (int64_t i = 0; !io->dx_add[0] && i < tensor_elements(&node->x[0]); i++) dx[i] = 0;
  each_output(node, io, unpool_one);
  return STATUS_OK;
}

extern const struct kernel REAL_NAME(max_pool_reference);
const struct kernel REAL_NAME(max_pool_reference) = {
    .name = "reference",
    .device = DEVICE_CPU,
    .dtype = REAL_DTYPE,
    .training = true,
    .forward = max_pool_forward,
    .backward = max_pool_backward,
};
