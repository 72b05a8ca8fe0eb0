/* integrate with the three components of a voxel side by side in one vector of four: the eight
 * corners of a cell are eight loads. Backward scatters slab by slab (warp_cells.h). With AVX-512,
 * fields that move nothing as far as a voxel are done by rows instead (integrate_near.h). */
#include <limits.h>
#include <string.h>
#include "kernels/common/simd.h"
#include "kernels/integrate/integrate.h"
#include "kernels/warp/warp_cells.h"

enum { LANES = 4 };

typedef float four __attribute__((vector_size(16), may_alias));

static const struct warp_arguments zeros = {WARP_ZEROS, WARP_LINEAR};

/* One squaring: of v to `to`, or of its gradient back to dv. */
struct squaring {
  int extent[3];
  const four *v, *gradient;
  four *to, *dv;
};

/* A run of voxels from number `at` on. */
struct run {
  int count;
  int64_t at;
  struct warp_cells cells;
};

/* Pointers to the corners of a cell, in the order of the bits of warp_cells_corner; outside the
 * field they point at `outside`. */
static inline void corners_find(four *field, const struct run *run, int i, const int extent[3],
                                four *outside, four *corner[8]) {
  if (__builtin_expect(run->cells.interior[i], 1)) {
    const int64_t row = extent[2], slice = (int64_t)extent[1] * row;
    four *low = field + run->cells.voxel[i];
    for (int k = 0; k < 8; k++) corner[k] = low + (k & 1) * slice + (k >> 1 & 1) * row + (k >> 2);
    return;
  }
  for (int k = 0; k < 8; k++) {
    int voxel = warp_cells_corner(&run->cells, i, k, extent);
    corner[k] = voxel >= 0 ? field + voxel : outside;
  }
}

static inline four blend(four low, four high, float fraction) {
  return low + fraction * (high - low);
}

static void square_one(const struct squaring *job, const struct run *run, int i) {
  four outside = {0}, *c[8];
  corners_find((four *)(uintptr_t)job->v, run, i, job->extent, &outside, c);
  float d = run->cells.fraction[0][i], h = run->cells.fraction[1][i];
  float w = run->cells.fraction[2][i];
  four low = blend(blend(*c[0], *c[1], d), blend(*c[2], *c[3], d), h);
  four high = blend(blend(*c[4], *c[5], d), blend(*c[6], *c[7], d), h);
  job->to[run->at + i] = job->v[run->at + i] + blend(low, high, w);
}

/* The gradient along the three axes: products with g, summed over the components. */
static inline four along(four g, four d, four h, four w) {
  four a = g * d, b = g * h, c = g * w;
  return (four){a[0] + a[1] + a[2], b[0] + b[1] + b[2], c[0] + c[1] + c[2], 0};
}

static inline four slope(four *const c[8], four g, float d, float h, float w) {
  four rise[4], at[4]; /* (h, w), (h+1, w), (h, w+1), (h+1, w+1) */
  for (int k = 0; k < 4; k++) {
    rise[k] = *c[2 * k + 1] - *c[2 * k];
    at[k] = *c[2 * k] + d * rise[k];
  }
  four low = blend(at[0], at[1], h), high = blend(at[2], at[3], h);
  four by_d = blend(blend(rise[0], rise[1], h), blend(rise[2], rise[3], h), w);
  return along(g, by_d, blend(at[1] - at[0], at[3] - at[2], w), high - low);
}

static inline void scatter(four *const c[8], four g, float d, float h, float w) {
  four high = w * g, low = g - high, lows[2], highs[2];
  highs[1] = h * high;
  highs[0] = high - highs[1];
  lows[1] = h * low;
  lows[0] = low - lows[1];
  for (int k = 0; k < 2; k++) {
    four upper = d * lows[k];
    *c[2 * k] += lows[k] - upper;
    *c[2 * k + 1] += upper;
    upper = d * highs[k];
    *c[4 + 2 * k] += highs[k] - upper;
    *c[5 + 2 * k] += upper;
  }
}

static void slope_one(const struct squaring *job, const struct run *run, int i) {
  four outside = {0}, *c[8];
  corners_find((four *)(uintptr_t)job->v, run, i, job->extent, &outside, c);
  job->dv[run->at + i] += slope(c, job->gradient[run->at + i], run->cells.fraction[0][i],
                                run->cells.fraction[1][i], run->cells.fraction[2][i]);
}

