/* Convolution of blocked sources to a planar target of up to 4 channels, whose 16 lanes would be
 * mostly empty: rows of the source are taken apart into rows of single channels, so that lanes are
 * voxels along w and a weight is one value for all of them. Where there are 3 taps along h, two
 * target rows are made of 4 products instead of 6, or four of 6 instead of 12: F(2, 3) and F(4, 3)
 * of Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks", CVPR 2016. */
#include "kernels/conv/conv_planar.h"

enum {
  MOST_CHANNELS = 4,
  MOST_LINES = 4,
  MOST_PRODUCTS = 6,
  MOST_ROWS = 96, /* whose sums fill a part of a core's second-level cache */
  PLANES_TOGETHER = 24,
#if defined SIMD_ISA_AVX512
  MOST_TOGETHER = 3, /* target planes that a row counts in at once */
  MOST_VECTORS = 8,
  MOST_SUMS = 27,
#else
  MOST_TOGETHER = 1,
  MOST_VECTORS = 4,
  MOST_SUMS = 9,
#endif
};

/* Target rows from products, and those from source rows and weights, along h: values of
 * polynomials at some points, of which the last is infinity. */
struct transform {
  int lines, products;
  struct conv_planar_terms in[MOST_PRODUCTS];
  float weights[MOST_PRODUCTS][3], out[MOST_LINES][MOST_PRODUCTS];
};

/* At 0, 1 and -1. */
static const struct transform two_lines = {
    .lines = 2,
    .products = 4,
    .in = {{2, {0, 2}, {1, -1}}, {2, {1, 2}, {1, 1}}, {2, {2, 1}, {1, -1}}, {2, {1, 3}, {1, -1}}},
    .weights = {{1, 0, 0}, {0.5F, 0.5F, 0.5F}, {0.5F, -0.5F, 0.5F}, {0, 0, 1}},
    .out = {{1, 1, 1, 0}, {0, 1, -1, -1}},
};

/* At 0, 1, -1, P and -P: sums of products lose fewest digits where P is about 3/2. */
#define P 1.5F
#define P2 (P * P)
#define AT_1 (2 * (1 - P2))
#define AT_P (2 * P2 * (P2 - 1))
static const struct transform four_lines = {
    .lines = 4,
    .products = 6,
    .in = {{3, {0, 2, 4}, {P2, -1 - P2, 1}},
           {4, {1, 2, 3, 4}, {-P2, -P2, 1, 1}},
           {4, {1, 2, 3, 4}, {P2, -P2, -1, 1}},
           {4, {1, 2, 3, 4}, {-P, -1, P, 1}},
           {4, {1, 2, 3, 4}, {P, -1, -P, 1}},
           {3, {1, 3, 5}, {P2, -1 - P2, 1}}},
    .weights = {{1 / P2, 0, 0},
                {1 / AT_1, 1 / AT_1, 1 / AT_1},
                {1 / AT_1, -1 / AT_1, 1 / AT_1},
                {1 / AT_P, P / AT_P, P2 / AT_P},
                {1 / AT_P, -P / AT_P, P2 / AT_P},
                {0, 0, 1}},
    .out = {{1, 1, 1, 1, 1, 0},
            {0, 1, -1, P, -P, 0},
            {0, 1, 1, P2, P2, 0},
            {0, 1, -1, P *P2, -P *P2, 1}},
};
#undef P
#undef P2
#undef AT_1
#undef AT_P

/* Each row by itself. */
static const struct transform one_line = {.lines = 1, .products = 1, .out = {{1}}};

/* In a register: gcc would rather load it for each multiplication. */
static inline __attribute__((always_inline)) simd keep(simd value) {
#if defined SIMD_ISA_AVX512
  __asm__("" : "+v"(value));
#endif
  return value;
}

/* The sums of a target row, or of a product that target rows are made of. */
typedef float row_sums[MOST_CHANNELS][CONV_PLANAR_WIDTH];

/* What 16 channels of a row are multiplied with, all taps along w, for some target planes: their
 * weights [tap][channel][16], and the sums that they count in. Meanwhile lines from `ahead` on are
 * asked for, `step` floats further for each tap, channel and tile. */
