/* loss_dice: kernels against each other under both activations, and what it refuses. */
#include "conformance.h"
#include "kernels/loss_dice/loss_dice.h"

extern const struct op op_loss_dice;

static const struct loss_dice_arguments
    softmax = {.include_background = true, .smooth_numerator = 1e-5, .smooth_denominator = 1e-5},
    foreground = {.batch = true, .smooth_numerator = 1, .smooth_denominator = 1},
    squares = {.squared = true, .smooth_numerator = 0, .smooth_denominator = 0.5},
    sigmoid = {.activation = LOSS_DICE_SIGMOID,
               .include_background = true,
               .smooth_numerator = 1e-5,
               .smooth_denominator = 1e-5},
    sigmoid_batch = {.activation = LOSS_DICE_SIGMOID,
                     .batch = true,
                     .smooth_numerator = 1,
                     .smooth_denominator = 1},
    sigmoid_squares = {.activation = LOSS_DICE_SIGMOID,
                       .include_background = true,
                       .squared = true,
                       .smooth_numerator = 0.5,
                       .smooth_denominator = 0.25};

/* Some labels are left out. */
static void fill(int input, const struct shape *shape, double *values) {
  for (int64_t i = 0; i < logical_count(shape) && input == 1; i++)
    if (i % 11 == 3) values[i] = LOGITS_IGNORED;
}

#define CASE(text, arguments_, most, fill_, ...)                                             \
  {                                                                                          \
    .label = text, .op = &op_loss_dice, .input_count = 2, .x = {__VA_ARGS__},                \
    .x_dtype = {[1] = DTYPE_U8}, .arguments = &(arguments_),                                 \
    .argument_bytes = sizeof(struct loss_dice_arguments), .low = {-3, 0}, .high = {3, most}, \
    .fill = fill_                                                                            \
  }
#define SOFTMAX(text, arguments_, most, ...) CASE(text, arguments_, most, fill, __VA_ARGS__)
#define SIGMOID(text, arguments_, ...) CASE(text, arguments_, 255, NULL, __VA_ARGS__)

static const struct op_case cases[] = {
    SOFTMAX("5 classes", softmax, 4, {2, 5, 3, 4, 7}, {2, 1, 3, 4, 7}),
    SOFTMAX("3 classes, planar, batch", foreground, 2, {2, 3, 2, 3, 5}, {2, 1, 2, 3, 5}),
    SOFTMAX("32 classes, squared", squares, 31, {1, 32, 2, 3, 5}, {1, 1, 2, 3, 5}),
    SOFTMAX("twice the extents", foreground, 4, {2, 5, 3, 2, 5}, {2, 1, 6, 4, 10}),
    SOFTMAX("twice along h and w, squared", squares, 16, {2, 17, 2, 3, 4}, {2, 1, 2, 6, 8}),
    SIGMOID("1 class", sigmoid, {2, 1, 3, 4, 7}, {2, 1, 3, 4, 7}),
    SIGMOID("3 classes, planar, batch", sigmoid_batch, {2, 3, 2, 3, 5}, {2, 1, 2, 3, 5}),
    SIGMOID("16 classes, squared", sigmoid_squares, {1, 16, 1, 5, 7}, {1, 2, 1, 5, 7}),
    SIGMOID("21 classes", sigmoid, {2, 21, 1, 3, 5}, {2, 3, 1, 3, 5}),
    SIGMOID("117 classes, batch", sigmoid_batch, {2, 117, 1, 2, 5}, {2, 15, 1, 2, 5}),
};

/* Slopes are too small for float16. */
static const struct op_case large[] = {
    SOFTMAX("several blocks", softmax, 4, {1, 5, 5, 17, 67}, {1, 1, 5, 17, 67}),
    SOFTMAX("twice, past blocks", softmax, 2, {1, 3, 5, 17, 34}, {1, 1, 10, 34, 68}),
    SIGMOID("many voxels", sigmoid, {1, 4, 5, 17, 131}, {1, 1, 5, 17, 131}),
    SIGMOID("many voxels, 40 classes", sigmoid_squares, {1, 40, 3, 19, 21}, {1, 5, 3, 19, 21}),
};

TEST(kernels_agree) {
  conformance_run(cases, sizeof cases / sizeof *cases);
}

TEST(kernels_agree_in_several_blocks) {
  for (size_t c = 0; c < sizeof large / sizeof *large; c++) {
    struct trial trial;
    if (!trial_open(&trial, &large[c], (int)c)) continue;
    struct attempt attempt = reference_attempt(&trial, true);
    struct outcome reference = attempt_run(&trial, &attempt);
    for (int k = 0; op_loss_dice.kernels[k]; k++)
      if (op_loss_dice.kernels[k]->dtype == DTYPE_F32)
        check_kernel(&trial, op_loss_dice.kernels[k], &reference);
    outcome_free(&reference);
    trial_close(&trial);
  }
}

/* nnU-Net: -(2 I + 1) / (P + G + 1), over a batch and without background, is this less 1. */
TEST(is_that_of_nnunet_but_for_1) {
  struct op_case test = SOFTMAX("two voxels", foreground, 1, {1, 2, 1, 1, 2}, {1, 1, 1, 1, 2});
  double logits[] = {0, 0, 0, log(3)}, labels[] = {0, 1}, dy[] = {1};
  const struct trial trial = {
      .test = &test, .value = {logits, labels}, .count = {4, 2}, .dy = dy, .y_count = 1};
  struct attempt attempt = reference_attempt(&trial, false);
  struct outcome outcome = attempt_run(&trial, &attempt);
  CHECK(fabs(outcome.y[0] - 1 + (2 * 0.75 + 1) / (0.5 + 0.75 + 1 + 1)) < 1e-7);
  outcome_free(&outcome);
}

TEST(refuses_what_does_not_fit) {
  struct node node;
  struct op_case bad = SOFTMAX("bad", foreground, 0, {1, 1, 2, 2, 3}, {1, 1, 2, 2, 3});
  CHECK_FAILS(conformance_node(&bad, DTYPE_F32, LAYOUTS_DEVICE, -1, &node),
              "expected 2 to 2048 classes, found 1");
  struct loss_dice_arguments arguments = softmax;
  arguments.smooth_denominator = 0;
  bad = (struct op_case)SOFTMAX("bad", arguments, 1, {1, 2, 2, 2, 3}, {1, 1, 2, 2, 3});
  CHECK_FAILS(conformance_node(&bad, DTYPE_F32, LAYOUTS_DEVICE, -1, &node),
              "smooth_denominator above 0, found 1e-05 and 0");
  bad = (struct op_case)SIGMOID("bad", sigmoid, {1, 4, 2, 2, 3}, {1, 1, 4, 4, 6});
  CHECK_FAILS(conformance_node(&bad, DTYPE_F32, LAYOUTS_DEVICE, -1, &node),
              "expected bits of 1x1x2x2x3");
}

int main(void) {
  RUN(kernels_agree);
  RUN(kernels_agree_in_several_blocks);
  RUN(is_that_of_nnunet_but_for_1);
  RUN(refuses_what_does_not_fit);
  return check_result();
}
