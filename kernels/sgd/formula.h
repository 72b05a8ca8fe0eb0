/* The step of one element, in operations that no compiler may fuse or split further: kernels of all
 * instruction sets and devices give the same bits. Internal to the folder. */
#pragma once
#include <math.h>
#include "kernels/common/shared.h"
#include "kernels/sgd/sgd.h"

struct sgd_coefficients {
  float gradient_scale, weight_decay, momentum, rate;
  bool nesterov;
};

static inline struct sgd_coefficients sgd_coefficients(const struct sgd_step *step) {
  struct sgd_coefficients c = {(float)step->gradient_scale, (float)step->weight_decay,
                               (float)step->momentum, (float)step->learning_rate, step->nesterov};
  return c;
}

static inline HOST_DEVICE void sgd_element(const struct sgd_coefficients *c, float *w, float g) {
  float gradient = fmaf(c->weight_decay, *w, c->gradient_scale * g);
  *w = fmaf(-c->rate, gradient, *w);
}

static inline HOST_DEVICE void sgd_momentum_element(const struct sgd_coefficients *c, float *w,
                                                    float g, float *velocity) {
  float gradient = fmaf(c->weight_decay, *w, c->gradient_scale * g);
  float moved = fmaf(c->momentum, *velocity, gradient);
  *velocity = moved;
  *w = fmaf(-c->rate, c->nesterov ? fmaf(c->momentum, moved, gradient) : moved, *w);
}