struct sweep {
  const float *x, *w[MOST_TOGETHER];
  row_sums *sums[MOST_TOGETHER];
  int taps;
  const float *ahead;
  int step;
};

/* sums[c][at + t] += x[at + t + tap] * w[tap][c] over all taps along w and 16 channels of a row,
 * for each plane; channels, planes and vectors are constants to the compiler. */
static inline __attribute__((always_inline)) void accumulate(const struct sweep *sweep, int at,
                                                             const int channels, const int planes,
                                                             const int vectors) {
  simd sum[MOST_TOGETHER][MOST_CHANNELS][MOST_VECTORS], value[MOST_VECTORS];
  const float *w[MOST_TOGETHER], *ahead = sweep->ahead;
  SIMD_UNROLL
  for (int p = 0; p < planes; p++) {
    w[p] = sweep->w[p];
    SIMD_UNROLL
    for (int c = 0; c < channels; c++) SIMD_UNROLL
    for (int t = 0; t < vectors; t++)
      sum[p][c][t] = simd_load(&(*sweep->sums[p])[c][at + t * SIMD_WIDTH]);
  }
  for (int tap = 0; tap < sweep->taps; tap++) {
    const float *x = sweep->x + at + tap;
    for (int lane = 0; lane < CHANNEL_BLOCK; lane++, x += CONV_PLANAR_PITCH) {
      __builtin_prefetch(ahead, 0, 2);
      ahead += sweep->step;
      SIMD_UNROLL
      for (int t = 0; t < vectors; t++) value[t] = keep(simd_load(x + t * SIMD_WIDTH));
      SIMD_UNROLL
      for (int p = 0; p < planes; p++) SIMD_UNROLL
      for (int c = 0; c < channels; c++) {
        simd weight = keep(simd_all(w[p][c * CHANNEL_BLOCK + lane]));
        SIMD_UNROLL
        for (int t = 0; t < vectors; t++) sum[p][c][t] += value[t] * weight;
      }
    }
    SIMD_UNROLL
    for (int p = 0; p < planes; p++) w[p] += channels * CHANNEL_BLOCK;
  }
  SIMD_UNROLL
  for (int p = 0; p < planes; p++) SIMD_UNROLL
  for (int c = 0; c < channels; c++) SIMD_UNROLL
  for (int t = 0; t < vectors; t++)
    simd_store(&(*sweep->sums[p])[c][at + t * SIMD_WIDTH], sum[p][c][t]);
}

// clang-format off
typedef void accumulate_function(const struct sweep *sweep, int at);
#define DEFINE(c, p, v)                                                                           \
  static void accumulate_##c##_##p##_##v(const struct sweep *sweep, int at) {                     \
    accumulate(sweep, at, c, p, v);                                                               \
  }
#define NAME(c, p, v) [c - 1][p - 1][v - 1] = accumulate_##c##_##p##_##v,
#define TO_2(DO, c, p) DO(c, p, 1) DO(c, p, 2)
#define TO_3(DO, c, p) TO_2(DO, c, p) DO(c, p, 3)
#define TO_4(DO, c, p) TO_3(DO, c, p) DO(c, p, 4)
#define TO_6(DO, c, p) TO_4(DO, c, p) DO(c, p, 5) DO(c, p, 6)
#define TO_8(DO, c, p) TO_6(DO, c, p) DO(c, p, 7) DO(c, p, 8)
#if defined SIMD_ISA_AVX512
#define ALL(DO)                                                                                   \
  TO_8(DO, 1, 1) TO_8(DO, 1, 2) TO_6(DO, 1, 3) TO_8(DO, 2, 1) TO_6(DO, 2, 2) TO_4(DO, 2, 3)       \
  TO_6(DO, 3, 1) TO_4(DO, 3, 2) TO_3(DO, 3, 3) TO_6(DO, 4, 1) TO_3(DO, 4, 2) TO_2(DO, 4, 3)
#else
#define ALL(DO) TO_4(DO, 1, 1) TO_4(DO, 2, 1) TO_3(DO, 3, 1) TO_2(DO, 4, 1)
#endif
ALL(DEFINE)
static accumulate_function *const accumulators[MOST_CHANNELS][MOST_TOGETHER][MOST_VECTORS] = {
  ALL(NAME)
};
// clang-format on

