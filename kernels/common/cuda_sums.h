/* Sums of the whole batch as kernels of the GPU read them (kernels/common/batch_sums.h). */
#pragma once
#include "kernels/common/cuda.h"
extern "C" {
#include "kernels/common/batch_sums.h"
}

template <typename T>
struct cuda_sums {
  const float *wide; /* both NULL: none were given */
  const T *narrow;
  int calls;

  __host__ __device__ bool given() const {
    return wide || narrow;
  }
  __device__ double at(int i) const {
    return (double)(wide ? wide[i] : to_float(narrow[i]));
  }
};

template <typename T>
static inline struct cuda_sums<T> cuda_sums_of(const struct node *node, const struct io *io) {
  struct cuda_sums<T> sums = {
    NULL, NULL, 0
  };
  if (!batch_sums_given(node)) return sums;
  sums.calls = batch_sums_calls(node);
  if (node->x[BATCH_SUMS_INPUT].dtype == DTYPE_F32)
    sums.wide = (const float *)io->x[BATCH_SUMS_INPUT];
  else
    sums.narrow = (const T *)io->x[BATCH_SUMS_INPUT];
  return sums;
}
