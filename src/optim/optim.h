/* Optimisers over the flat parameter block, and clipping. All of them work element by element: the
 * bits depend on the step alone, not on threads or ranks. */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include "base/status.h"
#include "device/device.h"

enum { OPTIMIZER_MAX_STATES = 2 };

struct optimizer_options {
  const char *kind;             /* "adam", "adamw", "sgd": a name of optimizers.def */
  double beta1, beta2, epsilon; /* adam, adamw */
  double weight_decay;          /* adam, sgd: added to the gradient; adamw: decoupled */
  double momentum;              /* sgd; 0: none */
  bool nesterov;                /* sgd; needs momentum */
};

struct optimizer;

/* One kind of optimiser; optimizers.def lists them. */
struct optimizer_kind {
  const char *name;
  const char *help;                        /* one line, for --list */
  const char *state[OPTIMIZER_MAX_STATES]; /* names of the state arrays, as in a checkpoint */
  int (*count_states)(const struct optimizer_options *options);
  enum status (*check)(const struct optimizer_options *options);
  enum status (*step)(struct optimizer *optimizer, struct stream *stream, float *w, const float *g,
                      double learning_rate, double gradient_scale);
};

/* All kinds, NULL-terminated. */
extern const struct optimizer_kind *const optimizers[];

/* A checkpoint stores `step` and the state arrays (state_name[i], `count` floats at state[i], in
 * the device's memory), and a resumed run sets them after optimizer_open. */
struct optimizer {
  const struct optimizer_kind *kind;
  struct optimizer_options options;
  struct device *device;
  int64_t count; /* parameters */
  int64_t step;  /* steps done */
  int state_count;
  const char *state_name[OPTIMIZER_MAX_STATES];
  float *state[OPTIMIZER_MAX_STATES];
};

/* PyTorch's default values for a kind (betas 0.9 and 0.999, epsilon 1e-8, no decay, no momentum).
 */
struct optimizer_options optimizer_defaults(const char *kind);

/* Takes state for `count` parameters from the device, zeroed. STATUS_USAGE for an unknown kind
 * (with the nearest right name) or options out of range. The device must outlive the optimiser. */
CHECKED enum status optimizer_open(struct optimizer *optimizer, struct device *device,
                                   const struct optimizer_options *options, int64_t count);

/* One step as torch.optim.Adam, AdamW or SGD on gradients gradient_scale*g, in the order of a
 * stream of the optimiser's device. w, g: `count` floats in the device's memory; g is not changed.
 */
CHECKED enum status optimizer_step(struct optimizer *optimizer, struct stream *stream, float *w,
                                   const float *g, double learning_rate, double gradient_scale);

/* Accepts a zeroed or half-opened optimiser. */
void optimizer_close(struct optimizer *optimizer);

/* What gradients are multiplied by so that their norm does not exceed `limit`, as
 * torch.nn.utils.clip_grad_norm_: limit/(norm + 1e-6), at most 1. limit <= 0: no clipping. NaN for
 * a norm that is NaN. */
double optimizer_clip_scale(double norm, double limit);
