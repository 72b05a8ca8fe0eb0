/* loss_dice on vectors: of voxels of all classes under a softmax, of logits under sigmoids. */
#include "kernels/loss_dice/loss_dice.h"
#include <string.h>
#include "kernels/common/bits_walk.h"
#include "kernels/common/fold.h"
#include "kernels/common/logits_softmax.h"

/* What `each` gets. */
struct context {
  int channels; /* stored */
  bool squared;
  const float *slopes; /* backward: [n][by overlap, by volume][channels] */
};

static simd volume_of(const struct context *context, simd p) {
  if (context->squared) p *= p;
  return p;
}

/* The slope of the volume by a probability. */
static simd volume_slope(const struct context *context, simd p) {
  simd slope = simd_all(1);
  if (context->squared) slope = 2 * p;
  return slope;
}

static const float *slopes_at(const struct context *context, int n, int channel) {
  return context->slopes + (int64_t)2 * n * context->channels + channel;
}

/* --- softmax --- */

/* The probabilities of a vector of voxels; 0 where one is left out. */
static inline __attribute__((always_inline)) void set_probabilities(
    const struct logits_softmax *softmax, int classes, simd_int label, simd *p) {
  simd share = simd_select(label < classes, simd_reciprocal(softmax->sum), simd_all(0));
  for (int k = 0; k < classes; k++) p[k] = softmax->power[k] * share;
}

static inline __attribute__((always_inline)) void add_pieces(const struct logits_piece *piece,
                                                             const struct context *context,
                                                             int classes, int together,
                                                             bool unused) {
  (void)unused;
  simd sums[LOGITS_MOST_CLASSES][DICE_SUMS];
  for (int k = 0; k < classes; k++)
    for (int s = 0; s < DICE_SUMS; s++) sums[k][s] = (simd){0};
  struct logits_start start;
  logits_begin(piece, (struct logits_place){0}, classes, &start);
  LOGITS_EACH_VECTOR(piece, at, next) {
    struct logits_softmax softmax;
    simd_int label = simd_from_bytes(logits_labels_at(piece, at));
    logits_finish(&start, classes, together, &softmax);
    logits_begin(piece, next, classes, &start);
    simd p[LOGITS_MOST_CLASSES], none = {0};
    set_probabilities(&softmax, classes, label, p);
    for (int k = 0; k < classes; k++) {
      sums[k][DICE_OVERLAP] += logits_where(label, k, p[k], none);
      sums[k][DICE_PREDICTED] += volume_of(context, p[k]);
      sums[k][DICE_TRUE] += logits_where(label, k, simd_all(1), none);
    }
  }
  for (int k = 0; k < classes; k++)
    for (int s = 0; s < DICE_SUMS; s++) piece->sums[k * DICE_SUMS + s] += simd_total(sums[k][s]);
}

static void add_softmax(const struct logits_piece *piece, const void *context) {
  LOGITS_OF_CLASSES(add_pieces, piece, context, false)
}

static inline __attribute__((always_inline)) void slope_pieces(const struct logits_piece *piece,
                                                               const struct context *context,
                                                               int classes, int together,
                                                               bool unused) {
  (void)unused;
  const float *overlap = slopes_at(context, piece->n, 0), *volume = overlap + context->channels;
  const int step = piece->step;
  struct logits_start start;
  logits_begin(piece, (struct logits_place){0}, classes, &start);
  LOGITS_EACH_VECTOR(piece, at, next) {
    struct logits_softmax softmax;
    simd_int label = simd_from_bytes(logits_labels_at(piece, at));
    logits_finish(&start, classes, together, &softmax);
    logits_begin(piece, next, classes, &start);
    simd p[LOGITS_MOST_CLASSES], slope[LOGITS_MOST_CLASSES], mean = {0};
    float *z = logits_gradient_at(piece, classes, at);
    set_probabilities(&softmax, classes, label, p);
    for (int k = 0; k < classes; k++) {
      slope[k] = logits_where(label, k, simd_all(overlap[k]), simd_all(0)) +
                 volume[k] * volume_slope(context, p[k]);
      mean += p[k] * slope[k];
    }
    for (int k = 0; k < classes; k++) simd_store(z + k * step, p[k] * (slope[k] - mean));
  }
}

static void slope_softmax(const struct logits_piece *piece, const void *context) {
  LOGITS_OF_CLASSES(slope_pieces, piece, context, false)
}

/* --- sigmoid --- */

