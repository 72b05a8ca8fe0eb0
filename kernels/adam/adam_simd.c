/* The Adam step on vectors. A rest shorter than LANES goes through the same vector code in a copy,
 * so that an element's bits do not depend on its place. */
#include <math.h>
#include <string.h>
#include "kernels/adam/adam.h"
#include "kernels/common/simd.h"

enum { LANES = 16, BLOCK = 1 << 14 };

struct coefficients {
  float gradient_scale, weight_decay, keep; /* keep: what AdamW leaves of a weight */
  float take1, beta2, take2;                /* take: 1 - beta */
  float step_size, root_correction, epsilon;
};

static struct coefficients coefficients_make(const struct adam_step *s) {
  double correction1 = 1 - pow(s->beta1, (double)s->step);
  double correction2 = 1 - pow(s->beta2, (double)s->step);
  return (struct coefficients){
      .gradient_scale = (float)s->gradient_scale,
      .weight_decay = s->decoupled ? 0 : (float)s->weight_decay,
      .keep = s->decoupled ? (float)(1 - s->learning_rate * s->weight_decay) : 1,
      .take1 = (float)(1 - s->beta1),
      .beta2 = (float)s->beta2,
      .take2 = (float)(1 - s->beta2),
      .step_size = (float)(s->learning_rate / correction1),
      .root_correction = (float)sqrt(correction2),
      .epsilon = (float)s->epsilon,
  };
}

/* count: a multiple of LANES. */
__attribute__((noinline)) static void update_lanes(const struct coefficients *coefficients,
                                                   float *restrict w, const float *restrict g,
                                                   float *restrict m, float *restrict v,
                                                   int count) {
  struct coefficients c = *coefficients;
  for (int at = 0; at < count; at += LANES)
    for (int i = at; i < at + LANES; i++) {
      float gradient = c.gradient_scale * g[i] + c.weight_decay * w[i];
      float mean = m[i] + c.take1 * (gradient - m[i]);
      float square = c.beta2 * v[i] + c.take2 * gradient * gradient;
      float below = sqrtf(square) / c.root_correction + c.epsilon;
      m[i] = mean;
      v[i] = square;
      w[i] = c.keep * w[i] - c.step_size * mean / below;
    }
}

static void update_rest(const struct coefficients *c, float *w, const float *g, float *m, float *v,
                        int count) {
  float copy[4][LANES] = {{0}};
  size_t bytes = (size_t)count * sizeof *w;
  memcpy(copy[0], w, bytes);
  memcpy(copy[1], g, bytes);
  memcpy(copy[2], m, bytes);
  memcpy(copy[3], v, bytes);
  update_lanes(c, copy[0], copy[1], copy[2], copy[3], LANES);
  memcpy(w, copy[0], bytes);
  memcpy(m, copy[2], bytes);
  memcpy(v, copy[3], bytes);
}

static void update(const struct adam_step *step, float *w, const float *g, float *m, float *v,
                   int64_t count) {
  struct coefficients c = coefficients_make(step);
  int64_t whole = count / LANES * LANES;
#pragma omp parallel for schedule(static)
  for (int64_t i = 0; i < whole; i += BLOCK) {
    int64_t left = whole - i;
    update_lanes(&c, w + i, g + i, m + i, v + i, left < BLOCK ? (int)left : BLOCK);
  }
  if (whole < count)
    update_rest(&c, w + whole, g + whole, m + whole, v + whole, (int)(count - whole));
}

extern const struct adam_kernel SIMD_NAME(adam);
const struct adam_kernel SIMD_NAME(adam) = {
    .name = SIMD_LABEL("simd"),
    .device = DEVICE_CPU,
    .applies = simd_available,
    .update = update,
};
