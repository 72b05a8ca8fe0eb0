/* loss_dice_warp by vectors of voxels. Every vector is first taken for one of one label, its first
 * corner's: where all corners have it, which is nearly everywhere, forward has counted voxels
 * (exactly) and backward knows that the gradient is zero. Elsewhere the other labels that occur
 * take their shares from it. */
#include "kernels/loss_dice_warp/corner_labels.h"

static struct sample sample_make(const struct node *node, const struct io *io, int n) {
  const struct loss_dice_warp_arguments *arguments = (const void *)node->arguments;
  const struct shape *s = &node->x[0].shape;
  const int extent[3] = {s->d, s->h, s->w}, start[3] = {0, 0, 0};
  int64_t voxels = shape_voxels(*s);
  struct sample sample = {.shape = *s,
                          .box = simd_box_make(extent, start, extent),
                          .classes = arguments->classes,
                          .border = arguments->padding == WARP_BORDER,
                          .moving = (const unsigned char *)io->x[0] + n * voxels,
                          .fixed = (const unsigned char *)io->x[1] + n * voxels,
                          .u = (const float *)io->x[2] + 3 * n * voxels};
  sample.windows = windows_available(&sample.box);
  return sample;
}

/* --- forward --- */

enum {
  FLUSH = 32, /* tiles whose weights are summed in float */
  COUNTS = 4, /* by turns: the next vector need not wait for the last one's sum */
};

/* Of a slice, by label, those of no class behind all others. */
struct tally {
  struct {
    simd weight, overlap;
  } part[DICE_LABELS + 1]; /* of corners, what vectors of one label would have taken off */
  /* Voxels by vectors' first label, and above bit 32 those whose fixed label is the same. */
  int64_t count[DICE_LABELS + 1][COUNTS];
  double weight[DICE_LABELS], overlap[DICE_LABELS]; /* of parts */
  int fixed[DICE_LABELS];
} __attribute__((aligned(64)));

static void tally_clear(struct tally *tally, int classes) {
  size_t count = (size_t)classes;
  memset(tally->part, 0, (count + 1) * sizeof *tally->part);
  memset(tally->count, 0, (count + 1) * sizeof *tally->count);
  memset(tally->weight, 0, count * sizeof *tally->weight);
  memset(tally->overlap, 0, count * sizeof *tally->overlap);
  memset(tally->fixed, 0, sizeof tally->fixed);
}

static void tally_flush(struct tally *tally, int classes) {
  for (int k = 0; k < classes; k++) {
    tally->weight[k] += simd_total(tally->part[k].weight);
    tally->overlap[k] += simd_total(tally->part[k].overlap);
  }
  memset(tally->part, 0, (size_t)classes * sizeof *tally->part);
}

/* The weight of the corners whose byte is zero. */
static inline simd weight_of(const simd_int quad[QUADS], const simd at[3]) {
  const simd near = 1 - at[2];
  simd row[SIMD_ROWS];
  SIMD_UNROLL
  for (int k = 0; k < SIMD_ROWS; k++) {
    const int byte = 2 * (k & 1);
    row[k] = set_keep(set_zero(quad[k >> 1], byte), near);
    row[k] = set_add(set_zero(quad[k >> 1], byte + 1), row[k], at[2]);
  }
  return simd_blend(simd_blend(row[0], row[1], at[0]), simd_blend(row[2], row[3], at[0]), at[1]);
}

static inline simd weight_of_label(const simd_int quad[QUADS], int label, const simd at[3]) {
  const simd_int unlike[QUADS] = {quad[0] ^ bytes_all(label), quad[1] ^ bytes_all(label)};
  return weight_of(unlike, at);
}

static inline int slot_of(const struct sample *sample, int label) {
  return label < sample->classes ? label : sample->classes;
}

