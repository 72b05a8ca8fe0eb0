/* Losses of a batch that is computed in several calls: their mean is the loss of the batch in one
 * call, and so are their gradients, in double; kernels of loss_dice with given volumes, and of
 * dice_volumes, against each other. */
#include "conformance.h"
#include "kernels/label_weight/label_weight.h"
#include "kernels/loss_ce/loss_ce.h"
#include "kernels/loss_dice/loss_dice.h"

extern const struct op op_loss_ce, op_loss_dice, op_dice_volumes, op_label_weight;

static const struct loss_dice_arguments softmax = {.batch = true,
                                                   .smooth_numerator = 1,
                                                   .smooth_denominator = 1,
                                                   .sum = 2},
                                        squares = {.include_background = true,
                                                   .batch = true,
                                                   .squared = true,
                                                   .smooth_numerator = 1e-5,
                                                   .smooth_denominator = 1e-5,
                                                   .sum = 2},
                                        sigmoid = {.activation = LOSS_DICE_SIGMOID,
                                                   .include_background = true,
                                                   .batch = true,
                                                   .smooth_numerator = 0.5,
                                                   .smooth_denominator = 0.25,
                                                   .sum = 2};

/* Some labels are left out; sums are such as overlaps are below volumes. */
static void fill(int input, const struct shape *shape, double *values) {
  for (int64_t i = 0; i < logical_count(shape); i++) {
    if (input == 1 && shape->c == 1 && i % 11 == 3) values[i] = LOGITS_IGNORED;
    if (input == 2) values[i] = i % 3 == 2 ? 3 + (double)(i % 7) : 9 + (double)(i % 5);
  }
}

#define CASE(text, op_, inputs, arguments_, most, ...)                                 \
  {                                                                                    \
    .label = text, .op = &(op_), .input_count = inputs, .x = {__VA_ARGS__},            \
    .x_dtype = {[1] = DTYPE_U8}, .arguments = &(arguments_),                           \
    .argument_bytes = sizeof(struct loss_dice_arguments), .no_gradient = {[2] = true}, \
    .low = {-3, 0}, .high = {3, most}, .fill = fill                                    \
  }

static const struct op_case given[] = {
    CASE("3 classes", op_loss_dice, 3, softmax, 2, {2, 3, 2, 3, 5}, {2, 1, 2, 3, 5},
         {1, 12, 1, 1, 1}),
    CASE("7 classes, squared, finer", op_loss_dice, 3, squares, 6, {1, 7, 3, 2, 5},
         {1, 1, 6, 4, 10}, {1, 24, 1, 1, 1}),
    CASE("21 overlapping classes", op_loss_dice, 3, sigmoid, 255, {2, 21, 1, 3, 5}, {2, 3, 1, 3, 5},
         {1, 66, 1, 1, 1}),
};

/* The loss is that of the batch, whatever a call's own logits are: no finite differences. */
TEST(kernels_agree_on_given_volumes) {
  for (size_t c = 0; c < sizeof given / sizeof *given; c++) {
    struct trial trial;
    if (!trial_open(&trial, &given[c], (int)c)) continue;
    struct attempt attempt = reference_attempt(&trial, true);
    struct outcome reference = attempt_run(&trial, &attempt);
    for (int k = 0; op_loss_dice.kernels[k]; k++)
      check_kernel(&trial, op_loss_dice.kernels[k], &reference);
    outcome_free(&reference);
    trial_close(&trial);
  }
}

#define VOLUMES(text, arguments_, most, ...)                                           \
  {                                                                                    \
    .label = text, .op = &op_dice_volumes, .input_count = 2, .x = {__VA_ARGS__},       \
    .x_dtype = {[1] = DTYPE_U8}, .arguments = &(arguments_),                           \
    .argument_bytes = sizeof(struct loss_dice_arguments), .no_gradient = {true, true}, \
    .low = {-3, 0}, .high = {3, most}, .fill = fill                                    \
  }

static const struct op_case volumes[] = {
    VOLUMES("5 classes", softmax, 4, {2, 5, 3, 4, 7}, {2, 1, 3, 4, 7}),
    VOLUMES("3 classes, planar, squared", squares, 2, {2, 3, 2, 3, 5}, {2, 1, 2, 3, 5}),
    VOLUMES("17 classes, finer", softmax, 16, {1, 17, 2, 3, 4}, {1, 1, 2, 6, 8}),
    VOLUMES("several blocks", softmax, 4, {2, 5, 5, 17, 7}, {2, 1, 5, 17, 7}),
    VOLUMES("1 overlapping class", sigmoid, 255, {2, 1, 3, 4, 7}, {2, 1, 3, 4, 7}),
    VOLUMES("21 overlapping classes", sigmoid, 255, {2, 21, 1, 3, 5}, {2, 3, 1, 3, 5}),
    VOLUMES("117 overlapping classes", sigmoid, 255, {2, 117, 1, 2, 5}, {2, 15, 1, 2, 5}),
};