static void scatter_one(const struct squaring *job, const struct run *run, int i) {
  four lost = {0}, *to[8];
  corners_find(job->dv, run, i, job->extent, &lost, to);
  scatter(to, job->gradient[run->at + i], run->cells.fraction[0][i], run->cells.fraction[1][i],
          run->cells.fraction[2][i]);
}

#if defined SIMD_ISA_AVX512
#include "kernels/integrate/integrate_near.h"
#include "kernels/integrate/integrate_quarters.h"
#else

static void run_square(const struct squaring *job, const struct run *run) {
  for (int i = 0; i < run->count; i++) square_one(job, run, i);
}

static void run_square_backward(const struct squaring *job, const struct run *run) {
  for (int i = 0; i < run->count; i++) slope_one(job, run, i);
  for (int i = 0; i < run->count; i++) scatter_one(job, run, i);
}

#endif

/* The three components of SIMD_WIDTH voxels. */
static inline void separate_vector(const four *v, simd u[3]) {
#if defined SIMD_ISA_AVX512
  const __m512i two = _mm512_setr_epi32(0, 4, 8, 12, 16, 20, 24, 28, 1, 5, 9, 13, 17, 21, 25, 29);
  const __m512i last = _mm512_add_epi32(two, _mm512_set1_epi32(2));
  __m512 x[2], z[2];
  for (int k = 0; k < 2; k++) {
    const __m512 a = _mm512_loadu_ps(v + 8 * k), b = _mm512_loadu_ps(v + 8 * k + 4);
    x[k] = _mm512_permutex2var_ps(a, two, b);
    z[k] = _mm512_permutex2var_ps(a, last, b);
  }
  u[0] = (simd)_mm512_shuffle_f32x4(x[0], x[1], 0x44);
  u[1] = (simd)_mm512_shuffle_f32x4(x[0], x[1], 0xee);
  u[2] = (simd)_mm512_shuffle_f32x4(z[0], z[1], 0x44);
#else
  float value[3][SIMD_WIDTH];
  for (int i = 0; i < SIMD_WIDTH; i++)
    for (int k = 0; k < 3; k++) value[k][i] = v[i][k];
  for (int k = 0; k < 3; k++) u[k] = simd_load(value[k]);
#endif
}

static void run_find(const struct squaring *job, const int first[3], struct run *run) {
  const four *v = job->v + run->at;
  four padded[SIMD_WIDTH];
  simd u[3];
  for (int i = 0; i < run->count; i += SIMD_WIDTH) {
    const int left = run->count - i, at[3] = {first[0], first[1], first[2] + i};
    if (left < SIMD_WIDTH) {
      memset(padded, 0, sizeof padded);
      memcpy(padded, v + i, (size_t)left * sizeof *padded);
      separate_vector(padded, u);
    } else {
      separate_vector(v + i, u);
    }
    warp_cells_set(&run->cells, i, u, at, job->extent, &zeros);
  }
}

static void each_run(const struct squaring *job, int d,
                     void (*visit)(const struct squaring *, const struct run *)) {
  struct run run;
  for (int h = 0; h < job->extent[1]; h++)
    for (int w = 0; w < job->extent[2]; w += WARP_RUN) {
      const int first[3] = {d, h, w};
      run.count = job->extent[2] - w < WARP_RUN ? job->extent[2] - w : WARP_RUN;
      run.at = ((int64_t)d * job->extent[1] + h) * job->extent[2] + w;
      run_find(job, first, &run);
      visit(job, &run);
    }
}

static void each_slice(const struct squaring *job) {
#pragma omp parallel for schedule(static)
  for (int d = 0; d < job->extent[0]; d++) each_run(job, d, run_square);
}

static void each_slab(const struct squaring *job) {
  int64_t voxels = (int64_t)job->extent[0] * job->extent[1] * job->extent[2];
  int lowest = 0, highest = 0;
  warp_reach((const float *)job->v, LANES, voxels, &lowest, &highest);
  struct warp_slabs slabs = warp_slabs_plan(job->extent[0], lowest, highest);
  memcpy(job->dv, job->gradient, (size_t)voxels * sizeof(four));
  for (int odd = 0; odd < 2; odd++) {
#pragma omp parallel for schedule(static)
    for (int slab = odd; slab < slabs.count; slab += 2) {
      int from = slab * slabs.thickness, to = from + slabs.thickness;
      for (int d = from; d < to && d < job->extent[0]; d++) each_run(job, d, run_square_backward);
    }
  }
}