static inline void tally_place(struct tally *tally, const struct sample *sample,
                               const struct tile *tile, struct mixed *mixed) {
  const struct place *place = mixed->place;
  const set there = set_of(place->lanes);
  const truths truth = truths_load(sample->fixed + place->at, place->lanes);
  const simd at[3] = {place->fraction[0], place->fraction[1], place->fraction[2]};
  const simd_int quad[QUADS] = {place->quad[0], place->quad[1]};
  const int first = place_label(place), base = slot_of(sample, first);
  simd sum = {0};
  if (__builtin_expect(place->edge >= 0, 0)) {
    const struct edge *edge = &tile->edge[place->edge];
    const simd_int inside[QUADS] = {~edge->outside[0], ~edge->outside[1]};
    sum = set_keep(there, weight_of(inside, at));
  }
  for (; mixed->label >= 0; mixed_next(mixed)) {
    const int label = mixed->label, slot = slot_of(sample, label);
    const simd weight = set_keep(there, weight_of_label(quad, label, at));
    sum += weight;
    tally->part[slot].weight += weight;
    tally->part[slot].overlap =
        set_add(truths_equal(truth, label), tally->part[slot].overlap, weight);
  }
  tally->part[base].weight -= sum;
  tally->part[base].overlap = set_add(truths_equal(truth, first), tally->part[base].overlap, -sum);
}

/* How often labels occur. */
static void tally_fixed(struct tally *tally, const unsigned char *fixed, int count) {
#if defined SIMD_ISA_AVX512
  for (; count > 0; fixed += 64, count -= 64) {
    __mmask64 left = count < 64 ? (UINT64_C(1) << count) - 1 : UINT64_MAX;
    const __m512i labels = _mm512_maskz_loadu_epi8(left, fixed);
    while (left) {
      unsigned char now = fixed[__builtin_ctzll(left)];
      __mmask64 own = _mm512_mask_cmpeq_epi8_mask(left, labels, _mm512_set1_epi8((char)now));
      tally->fixed[now] += __builtin_popcountll(own);
      left &= ~own;
    }
  }
#else
  for (int i = 0; i < count; i++) tally->fixed[fixed[i]]++;
#endif
}

static void tally_tile(struct tally *tally, const struct sample *sample, const struct tile *tile) {
  const unsigned char *fixed = sample->fixed;
  struct mixed mixed[VECTORS];
  const int all = tile->count;
  int count = 0;
  for (int i = 0; i < all; i++) {
    const struct place *place = &tile->place[i];
    const int label = place_label(place);
    const unsigned lanes = place->lanes;
    const set own = truths_equal(truths_load(fixed + place->at, lanes), label);
    tally->count[slot_of(sample, label)][i % COUNTS] +=
        __builtin_popcount(lanes) + ((int64_t)__builtin_popcount(set_lanes(own) & lanes) << 32);
    count += mixed_make(&mixed[count], place, label);
  }
  for (int n = 0; n < count; n++) mixed_next(&mixed[n]);
  for (int n = 0; n < count; n++) tally_place(tally, sample, tile, &mixed[n]);
}

static void tally_slice(const struct sample *sample, int d, double *sums) {
  const struct shape *s = &sample->shape;
  const int classes = sample->classes, vectors = s->h * vectors_per_row(sample);
  struct tally tally;
  struct tile tile;
  tally_clear(&tally, classes);
  tally_fixed(&tally, sample->fixed + (int64_t)d * s->h * s->w, s->h * s->w);
  for (int v = 0; v < vectors; v += VECTORS) {
    tile_find(sample, d, v, &tile);
    tally_tile(&tally, sample, &tile);
    if (v / VECTORS % FLUSH == FLUSH - 1) tally_flush(&tally, classes);
  }
  tally_flush(&tally, classes);
  for (int k = 0; k < classes; k++) {
    double *of = sums + k * DICE_SUMS;
    int64_t voxels = 0;
    for (int i = 0; i < COUNTS; i++) voxels += tally.count[k][i];
    of[DICE_OVERLAP] = tally.overlap[k] + (double)(voxels >> 32);
    of[DICE_PREDICTED] = tally.weight[k] + (double)(voxels & INT32_MAX);
    of[DICE_TRUE] = tally.fixed[k];
  }
}

