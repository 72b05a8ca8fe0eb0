/* Ordered sums on CUDA: one launch for a whole list. A thread goes through the list for four
 * elements of its own; what one sum hands to the next stays in registers and is not stored. */
#include "kernels/common/cuda.h"
extern "C" {
#include "kernels/accumulate/accumulate.h"
}

enum { THREADS = 256 };

__device__ static inline float plus(float a, float b) {
  return a + b;
}

__device__ static inline float4 plus(float4 a, float4 b) {
  return make_float4(a.x + b.x, a.y + b.y, a.z + b.z, a.w + b.w);
}

/* The list's sums for element `at` of ranges of T. */
template <typename T>
__device__ static inline void walk(const struct accumulate_list &list, int64_t at) {
  T value = T();
  for (int k = 0; k < list.count; k++) {
    T *to = reinterpret_cast<T *>(list.sum[k].to) + at;
    bool handed_on = k > 0 && list.sum[k].from == list.sum[k - 1].to;
    if (!handed_on) value = reinterpret_cast<const T *>(list.sum[k].from)[at];
    if (list.sum[k].add) value = plus(*to, value);
    bool used_up = k + 1 < list.count && list.sum[k + 1].from == list.sum[k].to &&
                   list.sum[k + 1].to != list.sum[k].to;
    if (!used_up) *to = value;
  }
}

/* Threads below `quads` take four elements each, the rest one. */
__global__ void __launch_bounds__(THREADS)
    accumulate_elements(const struct accumulate_list list, int64_t quads, int64_t count) {
  int64_t thread = (int64_t)blockIdx.x * THREADS + threadIdx.x;
  int64_t element = 4 * quads + thread - quads;
  if (thread < quads)
    walk<float4>(list, thread);
  else if (element < count)
    walk<float>(list, element);
}

static bool is_aligned(const struct accumulate_list *list) {
  uintptr_t all = 0;
  for (int k = 0; k < list->count; k++)
    all |= (uintptr_t)list->sum[k].to | (uintptr_t)list->sum[k].from;
  return all % sizeof(float4) == 0;
}

static enum status run(const struct accumulate_list *list, int64_t count, struct stream *stream) {
  if (!list->count || !count) return STATUS_OK;
  int64_t quads = is_aligned(list) ? count / 4 : 0, threads = quads + count - 4 * quads;
  CUDA_LAUNCH(accumulate_elements, cuda_blocks(threads, THREADS), THREADS, 0, stream, *list, quads,
              count);
  return cuda_launched("accumulate");
}

extern "C" const struct accumulate_kernel accumulate_cuda;
const struct accumulate_kernel accumulate_cuda = {
    .name = "hand", .device = DEVICE_CUDA, .run = run};
