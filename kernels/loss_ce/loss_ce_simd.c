/* loss_ce on vectors of voxels. */
#include "kernels/common/fold.h"
#include "kernels/common/logits_softmax.h"
#include "kernels/loss_ce/loss_ce.h"

enum { LEFT = 256 }; /* voxels whose terms are added up together */

/* What `each` gets. */
struct context {
  struct loss_ce_terms terms;
  float scale; /* backward: of every term */
};

/* What `of` holds for the voxels' labels, 0 where a voxel is left out. */
static inline __attribute__((always_inline)) simd pick(const simd *of, int classes,
                                                       simd_int label) {
  simd found = {0};
  for (int k = 0; k < classes; k++) found = logits_where(label, k, of[k], found);
  return found;
}

static inline __attribute__((always_inline)) simd weights_of(const struct context *context,
                                                             int classes, simd_int label) {
  simd found = {0};
#if defined SIMD_ISA_AVX512
  if (classes < SIMD_WIDTH) { /* what is behind the weights is 0 */
    const __m512i lane = _mm512_min_epu32((__m512i)label, _mm512_set1_epi32(classes));
    return (simd)_mm512_permutexvar_ps(lane, _mm512_loadu_ps(context->terms.weight));
  }
#endif
  for (int k = 0; k < classes; k++)
    found = logits_where(label, k, simd_all(context->terms.weight[k]), found);
  return found;
}

/* -log p of the voxels' labels. own: their `below`. */
static inline simd nll_of(simd sum, simd own) {
  return simd_log(sum) - 0.693147181F * own;
}

/* 1 - p of them. */
static inline __attribute__((always_inline)) simd rest_of(int classes, simd_int label, simd sum,
                                                          const simd *power) {
  simd others = {0}, none = {0};
  for (int k = 0; k < classes; k++) others += logits_where(label, k, none, power[k]);
  return others / sum;
}

/* What is left of a row of labels when probabilities are known; the logarithm of many voxels is
 * taken together, so that none waits for those before. */
struct left {
  float sum[LEFT] __attribute__((aligned(64))), own[LEFT], weight[LEFT], rest[LEFT];
};

static void add_left(const struct left *left, int count, float gamma, double *sums) {
  simd sum = {0}, weights = {0};
  for (int i = 0; i < count; i += SIMD_WIDTH) {
    simd weight = simd_load(left->weight + i);
    simd nll = nll_of(simd_load(left->sum + i), simd_load(left->own + i));
    if (gamma > 0) nll *= simd_pow(simd_load(left->rest + i), gamma);
    sum += weight * nll;
    weights += weight;
  }
  sums[LOSS_CE_SUM] += simd_total(sum);
  sums[LOSS_CE_WEIGHT] += simd_total(weights);
}

static inline __attribute__((always_inline)) void add_pieces(const struct logits_piece *piece,
                                                             const struct context *context,
                                                             int classes, int many) {
  const float gamma = context->terms.gamma;
  const int step = piece->step;
  struct left left;
  int count = 0;
  LOGITS_EACH_VECTORS(piece, r, v, many) {
    struct logits_softmax softmax;
    logits_softmax(&piece->rows[r], v, step, classes, many, &softmax);
    SIMD_EACH(i, many) {
      simd_int label = simd_from_bytes(piece->labels + r * step + v + i * SIMD_WIDTH);
      simd_store(left.weight + count, weights_of(context, classes, label));
      simd_store(left.own + count, pick(softmax.below[i], classes, label));
      simd_store(left.sum + count, softmax.sum[i]);
      if (gamma > 0)
        simd_store(left.rest + count, rest_of(classes, label, softmax.sum[i], softmax.power[i]));
      count += SIMD_WIDTH;
    }
    if (count < LEFT) continue;
    add_left(&left, count, gamma, piece->sums);
    count = 0;
  }
  add_left(&left, count, gamma, piece->sums);
}

static void add_losses(const struct logits_piece *piece, const void *context) {
  LOGITS_OF_CLASSES(add_pieces, piece, context)
}