static bool loss_dice_warp_applies(const struct node *node) {
  bool planar = true;
  for (int i = 0; i < node->input_count; i++) planar &= node->x[i].layout == LAYOUT_PLANAR;
  return planar && simd_available() && node->x[0].shape.w > 1 &&
         shape_voxels(node->x[0].shape) <= SIMD_MOST_VOXELS;
}

static int sums_per_slice(const struct node *node) {
  return ((const struct loss_dice_warp_arguments *)(const void *)node->arguments)->classes *
         DICE_SUMS;
}

static int slice_count(const struct node *node) {
  return node->x[0].shape.n * node->x[0].shape.d;
}

static void loss_dice_warp_prepare(struct node *node) {
  node->forward_workspace =
      (size_t)slice_count(node) * (size_t)sums_per_slice(node) * sizeof(double);
}

static enum status loss_dice_warp_forward(const struct node *node, const struct io *io,
                                          struct stream *stream) {
  (void)stream;
  int slices = slice_count(node), width = sums_per_slice(node), depth = node->x[0].shape.d;
  double *partial = io->workspace, *sums = io->saved[0];
#pragma omp parallel for schedule(static)
  for (int i = 0; i < slices; i++) {
    struct sample sample = sample_make(node, io, i / depth);
    tally_slice(&sample, i % depth, partial + (int64_t)i * width);
  }
  memset(sums, 0, tensor_bytes(&node->saved[0]));
  for (int i = 0; i < slices; i++)
    for (int k = 0; k < width; k++)
      sums[(int64_t)(i / depth) * width + k] += partial[(int64_t)i * width + k];
  *(double *)io->y = dice_loss(node, sums);
  return STATUS_OK;
}

/* --- backward --- */

struct gradient {
  float slope[2][DICE_TABLE];
  float *dx; /* of the sample */
  bool add;
};

static inline simd slope_of_label(const struct gradient *gradient, truths truth, int label) {
  return set_pick(truths_equal(truth, label), simd_all(gradient->slope[1][label]),
                  simd_all(gradient->slope[0][label]));
}

/* What the corners' labels add to the loss. */
static inline void corners_find(const struct gradient *gradient, struct mixed *mixed, truths truth,
                                simd corner[SIMD_CORNERS]) {
  const simd_int quad[QUADS] = {mixed->place->quad[0], mixed->place->quad[1]};
  const simd own = slope_of_label(gradient, truth, place_label(mixed->place));
  SIMD_UNROLL
  for (int k = 0; k < SIMD_CORNERS; k++) corner[k] = own;
  for (; mixed->label >= 0; mixed_next(mixed)) {
    const simd other = slope_of_label(gradient, truth, mixed->label);
    const simd_int all = bytes_all(mixed->label), unlike[QUADS] = {quad[0] ^ all, quad[1] ^ all};
    SIMD_UNROLL
    for (int k = 0; k < SIMD_CORNERS; k++)
      corner[k] = set_pick(set_zero(unlike[k >> 1 & 1], 2 * (k & 1) + (k >> 2)), other, corner[k]);
  }
}

static inline void edge_corners(const struct edge *edge, simd corner[SIMD_CORNERS]) {
  for (int k = 0; k < SIMD_CORNERS; k++)
    corner[k] = set_keep(set_zero(edge->outside[k >> 1 & 1], 2 * (k & 1) + (k >> 2)), corner[k]);
}

/* Where padding holds a voxel, its displacement has no effect. */
static inline void held_slope(const struct sample *sample, const struct tile *tile,
                              const struct place *place, simd slope[3]) {
  const struct shape s = sample->shape;
  const int64_t step = (int64_t)s.d * s.h * s.w;
  const int extent[3] = {s.d, s.h, s.w};
  simd_int index[3];
  place_index(sample, tile, place, index);
  for (int k = 0; k < 3; k++) {
    const simd low = -__builtin_convertvector(index[k], simd);
    const simd u = simd_load_lanes(sample->u + place->at + k * step, place->lanes);
    slope[k] = set_keep(set_between(u, low, low + (float)(extent[k] - 1)), slope[k]);
  }
}