/* `count` vectors from logit `at` on, whose sums go by the channels of a block. */
static inline __attribute__((always_inline)) void add_logits(const struct bits_piece *piece,
                                                             const struct context *context, int at,
                                                             int count, simd sums[][DICE_SUMS]) {
  simd z[SIMD_TOGETHER];
  struct simd_chance chance[SIMD_TOGETHER];
  SIMD_EACH(k, count) z[k] = simd_load(piece->z + at + k * SIMD_WIDTH);
  simd_sigmoids(z, chance, count);
  SIMD_EACH(k, count) {
    simd *own = sums[k % SIMD_PER_BLOCK];
    own[DICE_OVERLAP] += bits_where(piece, at + k * SIMD_WIDTH, chance[k].p);
    own[DICE_PREDICTED] += volume_of(context, chance[k].p);
    own[DICE_TRUE] += bits_where(piece, at + k * SIMD_WIDTH, simd_all(1));
  }
}

static void add_sigmoid(const struct bits_piece *piece, const void *from) {
  const struct context *context = from;
  simd sums[SIMD_PER_BLOCK][DICE_SUMS] = {{{0}}};
  int i = 0, step = SIMD_TOGETHER * SIMD_WIDTH;
  for (; i + step <= piece->count; i += step) add_logits(piece, context, i, SIMD_TOGETHER, sums);
  for (; i < piece->count; i += CHANNEL_BLOCK) add_logits(piece, context, i, SIMD_PER_BLOCK, sums);
  for (int lane = 0; lane < CHANNEL_BLOCK; lane++)
    for (int s = 0; s < DICE_SUMS; s++)
      piece->sums[lane % piece->lanes * DICE_SUMS + s] +=
          sums[lane / SIMD_WIDTH][s][lane % SIMD_WIDTH];
}

static inline __attribute__((always_inline)) void give_slopes(const struct bits_piece *piece,
                                                              const struct context *context, int at,
                                                              int count) {
  const float *overlap = slopes_at(context, piece->n, piece->channel);
  const float *volume = overlap + context->channels;
  bool alike = piece->lanes == 1;
  simd z[SIMD_TOGETHER];
  struct simd_chance chance[SIMD_TOGETHER];
  SIMD_EACH(k, count) z[k] = simd_load(piece->z + at + k * SIMD_WIDTH);
  simd_sigmoids(z, chance, count);
  SIMD_EACH(k, count) {
    int i = at + k * SIMD_WIDTH, lane = i % CHANNEL_BLOCK;
    simd by_overlap = alike ? simd_all(*overlap) : simd_load(overlap + lane);
    simd by_volume = alike ? simd_all(*volume) : simd_load(volume + lane);
    simd slope = bits_where(piece, i, by_overlap) + by_volume * volume_slope(context, chance[k].p);
    bits_give(piece, i, chance[k].p * chance[k].rest * slope);
  }
}

static void slope_sigmoid(const struct bits_piece *piece, const void *from) {
  const struct context *context = from;
  int i = 0, step = SIMD_TOGETHER * SIMD_WIDTH;
  for (; i + step <= piece->count; i += step) give_slopes(piece, context, i, SIMD_TOGETHER);
  for (; i < piece->count; i += SIMD_WIDTH) give_slopes(piece, context, i, 1);
}

/* --- the kernels --- */

static bool is_softmax(const struct node *node) {
  return loss_dice_arguments_of(node)->activation == LOSS_DICE_SOFTMAX;
}

static bool applies(const struct node *node) {
  return (!is_softmax(node) || node->x[1].layout == LAYOUT_PLANAR) && simd_available();
}

/* How partial sums lie: [n][groups][sums][blocks]. */
struct partials {
  int groups, sums, blocks;
};
static struct partials partials_of(const struct node *node) {
  struct logits logits = logits_of(node);
  int stored = tensor_stored_channels(&node->x[0]), groups = SIMD_NAME(bits_groups)(node);
  if (is_softmax(node))
    return (struct partials){1, DICE_SUMS * logits.classes, SIMD_NAME(logits_blocks)(&logits)};
  return (struct partials){groups, DICE_SUMS * stored / groups, SIMD_NAME(bits_blocks)(node)};
}

static size_t partial_bytes(const struct node *node) {
  struct partials partials = partials_of(node);
  return sizeof(double) * (size_t)node->x[0].shape.n * (size_t)partials.groups *
         (size_t)partials.sums * (size_t)partials.blocks;
}

