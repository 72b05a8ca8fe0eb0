/* Ordered sums on the CPU, and the table of kernels. The list is gone through a block of elements
 * at a time, so that what one sum writes is still in the cache when the next reads it. */
#include "kernels/accumulate/accumulate.h"
#include <string.h>
#include "kernels/common/cuda_table.h"

enum { BLOCK = 4096, THREADS_FROM = 1 << 16 };

static void add_block(float *to, const float *from, int64_t count) {
  for (int64_t i = 0; i < count; i++) to[i] = to[i] + from[i];
}

static enum status run(const struct accumulate_list *list, int64_t count, struct stream *stream) {
  (void)stream;
#pragma omp parallel for schedule(static) if (count >= THREADS_FROM)
  for (int64_t first = 0; first < count; first += BLOCK) {
    int64_t here = count - first < BLOCK ? count - first : BLOCK;
    for (int k = 0; k < list->count; k++) {
      const struct accumulate_sum *sum = &list->sum[k];
      if (sum->add)
        add_block(sum->to + first, sum->from + first, here);
      else
        memcpy(sum->to + first, sum->from + first, sizeof(float) * (size_t)here);
    }
  }
  return STATUS_OK;
}

static const struct accumulate_kernel accumulate_cpu[] = {
    {.name = "plain", .device = DEVICE_CPU, .run = run}};
CUDA_DECLARE_OTHER(accumulate_kernel, accumulate_cuda);

const struct accumulate_kernel *const accumulate_kernels[] = {
    CUDA_OTHER(accumulate_cuda) accumulate_cpu, NULL};

const struct accumulate_kernel *accumulate_choose(enum device_kind device) {
  for (int i = 0; accumulate_kernels[i]; i++)
    if (accumulate_kernels[i]->device == device) return accumulate_kernels[i];
  return NULL;
}
