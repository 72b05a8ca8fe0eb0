/* Sums of ranges of floats in a given order, on the device that holds them: what a reduction in a
 * fixed order is made of. Every element is computed alike on every device: one rounding per sum. */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include "device/device.h"

/* to = to + from, or to = from. */
struct accumulate_sum {
  float *to;
  const float *from;
  bool add;
};

enum { ACCUMULATE_MOST = 64 };
struct accumulate_list {
  struct accumulate_sum sum[ACCUMULATE_MOST];
  int count;
};

/* Computes the list's sums in their order for `count` elements of every range. Ranges are equal or
 * apart. A range that is `to` in one sum and `from` in the next is used up by it, unless it is
 * that one's `to` as well: what it holds afterwards is unspecified, also for sums that follow. */
typedef enum status accumulate_function(const struct accumulate_list *list, int64_t count,
                                        struct stream *stream);

struct accumulate_kernel {
  const char *name;
  enum device_kind device;
  accumulate_function *run;
};

/* All kernels, NULL-terminated, and that of a device. */
extern const struct accumulate_kernel *const accumulate_kernels[];
const struct accumulate_kernel *accumulate_choose(enum device_kind device);
