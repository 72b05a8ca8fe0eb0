/* Sums of ranges of floats, gathered into few calls of the device's kernel. */
#pragma once
#include "kernels/accumulate/accumulate.h"

struct sums {
  const struct accumulate_kernel *kernel;
  struct stream *stream;
  int64_t count; /* of every range */
  enum status status;
  struct accumulate_list list;
};

/* Begins a list of sums of `count` elements each, computed on a device of that kind (CPU: stream
 * may be NULL). */
void sums_start(struct sums *sums, enum device_kind kind, struct stream *stream, int64_t count);

/* to = to + from; to = from, unless they are the same. */
void sums_add(struct sums *sums, float *to, const float *from);
void sums_copy(struct sums *sums, float *to, const float *from);

/* Computes what is left, and says whether anything went wrong since the start. */
CHECKED enum status sums_finish(struct sums *sums);
