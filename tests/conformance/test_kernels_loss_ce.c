/* loss_ce: kernels against each other for labels as fine as logits and finer, and what it refuses.
 */
#include "conformance.h"
#include "kernels/loss_ce/loss_ce.h"

extern const struct op op_loss_ce;

static const struct loss_ce_arguments plain = {0},
                                      weighted = {.weighted = true,
                                                  .weight = {0.1F, 1, 2, 0.5F, 1}},
                                      focal = {.gamma = 2}, second = {.sum = 1},
                                      both = {.gamma = 1.5,
                                              .sum = 1,
                                              .weighted = true,
                                              .weight = {0.3F, 1, 0, 0.5F, 1, 2}};

/* Logits, labels with some that are left out, and sums of two calls. */
static void fill(int input, const struct shape *shape, double *values) {
  for (int64_t i = 0; i < logical_count(shape) && input > 0; i++) {
    if (input == 2) values[i] = i == 1 ? 75 : 2;
    if (input == 1 && i % 11 == 3) values[i] = i % 2 ? LOGITS_IGNORED : 200;
  }
}

#define CE(text, count, arguments_, most, ...)                                       \
  {                                                                                  \
    .label = text, .op = &op_loss_ce, .input_count = count, .x = {__VA_ARGS__},      \
    .x_dtype = {[1] = DTYPE_U8}, .arguments = &(arguments_),                         \
    .argument_bytes = sizeof(struct loss_ce_arguments), .no_gradient = {[2] = true}, \
    .low = {-3, 0}, .high = {3, most}, .fill = fill                                  \
  }
#define SUMS \
  { 1, 3, 1, 1, 1 }

static const struct op_case cases[] = {
    CE("5 classes", 2, plain, 4, {2, 5, 3, 4, 7}, {2, 1, 3, 4, 7}),
    CE("3 classes, planar, weighted", 2, weighted, 2, {2, 3, 2, 3, 5}, {2, 1, 2, 3, 5}),
    CE("32 classes, focal", 2, focal, 31, {1, 32, 2, 3, 5}, {1, 1, 2, 3, 5}),
    CE("17 classes, given sums", 3, second, 16, {1, 17, 1, 2, 19}, {1, 1, 1, 2, 19}, SUMS),
    CE("long rows", 2, weighted, 3, {1, 4, 1, 2, 131}, {1, 1, 1, 2, 131}),
    CE("several blocks", 2, plain, 4, {1, 5, 5, 17, 7}, {1, 1, 5, 17, 7}),
    CE("twice the extents", 2, weighted, 4, {2, 5, 3, 2, 5}, {2, 1, 6, 4, 10}),
    CE("twice, focal, planar", 2, both, 2, {1, 3, 2, 3, 4}, {1, 1, 4, 6, 8}),
    CE("twice, past blocks", 3, both, 5, {1, 6, 9, 18, 4}, {1, 1, 18, 36, 8}, SUMS),
    CE("twice, long rows", 2, plain, 4, {1, 5, 1, 3, 69}, {1, 1, 2, 6, 138}),
    CE("twice along h and w", 2, plain, 19, {2, 20, 3, 5, 3}, {2, 1, 3, 10, 6}),
    CE("twice along d", 2, focal, 4, {1, 5, 5, 2, 3}, {1, 1, 10, 2, 3}),
    CE("twice one voxel", 2, plain, 3, {1, 4, 1, 1, 1}, {1, 1, 2, 2, 2}),
    CE("one class", 2, plain, 0, {1, 1, 2, 3, 4}, {1, 1, 2, 3, 4}),
    CE("twice, past blocks along d", 2, weighted, 4, {1, 5, 17, 9, 3}, {1, 1, 34, 18, 6}),
    CE("twice, vectors of 16", 2, plain, 4, {1, 5, 2, 3, 16}, {1, 1, 4, 6, 32}),
    CE("twice, blocks of channels past 16", 2, plain, 17, {1, 18, 2, 3, 33}, {1, 1, 4, 6, 66}),
    CE("twice, 9 classes, past blocks", 2, plain, 8, {1, 9, 3, 17, 5}, {1, 1, 6, 34, 10}),
    CE("twice, rows longer than a piece and past blocks", 2, weighted, 2, {1, 3, 2, 19, 35},
       {1, 1, 4, 38, 70}),
    CE("twice, past blocks of 32 slices", 2, plain, 2, {1, 3, 33, 2, 3}, {1, 1, 66, 4, 6}),
};

TEST(kernels_agree) {
  conformance_run(cases, sizeof cases / sizeof *cases);
}

static void fill_ignored(int input, const struct shape *shape, double *values) {
  for (int64_t i = 0; i < logical_count(shape) && input == 1; i++) values[i] = LOGITS_IGNORED;
}

/* Where no voxel counts, the loss and its gradient are 0 under every kernel. */
TEST(nothing_counts) {
  struct op_case test = CE("ignored", 2, plain, 3, {1, 4, 2, 2, 3}, {1, 1, 4, 4, 6});
  test.fill = fill_ignored;
  struct trial trial;
  if (!trial_open(&trial, &test, 0)) return;
  for (int k = 0; op_loss_ce.kernels[k]; k++) {
    struct attempt attempt = {
        .kernel = op_loss_ce.kernels[k], .threads = 1, .backward = true, .only = -1};
    if (!attempt_fits(&test, &attempt)) continue;
    struct outcome outcome = attempt_run(&trial, &attempt);
    CHECK(outcome.y[0] == 0);
    for (int64_t i = 0; i < trial.count[0]; i++) CHECK(outcome.gradient[0][i] == 0);
    outcome_free(&outcome);
  }
  trial_close(&trial);
}

TEST(refuses_what_does_not_fit) {
  struct node node;
  struct op_case bad = CE("bad", 2, plain, 3, {1, 4, 2, 2, 3}, {1, 1, 4, 4, 9});
  CHECK_FAILS(conformance_node(&bad, DTYPE_F32, LAYOUTS_DEVICE, -1, &node),
              "1 or 2 times the logits' extents 1x4x2x2x3, found 1x1x4x4x9");
  bad = (struct op_case)CE("bad", 2, plain, 3, {1, 33, 2, 2, 3}, {1, 1, 2, 2, 3});
  CHECK_FAILS(conformance_node(&bad, DTYPE_F32, LAYOUTS_DEVICE, -1, &node),
              "logits of 1 to 32 classes, found 33");
  bad = (struct op_case)CE("bad", 3, second, 3, {1, 4, 2, 2, 3}, {1, 1, 2, 2, 3}, {1, 2, 1, 1, 1});
  CHECK_FAILS(conformance_node(&bad, DTYPE_F32, LAYOUTS_DEVICE, -1, &node),
              "expected sums 1x3x1x1x1 or more of them");
  struct loss_ce_arguments arguments = {.weighted = true, .weight = {1, -1}};
  bad = (struct op_case)CE("bad", 2, arguments, 3, {1, 4, 2, 2, 3}, {1, 1, 2, 2, 3});
  CHECK_FAILS(conformance_node(&bad, DTYPE_F32, LAYOUTS_DEVICE, -1, &node),
              "the weight of class 1 must not be negative, is -1");
}

int main(void) {
  RUN(kernels_agree);
  RUN(nothing_counts);
  RUN(refuses_what_does_not_fit);
  return check_result();
}