/* Rows of the components of a field: floats from one to the next, and to its next component. */
struct rows {
  int64_t count;
  int width;
  int64_t row, component;
};

/* [3 d h w]. */
static struct rows rows_planar(const struct node *node) {
  const struct shape *s = &node->y.shape;
  return (struct rows){(int64_t)s->d * s->h, s->w, s->w, shape_voxels(*s)};
}

/* [d h 3 w]. */
static struct rows rows_near(const struct node *node) {
  const struct shape *s = &node->y.shape;
  return (struct rows){(int64_t)s->d * s->h, s->w, 3 * (int64_t)s->w, s->w};
}

/* SIMD_WIDTH voxels, the opposite of separate_vector. */
static inline void interleave_vector(const simd x[3], four *v) {
#if defined SIMD_ISA_AVX512
  const __m512 c = (__m512)x[2], none = _mm512_setzero_ps();
  const __m512d low = (__m512d)_mm512_unpacklo_ps((__m512)x[0], (__m512)x[1]);
  const __m512d high = (__m512d)_mm512_unpackhi_ps((__m512)x[0], (__m512)x[1]);
  const __m512d low_c = (__m512d)_mm512_unpacklo_ps(c, none);
  const __m512d high_c = (__m512d)_mm512_unpackhi_ps(c, none);
  /* of each four voxels the first, the second, the third and the fourth */
  const __m512 at[4] = {
      (__m512)_mm512_unpacklo_pd(low, low_c), (__m512)_mm512_unpackhi_pd(low, low_c),
      (__m512)_mm512_unpacklo_pd(high, high_c), (__m512)_mm512_unpackhi_pd(high, high_c)};
  for (int k = 0; k < 2; k++) {
    const __m512 one =
        k ? _mm512_shuffle_f32x4(at[0], at[1], 0xdd) : _mm512_shuffle_f32x4(at[0], at[1], 0x88);
    const __m512 two =
        k ? _mm512_shuffle_f32x4(at[2], at[3], 0xdd) : _mm512_shuffle_f32x4(at[2], at[3], 0x88);
    _mm512_storeu_ps(v + 4 * k, _mm512_shuffle_f32x4(one, two, 0x88));
    _mm512_storeu_ps(v + 4 * k + 8, _mm512_shuffle_f32x4(one, two, 0xdd));
  }
#else
  for (int i = 0; i < SIMD_WIDTH; i++) v[i] = (four){x[0][i], x[1][i], x[2][i], 0};
#endif
}

/* Rows to vectors and back. */
static void interleave(const float *from, struct rows rows, float scale, four *to) {
#pragma omp parallel for schedule(static)
  for (int64_t row = 0; row < rows.count; row++) {
    const float *x = from + row * rows.row;
    four *v = to + row * rows.width;
    int w = 0;
    for (; w + SIMD_WIDTH <= rows.width; w += SIMD_WIDTH) {
      simd component[3];
      for (int k = 0; k < 3; k++) component[k] = scale * simd_load(x + k * rows.component + w);
      interleave_vector(component, v + w);
    }
    for (; w < rows.width; w++)
      v[w] = (four){x[w], x[rows.component + w], x[2 * rows.component + w], 0} * scale;
  }
}

static void separate(const four *from, struct rows rows, float scale, bool add, float *to) {
#pragma omp parallel for schedule(static)
  for (int64_t row = 0; row < rows.count; row++) {
    const four *v = from + row * rows.width;
    for (int k = 0; k < 3 && add; k++) {
      float *y = to + row * rows.row + k * rows.component;
      for (int w = 0; w < rows.width; w++) y[w] += scale * v[w][k];
    }
    int w = add ? rows.width : 0;
    for (; w + SIMD_WIDTH <= rows.width; w += SIMD_WIDTH) {
      float *y = to + row * rows.row + w;
      simd component[3];
      separate_vector(v + w, component);
      for (int k = 0; k < 3; k++) simd_store(y + k * rows.component, scale * component[k]);
    }
    for (; w < rows.width; w++)
      for (int k = 0; k < 3; k++) to[row * rows.row + k * rows.component + w] = scale * v[w][k];
  }
}