/* How many vectors have sums in registers. */
static int most_vectors(int channels, int planes) {
  int most = MOST_VECTORS;
  while (!accumulators[channels - 1][planes - 1][most - 1]) most--;
  return most;
}

static int count_tiles(int channels, int planes, int width) {
  return conv_divide_up(width / SIMD_WIDTH, most_vectors(channels, planes));
}

/* All voxels of a strip, as many at once as have sums in registers. */
static void multiply(struct sweep *sweep, int channels, int planes, int width) {
  int vectors = width / SIMD_WIDTH;
  int wide = conv_divide_up(vectors, count_tiles(channels, planes, width));
  for (int first = 0; first < vectors; first += wide) {
    int now = vectors - first < wide ? vectors - first : wide;
    accumulators[channels - 1][planes - 1][now - 1](sweep, first * SIMD_WIDTH);
    sweep->ahead += sweep->taps * CHANNEL_BLOCK * sweep->step;
  }
}

/* One block of 16 source channels; several are added up in the target. Target rows are computed in
 * groups of `lines` rows, which are made of `products` sums. */
struct pass {
  const struct conv_target *target;
  const struct conv_source *source;
  const struct transform *transform;
  int block, lines, products; /* lines and products: the transform's */
  int width, strips;          /* voxels of a strip, a multiple of 16 */
  int band, bands;            /* groups of a band */
  const float *w, *bias;      /* w: [product][tap d][tap h, if 1 product][tap w][channel][16] */
  float slope;
  bool add;
};

/* What is to be asked for next, side by side with multiplications; see struct sweep. */
struct ahead {
  const float *x;
  int step;
};

/* A band of a strip, of planes from `first` to before `last`: the sums of as many target planes as
 * a source plane counts in lie in a ring. */
struct work {
  const struct pass *pass;
  int n, first, last, h, w;
  row_sums *sums;         /* [plane][group][product] */
  conv_planar_rows *rows; /* what is multiplied now */
  struct ahead ahead;
};

static row_sums *sums_of(const struct work *work, int d, int group) {
  const struct pass *pass = work->pass;
  int slot = d % pass->source->packing.axis[0].taps[0];
  return work->sums + ((size_t)slot * pass->band + group) * pass->products;
}

/* Row h of source plane d, from the first voxel that a strip takes; NULL: outside. */
static const float *row_at(const struct work *work, int d, int h) {
  const struct conv_source *source = work->pass->source;
  struct shape s = source->tensor->shape;
  int from = work->w > 0 ? work->w - CONV_PLANAR_MARGIN : 0;
  if (d < 0 || d >= s.d || h < 0 || h >= s.h) return NULL;
  return conv_row(source->tensor, source->data, work->n, work->pass->block, d, h) +
         (int64_t)from * CHANNEL_BLOCK;
}

/* How many voxels of a row a strip takes. */
static int row_length(const struct work *work) {
  int extent = work->pass->source->tensor->shape.w;
  int from = work->w > 0 ? work->w - CONV_PLANAR_MARGIN : 0;
  int to = work->w + work->pass->width + CONV_PLANAR_MARGIN;
  return (to < extent ? to : extent) - from;
}

/* Takes source rows, of which the first is row h of plane d, times factors. */
static void take(const struct work *work, int d, int h, const struct conv_planar_terms *terms) {
  static const float zeros[CONV_PLANAR_PITCH * CHANNEL_BLOCK];
  const float *rows[CONV_PLANAR_TERMS];
  for (int i = 0; i < terms->count; i++) {
    const float *row = row_at(work, d, h + terms->row[i]);
    rows[i] = row ? row : zeros;
  }
  float *to = *work->rows[0] + (work->w > 0 ? 0 : CONV_PLANAR_MARGIN);
  SIMD_NAME(conv_planar_take)(to, rows, terms, row_length(work));
}