/* The slope of (1 - p)^gamma (-log p) by logit k is (p_k - [k is the label]) times
 * (1 - p)^gamma (1 + gamma p (-log p) / (1 - p)). */
static simd focal_factor(simd nll, simd rest, float gamma) {
  simd none = simd_all(1.2e-38F), below = simd_max(rest, none);
  return simd_pow(rest, gamma) * (1 + gamma * (1 - rest) * nll / below);
}

static inline __attribute__((always_inline)) void slope_pieces(const struct logits_piece *piece,
                                                               const struct context *context,
                                                               int classes, int many) {
  const float gamma = context->terms.gamma;
  const int step = piece->step;
  LOGITS_EACH_VECTORS(piece, r, v, many) {
    struct logits_softmax softmax;
    logits_softmax(&piece->rows[r], v, step, classes, many, &softmax);
    SIMD_EACH(i, many) {
      int at = v + i * SIMD_WIDTH;
      simd_int label = simd_from_bytes(piece->labels + r * step + at);
      simd factor = context->scale * weights_of(context, classes, label), none = {0};
      if (gamma > 0)
        factor *= focal_factor(nll_of(softmax.sum[i], pick(softmax.below[i], classes, label)),
                               rest_of(classes, label, softmax.sum[i], softmax.power[i]), gamma);
      simd share = factor * simd_reciprocal(softmax.sum[i]);
      float *z = logits_gradient_at(piece, classes, r, at);
      for (int k = 0; k < classes; k++)
        simd_store(z + k * step,
                   softmax.power[i][k] * share - logits_where(label, k, factor, none));
    }
  }
}

static void set_slopes(const struct logits_piece *piece, const void *context) {
  LOGITS_OF_CLASSES(slope_pieces, piece, context)
}

static bool applies(const struct node *node) {
  return node->x[1].layout == LAYOUT_PLANAR && simd_available();
}

static void prepare(struct node *node) {
  struct logits logits = logits_of(node);
  node->forward_workspace =
      sizeof(double) * LOSS_CE_SUMS * (size_t)logits.n * (size_t)SIMD_NAME(logits_blocks)(&logits);
}

static enum status forward(const struct node *node, const struct io *io, struct stream *stream) {
  (void)stream;
  struct logits logits = logits_of(node);
  const struct context context = {.terms = loss_ce_terms_of(node)};
  int blocks = SIMD_NAME(logits_blocks)(&logits);
  double *partial = io->workspace, sums[LOSS_CE_SUMS] = {0};
  SIMD_NAME(logits_sums)(node, io, add_losses, &context, partial, LOSS_CE_SUMS);
  for (int n = 0; n < logits.n; n++)
    for (int s = 0; s < LOSS_CE_SUMS; s++)
      sums[s] += fold_sum(partial + ((int64_t)n * LOSS_CE_SUMS + s) * blocks, blocks);
  double denominator = loss_ce_denominator(node, io, sums[LOSS_CE_WEIGHT]);
  *(double *)io->saved[0] = denominator;
  *(double *)io->y = loss_ce_of(sums[LOSS_CE_SUM], denominator);
  return STATUS_OK;
}

static enum status backward(const struct node *node, const struct io *io, struct stream *stream) {
  (void)stream;
  if (!io->dx[0]) return STATUS_OK;
  double scale = loss_ce_of(*(const double *)io->dy, *(const double *)io->saved[0]);
  const struct context context = {loss_ce_terms_of(node), (float)scale};
  SIMD_NAME(logits_gradient)(node, io, set_slopes, &context);
  return STATUS_OK;
}

extern const struct kernel SIMD_NAME(loss_ce_simd);
const struct kernel SIMD_NAME(loss_ce_simd) = {
    .name = SIMD_LABEL("simd"),
    .device = DEVICE_CPU,
    .dtype = DTYPE_F32,
    .training = true,
    .applies = applies,
    .prepare = prepare,
    .forward = forward,
    .backward = backward,
};
