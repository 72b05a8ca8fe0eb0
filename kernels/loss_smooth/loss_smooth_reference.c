/* loss_smooth by the definition: every difference where it is taken, and in backward its slope
 * carried to the voxels it was made of. */
#include <math.h>
#include <string.h>
#include "kernels/common/real.h"
#include "kernels/loss_smooth/terms.h"

/* One component of one sample. */
struct component {
  const struct tensor *tensor;
  int n, c;
};

static int64_t neighbour(const struct component *component, const int at[3],
                         const struct smooth_tap *tap) {
  return tensor_at(component->tensor, component->n, component->c, at[0] + tap->offset[0],
                   at[1] + tap->offset[1], at[2] + tap->offset[2]);
}

static double difference(const struct component *component, const struct smooth_term *term,
                         const real *u, const int at[3]) {
  double sum = 0;
  for (int k = 0; k < term->taps; k++)
    sum += term->tap[k].coefficient * (double)u[neighbour(component, at, &term->tap[k])];
  return sum;
}

/* Sum over the places of a term; with du, also adds scale times the gradient to it. */
static double visit_term(const struct component *component, const struct smooth_term *term,
                         bool absolute, const real *u, real *du, double scale) {
  double sum = 0;
  int at[3];
  for (at[0] = term->first[0]; at[0] < term->end[0]; at[0]++)
    for (at[1] = term->first[1]; at[1] < term->end[1]; at[1]++)
      for (at[2] = term->first[2]; at[2] < term->end[2]; at[2]++) {
        double value = difference(component, term, u, at);
        sum += absolute ? fabs(value) : value * value;
        double slope = scale * (absolute ? (value > 0) - (value < 0) : 2 * value);
        for (int k = 0; du && k < term->taps; k++)
          du[neighbour(component, at, &term->tap[k])] += (real)(slope * term->tap[k].coefficient);
      }
  return sum;
}

static double visit(const struct node *node, const real *u, real *du, double dy) {
  struct smooth_penalty penalty = smooth_penalty_make(node);
  struct component component = {&node->x[0], 0, 0};
  double total = 0;
  for (component.n = 0; component.n < node->x[0].shape.n; component.n++)
    for (component.c = 0; component.c < node->x[0].shape.c; component.c++)
      for (int t = 0; t < penalty.terms; t++) {
        const struct smooth_term *term = &penalty.term[t];
        total +=
            term->scale * visit_term(&component, term, penalty.absolute, u, du, dy * term->scale);
      }
  return total;
}

static enum status loss_smooth_forward(const struct node *node, const struct io *io,
                                       struct stream *stream) {
  (void)stream;
  *(double *)io->y = visit(node, io->x[0], NULL, 0);
  return STATUS_OK;
}

static enum status loss_smooth_backward(const struct node *node, const struct io *io,
                                        struct stream *stream) {
  (void)stream;
  real *dx = io->dx[0];
  if (!dx) return STATUS_OK;
  if (!io->dx_add[0]) memset(dx, 0, tensor_bytes(&node->x[0]));
  visit(node, io->x[0], dx, *(const double *)io->dy);
  return STATUS_OK;
}

extern const struct kernel REAL_NAME(loss_smooth_reference);
const struct kernel REAL_NAME(loss_smooth_reference) = {
    .name = "reference",
    .device = DEVICE_CPU,
    .dtype = REAL_DTYPE,
    .training = true,
    .forward = loss_smooth_forward,
    .backward = loss_smooth_backward,
};
