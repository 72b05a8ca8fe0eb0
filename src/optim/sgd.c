/* sgd: gradient descent, plain, with momentum, or with Nesterov's, as torch.optim.SGD. */
#include "kernels/sgd/sgd.h"
#include "optim/optim.h"

static int count_states(const struct optimizer_options *options) {
  return options->momentum > 0 ? 1 : 0;
}

static enum status check(const struct optimizer_options *options) {
  REQUIRE(options->momentum >= 0, STATUS_USAGE,
          "optimizer sgd: expected momentum of at least 0, found %g", options->momentum);
  REQUIRE(!options->nesterov || options->momentum > 0, STATUS_USAGE,
          "optimizer sgd: nesterov needs momentum above 0, found %g", options->momentum);
  return STATUS_OK;
}

static enum status sgd_step(struct optimizer *optimizer, struct stream *stream, float *w,
                            const float *g, double learning_rate, double gradient_scale) {
  const struct optimizer_options *options = &optimizer->options;
  struct sgd_step step = {.learning_rate = learning_rate,
                          .weight_decay = options->weight_decay,
                          .momentum = options->momentum,
                          .nesterov = options->nesterov,
                          .gradient_scale = gradient_scale};
  return sgd_update(&step, stream, w, g, optimizer->state[0], optimizer->count);
}

extern const struct optimizer_kind optimizer_sgd;
const struct optimizer_kind optimizer_sgd = {
    .name = "sgd",
    .help = "gradient descent, with momentum or Nesterov's momentum",
    .state = {"sgd.velocity"},
    .count_states = count_states,
    .check = check,
    .step = sgd_step,
};