static void prepare(struct node *node) {
  size_t n = (size_t)node->x[0].shape.n, channels = (size_t)tensor_stored_channels(&node->x[0]);
  if (!batch_sums_given(node)) node->forward_workspace = partial_bytes(node);
  node->backward_workspace = sizeof(float) * 2 * n * channels;
}

static void fold(const struct node *node, const struct partials *partials, double *partial,
                 double *sums) {
  int stored = partials->groups * partials->sums, own = DICE_SUMS * node->x[0].shape.c;
  for (int n = 0; n < node->x[0].shape.n; n++)
    for (int s = 0; s < own; s++)
      sums[n * own + s] =
          fold_sum(partial + ((int64_t)n * stored + s) * partials->blocks, partials->blocks);
}

/* The volumes of every sample; partial sums are made in the workspace. */
static void measure(const struct node *node, const struct io *io, double *sums) {
  const struct context context = {.squared = loss_dice_arguments_of(node)->squared};
  struct partials partials = partials_of(node);
  if (is_softmax(node))
    SIMD_NAME(logits_sums)(node, io, add_softmax, &context, io->workspace, partials.sums);
  else
    SIMD_NAME(bits_sums)(node, io, add_sigmoid, &context, io->workspace, partials.sums);
  fold(node, &partials, io->workspace, sums);
}

static enum status forward(const struct node *node, const struct io *io, struct stream *stream) {
  (void)stream;
  const struct loss_dice_terms terms = loss_dice_terms_of(node);
  double loss = 0;
  if (terms.given)
    loss_dice_take(node, io);
  else
    measure(node, io, io->saved[0]);
  for (int n = 0; n < terms.samples; n++)
    for (int k = 0; k < terms.classes; k++) loss += loss_dice_part(&terms, io->saved[0], n, k);
  *(double *)io->y = loss;
  return STATUS_OK;
}

static void fill_slopes(const struct node *node, const struct io *io, int channels, float *slopes) {
  const struct loss_dice_terms terms = loss_dice_terms_of(node);
  memset(slopes, 0, sizeof(float) * 2 * (size_t)terms.samples * (size_t)channels);
  for (int n = 0; n < terms.samples; n++, slopes += (int64_t)2 * channels)
    for (int k = 0; k < terms.classes; k++) {
      struct loss_dice_slopes own =
          loss_dice_slopes_of(&terms, io->saved[0], *(const double *)io->dy, n, k);
      slopes[k] = own.overlap;
      slopes[channels + k] = own.volume;
    }
}

static enum status backward(const struct node *node, const struct io *io, struct stream *stream) {
  (void)stream;
  if (!io->dx[0]) return STATUS_OK;
  const struct context context = {tensor_stored_channels(&node->x[0]),
                                  loss_dice_arguments_of(node)->squared, io->workspace};
  fill_slopes(node, io, context.channels, io->workspace);
  if (is_softmax(node))
    SIMD_NAME(logits_gradient)(node, io, slope_softmax, &context);
  else
    SIMD_NAME(bits_gradient)(node, io, slope_sigmoid, &context);
  return STATUS_OK;
}

extern const struct kernel SIMD_NAME(loss_dice_simd);
const struct kernel SIMD_NAME(loss_dice_simd) = {
    .name = SIMD_LABEL("simd"),
    .device = DEVICE_CPU,
    .dtype = DTYPE_F32,
    .training = true,
    .applies = applies,
    .prepare = prepare,
    .forward = forward,
    .backward = backward,
};

/* The volumes follow the partial sums. */
static void prepare_volumes(struct node *node) {
  size_t sums = DICE_SUMS * (size_t)node->x[0].shape.n * (size_t)node->x[0].shape.c;
  node->forward_workspace = partial_bytes(node) + sizeof(double) * sums;
}

static enum status give_volumes(const struct node *node, const struct io *io,
                                struct stream *stream) {
  (void)stream;
  double *sums = (double *)io->workspace + partial_bytes(node) / sizeof(double);
  measure(node, io, sums);
  loss_dice_give(node, io, sums);
  return STATUS_OK;
}

extern const struct kernel SIMD_NAME(dice_volumes_simd);
const struct kernel SIMD_NAME(dice_volumes_simd) = {
    .name = SIMD_LABEL("simd"),
    .device = DEVICE_CPU,
    .dtype = DTYPE_F32,
    .training = true,
    .applies = applies,
    .prepare = prepare_volumes,
    .forward = give_volumes,
    .backward = dice_volumes_backward,
};
