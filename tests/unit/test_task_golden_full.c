/* The published registration networks at full width against PyTorch (task_golden.h). */
#include "task_golden.h"

static const struct golden_run runs[] = {
    {"vxm_full_mse", {NULL}, false, DTYPE_F32},
    {"vxm_full_lncc_bidir", {LNCC, BIDIR}, false, DTYPE_F32},
    {"vxm_full_monai",
     {MONAI, "model.encoder=[16,32,32,32,32,32]", "model.decoder=[32]", "model.final=[16,16]"},
     false,
     DTYPE_F32},
};

TEST(published_networks_train_as_in_pytorch) {
  for (size_t i = 0; i < sizeof runs / sizeof *runs; i++) check_run(&runs[i]);
}

int main(void) {
  RUN(published_networks_train_as_in_pytorch);
  return check_result();
}
