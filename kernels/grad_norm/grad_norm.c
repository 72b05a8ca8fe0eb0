/* The table of kernels, and the memory of the sums. */
#include "kernels/grad_norm/grad_norm.h"
#include "kernels/common/cuda_table.h"
#include "kernels/common/simd.h"
#include "kernels/grad_norm/kernels.h"

CUDA_DECLARE_OTHER(grad_norm_kernel, grad_norm_cuda);
SIMD_DECLARE_OTHER(grad_norm_kernel, grad_norm);

const struct grad_norm_kernel *const grad_norm_kernels[] = {
    CUDA_OTHER(grad_norm_cuda) SIMD_KERNELS(grad_norm), NULL};

static size_t partial_bytes(const struct grad_norm *state) {
  return (size_t)grad_norm_blocks(state->most) * sizeof(double);
}

enum status grad_norm_open(struct grad_norm *state, struct device *device, int64_t most) {
  void *partial, *result;
  *state = (struct grad_norm){.device = device, .most = most};
  TRY(device->ops->allocate(device, partial_bytes(state), &partial));
  state->partial = partial;
  TRY(device->ops->allocate_host(device, sizeof *state->result, &result));
  state->result = result;
  return STATUS_OK;
}

void grad_norm_close(struct grad_norm *state) {
  struct device *device = state->device;
  if (state->partial) device->ops->release(device, state->partial, partial_bytes(state));
  if (state->result) device->ops->release_host(device, state->result, sizeof *state->result);
  *state = (struct grad_norm){0};
}

static const struct grad_norm_kernel *choose(enum device_kind device) {
  for (int i = 0; grad_norm_kernels[i]; i++)
    if (grad_norm_kernels[i]->device == device && grad_norm_kernels[i]->applies())
      return grad_norm_kernels[i];
  return NULL;
}

enum status grad_norm_squared(struct grad_norm *state, struct stream *stream, const float *g,
                              int64_t count, double *squared) {
  const struct device_ops *ops = state->device->ops;
  const struct grad_norm_kernel *kernel = choose(ops->kind);
  *squared = 0;
  REQUIRE(kernel, STATUS_USAGE, "the device %s has no kernel for gradients' norms", ops->name);
  REQUIRE(count <= state->most, STATUS_USAGE, "the norm of %lld gradients: expected at most %lld",
          (long long)count, (long long)state->most);
  if (count == 0) return STATUS_OK;
  TRY(kernel->sum(stream, g, count, state->partial));
  TRY(ops->copy(stream, state->result, state->partial, sizeof *state->result));
  TRY(ops->synchronize(stream));
  *squared = *state->result;
  return STATUS_OK;
}
