/* The operator loss_smooth: its input and arguments. */
#include "kernels/loss_smooth/loss_smooth.h"
#include "kernels/common/cuda_table.h"
#include "kernels/common/real.h"
#include "kernels/common/simd.h"
#include "kernels/loss_smooth/terms.h"

static enum status loss_smooth_infer(struct node *node) {
  const struct loss_smooth_arguments *arguments = (const void *)node->arguments;
  REQUIRE(node->input_count == 1, STATUS_USAGE, "%s: loss_smooth takes 1 input, found %d",
          node->name, node->input_count);
  REQUIRE((unsigned)arguments->kind < SMOOTH_KINDS, STATUS_USAGE,
          "%s: loss_smooth: expected a kind below %d, found %d", node->name, SMOOTH_KINDS,
          (int)arguments->kind);
  REQUIRE(arguments->multiply > 0, STATUS_USAGE,
          "%s: loss_smooth: expected multiply above 0, found %g", node->name, arguments->multiply);
  struct shape s = node->x[0].shape;
  int least = smooth_least_extent(arguments->kind);
  REQUIRE(s.c == 3 && s.d >= least && s.h >= least && s.w >= least, STATUS_USAGE,
          "%s: loss_smooth: %s expects 3 channels and at least %d voxels along each axis, found "
          "%d channels of %dx%dx%d",
          node->name, smooth_kind_name(arguments->kind), least, s.c, s.d, s.h, s.w);
  node->y = op_scalar();
  node->backward_reads = READS_X;
  return STATUS_OK;
}

CUDA_DECLARE_F32(loss_smooth_cuda);
SIMD_DECLARE(loss_smooth_rows);
REAL_DECLARE(loss_smooth_reference);

static const struct kernel *const kernels[] = {CUDA_KERNELS_F32(loss_smooth_cuda)
                                                   SIMD_KERNELS(loss_smooth_rows),
                                               REAL_KERNELS(loss_smooth_reference), NULL};

extern const struct op op_loss_smooth;
const struct op op_loss_smooth = {
    .name = "loss_smooth",
    .help = "bending energy, diffusion or gradient penalty of a displacement",
    .infer = loss_smooth_infer,
    .is_loss = true,
    .kernels = kernels,
};