/* Row h of source plane d is to be asked for while so many rows are added. */
static void look_ahead(struct work *work, int d, int h, int rows) {
  const struct conv_packing *packing = &work->pass->source->packing;
  const float *row = row_at(work, d, h);
  int planes = packing->axis[0].taps[0];
  int together = planes < MOST_TOGETHER ? planes : MOST_TOGETHER;
  int tiles =
      count_tiles(packing->group, together, work->pass->width) * conv_divide_up(planes, together);
  int steps = rows * tiles * packing->axis[2].taps[0] * CHANNEL_BLOCK;
  work->ahead = (struct ahead){*work->rows[0], 0};
  if (row)
    work->ahead = (struct ahead){row, conv_divide_up(row_length(work) * CHANNEL_BLOCK, steps)};
}

/* Adds what was taken, times the weights of row th of product `product`, to the sums of all target
 * planes that see source plane d. */
static void add_row(struct work *work, int d, int group, int product, int th) {
  const struct pass *pass = work->pass;
  const struct conv_packing *packing = &pass->source->packing;
  const struct conv_axis *a = packing->axis;
  int size = a[2].taps[0] * packing->group * CHANNEL_BLOCK;
  int rows = pass->products > 1 ? 1 : a[1].taps[0], target = d - a[0].first[0];
  int from = target >= work->last ? target - work->last + 1 : 0;
  int to = target - work->first < a[0].taps[0] ? target - work->first + 1 : a[0].taps[0];
  struct sweep sweep = {.x = *work->rows[0] + CONV_PLANAR_MARGIN + a[2].first[0],
                        .taps = a[2].taps[0],
                        .ahead = work->ahead.x,
                        .step = work->ahead.step};
  for (int td = from, planes; td < to; td += planes) {
    planes = to - td < MOST_TOGETHER ? to - td : MOST_TOGETHER;
    for (int i = 0; i < planes; i++) {
      sweep.w[i] = pass->w + (size_t)((product * a[0].taps[0] + td + i) * rows + th) * size;
      sweep.sums[i] = &sums_of(work, target - td - i, group)[product];
    }
    multiply(&sweep, packing->group, planes, pass->width);
  }
  work->ahead.x = sweep.ahead;
}

/* Asks for a row of a group in the target plane that is stored after source plane d. Inlined by
 * force: see above. */
static inline __attribute__((always_inline)) void prefetch_target(const struct work *work, int d,
                                                                  int h) {
  const struct pass *pass = work->pass;
  const struct tensor *tensor = pass->target->tensor;
  const struct conv_axis *axis = &pass->source->packing.axis[0];
  int done = d - axis->first[0] - (axis->taps[0] - 1);
  if (done < work->first || h >= tensor->shape.h) return;
  for (int c = 0; c < tensor->shape.c; c++) {
    const float *to = pass->target->data + tensor_at(tensor, work->n, c, done, h, work->w);
    for (int i = 0; i < pass->width; i += CHANNEL_BLOCK) __builtin_prefetch(to + i, 1);
  }
}

/* The products of each group of target rows with source plane d. Meanwhile the rows of the next
 * plane that no group before has seen are asked for. */
static void add_products(struct work *work, int d) {
  const struct pass *pass = work->pass;
  int first = work->h + pass->source->packing.axis[1].first[0];
  for (int group = 0; group < pass->band; group++, first += pass->lines) {
    for (int i = 0, line = -1; i < pass->products; i++) {
      if (i * pass->lines / pass->products > line) {
        line = i * pass->lines / pass->products;
        int next = conv_divide_up((line + 1) * pass->products, pass->lines);
        look_ahead(work, d + 1, first + 2 + line, next - i);
      }
      if (i < pass->lines) prefetch_target(work, d, work->h + group * pass->lines + i);
      take(work, d, first, &pass->transform->in[i]);
      add_row(work, d, group, i, 0);
    }
  }
}

/* Each row of source plane d, which several target rows see. */
static void add_rows(struct work *work, int d) {
  static const struct conv_planar_terms alone = {1, {0}, {1}};
  const struct conv_axis *axis = &work->pass->source->packing.axis[1];
  int band = work->pass->band;
  for (int row = 0; row < band + axis->taps[0] - 1; row++) {
    int h = work->h + axis->first[0] + row;
    if (!row_at(work, d, h)) continue;
    look_ahead(work, d + 1, h, axis->taps[0]);
    take(work, d, h, &alone);
    for (int th = 0; th < axis->taps[0]; th++)
      if (row - th >= 0 && row - th < band) add_row(work, d, row - th, 0, th);
  }
}

