/* The operator loss_lncc: its inputs and window. */
#include "kernels/loss_lncc/loss_lncc.h"
#include "kernels/common/cuda_table.h"
#include "kernels/common/real.h"
#include "kernels/common/simd.h"

enum { USUAL_WINDOW = 9 };

static enum status loss_lncc_infer(struct node *node) {
  struct loss_lncc_arguments *arguments = (void *)node->arguments;
  REQUIRE(node->input_count == 2, STATUS_USAGE, "%s: loss_lncc takes 2 inputs, found %d",
          node->name, node->input_count);
  struct shape a = node->x[0].shape, b = node->x[1].shape;
  REQUIRE(
      shape_equal(a, b), STATUS_USAGE,
      "%s: loss_lncc: expected two inputs of one shape, found %dx%dx%dx%dx%d and %dx%dx%dx%dx%d",
      node->name, a.n, a.c, a.d, a.h, a.w, b.n, b.c, b.d, b.h, b.w);
  REQUIRE(node->x[0].dtype == node->x[1].dtype && node->x[0].dtype != DTYPE_U8, STATUS_USAGE,
          "%s: loss_lncc: expected two inputs of one floating-point type, found %s and %s",
          node->name, dtype_name(node->x[0].dtype), dtype_name(node->x[1].dtype));
  if (arguments->window == 0) arguments->window = USUAL_WINDOW;
  REQUIRE(arguments->window > 0 && arguments->window % 2 == 1, STATUS_USAGE,
          "%s: loss_lncc: expected an odd window, found %d", node->name, arguments->window);
  node->y = op_scalar();
  node->backward_reads = READS_X;
  return STATUS_OK;
}

CUDA_DECLARE_F32(loss_lncc_cuda);
SIMD_DECLARE(loss_lncc_box);
REAL_DECLARE(loss_lncc_reference);

static const struct kernel *const kernels[] = {CUDA_KERNELS_F32(loss_lncc_cuda)
                                                   SIMD_KERNELS(loss_lncc_box),
                                               REAL_KERNELS(loss_lncc_reference), NULL};

extern const struct op op_loss_lncc;
const struct op op_loss_lncc = {
    .name = "loss_lncc",
    .help = "local normalised cross-correlation over a cube, as VoxelMorph's NCC",
    .infer = loss_lncc_infer,
    .is_loss = true,
    .kernels = kernels,
};