TEST(kernels_agree_on_volumes) {
  conformance_run(volumes, sizeof volumes / sizeof *volumes);
}

/* --- two calls are one --- */

enum { MOST = 32, CALLS = 2 };

/* A loss, and the operator that gives its sums. */
struct pair {
  const char *label;
  const struct op *loss, *sums;
  const void *loss_arguments, *sum_arguments;
  size_t loss_bytes, sum_bytes;
  int first, sums_inputs; /* where its sums are; 1: they are of the truth alone */
  struct shape logits, truth;
  double most;
};

static struct op_case case_of(const struct pair *pair, int samples, bool with_sums, int sums) {
  struct op_case test = {.label = pair->label,
                         .op = pair->loss,
                         .input_count = with_sums ? 3 : 2,
                         .x = {pair->logits, pair->truth, {1, sums + 1, 1, 1, 1}},
                         .x_dtype = {[1] = DTYPE_U8},
                         .arguments = pair->loss_arguments,
                         .argument_bytes = pair->loss_bytes,
                         .no_gradient = {[2] = true},
                         .low = {-3, 0},
                         .high = {3, pair->most},
                         .fill = fill};
  test.x[0].n = test.x[1].n = samples;
  return test;
}

/* What call `call` adds to the sums. */
static void add_sums(const struct pair *pair, const struct trial *whole, int call, double *sums) {
  struct op_case test = case_of(pair, 1, false, 0);
  bool truth_only = pair->sums_inputs == 1;
  test.op = pair->sums;
  test.arguments = pair->sum_arguments;
  test.argument_bytes = pair->sum_bytes;
  test.input_count = pair->sums_inputs;
  test.no_gradient[0] = true;
  if (truth_only) {
    test.x[0] = test.x[1];
    test.x_dtype[0] = DTYPE_U8;
    test.low[0] = 0;
    test.high[0] = pair->most;
  }
  struct trial trial;
  if (!trial_open(&trial, &test, 0)) return;
  for (int i = 0; i < test.input_count; i++) {
    const double *values = whole->value[truth_only ? 1 : i] + call * trial.count[i];
    memcpy(trial.value[i], values, sizeof(double) * (size_t)trial.count[i]);
  }
  struct attempt attempt = reference_attempt(&trial, false);
  struct outcome outcome = attempt_run(&trial, &attempt);
  for (int64_t i = 0; i < trial.y_count; i++) sums[pair->first + i] += outcome.y[i];
  outcome_free(&outcome);
  trial_close(&trial);
}

/* A call with the sums of all; returns its loss and adds its gradient, by a dy of 1, to `gradient`
 * at its samples. */
static double run_call(const struct pair *pair, const struct trial *whole, int call,
                       const double *sums, int count, double *gradient) {
  struct op_case test = case_of(pair, 1, true, count);
  struct trial trial;
  if (!trial_open(&trial, &test, 0)) return NAN;
  for (int i = 0; i < 2; i++)
    memcpy(trial.value[i], whole->value[i] + call * trial.count[i],
           sizeof(double) * (size_t)trial.count[i]);
  memcpy(trial.value[2], sums, sizeof(double) * (size_t)count);
  trial.value[2][count] = CALLS;
  trial.dy[0] = 1;
  struct attempt attempt = reference_attempt(&trial, true);
  struct outcome outcome = attempt_run(&trial, &attempt);
  double loss = outcome.y[0];
  for (int64_t i = 0; i < trial.count[0]; i++)
    gradient[call * trial.count[0] + i] += outcome.gradient[0][i];
  outcome_free(&outcome);
  trial_close(&trial);
  return loss;
}

