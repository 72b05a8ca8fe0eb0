/* max_pool against its reference; ties, NaN and windows that do not fit. */
#include "conformance.h"
#include "kernels/max_pool/max_pool.h"

extern const struct op op_max_pool;

static const struct max_pool_arguments two = {{2, 2, 2}, {2, 2, 2}}, flat = {{1, 2, 2}, {1, 2, 2}},
                                       mixed = {{2, 3, 1}, {2, 3, 1}},
                                       overlapping = {{3, 3, 3}, {2, 1, 2}},
                                       gaps = {{2, 1, 2}, {3, 2, 2}};

/* All values of a volume differ by far more than a step of the differences. */
static void fill_distinct(int input, const struct shape *shape, double *values) {
  (void)input;
  int64_t count = logical_count(shape);
  for (int64_t i = 0; i < count; i++)
    values[i] = (double)(i * 7919 % 100003) / 100003 - 0.5 + (double)(i % 97) * 1e-3;
}

#define POOL(text, pool, ...)                                                                      \
  {                                                                                                \
    .label = text, .op = &op_max_pool, .input_count = 1, .x = {__VA_ARGS__}, .arguments = &(pool), \
    .argument_bytes = sizeof(pool), .fill = fill_distinct                                          \
  }

static const struct op_case cases[] = {
    POOL("2x2x2", two, {1, 16, 4, 6, 8}),
    POOL("2x2x2, odd extents", two, {2, 21, 5, 7, 9}),
    POOL("planar", two, {2, 3, 4, 5, 6}),
    POOL("1x2x2", flat, {1, 32, 3, 5, 4}),
    POOL("2x3x1", mixed, {1, 17, 5, 7, 3}),
    POOL("overlapping", overlapping, {1, 18, 7, 5, 6}),
    POOL("gaps between windows", gaps, {1, 5, 8, 5, 6}),
};

TEST(kernels_agree) {
  conformance_run(cases, sizeof cases / sizeof *cases);
}

/* Winner and value of one 2x2x2 window in channel 0. */
static void check_winner(struct rig *rig, int winner, float largest) {
  struct stream *stream = conformance_stream(rig->node.device);
  guarded_upload(&rig->x[0]);
  guarded_upload(&rig->workspace[0]);
  CHECK_OK(rig->node.kernel->forward(&rig->node, &rig->io, stream));
  guarded_download(&rig->y);
  guarded_download(&rig->saved[0]);
  double y = element_read(rig->y.memory, rig->node.y.dtype, 0);
  CHECK_SAY(rig->saved[0].memory[0] == winner, " (%s: winner %d, expected %d)",
            rig->node.kernel->name, rig->saved[0].memory[0], winner);
  CHECK(isnan(largest) ? isnan(y) : y == largest);
}

/* Under every kernel that takes it, of any device and type. */
static void check_window(const float corner[8], int channels, int winner, float largest) {
  const struct op_case test = {.label = "window",
                               .op = &op_max_pool,
                               .input_count = 1,
                               .x = {{1, channels, 2, 2, 2}},
                               .arguments = &two,
                               .argument_bytes = sizeof two};
  double values[8 * CHANNEL_BLOCK] = {0};
  for (int i = 0; i < 8; i++) values[i] = corner[i];
  const struct trial trial = {.test = &test, .value = {values}};
  for (int k = 0; op_max_pool.kernels[k]; k++) {
    const struct attempt attempt = {.kernel = op_max_pool.kernels[k], .only = -1};
    struct rig rig = {0};
    if (!attempt_fits(&test, &attempt)) continue;
    CHECK_OK(attempt_node(&test, &attempt, &rig.node));
    rig_open(&rig, &trial, &attempt);
    check_winner(&rig, winner, largest);
    rig_visit(&rig, visit_free, NULL);
  }
}

TEST(first_largest_wins_and_nan_wins) {
  for (int channels = 1; channels <= 16; channels += 15) {
    check_window((const float[8]){1, 3, 2, 3, 3, 0, 0, 1}, channels, 1, 3);
    check_window((const float[8]){-5, -5, -5, -5, -5, -5, -5, -5}, channels, 0, -5);
    check_window((const float[8]){1, 2, NAN, 3, 9, 0, 0, 1}, channels, 2, NAN);
    check_window((const float[8]){NAN, 2, 1, 3, 9, 0, 0, 1}, channels, 0, NAN);
  }
}

static void check_refusal(struct max_pool_arguments arguments, struct shape x, const char *part) {
  struct op_case bad = {.label = "bad",
                        .op = &op_max_pool,
                        .input_count = 1,
                        .x = {x},
                        .arguments = &arguments,
                        .argument_bytes = sizeof arguments};
  struct node node;
  CHECK_FAILS(conformance_node(&bad, DTYPE_F32, LAYOUTS_DEVICE, -1, &node), part);
}

TEST(refuses_bad_windows) {
  check_refusal((struct max_pool_arguments){{2, 0, 2}, {2, 2, 2}}, (struct shape){1, 1, 4, 4, 4},
                "at least 1, found 0 and 2 on axis 1");
  check_refusal((struct max_pool_arguments){{2, 2, 5}, {2, 2, 2}}, (struct shape){1, 1, 4, 4, 4},
                "does not fit in 4 voxels on axis 2");
  check_refusal((struct max_pool_arguments){{7, 7, 7}, {2, 2, 2}}, (struct shape){1, 1, 9, 9, 9},
                "found 343");
}

int main(void) {
  RUN(kernels_agree);
  RUN(first_largest_wins_and_nan_wins);
  RUN(refuses_bad_windows);
  return check_result();
}
