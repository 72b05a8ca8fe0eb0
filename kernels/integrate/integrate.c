/* The operator integrate. Backward needs the saved fields only. */
#include "kernels/integrate/integrate.h"
#include <math.h>
#include "kernels/common/cuda_table.h"
#include "kernels/common/real.h"
#include "kernels/common/simd.h"

enum { MOST_STEPS = 30 };

double integrate_scale(const struct node *node) {
  const struct integrate_arguments *arguments = (const void *)node->arguments;
  return ldexp(arguments->negate ? -1 : 1, -arguments->steps);
}

static enum status integrate_infer(struct node *node) {
  const struct integrate_arguments *arguments = (const void *)node->arguments;
  REQUIRE(node->input_count == 1, STATUS_USAGE, "%s: integrate takes one input, found %d",
          node->name, node->input_count);
  const struct shape *s = &node->x[0].shape;
  REQUIRE(s->c == 3, STATUS_USAGE, "%s: integrate: expected a velocity of 3 channels, found %d",
          node->name, s->c);
  REQUIRE(arguments->steps >= 0 && arguments->steps <= MOST_STEPS, STATUS_USAGE,
          "%s: integrate: expected 0 to %d steps, found %d", node->name, MOST_STEPS,
          arguments->steps);
  node->y = node->x[0];
  node->saved_count = arguments->steps > 0;
  struct shape fields = {s->n * arguments->steps, 1, s->d * s->h, s->w, 4};
  node->saved[0] = (struct tensor){fields, node->x[0].dtype, LAYOUT_PLANAR};
  return STATUS_OK;
}

CUDA_DECLARE_F32(integrate_cuda);
SIMD_DECLARE(integrate_simd);
REAL_DECLARE(integrate_reference);

static const struct kernel *const kernels[] = {CUDA_KERNELS_F32(integrate_cuda)
                                                   SIMD_KERNELS(integrate_simd),
                                               REAL_KERNELS(integrate_reference), NULL};

extern const struct op op_integrate;
const struct op op_integrate = {
    .name = "integrate",
    .help = "velocity field to displacement field by scaling and squaring",
    .infer = integrate_infer,
    .kernels = kernels,
};
