/* loss_ce on vectors of voxels. */
#include "kernels/common/fold.h"
#include "kernels/common/logits_softmax.h"
#include "kernels/loss_ce/loss_ce.h"

/* What `each` gets. */
struct context {
  struct loss_ce_terms terms;
  float scale; /* backward: of every term */
};

/* What `of` holds for the voxels' labels, 0 where a voxel is left out. */
static inline simd pick(const float *of, int step, bool each, int classes, simd_int label) {
  simd_int found = {0};
  for (int k = 0; k < classes; k++) {
    const float *from = of + k * step;
    simd value = each ? simd_load(from) : simd_all(*from);
    found |= (simd_int)(label == k) & (simd_int)value;
  }
  return (simd)found;
}

static simd weights_of(const struct logits_piece *piece, const struct context *context,
                       simd_int label) {
  return pick(context->terms.weight, 1, false, piece->classes, label);
}

/* -log p of the voxels' labels. */
static simd nll_of(const struct logits_piece *piece, int v, simd_int label,
                   const struct logits_softmax *softmax) {
  simd own = pick(piece->z + v, LOGITS_ROOM, true, piece->classes, label);
  return simd_log(softmax->sum) - (own - softmax->largest);
}

/* 1 - p of them. */
static simd rest_of(const struct logits_piece *piece, simd_int label,
                    const struct logits_softmax *softmax) {
  simd others = {0};
  for (int k = 0; k < piece->classes; k++)
    others += (simd)(~(simd_int)(label == k) & (simd_int)softmax->power[k]);
  return others / softmax->sum;
}

static void add_losses(const struct logits_piece *piece, const void *from) {
  const struct context *context = from;
  simd sum = {0}, weights = {0};
  for (int v = 0; v < piece->count; v += SIMD_WIDTH) {
    simd_int label = simd_from_bytes(piece->labels + v);
    simd weight = weights_of(piece, context, label);
    struct logits_softmax softmax;
    logits_softmax(piece, v, &softmax);
    simd nll = nll_of(piece, v, label, &softmax);
    weights += weight;
    if (context->terms.gamma > 0)
      nll *= simd_pow(rest_of(piece, label, &softmax), context->terms.gamma);
    sum += weight * nll;
  }
  piece->sums[LOSS_CE_SUM] += simd_total(sum);
  piece->sums[LOSS_CE_WEIGHT] += simd_total(weights);
}

/* The slope of (1 - p)^gamma (-log p) by logit k is (p_k - [k is the label]) times
 * (1 - p)^gamma (1 + gamma p (-log p) / (1 - p)). */
static simd focal_factor(simd nll, simd rest, float gamma) {
  simd none = simd_all(1.2e-38F), below = simd_max(rest, none);
  return simd_pow(rest, gamma) * (1 + gamma * (1 - rest) * nll / below);
}

static void set_slopes(const struct logits_piece *piece, const void *from) {
  const struct context *context = from;
  for (int v = 0; v < piece->count; v += SIMD_WIDTH) {
    simd_int label = simd_from_bytes(piece->labels + v);
    simd factor = context->scale * weights_of(piece, context, label);
    struct logits_softmax softmax;
    logits_softmax(piece, v, &softmax);
    if (context->terms.gamma > 0)
      factor *= focal_factor(nll_of(piece, v, label, &softmax), rest_of(piece, label, &softmax),
                             context->terms.gamma);
    simd share = factor / softmax.sum;
    for (int k = 0; k < piece->classes; k++) {
      simd own = (simd)((simd_int)(label == k) & (simd_int)factor);
      simd_store(piece->z + k * LOGITS_ROOM + v, softmax.power[k] * share - own);
    }
  }
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
