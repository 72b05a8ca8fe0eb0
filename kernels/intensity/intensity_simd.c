/* intensity for planar images, in blocks of voxels that are read twice: for mean and range where a
 * sample asks for them, and to change them. */
#include "kernels/common/simd_math.h"
#include "kernels/intensity/intensity_curve.h"

enum { BLOCK = 4096 }; /* voxels: a multiple of INTENSITY_GROUP */

/* Of a block. */
struct part {
  double sum;
  float low, high;
};

struct job {
  const float *x;
  float *y;
  int64_t voxels;
  int channels, blocks;                   /* blocks: of a channel */
  const struct intensity_change *changes; /* by sample */
};

/* Which values a block of voxels is. */
struct piece {
  int64_t at;
  int first, count, channel; /* first: voxel of the channel */
  const struct intensity_change *change;
};

static struct piece piece_find(const struct job *job, int64_t number) {
  int64_t plane = number / job->blocks, first = number % job->blocks * BLOCK;
  int64_t left = job->voxels - first;
  return (struct piece){.at = plane * job->voxels + first,
                        .first = (int)first,
                        .count = left < BLOCK ? (int)left : BLOCK,
                        .channel = (int)(plane % job->channels),
                        .change = &job->changes[plane / job->channels]};
}

/* --- noise --- */

struct words {
  uint32_t at[INTENSITY_WORDS][INTENSITY_LANES];
};

static void mix(struct words *words, uint32_t key0, uint32_t key1) {
  for (int l = 0; l < INTENSITY_LANES; l++) {
    uint64_t product0 = (uint64_t)0xD2511F53u * words->at[0][l];
    uint64_t product1 = (uint64_t)0xCD9E8D57u * words->at[2][l];
    words->at[0][l] = (uint32_t)(product1 >> 32) ^ words->at[1][l] ^ key0;
    words->at[2][l] = (uint32_t)(product0 >> 32) ^ words->at[3][l] ^ key1;
    words->at[1][l] = (uint32_t)product1;
    words->at[3][l] = (uint32_t)product0;
  }
}

/* philox_block of 16 counters. */
static void find_words(uint32_t block, int channel, const uint32_t key[2], struct words *words) {
  uint32_t key0 = key[0], key1 = key[1];
  for (int l = 0; l < INTENSITY_LANES; l++) {
    words->at[0][l] = block + (uint32_t)l;
    words->at[1][l] = (uint32_t)channel;
    words->at[2][l] = words->at[3][l] = 0;
  }
  for (int round = 0; round < PHILOX_ROUNDS; round++) {
    mix(words, key0, key1);
    key0 += 0x9E3779B9u;
    key1 += 0xBB67AE85u;
  }
}

static inline simd word_load(const struct words *words, int i, int lane) {
  simd_int word = *(const simd_int *)&words->at[i][lane];
  return __builtin_convertvector((word >> 8) & 0xffffff, simd);
}

/* sin and cos of pi / 2 r, r from -1/2 to 1/2 (Cephes). */
static inline simd small_sine(simd r) {
  simd x = r * 1.57079632679F, z = x * x;
  simd p = simd_all(-1.9515295891e-4F);
  p = p * z + 8.3321608736e-3F;
  p = p * z - 1.6666654611e-1F;
  return p * z * x + x;
}
static inline simd small_cosine(simd r) {
  simd x = r * 1.57079632679F, z = x * x;
  simd p = simd_all(2.443315711809948e-5F);
  p = p * z - 1.388731625493765e-3F;
  p = p * z + 4.166664568298827e-2F;
  return p * z * z - 0.5F * z + 1;
}

/* Two numbers from two words each, of as many lanes as a vector has. */
static inline void find_normals(const struct words *words, int i, int lane, float scale,
                                simd normal[2]) {
  const float magic = 12582912; /* adding it rounds to a whole number */
  simd u = (word_load(words, i, lane) + 0.5F) * 0x1p-24F;
  simd square = simd_max(-2 * simd_log(u), simd_all(1e-30F));
  simd radius = scale * simd_exp(0.5F * simd_log(square));
  simd turn = word_load(words, i + 1, lane) * 0x1p-22F; /* in quarters */
  simd rounded = turn + magic;
  simd_int quarter = (simd_int)rounded - 0x4b400000;
  simd sine = small_sine(turn - (rounded - magic)), cosine = small_cosine(turn - (rounded - magic));
  simd_int odd = -(quarter & 1), down = -(quarter >> 1 & 1), left = down ^ odd;
  simd along = simd_select(odd, sine, cosine), across = simd_select(odd, cosine, sine);
  normal[0] = radius * simd_select(left, -along, along);
  normal[1] = radius * simd_select(down, -across, across);
}

