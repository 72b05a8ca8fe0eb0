/* The operator loss_mse: the mean of (x[0] - x[1])^2 over all elements of two floating-point
 * tensors of one shape and layout (padding channels are zero in both and add nothing). */
#include "kernels/common/cuda_table.h"
#include "kernels/common/real.h"
#include "kernels/common/simd.h"
#include "kernels/op.h"

static enum status loss_mse_infer(struct node *node) {
  REQUIRE(node->input_count == 2, STATUS_USAGE, "%s: loss_mse takes 2 inputs, found %d", node->name,
          node->input_count);
  struct shape a = node->x[0].shape, b = node->x[1].shape;
  REQUIRE(shape_equal(a, b), STATUS_USAGE,
          "%s: loss_mse: expected two inputs of one shape, found %dx%dx%dx%dx%d and %dx%dx%dx%dx%d",
          node->name, a.n, a.c, a.d, a.h, a.w, b.n, b.c, b.d, b.h, b.w);
  REQUIRE(node->x[0].dtype == node->x[1].dtype && node->x[0].dtype != DTYPE_U8, STATUS_USAGE,
          "%s: loss_mse: expected two inputs of one floating-point type, found %s and %s",
          node->name, dtype_name(node->x[0].dtype), dtype_name(node->x[1].dtype));
  node->y = op_scalar();
  node->backward_reads = READS_X;
  return STATUS_OK;
}

CUDA_DECLARE_F32(loss_mse_cuda);
SIMD_DECLARE(loss_mse_simd);
REAL_DECLARE(loss_mse_reference);

static const struct kernel *const kernels[] = {CUDA_KERNELS_F32(loss_mse_cuda)
                                                   SIMD_KERNELS(loss_mse_simd),
                                               REAL_KERNELS(loss_mse_reference), NULL};

extern const struct op op_loss_mse;
const struct op op_loss_mse = {
    .name = "loss_mse",
    .help = "mean squared difference",
    .infer = loss_mse_infer,
    .is_loss = true,
    .kernels = kernels,
};
