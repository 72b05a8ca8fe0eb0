/* Adam's step of one element, in operations that no compiler may fuse or split further: kernels of
 * all instruction sets and devices give the same bits. Internal to the folder. */
#pragma once
#include <math.h>
#include "kernels/adam/adam.h"
#include "kernels/common/shared.h"

struct adam_coefficients {
  float gradient_scale, weight_decay, keep; /* keep: what AdamW leaves of a weight */
  float take1, beta2, take2;                /* take: 1 - beta */
  float step_size, root_correction, epsilon;
};

struct adam_coefficients adam_coefficients(const struct adam_step *step);

static inline HOST_DEVICE void adam_element(const struct adam_coefficients *c, float *w, float g,
                                            float *m, float *v) {
  float gradient = fmaf(c->weight_decay, *w, c->gradient_scale * g);
  float mean = fmaf(c->take1, gradient - *m, *m);
  float square = fmaf(c->beta2, *v, c->take2 * gradient * gradient);
  float below = sqrtf(square) / c->root_correction + c->epsilon;
  *m = mean;
  *v = square;
  *w = fmaf(c->keep, *w, -(c->step_size * mean / below));
}