/* Adds noise to 64 values. */
static void add_noise(const struct intensity_change *change, int group, int channel,
                      float *values) {
  struct words words;
  find_words((uint32_t)group * INTENSITY_LANES, channel, change->key, &words);
  for (int i = 0; i < INTENSITY_WORDS; i += 2)
    for (int lane = 0; lane < INTENSITY_LANES; lane += SIMD_WIDTH) {
      float *to = values + i * INTENSITY_LANES + lane;
      simd normal[2];
      find_normals(&words, i, lane, change->deviation, normal);
      simd_store(to, simd_load(to) + normal[0]);
      simd_store(to + INTENSITY_LANES, simd_load(to + INTENSITY_LANES) + normal[1]);
    }
}

/* --- the steps --- */

/* A block behind noise and factor; what is beyond it is anything. */
static void shift(const struct job *job, const struct piece *piece, float values[BLOCK]) {
  const float *from = job->x + piece->at;
  float factor = piece->change->factor;
  for (int i = 0; i < piece->count; i++) values[i] = from[i];
  for (int i = piece->count; i % INTENSITY_GROUP; i++) values[i] = 0;
  if (piece->change->deviation != 0)
    for (int i = 0; i < piece->count; i += INTENSITY_GROUP)
      add_noise(piece->change, (piece->first + i) / INTENSITY_GROUP, piece->channel, values + i);
  for (int i = 0; i < piece->count; i++) values[i] *= factor;
}

static struct part part_find(const float *values, int count) {
  simd sum = {0}, low = simd_all(values[0]), high = low;
  struct part part = {0, values[0], values[0]};
  int i = 0;
  for (; i + SIMD_WIDTH <= count; i += SIMD_WIDTH) {
    simd value = simd_load(values + i);
    sum += value;
    low = simd_select(value < low, value, low);
    high = simd_max(high, value);
  }
  for (int lane = 0; lane < SIMD_WIDTH; lane++) {
    part.low = low[lane] < part.low ? low[lane] : part.low;
    part.high = high[lane] > part.high ? high[lane] : part.high;
  }
  part.sum = simd_total(sum);
  for (; i < count; i++) {
    part.sum += values[i];
    part.low = values[i] < part.low ? values[i] : part.low;
    part.high = values[i] > part.high ? values[i] : part.high;
  }
  return part;
}

/* The partial sums in their order. */
static struct intensity_range range_fold(const struct part *parts, int count, int64_t voxels) {
  struct part all = parts[0];
  for (int i = 1; i < count; i++) {
    all.sum += parts[i].sum;
    all.low = parts[i].low < all.low ? parts[i].low : all.low;
    all.high = parts[i].high > all.high ? parts[i].high : all.high;
  }
  return (struct intensity_range){(float)(all.sum / (double)voxels), all.low, all.high};
}

static void bend_contrast(const struct intensity_curve *curve, float values[BLOCK]) {
  for (int i = 0; i < BLOCK; i += SIMD_WIDTH) {
    simd value =
        curve->before.mean + curve->contrast * (simd_load(values + i) - curve->before.mean);
    value = simd_max(value, simd_all(curve->before.low));
    simd_store(values + i, -simd_max(-value, simd_all(-curve->before.high)));
  }
}

static void bend_gamma(const struct intensity_curve *curve, float values[BLOCK]) {
  for (int i = 0; i < BLOCK; i += SIMD_WIDTH) {
    simd u = (simd_load(values + i) - curve->low) * curve->inverse;
    u = -simd_max(-simd_max(u, simd_all(0)), simd_all(-1));
    if (curve->inverted != 1) u = 1 - simd_pow(1 - u, curve->inverted);
    if (curve->gamma != 1) u = simd_pow(u, curve->gamma);
    simd_store(values + i, curve->low + u * curve->size);
  }
}

