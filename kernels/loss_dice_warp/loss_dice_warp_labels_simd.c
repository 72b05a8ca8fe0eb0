/* loss_dice_warp by vectors of voxels. Where all corners of a vector carry one label, which is
 * nearly everywhere, forward counts voxels (exactly) and backward knows that the gradient is zero;
 * elsewhere each label that occurs is compared with those of all corners. */
#include "kernels/loss_dice_warp/corner_labels.h"

static struct sample sample_make(const struct node *node, const struct io *io, int n) {
  const struct loss_dice_warp_arguments *arguments = (const void *)node->arguments;
  const struct shape *s = &node->x[0].shape;
  const int extent[3] = {s->d, s->h, s->w}, start[3] = {0, 0, 0};
  int64_t voxels = shape_voxels(*s);
  return (struct sample){.shape = *s,
                         .box = simd_box_make(extent, start, extent),
                         .classes = arguments->classes,
                         .warp = {arguments->padding, WARP_LINEAR},
                         .moving = (const unsigned char *)io->x[0] + n * voxels,
                         .fixed = (const unsigned char *)io->x[1] + n * voxels,
                         .u = (const float *)io->x[2] + 3 * n * voxels};
}

/* --- forward --- */

/* Of a slice, by label. */
struct tally {
  struct simd_sum weight[DICE_LABELS], overlap[DICE_LABELS]; /* of corners */
  /* voxels of vectors of one label; those whose fixed label is the same; behind all: of no class */
  int uniform[DICE_LABELS + 1], matched[DICE_LABELS + 1];
  int fixed[DICE_LABELS];
} __attribute__((aligned(64)));

static void tally_clear(struct tally *tally, int classes) {
  size_t count = (size_t)classes;
  memset(tally->uniform, 0, count * sizeof *tally->uniform);
  memset(tally->matched, 0, count * sizeof *tally->matched);
  memset(tally->weight, 0, count * sizeof *tally->weight);
  memset(tally->overlap, 0, count * sizeof *tally->overlap);
  memset(tally->fixed, 0, sizeof tally->fixed);
}

static inline void corner_weights(const simd at[3], simd weight[SIMD_CORNERS]) {
  simd row[SIMD_ROWS], far = at[0] * at[1];
  row[3] = far;
  row[2] = at[1] - far;
  row[1] = at[0] - far;
  row[0] = (1 - at[0]) - row[2];
  SIMD_UNROLL
  for (int k = 0; k < SIMD_ROWS; k++) {
    weight[k + 4] = row[k] * at[2];
    weight[k] = row[k] - weight[k + 4];
  }
}

