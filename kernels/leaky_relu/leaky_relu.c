/* The operator leaky_relu: one floating-point input of any shape and layout; backward looks at the
 * sign of y, so that y may lie where x was. */
#include "kernels/leaky_relu/leaky_relu.h"
#include "kernels/common/cuda_table.h"
#include "kernels/common/real.h"
#include "kernels/common/simd.h"
#include "kernels/common/widen.h"

static enum status leaky_relu_infer(struct node *node) {
  const struct leaky_relu_arguments *arguments = (const void *)node->arguments;
  REQUIRE(node->input_count == 1, STATUS_USAGE, "%s: leaky_relu takes one input, found %d",
          node->name, node->input_count);
  REQUIRE(arguments->slope >= 0, STATUS_USAGE,
          "%s: leaky_relu: expected a slope of at least 0, found %g", node->name,
          (double)arguments->slope);
  node->y = node->x[0];
  node->backward_reads = READS_Y;
  return STATUS_OK;
}

CUDA_DECLARE(leaky_relu_cuda);
SIMD_DECLARE(leaky_relu_simd);
REAL_DECLARE(leaky_relu_reference);

static const struct kernel *const kernels[] = {
    CUDA_KERNELS(leaky_relu_cuda) SIMD_KERNELS(leaky_relu_simd), WIDENED_KERNELS,
    REAL_KERNELS(leaky_relu_reference), NULL};

extern const struct op op_leaky_relu;
const struct op op_leaky_relu = {
    .name = "leaky_relu",
    .help = "leaky rectifier: x above zero, slope*x below",
    .infer = leaky_relu_infer,
    .cheap = true,
    .in_place = true,
    .kernels = kernels,
};
