/* loss_dice_warp by rows. Where the eight corners of a voxel carry one label, which is nearly
 * everywhere, forward counts one voxel (exactly) and backward knows that the gradient is zero. */
#include <stdint.h>
#include <string.h>
#include "kernels/loss_dice_warp/dice.h"
#include "kernels/warp/warp_vector.h"

enum { TILE = 256 }; /* columns per piece: the places of a piece stay in the first cache */

/* One sample. */
struct sample {
  struct shape shape;
  struct simd_box box;
  int classes;
  struct warp_arguments warp;
  const unsigned char *moving, *fixed;
  const float *u;
};

/* Where the voxels of a piece fall along one axis: between `low` and low+1; live is 0 where the
 * coordinate was clamped. */
struct places {
  int low[TILE];
  float fraction[TILE], live[TILE];
};

/* A piece of row (d, h): columns [begin, begin+count). */
struct piece {
  int d, h, begin, count;
  struct places axis[3];
};

static void piece_place(struct piece *piece, const struct sample *sample) {
  const struct shape *s = &sample->shape;
  const int extent[3] = {s->d, s->h, s->w};
  const float *u = sample->u + ((int64_t)piece->d * s->h + piece->h) * s->w + piece->begin;
  for (int i = 0; i < piece->count; i += SIMD_WIDTH) {
    const int first[3] = {piece->d, piece->h, piece->begin + i};
    simd by[3];
    for (int k = 0; k < 3; k++)
      by[k] = simd_load_lanes(u + k * shape_voxels(*s) + i, simd_lanes_until(piece->count - i));
    const struct warp_vector at = warp_vector_find(by, first, extent, &sample->warp);
    for (int k = 0; k < 3; k++) {
      *(simd_int *)(piece->axis[k].low + i) = at.low[k];
      simd_store(piece->axis[k].fraction + i, at.fraction[k]);
      simd_store(piece->axis[k].live + i, at.slope[k]);
    }
  }
}

static bool inside(int at, int extent) {
  return (unsigned)at < (unsigned)extent;
}

/* The labels of the eight corners (bits of the index: d h w) of column i. Returns whether all of
 * them lie inside the volume and are the same. */
static inline bool corner_labels(const struct sample *sample, const struct piece *piece, int i,
                                 int label[8]) {
  const struct shape *s = &sample->shape;
  int d = piece->axis[0].low[i], h = piece->axis[1].low[i], w = piece->axis[2].low[i];
  if (inside(d, s->d - 1) && inside(h, s->h - 1) && inside(w, s->w - 1)) {
    const unsigned char *from = sample->moving + ((int64_t)d * s->h + h) * s->w + w;
    int64_t slice = (int64_t)s->h * s->w;
    const unsigned char *const line[4] = {from, from + s->w, from + slice, from + slice + s->w};
    uint16_t pair[4];
    for (int k = 0; k < 4; k++) memcpy(&pair[k], line[k], sizeof pair[k]);
    label[0] = from[0];
    if (pair[0] == pair[1] && pair[0] == pair[2] && pair[0] == pair[3] && from[0] == from[1])
      return true;
    for (int k = 0; k < 8; k++) label[k] = line[k / 2][k % 2];
    return false;
  }
  for (int k = 0; k < 8; k++) {
    int z = d + (k >> 2), y = h + (k >> 1 & 1), x = w + (k & 1);
    bool is_inside = inside(z, s->d) && inside(y, s->h) && inside(x, s->w);
    label[k] = is_inside ? sample->moving[((int64_t)z * s->h + y) * s->w + x] : (int)DICE_OUTSIDE;
  }
  return false;
}

/* --- many voxels at once --- */

/* Four neighbours on the w axis, the first in the lowest byte, from `at` on in every lane; false
 * where the processor has no such instruction. */
static inline bool gather(const unsigned char *from, simd_int at, simd_int *found) {
#if defined SIMD_ISA_AVX512
  *found = (simd_int)_mm512_i32gather_epi32((__m512i)at, from, 1);
  return true;
#elif defined SIMD_ISA_AVX2
  *found = (simd_int)_mm256_i32gather_epi32((const int *)(const void *)from, (__m256i)at, 1);
  return true;
#else
  (void)from;
  (void)at;
  (void)found;
  return false;
#endif
}

#if defined SIMD_ISA_AVX512

/* Of lanes whose corners are within 32 bytes from number `at` on in all rows; *label: of their
 * first corner. Where the rows hold one label, nothing is permuted. */
