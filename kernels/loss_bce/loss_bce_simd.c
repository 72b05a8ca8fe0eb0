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
  return simd_max(-x, simd_all(0)) + simd_log1p(simd_exp(-simd_abs(x)));
}

static simd weight_of(const struct context *context, simd truth) {
  return 1 + truth * (context->terms.positive_weight - 1);
}

static void add_focal(const struct bits_piece *piece, const struct context *context) {
  simd sum = {0};
  for (int i = 0; i < piece->count; i += SIMD_WIDTH) {
    simd truth = simd_load(piece->truth + i), sign = 2 * truth - 1;
    simd s = sign * simd_load(piece->z + i), loss = weight_of(context, truth) * nll_of(s);
    sum += loss * simd_exp(-context->terms.gamma * nll_of(-s));
  }
  *piece->sums += simd_total(sum);
}

/* Logarithms of a product of so many factors from 1 to 2 are taken at once. */
enum { FACTORS = 64 };

/* The sum of log(1 + e^-|s|) is the logarithm of a product, one for all logits and one more for
 * those of classes that are there, which weigh more. What 1 + e^-|s| rounds away is added as in
 * simd_log1p. */
static void add_logarithms(const struct bits_piece *piece, int first, int count,
                           const struct context *context) {
  simd sum = {0}, all = simd_all(1), there = simd_all(1);
  float more = context->terms.positive_weight - 1;
  for (int i = first; i < first + count; i += SIMD_WIDTH) {
    simd truth = simd_load(piece->truth + i), z = simd_load(piece->z + i);
    simd small = simd_exp(-simd_abs(z)), u = 1 + small, none = simd_all(0);
    simd_int positive = truth > none;
    simd rest = (small - (u - 1)) * (1 - 0.5F * small);
    sum += (1 + truth * more) * (rest + simd_max(simd_select(positive, -z, z), none));
    all *= u;
    if (more != 0) there *= simd_select(positive, u, simd_all(1));
  }
  sum += simd_log(all);
  if (more != 0) sum += more * simd_log(there);
  *piece->sums += simd_total(sum);
}

static void add_losses(const struct bits_piece *piece, const void *from) {
  const struct context *context = from;
  if (context->terms.gamma > 0) {
    add_focal(piece, context);
    return;
  }
  for (int i = 0; i < piece->count; i += FACTORS * SIMD_WIDTH) {
    int left = piece->count - i, most = FACTORS * SIMD_WIDTH;
    add_logarithms(piece, i, left < most ? left : most, context);
  }
}

/* The slope of (1 - p)^gamma (-log p) by s is -(1 - p)^gamma (1 - p + gamma p (-log p)). */
static void set_slopes(const struct bits_piece *piece, const void *from) {
  const struct context *context = from;
  float gamma = context->terms.gamma;
  for (int i = 0; i < piece->count; i += SIMD_WIDTH) {
    simd truth = simd_load(piece->truth + i), sign = 2 * truth - 1;
    simd s = sign * simd_load(piece->z + i);
    struct simd_chance chance = simd_sigmoid(s);
    simd slope = chance.rest;
    if (gamma > 0) slope = simd_exp(-gamma * nll_of(-s)) * (slope + gamma * chance.p * nll_of(s));
    bits_give(piece, i, -sign * context->scale * weight_of(context, truth) * slope);
  }
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