static inline void slope_find(const struct gradient *gradient, const struct sample *sample,
                              const struct tile *tile, struct mixed *mixed, simd slope[3]) {
  const struct place *place = mixed->place;
  const truths truth = truths_load(sample->fixed + place->at, place->lanes);
  const struct edge *edge = place->edge >= 0 ? &tile->edge[place->edge] : NULL;
  simd corner[SIMD_CORNERS];
  corners_find(gradient, mixed, truth, corner);
  if (edge) edge_corners(edge, corner);
  simd_corners_slope(corner, place->fraction, slope);
  if (place->edge == HELD) held_slope(sample, tile, place, slope);
  for (int k = 0; k < 3 && edge; k++) slope[k] *= edge->sign[k];
}

static void gradient_tile(const struct gradient *gradient, const struct sample *sample,
                          const struct tile *tile) {
  const int64_t step = shape_voxels(sample->shape);
  const bool add = gradient->add;
  const int all = tile->count;
  const struct place *alike[VECTORS];
  struct mixed mixed[VECTORS];
  float *const dx = gradient->dx;
  int count = 0, zeros = 0;
  for (int i = 0; i < all; i++) {
    const struct place *place = &tile->place[i];
    const bool several = mixed_make(&mixed[count], place, place_label(place));
    for (int k = 0; k < 3; k++) __builtin_prefetch(dx + k * step + place->at + AHEAD, 1);
    alike[zeros] = place;
    count += several;
    zeros += !several;
  }
  for (int n = 0; n < zeros && !add; n++) {
    const unsigned lanes = alike[n]->lanes;
    float *to = dx + alike[n]->at;
    for (int k = 0; k < 3; k++) simd_store_lanes(to + k * step, (simd){0}, lanes);
  }
  for (int n = 0; n < count; n++) mixed_next(&mixed[n]);
  for (int n = 0; n < count; n++) {
    const unsigned lanes = mixed[n].place->lanes;
    float *to = dx + mixed[n].place->at;
    simd slope[3];
    slope_find(gradient, sample, tile, &mixed[n], slope);
    for (int k = 0; k < 3 && add; k++) slope[k] += simd_load_lanes(to + k * step, lanes);
    for (int k = 0; k < 3; k++) simd_store_lanes(to + k * step, slope[k], lanes);
  }
}

static void gradient_slice(const struct gradient *gradient, const struct sample *sample, int d) {
  const int vectors = sample->shape.h * vectors_per_row(sample);
  struct tile tile;
  for (int v = 0; v < vectors; v += VECTORS) {
    tile_find(sample, d, v, &tile);
    gradient_tile(gradient, sample, &tile);
  }
}

static void backward_sample(const struct node *node, const struct io *io, int n) {
  const double *sums = (const double *)io->saved[0] + (int64_t)n * sums_per_slice(node);
  struct sample sample = sample_make(node, io, n);
  struct gradient gradient = {.add = io->dx_add[2]};
  struct dice_slopes slopes;
  gradient.dx = (float *)io->dx[2] + 3 * n * shape_voxels(sample.shape);
  dice_slopes(node, sums, *(const double *)io->dy, &slopes);
  for (int match = 0; match < 2; match++)
    for (int k = 0; k < DICE_TABLE; k++) gradient.slope[match][k] = (float)slopes.of[match][k];
#pragma omp parallel for schedule(static)
  for (int d = 0; d < sample.shape.d; d++) gradient_slice(&gradient, &sample, d);
}

static enum status loss_dice_warp_backward(const struct node *node, const struct io *io,
                                           struct stream *stream) {
  (void)stream;
  for (int n = 0; io->dx[2] && n < node->x[0].shape.n; n++) backward_sample(node, io, n);
  return STATUS_OK;
}

extern const struct kernel SIMD_NAME(loss_dice_warp_labels);
const struct kernel SIMD_NAME(loss_dice_warp_labels) = {
    .name = SIMD_LABEL("labels"),
    .device = DEVICE_CPU,
    .dtype = DTYPE_F32,
    .training = true,
    .applies = loss_dice_warp_applies,
    .prepare = loss_dice_warp_prepare,
    .forward = loss_dice_warp_forward,
    .backward = loss_dice_warp_backward,
};
