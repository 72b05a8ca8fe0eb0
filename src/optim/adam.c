/* adam and adamw: the two ways of weight decay around one kernel. */
#include "kernels/adam/adam.h"
#include "optim/optim.h"

enum { MEAN, SQUARE, STATES };

static int count_states(const struct optimizer_options *options) {
  (void)options;
  return STATES;
}

static enum status check(const struct optimizer_options *options) {
  REQUIRE(options->beta1 >= 0 && options->beta1 < 1 && options->beta2 >= 0 && options->beta2 < 1,
          STATUS_USAGE, "optimizer %s: expected beta1 and beta2 in [0, 1), found %g and %g",
          options->kind, options->beta1, options->beta2);
  REQUIRE(options->epsilon > 0, STATUS_USAGE, "optimizer %s: expected epsilon above 0, found %g",
          options->kind, options->epsilon);
  return STATUS_OK;
}

static enum status update(struct optimizer *optimizer, struct stream *stream, float *w,
                          const float *g, double learning_rate, double gradient_scale,
                          bool decoupled) {
  const struct optimizer_options *options = &optimizer->options;
  struct adam_step step = {.learning_rate = learning_rate,
                           .beta1 = options->beta1,
                           .beta2 = options->beta2,
                           .epsilon = options->epsilon,
                           .weight_decay = options->weight_decay,
                           .decoupled = decoupled,
                           .step = optimizer->step,
                           .gradient_scale = gradient_scale};
  return adam_update(&step, stream, w, g, optimizer->state[MEAN], optimizer->state[SQUARE],
                     optimizer->count);
}

static enum status adam_step(struct optimizer *optimizer, struct stream *stream, float *w,
                             const float *g, double learning_rate, double gradient_scale) {
  return update(optimizer, stream, w, g, learning_rate, gradient_scale, false);
}

static enum status adamw_step(struct optimizer *optimizer, struct stream *stream, float *w,
                              const float *g, double learning_rate, double gradient_scale) {
  return update(optimizer, stream, w, g, learning_rate, gradient_scale, true);
}

extern const struct optimizer_kind optimizer_adam, optimizer_adamw;
const struct optimizer_kind optimizer_adam = {
    .name = "adam",
    .help = "Adam; weight decay is added to the gradient",
    .state = {"adam.m", "adam.v"},
    .count_states = count_states,
    .check = check,
    .step = adam_step,
};
const struct optimizer_kind optimizer_adamw = {
    .name = "adamw",
    .help = "Adam with decoupled weight decay",
    .state = {"adam.m", "adam.v"},
    .count_states = count_states,
    .check = check,
    .step = adamw_step,
};
