/* loss_ce on vectors of voxels. */
#include "kernels/common/fold.h"
#include "kernels/common/logits_softmax.h"
#include "kernels/common/simd_cells.h"
#include "kernels/loss_ce/loss_ce.h"

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

enum { FLUSHED = 8 }; /* rows that are added up in float32 */

static const float unit = 0.693147181F; /* log(2) */

#if defined SIMD_ISA_AVX512
/* 1 / m and log2(m) where m is the first number, or in the middle, of each 32nd of 1 to 2. */
static const float reciprocals[32] = {
    1.00000000F, 0.95522386F, 0.92753625F, 0.90140843F, 0.87671232F, 0.85333335F, 0.83116883F,
    0.81012660F, 0.79012346F, 0.77108431F, 0.75294119F, 0.73563218F, 0.71910113F, 0.70329672F,
    0.68817204F, 0.67368424F, 0.65979379F, 0.64646465F, 0.63366336F, 0.62135923F, 0.60952383F,
    0.59813082F, 0.58715594F, 0.57657659F, 0.56637168F, 0.55652171F, 0.54700857F, 0.53781515F,
    0.52892560F, 0.52032518F, 0.51200002F, 0.50393701F};
static const float logarithms[32] = {
    0.00000000F, 0.06608922F, 0.10852443F, 0.14974715F, 0.18982457F, 0.22881866F, 0.26678655F,
    0.30378070F, 0.33984998F, 0.37503949F, 0.40939090F, 0.44294351F, 0.47573343F, 0.50779462F,
    0.53915882F, 0.56985557F, 0.59991288F, 0.62935662F, 0.65821153F, 0.68650049F, 0.71424544F,
    0.74146706F, 0.76818436F, 0.79441583F, 0.82017899F, 0.84549010F, 0.87036467F, 0.89481771F,
    0.91886330F, 0.94251454F, 0.96578419F, 0.98868471F};

static inline __attribute__((always_inline)) simd look_up(const float table[32], __m512i place) {
  return (simd)_mm512_permutex2var_ps(_mm512_loadu_ps(table), place,
                                      _mm512_loadu_ps(table + SIMD_WIDTH));
}
#endif

/* log2 of numbers from 1 on. */
static inline __attribute__((always_inline)) simd log2_of(simd x) {
#if defined SIMD_ISA_AVX512
  const __m512i place = _mm512_srli_epi32((__m512i)x, 18);
  const simd whole = (simd)_mm512_getexp_ps((__m512)x);
  const simd m = (simd)_mm512_getmant_ps((__m512)x, _MM_MANT_NORM_1_2, _MM_MANT_SIGN_src);
  const simd r = m * look_up(reciprocals, place) - 1;
  simd p = -0.351960426F * r + 0.480952157F;
  p = p * r - 0.721349389F;
  p = p * r + 1.44269504F;
  return p * r + (whole + look_up(logarithms, place));
#else
  return simd_log(x) * (1 / unit);
#endif
}

/* 1 - p of them. */
static inline __attribute__((always_inline)) simd rest_of(int classes, simd_int label, simd sum,
                                                          const simd *power) {
  simd others = {0}, none = {0};
  for (int k = 0; k < classes; k++) others += logits_where(label, k, none, power[k]);
  return others / sum;
}

static void flush(struct simd_sum *sum, simd *value) {
  simd_sum_add(sum, *value);
  *value = (simd){0};
}

static double total_of(const struct simd_sum *sum) {
  double total = 0;
  for (int i = 0; i < SIMD_WIDTH / 2; i++) total += sum->half[0][i] + sum->half[1][i];
  return total;
}

static inline __attribute__((always_inline)) void add_pieces(const struct logits_piece *piece,
                                                             const struct context *context,
                                                             int classes, int together,
                                                             bool focal) {
  const float gamma = context->terms.gamma;
  struct simd_sum sums = {0}, all_weights = {0};
  simd sum = {0}, weights = {0};
  struct logits_start start;
  logits_begin(piece, (struct logits_place){0}, classes, &start);
  LOGITS_EACH_VECTOR(piece, at, next) {
    struct logits_softmax softmax;
    simd_int label = simd_from_bytes(logits_labels_at(piece, at));
    simd own = pick(start.below, classes, label), weight = weights_of(context, classes, label);
    logits_finish(&start, classes, together, &softmax);
    logits_begin(piece, next, classes, &start);
    simd bits = log2_of(softmax.sum) - own;
    if (focal) bits *= simd_pow(rest_of(classes, label, softmax.sum, softmax.power), gamma);
    sum += weight * bits;
    weights += weight;
    if (__builtin_expect(next.v > 0 || next.row % FLUSHED > 0, 1)) continue;
    flush(&sums, &sum);
    flush(&all_weights, &weights);
  }
  flush(&sums, &sum);
  flush(&all_weights, &weights);
  piece->sums[LOSS_CE_SUM] += (double)unit * total_of(&sums);
  piece->sums[LOSS_CE_WEIGHT] += total_of(&all_weights);
}

static void add_losses(const struct logits_piece *piece, const void *context) {
  LOGITS_OF_CLASSES(add_pieces, piece, context, false)
}

static void add_focal_losses(const struct logits_piece *piece, const void *context) {
  LOGITS_OF_CLASSES(add_pieces, piece, context, true)
}

/* The slope of (1 - p)^gamma (-log p) by logit k is (p_k - [k is the label]) times
 * (1 - p)^gamma (1 + gamma p (-log p) / (1 - p)). */
static simd focal_factor(simd nll, simd rest, float gamma) {
  simd none = simd_all(1.2e-38F), below = simd_max(rest, none);
  return simd_pow(rest, gamma) * (1 + gamma * (1 - rest) * nll / below);
}

static inline __attribute__((always_inline)) void slope_pieces(const struct logits_piece *piece,
                                                               const struct context *context,
                                                               int classes, int together,
                                                               bool focal) {
  const float gamma = context->terms.gamma;
  struct logits_start start;
  logits_begin(piece, (struct logits_place){0}, classes, &start);
  LOGITS_EACH_VECTOR(piece, at, next) {
    struct logits_softmax softmax;
    simd_int label = simd_from_bytes(logits_labels_at(piece, at));
    simd factor = context->scale * weights_of(context, classes, label), none = {0}, own = {0};
    if (focal) own = pick(start.below, classes, label);
    logits_finish(&start, classes, together, &softmax);
    logits_begin(piece, next, classes, &start);
    if (focal)
      factor *= focal_factor(unit * (log2_of(softmax.sum) - own),
                             rest_of(classes, label, softmax.sum, softmax.power), gamma);
    simd share = factor * simd_reciprocal(softmax.sum);
    float *z = logits_gradient_at(piece, classes, at);
    for (int k = 0; k < classes; k++)
      simd_store(z + k * piece->step,
                 softmax.power[k] * share - logits_where(label, k, factor, none));
  }
}

static void set_slopes(const struct logits_piece *piece, const void *context) {
  LOGITS_OF_CLASSES(slope_pieces, piece, context, false)
}

static void set_focal_slopes(const struct logits_piece *piece, const void *context) {
  LOGITS_OF_CLASSES(slope_pieces, piece, context, true)
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
  SIMD_NAME(logits_sums)
  (node, io, context.terms.gamma > 0 ? add_focal_losses : add_losses, &context, partial,
   LOSS_CE_SUMS);
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
  SIMD_NAME(logits_gradient)
  (node, io, context.terms.gamma > 0 ? set_focal_slopes : set_slopes, &context);
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
