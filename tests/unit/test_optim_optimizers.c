/* The optimisers against five steps of PyTorch's (tests/golden/optim_values.py), their state, and
 * what they refuse. */
#include "check.h"
#include "optim/optim.h"

enum { COUNT = 3, STEPS = 5 };

static struct device device;
static struct stream stream = {.device = &device};

struct trial {
  struct optimizer_options options;
  double learning_rate, expected[COUNT];
};

static const struct trial trials[] = {
    {{"adam", 0.9, 0.999, 1e-8, 0.05, 0, false},
     0.1,
     {0.507963661673613, -1.50295578126335, 2.50177945593282}},
    {{"adam", 0.8, 0.9, 1e-3, 0, 0, false},
     0.1,
     {0.509187980508656, -1.5033496265278, 2.50200091023413}},
    {{"adamw", 0.9, 0.999, 1e-8, 0.05, 0, false},
     0.1,
     {0.488730037496155, -1.45878763225279, 2.43280955825273}},
    {{"sgd", 0, 0, 0, 0.05, 0, false},
     0.1,
     {0.574268740309375, -0.63513440499375, 0.486457919053125}},
    {{"sgd", 0, 0, 0, 0.05, 0.9, false},
     0.1,
     {-0.066961434940625, 1.19550208550625, -2.34263062669688}},
    {{"sgd", 0, 0, 0, 0, 0.9, true}, 0.1, {-0.1045816839, 0.8314351616, -1.0435567191}},
};

/* Steps on sum(k*w^2)/2, k = 1, 2, 3; gradients come in times 4 and are scaled back. */
static void step_some(struct optimizer *optimizer, float *w, double learning_rate, int steps) {
  for (int s = 0; s < steps; s++) {
    float g[COUNT];
    for (int i = 0; i < COUNT; i++) g[i] = 4 * (float)(i + 1) * w[i];
    CHECK_OK(optimizer_step(optimizer, &stream, w, g, learning_rate, 0.25));
  }
}

TEST(optimizers_step_as_pytorch) {
  for (size_t t = 0; t < sizeof trials / sizeof *trials; t++) {
    struct optimizer optimizer;
    float w[COUNT] = {1, -2, 3};
    CHECK_OK(optimizer_open(&optimizer, &device, &trials[t].options, COUNT));
    step_some(&optimizer, w, trials[t].learning_rate, STEPS);
    CHECK(optimizer.step == STEPS);
    for (int i = 0; i < COUNT; i++) CHECK_NEAR(w[i], trials[t].expected[i], 2e-6);
    optimizer_close(&optimizer);
  }
}

/* The state arrays and the step are all that a resumed run needs. */
TEST(state_can_be_carried_to_another_optimizer) {
  for (size_t t = 0; t < sizeof trials / sizeof *trials; t++) {
    struct optimizer one, two;
    float a[COUNT] = {1, -2, 3}, b[COUNT];
    CHECK_OK(optimizer_open(&one, &device, &trials[t].options, COUNT));
    CHECK_OK(optimizer_open(&two, &device, &trials[t].options, COUNT));
    step_some(&one, a, 0.1, 2);
    memcpy(b, a, sizeof a);
    two.step = one.step;
    for (int i = 0; i < one.state_count; i++) memcpy(two.state[i], one.state[i], sizeof a);
    step_some(&one, a, 0.1, 3);
    step_some(&two, b, 0.1, 3);
    CHECK(memcmp(a, b, sizeof a) == 0);
    optimizer_close(&one);
    optimizer_close(&two);
  }
}

TEST(state_starts_at_zero_and_has_names) {
  struct optimizer optimizer;
  struct optimizer_options options = optimizer_defaults("adam");
  CHECK_OK(optimizer_open(&optimizer, &device, &options, 1000));
  CHECK(optimizer.state_count == 2 && optimizer.step == 0);
  CHECK(strcmp(optimizer.state_name[0], "adam.m") == 0);
  CHECK(strcmp(optimizer.state_name[1], "adam.v") == 0);
  for (int i = 0; i < 1000; i++) CHECK(optimizer.state[0][i] == 0 && optimizer.state[1][i] == 0);
  optimizer_close(&optimizer);
  options = optimizer_defaults("sgd");
  CHECK_OK(optimizer_open(&optimizer, &device, &options, 1000));
  CHECK(optimizer.state_count == 0);
  optimizer_close(&optimizer);
  optimizer_close(&optimizer);
}

TEST(wrong_options_are_refused) {
  struct optimizer optimizer;
  struct optimizer_options options = optimizer_defaults("adm");
  CHECK_FAILS(optimizer_open(&optimizer, &device, &options, 1), "did you mean \"adam\"");
  options = optimizer_defaults("adam");
  options.beta2 = 1;
  CHECK_FAILS(optimizer_open(&optimizer, &device, &options, 1), "in [0, 1), found 0.9 and 1");
  options = optimizer_defaults("adamw");
  options.epsilon = 0;
  CHECK_FAILS(optimizer_open(&optimizer, &device, &options, 1), "epsilon above 0");
  options = optimizer_defaults("sgd");
  options.nesterov = true;
  CHECK_FAILS(optimizer_open(&optimizer, &device, &options, 1), "nesterov needs momentum");
  options = optimizer_defaults("sgd");
  options.weight_decay = -1;
  CHECK_FAILS(optimizer_open(&optimizer, &device, &options, 1), "weight_decay of at least 0");
  optimizer_close(&optimizer);
}

TEST(clipping_bounds_the_norm) {
  CHECK_NEAR(optimizer_clip_scale(5, 1), 1 / 5.000001, 1e-15);
  CHECK(optimizer_clip_scale(0.5, 1) == 1);
  CHECK(optimizer_clip_scale(0, 1) == 1);
  CHECK(optimizer_clip_scale(1e9, 0) == 1);
  CHECK(optimizer_clip_scale(INFINITY, 1) == 0);
  CHECK(isnan(optimizer_clip_scale(NAN, 1)));
}

int main(void) {
  CHECK_OK(device_open(&device, "cpu", 0, 1, false, 1));
  RUN(optimizers_step_as_pytorch);
  RUN(state_can_be_carried_to_another_optimizer);
  RUN(state_starts_at_zero_and_has_names);
  RUN(wrong_options_are_refused);
  RUN(clipping_bounds_the_norm);
  device_close(&device);
  return check_result();
}
