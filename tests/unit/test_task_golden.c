/* Small registration networks of every kind against PyTorch (task_golden.h). */
#include "task_golden.h"

#define SMALL "model.encoder=[4,8]", "model.decoder=[8,8]", "model.final=[8,4,4]"

static const struct golden_run runs[] = {
    {"vxm_mse", {SMALL}, false, DTYPE_F32},
    {"vxm_mse_bidir", {SMALL, BIDIR}, false, DTYPE_F32},
    {"vxm_lncc", {SMALL, LNCC}, false, DTYPE_F32},
    {"vxm_lncc_bidir", {SMALL, LNCC, BIDIR}, false, DTYPE_F32},
    {"vxm_int0", {SMALL, BIDIR, "model.integration_steps=0"}, true, DTYPE_F32},
    {"vxm_down1", {SMALL, BIDIR, "model.integration_downsize=1"}, true, DTYPE_F32},
    {"vxm_monai",
     {MONAI, "model.encoder=[4,8,8,8]", "model.decoder=[8]", "model.final=[4,4]"},
     true,
     DTYPE_F32},
};

TEST(small_networks_train_as_in_pytorch) {
  for (size_t i = 0; i < sizeof runs / sizeof *runs; i++) check_run(&runs[i]);
}

int main(void) {
  RUN(small_networks_train_as_in_pytorch);
  return check_result();
}
