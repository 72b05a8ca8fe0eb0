/* loss_bce on vectors of logits. */
#include "kernels/common/bits_walk.h"
#include "kernels/common/fold.h"
#include "kernels/common/simd_math.h"
#include "kernels/loss_bce/loss_bce.h"

/* What `each` gets. */
struct context {
  struct loss_bce_terms terms;
  float scale; /* backward: of every term */
};

/* -log of a chance: of sigmoid(x). */
static inline __attribute__((always_inline)) simd nll_of(simd x) {
  return simd_max(-x, simd_all(0)) + simd_log1p(simd_exp(simd_minus_abs(x)));
}

/* The other sign where the mask is. */
static inline simd turned(simd_int where, simd x) {
  return (simd)((simd_int)x ^ (where & (int)0x80000000));
}

static inline simd masked(simd_int where, simd x) {
  return (simd)(where & (simd_int)x);
}

static simd weight_of(const struct context *context, simd_int truth) {
  return 1 + masked(truth, simd_all(context->terms.positive_weight - 1));
}

static void add_focal(const struct bits_piece *piece, const struct context *context) {
  simd sum = {0};
  for (int i = 0; i < piece->count; i += SIMD_WIDTH) {
    simd_int truth = bits_truth(piece, i);
    simd rest = turned(truth, simd_load(piece->z + i)); /* what 1 - p is the chance of */
    sum +=
        weight_of(context, truth) * nll_of(-rest) * simd_exp(-context->terms.gamma * nll_of(rest));
  }
  *piece->sums += simd_total(sum);
}

/* Of some logits: the sum of what is linear in them, and the product of 1 + e^-|z|, less 1, whose
 * logarithm is taken once. */
struct logarithms {
  simd linear, product;
};

/* Sums beside each other, so that none waits for the one before; and logits whose products float32
 * holds: each factor is at most 2. */
enum { SUMS = 2, PART = 64 * SUMS * SIMD_WIDTH };

static const float per_unit = 1.44269504F; /* 1 / log(2) */

/* -|x| in units of log(2), but not below what has a power of 2 that is a normal number. */
static inline simd minus_magnitude(simd x) {
#if defined SIMD_ISA_AVX512
  enum { SMALLER_MAGNITUDE = 2, NEGATIVE = 3 << 2 };
  const __m512 most = _mm512_set1_ps(87);
  return per_unit * (simd)_mm512_range_ps((__m512)x, most, SMALLER_MAGNITUDE | NEGATIVE);
#else
  return per_unit * simd_max(simd_all(-87), simd_minus_abs(x));
#endif
}

static simd logarithm_of(simd product) {
  simd u = 1 + product;
  return simd_log(u) + (product - (u - 1)) / u;
}

/* Asks for logits that are worked on a little later. */
static inline __attribute__((always_inline)) void fetch(const struct bits_piece *piece, int at,
                                                        int count) {
  enum { AHEAD = 256 };
  SIMD_EACH(k, count) __builtin_prefetch(piece->z + at + k * SIMD_WIDTH + AHEAD);
}

/* Of `count` vectors: one sum of all logits, and one more of those of classes that are there, which
 * weigh more. -log p is max(-s, 0) + log(1 + e^-|s|), s the logit of what is true. */
static inline __attribute__((always_inline)) void add_logits(const struct bits_piece *piece, int at,
                                                             int count, bool weighted,
                                                             struct logarithms *all,
                                                             struct logarithms *there) {
  simd z[SIMD_TOGETHER], below[SIMD_TOGETHER], f[SIMD_TOGETHER], small[SIMD_TOGETHER];
  fetch(piece, at, count);
  SIMD_EACH(k, count) z[k] = simd_load(piece->z + at + k * SIMD_WIDTH);
  SIMD_EACH(k, count) below[k] = minus_magnitude(z[k]);
  SIMD_EACH(k, count) f[k] = simd_fraction(below[k]);
  simd_powers(below, f, count, small);
  SIMD_EACH(k, count) {
    const int i = at + k * SIMD_WIDTH;
    struct logarithms *sum = &all[k % SUMS], *more = &there[k % SUMS];
    const simd linear = simd_max((simd){0}, bits_turned(piece, i, z[k])); /* no number stays none */
    sum->linear += linear;
    sum->product = sum->product + small[k] + sum->product * small[k];
    if (!weighted) continue;
    more->linear = bits_add(piece, i, more->linear, linear);
    more->product = bits_add(piece, i, more->product, small[k] + more->product * small[k]);
  }
}

static simd total_of(const struct logarithms sum[SUMS]) {
  simd total = {0};
  for (int k = 0; k < SUMS; k++) total += sum[k].linear + logarithm_of(sum[k].product);
  return total;
}

static inline __attribute__((always_inline)) simd sum_part(const struct bits_piece *piece, int from,
                                                           int to, float more, bool weighted) {
  struct logarithms all[SUMS] = {{{0}, {0}}}, there[SUMS] = {{{0}, {0}}};
  int i = from, step = SIMD_TOGETHER * SIMD_WIDTH;
  for (; i + step <= to; i += step) add_logits(piece, i, SIMD_TOGETHER, weighted, all, there);
  for (; i < to; i += SIMD_WIDTH) add_logits(piece, i, 1, weighted, all, there);
  simd sum = total_of(all);
  if (weighted) sum += more * total_of(there);
  return sum;
}