static void check_two_calls(const struct pair *pair) {
  struct op_case test = case_of(pair, CALLS, false, 0);
  struct trial whole;
  double sums[MOST] = {0}, loss = 0, error = 0, norm = 0;
  if (!trial_open(&whole, &test, 3)) return;
  whole.dy[0] = 1;
  struct attempt attempt = reference_attempt(&whole, true);
  struct outcome expected = attempt_run(&whole, &attempt);
  double *gradient = conformance_doubles(whole.count[0]);
  for (int call = 0; call < CALLS; call++) add_sums(pair, &whole, call, sums);
  for (int call = 0; call < CALLS; call++)
    loss += run_call(pair, &whole, call, sums, MOST, gradient) / CALLS;
  for (int64_t i = 0; i < whole.count[0]; i++) {
    error += pow(gradient[i] / CALLS - expected.gradient[0][i], 2);
    norm += pow(expected.gradient[0][i], 2);
  }
  CHECK_SAY(fabs(loss - expected.y[0]) <= 1e-14 * fabs(loss), " (%s: %.17g in two calls, %.17g)",
            pair->label, loss, expected.y[0]);
  CHECK_SAY(norm > 0 && error <= 1e-28 * norm, " (%s: gradients differ by %g of %g)", pair->label,
            sqrt(error), sqrt(norm));
  free(gradient);
  outcome_free(&expected);
  trial_close(&whole);
}

TEST(two_calls_are_one) {
  static const struct loss_ce_arguments weighted = {.sum = 1,
                                                    .weighted = true,
                                                    .weight = {0.1F, 1, 2, 0.5F}},
                                        focal = {.sum = 30, .gamma = 2};
  static const struct label_weight_arguments weights = {.classes = 4,
                                                        .weighted = true,
                                                        .weight = {0.1F, 1, 2, 0.5F}},
                                             ones = {.classes = 5};
  struct shape logits = {1, 4, 3, 2, 5}, truth = {1, 1, 3, 2, 5};
#define CE(text, arguments, sum_arguments_, first_)                                               \
  {                                                                                               \
    .label = text, .loss = &op_loss_ce, .sums = &op_label_weight, .loss_arguments = &(arguments), \
    .sum_arguments = &(sum_arguments_), .loss_bytes = sizeof(arguments),                          \
    .sum_bytes = sizeof(sum_arguments_), .first = first_, .sums_inputs = 1, .logits = logits,     \
    .truth = truth, .most = 3                                                                     \
  }
#define DICE(text, arguments, truth_, most_)                                                       \
  {                                                                                                \
    .label = text, .loss = &op_loss_dice, .sums = &op_dice_volumes,                                \
    .loss_arguments = &(arguments), .sum_arguments = &(arguments),                                 \
    .loss_bytes = sizeof(arguments), .sum_bytes = sizeof(arguments), .first = 2, .sums_inputs = 2, \
    .logits = logits, .truth = truth_, .most = most_                                               \
  }
  struct shape finer = {1, 1, 6, 4, 10};
  const struct pair pairs[] = {
      CE("weighted cross entropy", weighted, weights, 1),
      CE("focal loss with labels left out", focal, ones, 30),
      DICE("Dice of a softmax", softmax, truth, 3),
      DICE("squared Dice of a softmax, finer labels", squares, finer, 3),
      DICE("Dice of sigmoids", sigmoid, truth, 255),
  };
  for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) check_two_calls(&pairs[i]);
}

TEST(refuses_what_does_not_fit) {
  struct node node;
  struct loss_dice_arguments alone = softmax;
  alone.batch = false;
  struct op_case bad =
      CASE("bad", op_loss_dice, 3, alone, 2, {2, 3, 2, 3, 5}, {2, 1, 2, 3, 5}, {1, 12, 1, 1, 1});
  CHECK_FAILS(conformance_node(&bad, DTYPE_F32, LAYOUTS_DEVICE, -1, &node), "need batch = true");
  bad = given[0];
  bad.x[2].c = 11;
  CHECK_FAILS(conformance_node(&bad, DTYPE_F32, LAYOUTS_DEVICE, -1, &node),
              "expected sums 1x12x1x1x1 or more of them, float32 or as the logits, found float32 "
              "of 1x11x1x1x1");
  bad = (struct op_case)VOLUMES("bad", softmax, 0, {1, 1, 2, 2, 3}, {1, 1, 2, 2, 3});
  CHECK_FAILS(conformance_node(&bad, DTYPE_F32, LAYOUTS_DEVICE, -1, &node),
              "dice_volumes: expected 2 to 2048 classes, found 1");
}

int main(void) {
  RUN(kernels_agree_on_given_volumes);
  RUN(kernels_agree_on_volumes);
  RUN(two_calls_are_one);
  RUN(refuses_what_does_not_fit);
  return check_result();
}
