/* loss_smooth against MONAI's and PyTorch's numbers and its kernels against each other. */
#include "kernels/loss_smooth/loss_smooth.h"
#include "loss_values.h"

extern const struct op op_loss_smooth;

static const struct loss_smooth_arguments kinds[SMOOTH_KINDS] = {
    {SMOOTH_BENDING, 1}, {SMOOTH_BENDING_COMPACT, 1}, {SMOOTH_L1, 2},
    {SMOOTH_L2, 2},      {SMOOTH_DIFFUSION, 1},
};
static const char *const labels[SMOOTH_KINDS] = {"bending", "bending_compact", "l1", "l2",
                                                 "diffusion"};

static void fill(int input, const struct shape *shape, double *values) {
  loss_wave(input, shape, values, -2, 2);
}

/* Neighbours differ by at least 1/64: absolute values are not differentiable at zero. */
static void fill_apart(int input, const struct shape *shape, double *values) {
  fill(input, shape, values);
  for (int64_t i = 0; i < logical_count(shape); i++) {
    int64_t odd = (i % shape->w + i / shape->w % shape->h + i / shape->w / shape->h) & 1;
    values[i] = (2 * floor(32 * values[i]) + (double)odd) / 64;
  }
}

static struct op_case make(int kind, struct shape shape) {
  return (struct op_case){.label = labels[kind],
                          .op = &op_loss_smooth,
                          .input_count = 1,
                          .x = {shape},
                          .arguments = &kinds[kind],
                          .argument_bytes = sizeof kinds[kind],
                          .fill = fill};
}

TEST(kernels_agree) {
  for (int kind = 0; kind < SMOOTH_KINDS; kind++) {
    struct op_case cases[] = {
        make(kind, (struct shape){1, 3, 5, 5, 5}), make(kind, (struct shape){2, 3, 8, 7, 19}),
        make(kind, (struct shape){1, 3, 6, 5, 261}),  /* more than one piece of a row */
        make(kind, (struct shape){1, 3, 36, 20, 26}), /* pieces that touch no border */
    };
    for (int i = 0; i < 4; i++) cases[i].fill = fill_apart;
    conformance_run(cases, sizeof cases / sizeof *cases);
  }
}

TEST(gives_the_published_values) {
  static const double expected[SMOOTH_KINDS][2] = {
      {5.5210725581372788, 0.50307763629740976},  {38.450699437746572, 0.21001305575947604},
      {3.2342009645583119, 0.023733753092711807}, {7.9464215636089399, 0.10943948141711662},
      {3.1204050559373187, 0.022998829479131094},
  };
  for (int kind = 0; kind < SMOOTH_KINDS; kind++) {
    struct op_case test = make(kind, (struct shape){2, 3, 7, 6, 8});
    check_loss(&test, expected[kind][0], (double[OP_MAX_INPUTS]){expected[kind][1]});
  }
}

TEST(refuses_what_is_too_small) {
  struct op_case bad = make(SMOOTH_BENDING, (struct shape){1, 3, 5, 4, 5});
  struct node node;
  CHECK_FAILS(conformance_node(&bad, DTYPE_F32, LAYOUTS_DEVICE, -1, &node), "at least 5 voxels");
  bad.x[0] = (struct shape){1, 2, 5, 5, 5};
  CHECK_FAILS(conformance_node(&bad, DTYPE_F32, LAYOUTS_DEVICE, -1, &node), "3 channels");
}

int main(void) {
  RUN(kernels_agree);
  RUN(gives_the_published_values);
  RUN(refuses_what_is_too_small);
  return check_result();
}