static void add_losses(const struct bits_piece *piece, const void *from) {
  const struct context *context = from;
  float more = context->terms.positive_weight - 1;
  simd sum = {0};
  if (context->terms.gamma > 0) {
    add_focal(piece, context);
    return;
  }
  for (int i = 0; i < piece->count; i += PART) {
    int to = i + PART < piece->count ? i + PART : piece->count;
    if (more != 0)
      sum += sum_part(piece, i, to, more, true);
    else
      sum += sum_part(piece, i, to, 0, false);
  }
  *piece->sums += simd_total(sum);
}

/* Slopes of a logit so far from 0 are taken as 0: with smaller ones, products would not be normal
 * numbers, of which processors are slow. */
enum { SATURATED = 64 };

/* The slope of -log p by s is p - 1, that is, -1 / (1 + e^s). */
static inline __attribute__((always_inline)) void give_slopes(const struct bits_piece *piece,
                                                              const struct context *context, int at,
                                                              int count) {
  const simd own = simd_all(-context->scale * context->terms.positive_weight);
  const simd other = simd_all(context->scale), most = simd_all(SATURATED);
  simd_int truth[SIMD_TOGETHER], none[SIMD_TOGETHER];
  simd s[SIMD_TOGETHER], power[SIMD_TOGETHER];
  fetch(piece, at, count);
  SIMD_EACH(k, count) truth[k] = bits_truth(piece, at + k * SIMD_WIDTH);
  SIMD_EACH(k, count) s[k] = turned(~truth[k], simd_load(piece->z + at + k * SIMD_WIDTH));
  SIMD_EACH(k, count) none[k] = s[k] > most;
  SIMD_EACH(k, count) s[k] = simd_min(most, simd_max(-most, s[k]));
  simd_exp_factors(s, power, count);
  SIMD_EACH(k, count) s[k] = simd_reciprocal(1 + s[k] * power[k]);
  SIMD_EACH(k, count) {
    simd slope = simd_select(truth[k], own, other) * masked(~none[k], s[k]);
    bits_give(piece, at + k * SIMD_WIDTH, slope);
  }
}

/* The slope of (1 - p)^gamma (-log p) by s is -(1 - p)^gamma (1 - p + gamma p (-log p)). */
static void set_focal_slopes(const struct bits_piece *piece, const struct context *context) {
  const float gamma = context->terms.gamma;
  const simd own = simd_all(-context->scale * context->terms.positive_weight);
  const simd other = simd_all(context->scale);
  for (int i = 0; i < piece->count; i += SIMD_WIDTH) {
    simd_int truth = bits_truth(piece, i);
    simd rest = turned(truth, simd_load(piece->z + i));
    struct simd_chance chance = simd_sigmoid(rest);
    simd slope = simd_exp(-gamma * nll_of(rest)) * (chance.p + gamma * chance.rest * nll_of(-rest));
    bits_give(piece, i, simd_select(truth, own, other) * slope);
  }
}

static void set_slopes(const struct bits_piece *piece, const void *from) {
  const struct context *context = from;
  int i = 0, step = SIMD_TOGETHER * SIMD_WIDTH;
  if (context->terms.gamma > 0) {
    set_focal_slopes(piece, context);
    return;
  }
  for (; i + step <= piece->count; i += step) give_slopes(piece, context, i, SIMD_TOGETHER);
  for (; i < piece->count; i += SIMD_WIDTH) give_slopes(piece, context, i, 1);
}

static bool applies(const struct node *node) {
  (void)node;
  return simd_available();
}

static int partial_count(const struct node *node) {
  return node->x[0].shape.n * SIMD_NAME(bits_groups)(node) * SIMD_NAME(bits_blocks)(node);
}

static void prepare(struct node *node) {
  node->forward_workspace = sizeof(double) * (size_t)partial_count(node);
}

static enum status forward(const struct node *node, const struct io *io, struct stream *stream) {
  (void)stream;
  const struct context context = {.terms = loss_bce_terms_of(node)};
  SIMD_NAME(bits_sums)(node, io, add_losses, &context, io->workspace, 1);
  *(double *)io->y = fold_sum(io->workspace, partial_count(node)) / loss_bce_count(node);
  return STATUS_OK;
}

static enum status backward(const struct node *node, const struct io *io, struct stream *stream) {
  (void)stream;
  double scale = *(const double *)io->dy / loss_bce_count(node);
  const struct context context = {loss_bce_terms_of(node), (float)scale};
  if (io->dx[0]) SIMD_NAME(bits_gradient)(node, io, set_slopes, &context);
  return STATUS_OK;
}

extern const struct kernel SIMD_NAME(loss_bce_simd);
const struct kernel SIMD_NAME(loss_bce_simd) = {
    .name = SIMD_LABEL("simd"),
    .device = DEVICE_CPU,
    .dtype = DTYPE_F32,
    .training = true,
    .applies = applies,
    .prepare = prepare,
    .forward = forward,
    .backward = backward,
};