/* Rows to other rows. */
static void rows_move(const float *from, struct rows x, float scale, bool add, float *to,
                      struct rows y) {
#pragma omp parallel for schedule(static)
  for (int64_t row = 0; row < x.count; row++)
    for (int k = 0; k < 3; k++) {
      const float *in = from + row * x.row + k * x.component;
      float *out = to + row * y.row + k * y.component;
      if (add)
        for (int w = 0; w < x.width; w++) out[w] += scale * in[w];
      else
        for (int w = 0; w < x.width; w++) out[w] = scale * in[w];
    }
}

static bool integrate_applies(const struct node *node) {
  return simd_available() && node->x[0].layout == LAYOUT_PLANAR &&
         node->y.layout == LAYOUT_PLANAR && shape_voxels(node->y.shape) <= INT_MAX;
}

static size_t field_bytes(const struct node *node) {
  return (size_t)shape_voxels(node->y.shape) * sizeof(four);
}

/* Three rows of zeros and a number for each slice. */
static size_t near_bytes(const struct node *node) {
  return ((size_t)node->y.shape.w * 3 + SIMD_WIDTH + (size_t)node->y.shape.d) * sizeof(float);
}

/* Samples are done one after another: forward needs one field beside the saved ones, backward two.
 */
static void integrate_prepare(struct node *node) {
  node->forward_workspace = field_bytes(node) + near_bytes(node);
  node->backward_workspace = 2 * field_bytes(node) + near_bytes(node);
}

static int steps_of(const struct node *node) {
  return ((const struct integrate_arguments *)(const void *)node->arguments)->steps;
}

/* The field of a sample that a step squares. */
static four *saved_field(const struct node *node, const struct io *io, int n, int step) {
  return (four *)io->saved[0] + ((int64_t)step * node->y.shape.n + n) * shape_voxels(node->y.shape);
}

/* The last lane of the last voxel, which counts for nothing, tells whether a saved field is near.
 */
static float *near_mark(four *field, int64_t voxels) {
  return (float *)(field + voxels) - 1;
}

#if defined SIMD_ISA_AVX512

/* `room`: near_bytes. */
static struct near near_make(const struct node *node, void *room) {
  const struct shape *s = &node->y.shape;
  memset(room, 0, near_bytes(node));
  return (struct near){.extent = {s->d, s->h, s->w},
                       .zeros = room,
                       .row = 3 * (int64_t)s->w,
                       .component = s->w,
                       .most = (int *)room + 3 * s->w + SIMD_WIDTH};
}

/* The first steps, as long as the fields are near; returns how many. The field after them is v of
 * the next one, or y. */
static int near_forward(const struct node *node, const struct io *io, int n) {
  const int steps = steps_of(node);
  const int64_t voxels = shape_voxels(node->y.shape);
  four *spare = io->workspace;
  struct near job = near_make(node, spare + voxels);
  float *const y = (float *)io->y + n * 3 * voxels;
  int step = 0;
  if (steps == 0) return 0;
  job.to = (float *)saved_field(node, io, n, 0);
  bool near =
      near_scale(&job, (const float *)io->x[0] + n * 3 * voxels, (float)integrate_scale(node));
  while (near && step < steps) {
    *near_mark((four *)(void *)job.to, voxels) = 1;
    job.v = job.to;
    step++;
    job.to = step < steps ? (float *)saved_field(node, io, n, step) : y;
    if (step == steps) {
      job.row = rows_planar(node).row;
      job.component = rows_planar(node).component;
    }
    near = near_square(&job);
  }
  if (step < steps) {
    interleave(job.to, rows_near(node), 1, spare);
    memcpy(job.to, spare, field_bytes(node));
  }
  return step;
}

#endif

