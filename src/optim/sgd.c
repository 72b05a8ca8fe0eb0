/* sgd: gradient descent, plain, with momentum, or with Nesterov's, as torch.optim.SGD. */
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

struct coefficients {
  float gradient_scale, weight_decay, momentum, rate;
  bool nesterov;
};

static void step_plain(const struct coefficients *c, float *w, const float *g, int64_t count) {
#pragma omp parallel for schedule(static)
  for (int64_t i = 0; i < count; i++) {
    float gradient = c->gradient_scale * g[i] + c->weight_decay * w[i];
    w[i] -= c->rate * gradient;
  }
}

static void step_momentum(const struct coefficients *c, float *w, const float *g, float *velocity,
                          int64_t count) {
#pragma omp parallel for schedule(static)
  for (int64_t i = 0; i < count; i++) {
    float gradient = c->gradient_scale * g[i] + c->weight_decay * w[i];
    float moved = c->momentum * velocity[i] + gradient;
    velocity[i] = moved;
    w[i] -= c->rate * (c->nesterov ? gradient + c->momentum * moved : moved);
  }
}

static enum status sgd_step(struct optimizer *optimizer, float *w, const float *g,
                            double learning_rate, double gradient_scale) {
  const struct optimizer_options *options = &optimizer->options;
  REQUIRE(optimizer->device->ops->kind == DEVICE_CPU, STATUS_USAGE,
          "optimizer sgd: the device %s has no kernel for it", optimizer->device->ops->name);
  struct coefficients c = {(float)gradient_scale, (float)options->weight_decay,
                           (float)options->momentum, (float)learning_rate, options->nesterov};
  if (optimizer->state_count)
    step_momentum(&c, w, g, optimizer->state[0], optimizer->count);
  else
    step_plain(&c, w, g, optimizer->count);
  return STATUS_OK;
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