static inline unsigned uniform_window(const struct sample *sample, int at, simd_int place,
                                      simd_int *label) {
  __m256i row[SIMD_ROWS];
  __mmask32 same = UINT32_MAX;
  for (int k = 0; k < SIMD_ROWS; k++) {
    row[k] = _mm256_loadu_si256((const void *)(sample->moving + at + sample->box.row[k]));
    same &= _mm256_cmpeq_epi8_mask(row[k], _mm256_broadcastb_epi8(_mm256_castsi256_si128(row[0])));
  }
  *label = sample->moving[at] - (simd_int){0};
  if (same == UINT32_MAX) return SIMD_LANES;
  __mmask16 alike = SIMD_LANES;
  for (int k = 0; k < SIMD_ROWS; k++) {
    const __m512i a = _mm512_cvtepu8_epi32(_mm256_castsi256_si128(row[k]));
    const __m512i b = _mm512_cvtepu8_epi32(_mm256_extracti128_si256(row[k], 1));
    const __m512i low = _mm512_permutex2var_epi32(a, (__m512i)place, b);
    if (k == 0) *label = (simd_int)low;
    alike &= _mm512_cmpeq_epi32_mask(low, (__m512i)*label);
    alike &= _mm512_cmpeq_epi32_mask(_mm512_permutex2var_epi32(a, (__m512i)(place + 1), b),
                                     (__m512i)*label);
  }
  return alike;
}

#endif

/* Of lanes wherever they are, whose corners `whole` of them have all. Reads two bytes behind a
 * pair. */
static inline unsigned uniform_gathered(const struct sample *sample, simd_int voxel, unsigned whole,
                                        simd_int *label) {
  simd_int first, other, apart = {0};
  voxel = (simd_int)simd_pick(whole, (simd)voxel, (simd){0});
  if (!gather(sample->moving, voxel, &first)) return 0;
  apart = (first ^ first >> 8) & 0xff;
  for (int k = 1; k < SIMD_ROWS; k++) {
    gather(sample->moving + sample->box.row[k], voxel, &other);
    apart |= (first ^ other) & 0xffff;
  }
  *label = first & 0xff;
  return simd_lanes_below(apart, 1);
}

/* The columns from i on, as bits, of which corner_labels is known to be true, and their labels. */
static inline unsigned uniform_lanes(const struct sample *sample, const struct piece *piece, int i,
                                     simd_int *label) {
  const struct simd_box *box = &sample->box;
  struct simd_cells cells;
  simd_int low[3];
  for (int k = 0; k < 3; k++) low[k] = *(const simd_int *)(piece->axis[k].low + i);
  simd_cells_find(&cells, box, low, simd_lanes_until(piece->count - i));
  unsigned whole = cells.some;
  for (int k = 0; k < 3; k++) whole &= cells.inside[k][0] & cells.inside[k][1];
  if (!cells.near || !whole) return 0;
#if defined SIMD_ISA_AVX512
  int at = simd_window_start(box, &cells);
  const simd_int place = cells.voxel - at;
  if (!(cells.some & ~simd_lanes_below(place, SIMD_WINDOW - 1)))
    return whole & uniform_window(sample, at, place, label);
#endif
  whole &= simd_lanes_below(cells.voxel, box->last - 2);
  return whole & uniform_gathered(sample, cells.voxel, whole, label);
}

/* Calls each(context, sample, piece) for all pieces of a slice. */
static void visit_slice(const struct sample *sample, int d, void *context,
                        void (*each)(void *, const struct sample *, const struct piece *)) {
  struct piece piece = {.d = d};
  for (piece.h = 0; piece.h < sample->shape.h; piece.h++)
    for (piece.begin = 0; piece.begin < sample->shape.w; piece.begin += TILE) {
      int left = sample->shape.w - piece.begin;
      piece.count = left < TILE ? left : TILE;
      piece_place(&piece, sample);
      each(context, sample, &piece);
    }
}

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

struct tally {
  int uniform[2][DICE_LABELS]; /* voxels of one label, by whether the fixed label is the same */
  int fixed[DICE_LABELS];
  double weight[2][DICE_TABLE];
};

static void tally_corners(struct tally *tally, const struct piece *piece, int i, const int label[8],
                          int fixed) {
  float d = piece->axis[0].fraction[i], h = piece->axis[1].fraction[i];
  float w = piece->axis[2].fraction[i];
  const float plane[4] = {(1 - d) * (1 - h), (1 - d) * h, d * (1 - h), d * h};
  for (int k = 0; k < 8; k++)
    tally->weight[label[k] == fixed][label[k]] += (double)(plane[k / 2] * (k % 2 ? w : 1 - w));
}

static void tally_voxel(struct tally *tally, const struct sample *sample, const struct piece *piece,
                        int i, int fixed) {
  int label[8];
  tally->fixed[fixed]++;
  if (corner_labels(sample, piece, i, label))
    tally->uniform[label[0] == fixed][label[0]]++;
  else
    tally_corners(tally, piece, i, label, fixed);
}