static void tally_corners(struct tally *tally, const struct sample *sample,
                          const struct voxels *voxels, simd_int fixed) {
  const simd none = {0};
  simd weight[SIMD_CORNERS];
  struct labels labels = labels_start(voxels);
  corner_weights(voxels->at.fraction, weight);
  do {
    if (labels.now >= sample->classes) continue;
    simd sum[2] = {{0}};
    SIMD_UNROLL
    for (int k = 0; k < SIMD_CORNERS; k++) sum[k & 1] += set_pick(labels.own[k], weight[k], none);
    sum[0] += sum[1];
    simd_sum_add(&tally->weight[labels.now], sum[0]);
    simd_sum_add(&tally->overlap[labels.now],
                 set_pick(set_equal(set_of(SIMD_LANES), fixed, labels.now), sum[0], none));
  } while (labels_next(&labels, voxels));
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

static void tally_tile(struct tally *tally, const struct sample *sample, const unsigned char *fixed,
                       const struct tile *tile) {
  int mixed[VECTORS], count = 0;
  for (int i = 0; i * SIMD_WIDTH < tile->count; i++) {
    const struct voxels *voxels = &tile->voxels[i];
    const unsigned char *truth = fixed + i * SIMD_WIDTH;
    const bool alike = voxels->one >= 0;
    mixed[count] = i;
    count += !alike;
    int label = alike && voxels->one < sample->classes ? voxels->one : DICE_LABELS;
    set own = set_equal(set_of(SIMD_LANES), bytes_of(truth, voxels->lanes), label);
    tally->uniform[label] += SIMD_WIDTH;
    tally->matched[label] += __builtin_popcount(set_lanes(own));
  }
  for (int i = 0; i < count; i++) {
    const struct voxels *voxels = &tile->voxels[mixed[i]];
    tally_corners(tally, sample, voxels, bytes_of(fixed + mixed[i] * SIMD_WIDTH, voxels->lanes));
  }
}

static void tally_row(struct tally *tally, const struct sample *sample, int d, int h) {
  const struct shape *s = &sample->shape;
  const unsigned char *fixed = sample->fixed + ((int64_t)d * s->h + h) * s->w;
  struct tile tile;
  tally_fixed(tally, fixed, s->w);
  for (int w = 0; w < s->w; w += TILE) {
    tile_find(sample, d, h, w, &tile);
    tally_tile(tally, sample, fixed + w, &tile);
  }
}

static double total_of(const struct simd_sum *sum) {
  double lanes[SIMD_WIDTH], total = 0;
  memcpy(lanes, sum, sizeof lanes);
  for (int i = 0; i < SIMD_WIDTH; i++) total += lanes[i];
  return total;
}

static void tally_slice(const struct sample *sample, int d, double *sums) {
  struct tally tally;
  tally_clear(&tally, sample->classes);
  for (int h = 0; h < sample->shape.h; h++) tally_row(&tally, sample, d, h);
  for (int k = 0; k < sample->classes; k++) {
    double *s = sums + k * DICE_SUMS;
    s[DICE_OVERLAP] = total_of(&tally.overlap[k]) + tally.matched[k];
    s[DICE_PREDICTED] = total_of(&tally.weight[k]) + tally.uniform[k];
    s[DICE_TRUE] = tally.fixed[k];
  }
}

static bool loss_dice_warp_applies(const struct node *node) {
  bool planar = true;
  for (int i = 0; i < node->input_count; i++) planar &= node->x[i].layout == LAYOUT_PLANAR;
  return planar && simd_available() && shape_voxels(node->x[0].shape) <= SIMD_MOST_VOXELS;
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

static void slope_corners(const struct gradient *gradient, const struct voxels *voxels,
                          simd_int fixed, simd slope[3]) {
  simd corner[SIMD_CORNERS];
  struct labels labels = labels_start(voxels);
  SIMD_UNROLL
  for (int k = 0; k < SIMD_CORNERS; k++) corner[k] = (simd){0};
  do {
    simd own = set_pick(set_equal(set_of(SIMD_LANES), fixed, labels.now),
                        simd_all(gradient->slope[1][labels.now]),
                        simd_all(gradient->slope[0][labels.now]));
    SIMD_UNROLL
    for (int k = 0; k < SIMD_CORNERS; k++) corner[k] = set_pick(labels.own[k], own, corner[k]);
  } while (labels_next(&labels, voxels));
  simd_corners_slope(corner, voxels->at.fraction, slope);
  for (int a = 0; a < 3; a++) slope[a] *= voxels->at.slope[a];
}

static void gradient_tile(const struct gradient *gradient, const struct sample *sample, int64_t at,
                          const struct tile *tile) {
  const int64_t step = shape_voxels(sample->shape);
  int mixed[VECTORS], count = 0;
  for (int i = 0; i * SIMD_WIDTH < tile->count; i++) {
    mixed[count] = i;
    count += tile->voxels[i].one < 0;
    for (int a = 0; a < 3 && !gradient->add; a++)
      simd_store_lanes(gradient->dx + a * step + at + i * SIMD_WIDTH, (simd){0},
                       tile->voxels[i].lanes);
  }
  for (int i = 0; i < count; i++) {
    const struct voxels *voxels = &tile->voxels[mixed[i]];
    const int64_t from = at + mixed[i] * SIMD_WIDTH;
    simd slope[3];
    slope_corners(gradient, voxels, bytes_of(sample->fixed + from, voxels->lanes), slope);
    for (int a = 0; a < 3; a++) {
      float *dx = gradient->dx + a * step + from;
      if (gradient->add) slope[a] += simd_load_lanes(dx, voxels->lanes);
      simd_store_lanes(dx, slope[a], voxels->lanes);
    }
  }
}

static void gradient_row(const struct gradient *gradient, const struct sample *sample, int d,
                         int h) {
  const struct shape *s = &sample->shape;
  struct tile tile;
  for (int w = 0; w < s->w; w += TILE) {
    tile_find(sample, d, h, w, &tile);
    gradient_tile(gradient, sample, ((int64_t)d * s->h + h) * s->w + w, &tile);
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
  for (int d = 0; d < sample.shape.d; d++)
    for (int h = 0; h < sample.shape.h; h++) gradient_row(&gradient, &sample, d, h);
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