static void change_piece(const struct job *job, const struct piece *piece,
                         const struct intensity_curve *curve) {
  float values[BLOCK], *to = job->y + piece->at;
  shift(job, piece, values);
  for (int i = piece->count; i < BLOCK; i++) values[i] = 0;
  if (curve->contrast != 1) bend_contrast(curve, values);
  if ((curve->gamma != 1 || curve->inverted != 1) && curve->inverse != 0) bend_gamma(curve, values);
  for (int i = 0; i < piece->count; i++) to[i] = values[i];
}

/* --- the kernel --- */

struct work {
  struct intensity_change *changes; /* by sample */
  struct intensity_curve *curves;   /* by sample and channel */
  struct part *parts;               /* by sample, channel and block */
};

static int block_count(const struct node *node) {
  return (int)((shape_voxels(node->y.shape) + BLOCK - 1) / BLOCK);
}

static int plane_count(const struct node *node) {
  return node->y.shape.n * node->y.shape.c;
}

/* Parts come first: they hold doubles. */
static struct work work_find(const struct node *node, void *workspace) {
  struct work work;
  work.parts = workspace;
  work.curves =
      (struct intensity_curve *)(work.parts + (int64_t)plane_count(node) * block_count(node));
  work.changes = (struct intensity_change *)(work.curves + plane_count(node));
  return work;
}

static void find_parts(const struct job *job, int64_t pieces, struct part *parts) {
#pragma omp parallel for schedule(static)
  for (int64_t i = 0; i < pieces; i++) {
    struct piece piece = piece_find(job, i);
    float values[BLOCK];
    if (!intensity_bends(piece.change)) continue;
    shift(job, &piece, values);
    parts[i] = part_find(values, piece.count);
  }
}

static void find_curves(const struct job *job, int planes, const struct work *work) {
  for (int i = 0; i < planes; i++) {
    const struct intensity_change *change = &work->changes[i / job->channels];
    struct intensity_range range = {0, 0, 0};
    if (intensity_bends(change))
      range = range_fold(work->parts + (int64_t)i * job->blocks, job->blocks, job->voxels);
    work->curves[i] = intensity_curve_make(change, range);
  }
}

static enum status intensity_forward(const struct node *node, const struct io *io,
                                     struct stream *stream) {
  (void)stream;
  const struct work work = work_find(node, io->workspace);
  const float *numbers = io->x[1];
  for (int n = 0; n < node->y.shape.n; n++)
    work.changes[n] =
        intensity_change_load(numbers + n * INTENSITY_NUMBERS, intensity_arguments_of(node)->steps);
  const struct job job = {
      io->x[0],          io->y,       shape_voxels(node->y.shape), node->y.shape.c,
      block_count(node), work.changes};
  int64_t pieces = (int64_t)plane_count(node) * job.blocks;
  find_parts(&job, pieces, work.parts);
  find_curves(&job, plane_count(node), &work);
#pragma omp parallel for schedule(static)
  for (int64_t i = 0; i < pieces; i++) {
    struct piece piece = piece_find(&job, i);
    change_piece(&job, &piece, &work.curves[i / job.blocks]);
  }
  return STATUS_OK;
}

static bool intensity_applies(const struct node *node) {
  return simd_available() && node->x[0].layout == LAYOUT_PLANAR && node->y.layout == LAYOUT_PLANAR;
}

static void intensity_prepare(struct node *node) {
  node->forward_workspace =
      (size_t)node->y.shape.n * sizeof(struct intensity_change) +
      (size_t)plane_count(node) *
          (sizeof(struct intensity_curve) + (size_t)block_count(node) * sizeof(struct part));
}

extern const struct kernel SIMD_NAME(intensity_simd);
const struct kernel SIMD_NAME(intensity_simd) = {
    .name = SIMD_LABEL("simd"),
    .device = DEVICE_CPU,
    .dtype = DTYPE_F32,
    .training = false,
    .applies = intensity_applies,
    .prepare = intensity_prepare,
    .forward = intensity_forward,
};
