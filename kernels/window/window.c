/* The operator window. Its kernels have no backward: an image that wants a gradient is refused. */
#include "kernels/window/window.h"
#include <assert.h>
#include <math.h>
#include "kernels/common/cuda_table.h"
#include "kernels/common/real.h"
#include "kernels/common/simd.h"

static_assert(sizeof(struct window_arguments) <= OP_ARGUMENT_BYTES, "must fit a node");

static enum status check_windows(const struct node *node) {
  const struct window_arguments *a = window_arguments_of(node);
  REQUIRE(a->count >= 1 && a->count <= WINDOW_MOST, STATUS_USAGE,
          "%s: window: expected 1 to %d windows, found %d", node->name, WINDOW_MOST, a->count);
  for (int k = 0; k < a->count; k++)
    REQUIRE(a->low[k] < a->high[k] && isfinite(a->low[k]) && isfinite(a->high[k]), STATUS_USAGE,
            "%s: window: expected a low end below the high one, found %g and %g for window %d",
            node->name, (double)a->low[k], (double)a->high[k], k);
  REQUIRE(isfinite(a->from) && isfinite(a->to), STATUS_USAGE,
          "%s: window: expected finite results, found %g and %g", node->name, (double)a->from,
          (double)a->to);
  return STATUS_OK;
}

static enum status window_infer(struct node *node) {
  REQUIRE(node->input_count == 1, STATUS_USAGE, "%s: window takes one image, found %d inputs",
          node->name, node->input_count);
  struct shape shape = node->x[0].shape;
  enum dtype dtype = node->x[0].dtype;
  REQUIRE(shape.c == 1, STATUS_USAGE, "%s: window: expected an image of 1 channel, found %d",
          node->name, shape.c);
  REQUIRE(dtype == DTYPE_F32 || dtype == DTYPE_F64, STATUS_USAGE,
          "%s: window: expected an image of float32, found %s", node->name, dtype_name(dtype));
  REQUIRE(!node->wants_dx[0], STATUS_USAGE,
          "%s: window has no gradient: its image must depend on nothing trainable", node->name);
  TRY(check_windows(node));
  shape.c = window_arguments_of(node)->count;
  node->y = tensor_make(node->device, shape, dtype);
  return STATUS_OK;
}

CUDA_DECLARE_F32(window_cuda);
SIMD_DECLARE(window_simd);
REAL_DECLARE(window_reference);

static const struct kernel *const kernels[] = {
    CUDA_KERNELS_F32(window_cuda) SIMD_KERNELS(window_simd), REAL_KERNELS(window_reference), NULL};

const struct op op_window = {
    .name = "window",
    .help = "an image clipped to ranges of its values, each a channel",
    .infer = window_infer,
    .cheap = true,
    .kernels = kernels,
};
