/* The measured limits of each device are numbers that make sense. */
#include <math.h>
#include "check.h"
#include "kernels/peak/peak.h"

static struct device device;

TEST(limits_are_measured) {
  static const enum dtype types[] = {DTYPE_F32, DTYPE_BF16, DTYPE_F16};
  for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
    struct peak peak;
    CHECK_OK(peak_measure(&device, types[i], &peak));
    bool matrices = device.ops->kind == DEVICE_CUDA;
    CHECK(isfinite(peak.flops) && (peak.flops > 0 || !(matrices || types[i] == DTYPE_F32)));
    CHECK(isfinite(peak.bytes) && peak.bytes > 0);
  }
}

int main(void) {
  for (int i = 0; devices[i]; i++) {
    if (devices[i]->count(NULL) == 0) continue;
    printf("%s\n", devices[i]->name);
    CHECK_OK(device_open(&device, devices[i]->name, 0, 1, false, 1));
    RUN(limits_are_measured);
    device_close(&device);
  }
  return check_result();
}