/* `count` voxels, a constant to the compiler where it is SIMD_WIDTH. */
static inline __attribute__((always_inline)) void store(const struct pass *pass, simd value,
                                                        float bias, float *to, int count) {
  simd before = {0};
  if (pass->add) memcpy(&before, to, sizeof(float) * (size_t)count);
  value = conv_leaky(value + bias + before, pass->slope);
  memcpy(to, &value, sizeof(float) * (size_t)count);
}

/* The target rows from h on from the sums of their group; the transform is a constant to the
 * compiler. */
static inline __attribute__((always_inline)) void store_lines(const struct work *work,
                                                              row_sums *sums, int d, int h,
                                                              const struct transform *transform) {
  const struct pass *pass = work->pass;
  const struct tensor *tensor = pass->target->tensor;
  int left = tensor->shape.w - work->w, width = left < pass->width ? left : pass->width;
  int lines = conv_at_most(tensor->shape.h - h, transform->lines);
  for (int c = 0; c < tensor->shape.c; c++) {
    float *to = pass->target->data + tensor_at(tensor, work->n, c, d, h, work->w);
    float bias = pass->bias ? pass->bias[c] : 0;
    for (int i = 0; i < width; i += SIMD_WIDTH) {
      simd product[MOST_PRODUCTS];
      SIMD_UNROLL
      for (int j = 0; j < transform->products; j++) product[j] = simd_load(&sums[j][c][i]);
      SIMD_UNROLL
      for (int line = 0; line < transform->lines; line++) {
        simd value = transform->out[line][0] * product[0];
        SIMD_UNROLL
        for (int j = 1; j < transform->products; j++) value += transform->out[line][j] * product[j];
        if (line >= lines) continue;
        float *row = to + (int64_t)line * tensor->shape.w + i;
        if (width - i >= SIMD_WIDTH)
          store(pass, value, bias, row, SIMD_WIDTH);
        else
          store(pass, value, bias, row, width - i);
      }
    }
  }
}

static void store_group(const struct work *work, row_sums *sums, int d, int h) {
  if (work->pass->transform == &four_lines)
    store_lines(work, sums, d, h, &four_lines);
  else if (work->pass->transform == &two_lines)
    store_lines(work, sums, d, h, &two_lines);
  else
    store_lines(work, sums, d, h, &one_line);
}

/* Stores target plane d and clears its sums for another. */
static void store_plane(const struct work *work, int d) {
  const struct pass *pass = work->pass;
  for (int group = 0; group < pass->band; group++) {
    row_sums *sums = sums_of(work, d, group);
    int h = work->h + group * pass->lines;
    if (h < pass->target->tensor->shape.h) store_group(work, sums, d, h);
    for (int i = 0; i < pass->products * MOST_CHANNELS; i++)
      if (i % MOST_CHANNELS < pass->source->packing.group)
        memset(sums[i / MOST_CHANNELS][i % MOST_CHANNELS], 0, sizeof(float) * (size_t)pass->width);
  }
}

static void compute_band(struct work *work) {
  const struct pass *pass = work->pass;
  const struct conv_axis *axis = &pass->source->packing.axis[0];
  memset(work->sums, 0, sizeof *work->sums * (size_t)(axis->taps[0] * pass->band * pass->products));
  memset(work->rows, 0, sizeof *work->rows);
  for (int i = work->first; i < work->last + axis->taps[0] - 1; i++) {
    int d = i + axis->first[0], done = i - (axis->taps[0] - 1);
    if (d >= 0 && d < pass->source->tensor->shape.d) {
      if (pass->products > 1)
        add_products(work, d);
      else
        add_rows(work, d);
    }
    if (done >= work->first) store_plane(work, done);
  }
}

static int count_products(const struct transform *transform, int height) {
  return conv_divide_up(height, transform->lines) * transform->products;
}