/* Columns of one label each: those of `lanes`. */
static void tally_lanes(struct tally *tally, simd_int label, const unsigned char *fixed,
                        unsigned lanes) {
  int labels[SIMD_WIDTH];
  if (lanes == SIMD_LANES) {
    simd_int truth = simd_from_bytes(fixed), apart = (label ^ label[0]) | (truth ^ truth[0]);
    if (simd_lanes_below(apart, 1) == SIMD_LANES) {
      tally->fixed[truth[0]] += SIMD_WIDTH;
      tally->uniform[label[0] == truth[0]][label[0]] += SIMD_WIDTH;
      return;
    }
  }
  memcpy(labels, &label, sizeof labels);
  for (; lanes; lanes &= lanes - 1) {
    int lane = __builtin_ctz(lanes);
    tally->fixed[fixed[lane]]++;
    tally->uniform[labels[lane] == fixed[lane]][labels[lane]]++;
  }
}

static void tally_piece(void *context, const struct sample *sample, const struct piece *piece) {
  struct tally *tally = context;
  const struct shape *s = &sample->shape;
  const unsigned char *fixed =
      sample->fixed + ((int64_t)piece->d * s->h + piece->h) * s->w + piece->begin;
  for (int i = 0; i < piece->count; i += SIMD_WIDTH) {
    simd_int label = {0};
    unsigned uniform = uniform_lanes(sample, piece, i, &label);
    unsigned left = simd_lanes_until(piece->count - i) & ~uniform;
    tally_lanes(tally, label, fixed + i, uniform);
    for (; left; left &= left - 1) {
      int k = i + __builtin_ctz(left);
      tally_voxel(tally, sample, piece, k, fixed[k]);
    }
  }
}

static void tally_slice(const struct sample *sample, int d, double *sums) {
  struct tally tally;
  memset(&tally, 0, sizeof tally);
  visit_slice(sample, d, &tally, tally_piece);
  for (int k = 0; k < sample->classes; k++) {
    double *s = sums + k * DICE_SUMS;
    s[DICE_OVERLAP] = tally.weight[1][k] + tally.uniform[1][k];
    s[DICE_PREDICTED] = s[DICE_OVERLAP] + tally.weight[0][k] + tally.uniform[0][k];
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

/* The derivative of the interpolated slopes g (index bits: d h w) along each axis. */
static void corner_gradient(const struct piece *piece, int i, const float g[8], float out[3]) {
  float d = piece->axis[0].fraction[i], h = piece->axis[1].fraction[i];
  float w = piece->axis[2].fraction[i], along[4], plane[4];
  for (int k = 0; k < 4; k++) {
    along[k] = g[2 * k + 1] - g[2 * k];
    plane[k] = g[2 * k] + w * along[k];
  }
  float near = along[0] + h * (along[1] - along[0]), far = along[2] + h * (along[3] - along[2]);
  float low = plane[1] - plane[0], high = plane[3] - plane[2];
  out[2] = (near + d * (far - near)) * piece->axis[2].live[i];
  out[1] = (low + d * (high - low)) * piece->axis[1].live[i];
  out[0] = (plane[2] - plane[0] + h * (high - low)) * piece->axis[0].live[i];
}

static void gradient_voxel(const struct gradient *gradient, const struct sample *sample,
                           const struct piece *piece, int i, int64_t at) {
  int64_t voxels = shape_voxels(sample->shape);
  int label[8];
  float g[8], out[3] = {0};
  if (!corner_labels(sample, piece, i, label)) {
    int fixed = sample->fixed[at];
    for (int k = 0; k < 8; k++) g[k] = gradient->slope[label[k] == fixed][label[k]];
    corner_gradient(piece, i, g, out);
  } else if (gradient->add) {
    return;
  }
  for (int a = 0; a < 3; a++) {
    float *dx = gradient->dx + a * voxels + at;
    *dx = (gradient->add ? *dx : 0) + out[a];
  }
}

static void gradient_piece(void *context, const struct sample *sample, const struct piece *piece) {
  const struct gradient *gradient = context;
  const struct shape *s = &sample->shape;
  int64_t at = ((int64_t)piece->d * s->h + piece->h) * s->w + piece->begin;
  for (int i = 0; i < piece->count; i += SIMD_WIDTH) {
    simd_int label;
    unsigned uniform = uniform_lanes(sample, piece, i, &label);
    unsigned left = simd_lanes_until(piece->count - i) & ~uniform;
    for (int a = 0; a < 3 && !gradient->add; a++)
      simd_store_lanes(gradient->dx + a * shape_voxels(*s) + at + i, (simd){0}, uniform);
    for (; left; left &= left - 1) {
      int k = i + __builtin_ctz(left);
      gradient_voxel(gradient, sample, piece, k, at + k);
    }
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
  for (int d = 0; d < sample.shape.d; d++) visit_slice(&sample, d, &gradient, gradient_piece);
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
