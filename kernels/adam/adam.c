/* The table of kernels of the Adam step. */
#include "kernels/adam/adam.h"

extern const struct adam_kernel adam_avx512, adam_avx2, adam_plain;

const struct adam_kernel *const adam_kernels[] = {&adam_avx512, &adam_avx2, &adam_plain, NULL};

const struct adam_kernel *adam_choose(enum device_kind device) {
  for (int i = 0; adam_kernels[i]; i++)
    if (adam_kernels[i]->device == device && adam_kernels[i]->applies()) return adam_kernels[i];
  return NULL;
}

void adam_update(const struct adam_step *step, float *w, const float *g, float *m, float *v,
                 int64_t count) {
  adam_choose(DEVICE_CPU)->update(step, w, g, m, v, count);
}
