/* loss_dice_warp against one-hot labels warped by PyTorch and MONAI's Dice, and its kernels against
 * each other. */
#include "kernels/loss_dice_warp/loss_dice_warp.h"
#include "loss_values.h"

extern const struct op op_loss_dice_warp;

static const struct loss_dice_warp_arguments with_background = {7, true, WARP_ZEROS, 1e-5, 1e-5},
                                             five_classes = {5, false, WARP_ZEROS, 1e-5, 1e-5},
                                             border = {7, false, WARP_BORDER, 1e-5, 1e-5},
                                             one_class = {1, true, WARP_ZEROS, 1e-5, 1e-5},
                                             all_classes = {256, true, WARP_BORDER, 1e-5, 1e-5};

/* Blobs of labels 0..6. */
static void fill_labels(int number, const struct shape *shape, double *values) {
  int64_t i = 0;
  for (int n = 0; n < shape->n; n++)
    for (int d = 0; d < shape->d; d++)
      for (int h = 0; h < shape->h; h++)
        for (int w = 0; w < shape->w; w++, i++) {
          double value = sin(0.9 * d + number) + sin(0.7 * h + 0.2 * d) + cos(0.8 * w + n);
          values[i] = floor((value + 3) / 6 * 7);
        }
}

static void fill(int input, const struct shape *shape, double *values) {
  if (input < 2)
    fill_labels(input, shape, values);
  else
    loss_wave(0, shape, values, -2.5, 2.5);
}

/* Displaced voxels at least 1/64 away from others, where the derivative jumps. */
static void fill_apart(int input, const struct shape *shape, double *values) {
  fill(input, shape, values);
  for (int64_t i = 0; input == 2 && i < logical_count(shape); i++)
    values[i] = (floor(32 * values[i]) + 0.5) / 32;
}

/* Blobs of all labels there can be. */
static void fill_all_labels(int input, const struct shape *shape, double *values) {
  fill_apart(input, shape, values);
  for (int64_t i = 0; input < 2 && i < logical_count(shape); i++)
    values[i] = (double)((int64_t)values[i] * 42 + i % 5);
}

/* One label everywhere: the gradient is zero. */
static void fill_one_label(int input, const struct shape *shape, double *values) {
  fill_apart(input, shape, values);
  for (int64_t i = 0; input < 2 && i < logical_count(shape); i++) values[i] = 3;
}

/* Neighbours fall far from each other, and half of them outside. */
static void fill_torn(int input, const struct shape *shape, double *values) {
  fill_apart(input, shape, values);
  for (int64_t i = 0; input == 2 && i < logical_count(shape); i++)
    values[i] = (floor(256 * values[i]) + 0.5) / 32;
}

static struct op_case make(const char *label, const struct loss_dice_warp_arguments *arguments,
                           struct shape labels) {
  struct shape displacement = labels;
  displacement.c = 3;
  return (struct op_case){.label = label,
                          .op = &op_loss_dice_warp,
                          .input_count = 3,
                          .x = {labels, labels, displacement},
                          .x_dtype = {DTYPE_U8, DTYPE_U8},
                          .arguments = arguments,
                          .argument_bytes = sizeof *arguments,
                          .fill = fill,
                          .gradient_tolerance = 1e-5,
                          .tolerance = 1e-5};
}

TEST(kernels_agree) {
  struct op_case cases[] = {
      make("zeros, with background", &with_background, (struct shape){2, 1, 6, 7, 8}),
      make("zeros, labels of no class", &five_classes, (struct shape){1, 1, 5, 9, 11}),
      make("border", &border, (struct shape){2, 1, 4, 5, 6}),
      make("border, one slice", &border, (struct shape){1, 1, 1, 9, 13}),
      make("zeros, long rows", &with_background, (struct shape){1, 1, 2, 3, 270}),
      make("zeros, one class", &one_class, (struct shape){1, 1, 5, 6, 7}),
      make("border, all classes", &all_classes, (struct shape){2, 1, 16, 17, 19}),
      make("zeros, one label", &with_background, (struct shape){1, 1, 5, 6, 7}),
      make("border, torn", &border, (struct shape){1, 1, 5, 9, 40}),
      make("zeros, torn", &with_background, (struct shape){1, 1, 6, 9, 37}),
  };
  for (int i = 0; i < 6; i++) cases[i].fill = fill_apart;
  cases[6].fill = fill_all_labels;
  cases[7].fill = fill_one_label;
  cases[8].fill = cases[9].fill = fill_torn;
  conformance_run(cases, sizeof cases / sizeof *cases);
}

TEST(gives_the_published_values) {
  struct shape shape = {2, 1, 6, 7, 8};
  struct op_case test = make("zeros, with background", &with_background, shape);
  check_loss(&test, 0.88845580541777558, (double[OP_MAX_INPUTS]){0, 0, 0.023905033159434218});
  test = make("zeros, labels of no class", &five_classes, shape);
  check_loss(&test, 0.85024837634253592, (double[OP_MAX_INPUTS]){0, 0, 0.0509990252874521});
  test = make("border", &border, shape);
  check_loss(&test, 0.78401767535693434, (double[OP_MAX_INPUTS]){0, 0, 0.024138952034026388});
}

/* Displacements that no coordinate can hold, and numbers that are none. */
static void fill_wild(int input, const struct shape *shape, double *values) {
  fill(input, shape, values);
  if (input < 2) return;
  values[0] = INFINITY;
  values[1] = -INFINITY;
  values[2] = NAN;
  values[3] = 1e30;
  values[4] = -1e30;
}

TEST(survives_wild_displacements) {
  const struct loss_dice_warp_arguments *const all[] = {&five_classes, &border};
  for (int i = 0; i < 2; i++) {
    struct op_case test = make("wild", all[i], (struct shape){1, 1, 4, 5, 6});
    struct trial trial;
    test.fill = fill_wild;
    if (!trial_open(&trial, &test, 0)) return;
    for (int k = 0; op_loss_dice_warp.kernels[k]; k++) {
      struct attempt attempt = reference_attempt(&trial, true);
      attempt.kernel = op_loss_dice_warp.kernels[k];
      if (!attempt_fits(&test, &attempt)) continue;
      struct outcome outcome = attempt_run(&trial, &attempt);
      CHECK(outcome.y[0] > 0 && outcome.y[0] < 1);
      for (int64_t j = 0; j < trial.count[2]; j++) CHECK(isfinite(outcome.gradient[2][j]));
      outcome_free(&outcome);
    }
    trial_close(&trial);
  }
}

TEST(refuses_wrong_inputs) {
  struct op_case bad = make("bad", &border, (struct shape){1, 1, 4, 5, 6});
  struct loss_dice_warp_arguments one = {1, false, WARP_ZEROS, 1e-5, 1e-5};
  struct node node;
  bad.x[2].w++;
  CHECK_FAILS(conformance_node(&bad, DTYPE_F32, LAYOUTS_DEVICE, -1, &node), "and one size");
  bad.x[2].w--;
  bad.x_dtype[0] = DTYPE_F32;
  CHECK_FAILS(conformance_node(&bad, DTYPE_F32, LAYOUTS_DEVICE, -1, &node), "found float32");
  bad.x_dtype[0] = DTYPE_U8;
  bad.arguments = &one;
  CHECK_FAILS(conformance_node(&bad, DTYPE_F32, LAYOUTS_DEVICE, -1, &node), "expected 2 to 256");
}

int main(void) {
  RUN(kernels_agree);
  RUN(gives_the_published_values);
  RUN(survives_wild_displacements);
  RUN(refuses_wrong_inputs);
  return check_result();
}