/* How the target is cut. */
static void cut_target(struct pass *pass) {
  const struct conv_packing *packing = &pass->source->packing;
  struct shape s = pass->target->tensor->shape;
  pass->transform = &one_line;
  if (packing->axis[1].taps[0] == 3 && s.h > 1)
    pass->transform = count_products(&four_lines, s.h) < count_products(&two_lines, s.h)
                          ? &four_lines
                          : &two_lines;
  pass->lines = pass->transform->lines;
  pass->products = pass->transform->products;
  int blocks = conv_divide_up(s.w, CHANNEL_BLOCK);
  int most = MOST_ROWS / (packing->axis[0].taps[0] * pass->products);
  pass->strips = conv_divide_up(blocks, CONV_PLANAR_WIDTH / CHANNEL_BLOCK);
  pass->width = conv_divide_up(blocks, pass->strips) * CHANNEL_BLOCK;
  pass->strips = conv_divide_up(s.w, pass->width);
  pass->bands = conv_divide_up(conv_divide_up(s.h, pass->lines), most);
  pass->band = conv_divide_up(conv_divide_up(s.h, pass->lines), pass->bands);
}

static void compute_block(const struct pass *pass) {
  struct shape s = pass->target->tensor->shape;
  int chunks = conv_divide_up(s.d, PLANES_TOGETHER);
#pragma omp parallel
  {
    row_sums sums[MOST_ROWS] __attribute__((aligned(64)));
    conv_planar_rows rows __attribute__((aligned(64)));
#pragma omp for schedule(static) collapse(4)
    for (int n = 0; n < s.n; n++)
      for (int chunk = 0; chunk < chunks; chunk++)
        for (int band = 0; band < pass->bands; band++)
          for (int strip = 0; strip < pass->strips; strip++) {
            int first = chunk * PLANES_TOGETHER;
            int last = first + PLANES_TOGETHER < s.d ? first + PLANES_TOGETHER : s.d;
            struct work work = {
                pass, n,     first, last, band * pass->band * pass->lines, strip * pass->width,
                sums, &rows, {0}};
            compute_band(&work);
          }
  }
}

/* The weights of the products from those of 3 taps along h. */
static void transform_weights(const struct pass *pass, const float *w, float *products) {
  const struct conv_packing *packing = &pass->source->packing;
  int line = packing->axis[2].taps[0] * packing->group * CHANNEL_BLOCK;
  size_t size = (size_t)packing->axis[0].taps[0] * line;
  for (int td = 0; td < packing->axis[0].taps[0]; td++, w += 3 * line)
    for (int i = 0; i < line; i++, products++)
      for (int j = 0; j < pass->products; j++) {
        const float *factor = pass->transform->weights[j];
        products[j * size] =
            factor[0] * w[i] + factor[1] * w[i + line] + factor[2] * w[i + 2 * line];
      }
}

/* The activation of the target is taken after the last block. */
static void add_source(struct pass *pass, bool last) {
  static const int phase[3] = {0, 0, 0};
  const struct conv_packing *packing = &pass->source->packing;
  float
      products[MOST_PRODUCTS * CONV_MOST_KERNEL * CONV_MOST_KERNEL * MOST_CHANNELS * CHANNEL_BLOCK];
  int blocks = conv_packing_lane_blocks(packing);
  cut_target(pass);
  for (pass->block = 0; pass->block < blocks; pass->block++) {
    const float *w = pass->source->packed + conv_packing_at(packing, phase, pass->block, 0);
    pass->w = pass->products > 1 ? products : w;
    pass->slope = last && pass->block == blocks - 1 ? pass->target->slope : 1;
    if (pass->products > 1) transform_weights(pass, w, products);
    compute_block(pass);
    pass->bias = NULL, pass->add = true;
  }
}

void SIMD_NAME(conv_planar)(const struct conv_target *target, const struct conv_source *sources,
                            int count) {
  struct pass pass = {.target = target, .bias = target->bias, .add = target->add};
  for (int i = 0; i < count; i++) {
    pass.source = &sources[i];
    add_source(&pass, i == count - 1);
  }
}