static void sample_forward(const struct node *node, const struct io *io, int n) {
  const int steps = steps_of(node);
  const struct shape *s = &node->y.shape;
  const int64_t voxels = shape_voxels(*s);
  four *last = io->workspace, *v = steps ? saved_field(node, io, n, 0) : last;
  int step = 0;
#if defined SIMD_ISA_AVX512
  step = near_forward(node, io, n);
  if (steps > 0 && step == steps) return;
  if (steps > 0) v = saved_field(node, io, n, step);
  if (steps == 0)
#endif
    interleave((const float *)io->x[0] + n * 3 * voxels, rows_planar(node),
               (float)integrate_scale(node), v);
  for (; step < steps; step++) {
    four *next = step + 1 < steps ? saved_field(node, io, n, step + 1) : last;
    struct squaring job = {.extent = {s->d, s->h, s->w}, .v = v, .to = next};
    each_slice(&job);
    v = next;
  }
  separate(v, rows_planar(node), 1, false, (float *)io->y + n * 3 * voxels);
}

/* The gradient of a field on its way back through the steps: in one of two rooms, the other one is
 * free. */
struct gradient {
  four *at, *other;
  bool near;
};

static void gradient_swap(struct gradient *gradient) {
  four *at = gradient->at;
  gradient->at = gradient->other;
  gradient->other = at;
}

static void gradient_make_near(const struct node *node, struct gradient *gradient, bool near) {
  if (gradient->near == near) return;
  if (near)
    separate(gradient->at, rows_near(node), 1, false, (float *)gradient->other);
  else
    interleave((const float *)gradient->at, rows_near(node), 1, gradient->other);
  gradient->near = near;
  gradient_swap(gradient);
}

static void step_backward(const struct node *node, four *v, bool near, void *room,
                          struct gradient *gradient) {
  const struct shape *s = &node->y.shape;
  gradient_make_near(node, gradient, near);
  if (!near) {
    struct squaring job = {
        .extent = {s->d, s->h, s->w}, .v = v, .gradient = gradient->at, .dv = gradient->other};
    each_slab(&job);
  }
#if defined SIMD_ISA_AVX512
  if (near) {
    struct near job = near_make(node, room);
    job.v = (const float *)v;
    job.gradient = (const float *)gradient->at;
    job.to = (float *)gradient->other;
    near_gradient(&job);
  }
#else
  (void)room;
#endif
  gradient_swap(gradient);
}

static void sample_backward(const struct node *node, const struct io *io, int n) {
  const int64_t voxels = shape_voxels(node->y.shape);
  const int last = steps_of(node) - 1;
  const float *dy = (const float *)io->dy + n * 3 * voxels;
  const float scale = (float)integrate_scale(node);
  float *dx = (float *)io->dx[0] + n * 3 * voxels;
  struct gradient gradient = {io->workspace, (four *)io->workspace + voxels, false};
  gradient.near = last >= 0 && *near_mark(saved_field(node, io, n, last), voxels) != 0;
  if (gradient.near)
    rows_move(dy, rows_planar(node), 1, false, (float *)gradient.at, rows_near(node));
  else
    interleave(dy, rows_planar(node), 1, gradient.at);
  for (int step = last; step >= 0; step--) {
    four *v = saved_field(node, io, n, step);
    step_backward(node, v, *near_mark(v, voxels) != 0, (four *)io->workspace + 2 * voxels,
                  &gradient);
  }
  if (gradient.near)
    rows_move((const float *)gradient.at, rows_near(node), scale, io->dx_add[0], dx,
              rows_planar(node));
  else
    separate(gradient.at, rows_planar(node), scale, io->dx_add[0], dx);
}

static enum status integrate_forward(const struct node *node, const struct io *io,
                                     struct stream *stream) {
  (void)stream;
  for (int n = 0; n < node->y.shape.n; n++) sample_forward(node, io, n);
  return STATUS_OK;
}

static enum status integrate_backward(const struct node *node, const struct io *io,
                                      struct stream *stream) {
  (void)stream;
  for (int n = 0; io->dx[0] && n < node->y.shape.n; n++) sample_backward(node, io, n);
  return STATUS_OK;
}

extern const struct kernel SIMD_NAME(integrate_simd);
const struct kernel SIMD_NAME(integrate_simd) = {
    .name = SIMD_LABEL("interleaved"),
    .device = DEVICE_CPU,
    .dtype = DTYPE_F32,
    .training = true,
    .applies = integrate_applies,
    .prepare = integrate_prepare,
    .forward = integrate_forward,
    .backward = integrate_backward,
};
