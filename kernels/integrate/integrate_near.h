/* The squaring of integrate_simd.c and its gradient with AVX-512 for fields that move nothing as
 * far as a voxel, as all but the last ones do: by rows of each component, nothing is looked up. A
 * voxel's cell is one of the eight around it, which signs tell: along an axis the field at u is
 * here + |u| * (neighbour - here), the neighbour being the one on u's side. And what scatters to a
 * voxel comes from the 27 around it, with the weights max(0, u), 1 - |u| and max(0, -u). */

#define NEAR_INLINE inline __attribute__((always_inline))
#define NEAR_APART __attribute__((noinline))

enum { NEAR_ROWS = 9 }; /* around a row: three slices of three */

/* One squaring, or its gradient, of fields whose rows are three, one of each component, one after
 * another. */
struct near {
  int extent[3];
  const float *v, *gradient, *zeros; /* three rows of zeros: what is outside */
  float *to;
  int64_t row, component; /* floats from one row of `to` to the next, and to its next component */
  int *most;              /* by slice: the bits of the largest component of `to` */
};

/* The rows around one. */
struct near_rows {
  const float *row[NEAR_ROWS];
};

static NEAR_INLINE void near_rows_find(const struct near *job, const float *field, int d, int h,
                                       struct near_rows *rows) {
  const int64_t row = 3 * (int64_t)job->extent[2];
  SIMD_UNROLL
  for (int i = 0; i < 3; i++) {
    const bool there = warp_inside(d + i - 1, job->extent[0]);
    const float *slice = field + (int64_t)(there ? d + i - 1 : 0) * job->extent[1] * row;
    SIMD_UNROLL
    for (int k = 0; k < 3; k++)
      rows->row[3 * i + k] =
          there && warp_inside(h + k - 1, job->extent[1]) ? slice + (h + k - 1) * row : job->zeros;
  }
}

/* A vector of a row from voxel w on: lanes there are, and those of the vectors beside it. */
struct near_vector {
  int64_t w;
  __mmask16 lanes, left, right;
};

static NEAR_INLINE struct near_vector near_vector_at(int w, int width) {
  const int after = width - w - SIMD_WIDTH;
  return (struct near_vector){.w = w,
                              .lanes = (__mmask16)simd_lanes_until(width - w),
                              .left = w > 0 ? 0xffff : 0,
                              .right = (__mmask16)(after > 0 ? simd_lanes_until(after) : 0)};
}

/* Calls call(vector) with what the compiler is to know of `at`, so that nothing is masked, which
 * takes as long as arithmetic does: for whole vectors within a row, and at its ends. */
#define NEAR_CALL(at, call)                                         \
  do {                                                              \
    const bool whole = (at).lanes == 0xffff;                        \
    if (whole && (at).left == 0xffff && (at).right == 0xffff)       \
      call(((struct near_vector){(at).w, 0xffff, 0xffff, 0xffff})); \
    else if (whole && (at).left == 0 && (at).right == 0xffff)       \
      call(((struct near_vector){(at).w, 0xffff, 0, 0xffff}));      \
    else if (whole && (at).left == 0xffff && (at).right == 0)       \
      call(((struct near_vector){(at).w, 0xffff, 0xffff, 0}));      \
    else                                                            \
      call(at);                                                     \
  } while (0)

static NEAR_INLINE __m512i near_load_lanes(const float *from, __mmask16 lanes) {
  if (__builtin_constant_p(lanes) && lanes == 0xffff) return _mm512_loadu_si512(from);
  if (__builtin_constant_p(lanes) && lanes == 0) return _mm512_setzero_si512();
  return _mm512_maskz_loadu_epi32(lanes, from);
}

static NEAR_INLINE __m512 near_load(const float *row, const struct near_vector *at) {
  return (__m512)near_load_lanes(row + at->w, at->lanes);
}

/* Of the middle row. */
static NEAR_INLINE void near_load_moves(const struct near_rows *rows, int64_t width,
                                        const struct near_vector *at, __m512 u[3]) {
  SIMD_UNROLL
  for (int k = 0; k < 3; k++) u[k] = near_load(rows->row[NEAR_ROWS / 2] + k * width, at);
}

/* Which way, and how far. */
struct near_move {
  __mmask16 back[3];
  __m512 by[3];
};

static NEAR_INLINE struct near_move near_move_of(const __m512 u[3]) {
  struct near_move move;
  for (int k = 0; k < 3; k++) {
    move.back[k] = _mm512_cmp_ps_mask(u[k], _mm512_setzero_ps(), _CMP_LT_OQ);
    move.by[k] = _mm512_abs_ps(u[k]);
  }
  return move;
}

/* Of voxels from i on of a row: what is there, and at the neighbours they move to. */
static NEAR_INLINE void near_pair(const float *row, int64_t i, const struct near_vector *at,
                                  const struct near_move *move, __m512 pair[2]) {
  const __m512i middle = near_load_lanes(row + i, at->lanes);
  const __m512i left = near_load_lanes(row + i - SIMD_WIDTH, at->left);
  const __m512i right = near_load_lanes(row + i + SIMD_WIDTH, at->right);
  const __m512i after = _mm512_alignr_epi32(right, middle, 1);
  pair[0] = (__m512)middle;
  pair[1] = (__m512)_mm512_mask_alignr_epi32(after, move->back[2], middle, left, SIMD_WIDTH - 1);
}

/* The corners of the voxels' cells: bit 0 tells which is the further one along w, 1: h, 2: d. */
enum { NEAR_CORNERS = 8 };

/* Where all voxels of a vector move to the same side along d and along h, as nearly all of a smooth
 * field do, their cells lie in four of the nine rows. */
static NEAR_INLINE bool near_alike(const struct near_move *move, __mmask16 lanes) {
  return (move->back[0] == 0 || move->back[0] == lanes) &&
         (move->back[1] == 0 || move->back[1] == lanes);
}

static NEAR_INLINE void near_corners_alike(const struct near_rows *rows, int64_t c,
                                           const struct near_vector *at,
                                           const struct near_move *move,
                                           __m512 corner[NEAR_CORNERS]) {
  const int h = move->back[1] ? -1 : 1, d = move->back[0] ? -3 : 3;
  const float *const *middle = &rows->row[NEAR_ROWS / 2];
  near_pair(middle[0], at->w + c, at, move, corner);
  near_pair(middle[h], at->w + c, at, move, corner + 2);
  near_pair(middle[d], at->w + c, at, move, corner + 4);
  near_pair(middle[d + h], at->w + c, at, move, corner + 6);
}

/* Of the rows h (0 to 2) of the three slices: what is in the middle one, and in the further one. */
static NEAR_INLINE void near_pairs(const struct near_rows *rows, int h, int64_t i,
                                   const struct near_vector *at, const struct near_move *move,
                                   __m512 near[2], __m512 far[2]) {
  __m512 before[2];
  near_pair(rows->row[h], i, at, move, before);
  near_pair(rows->row[6 + h], i, at, move, far);
  near_pair(rows->row[3 + h], i, at, move, near);
  SIMD_UNROLL
  for (int w = 0; w < 2; w++) far[w] = _mm512_mask_mov_ps(far[w], move->back[0], before[w]);
}

/* They are picked from all nine rows before anything is computed of them. */
static NEAR_INLINE void near_corners_apart(const struct near_rows *rows, int64_t c,
                                           const struct near_vector *at,
                                           const struct near_move *move,
                                           __m512 corner[NEAR_CORNERS]) {
  __m512 near[2], far[2];
  near_pairs(rows, 1, at->w + c, at, move, corner, corner + 4);
  near_pairs(rows, 2, at->w + c, at, move, corner + 2, corner + 6);
  near_pairs(rows, 0, at->w + c, at, move, near, far);
  SIMD_UNROLL
  for (int w = 0; w < 2; w++) {
    corner[2 + w] = _mm512_mask_mov_ps(corner[2 + w], move->back[1], near[w]);
    corner[6 + w] = _mm512_mask_mov_ps(corner[6 + w], move->back[1], far[w]);
  }
}

/* Of the component that lies `c` floats from the beginning of the rows. */
static NEAR_INLINE void near_corners(const struct near_rows *rows, int64_t c,
                                     const struct near_vector *at, const struct near_move *move,
                                     bool alike, __m512 corner[NEAR_CORNERS]) {
  if (alike)
    near_corners_alike(rows, c, at, move, corner);
  else
    near_corners_apart(rows, c, at, move, corner);
}

static NEAR_INLINE __m512 near_blend(__m512 low, __m512 high, __m512 by) {
  return _mm512_fmadd_ps(by, _mm512_sub_ps(high, low), low);
}

/* Where the voxels are moved to. */
static NEAR_INLINE __m512 near_sample(const __m512 corner[NEAR_CORNERS],
                                      const struct near_move *move) {
  __m512 row[NEAR_CORNERS / 2];
  SIMD_UNROLL
  for (int k = 0; k < NEAR_CORNERS / 2; k++)
    row[k] = near_blend(corner[2 * k], corner[2 * k + 1], move->by[2]);
  return near_blend(near_blend(row[0], row[1], move->by[1]),
                    near_blend(row[2], row[3], move->by[1]), move->by[0]);
}

static NEAR_INLINE void near_square_vector(const struct near *job, const struct near_rows *rows,
                                           struct near_vector at, const __m512 u[3],
                                           const struct near_move *move, bool alike, float *to,
                                           __m512i *most) {
  SIMD_UNROLL
  for (int k = 0; k < 3; k++) {
    __m512 corner[NEAR_CORNERS];
    near_corners(rows, k * (int64_t)job->extent[2], &at, move, alike, corner);
    const __m512 sum = _mm512_add_ps(u[k], near_sample(corner, move));
    *most = _mm512_max_epu32(*most, (__m512i)_mm512_abs_ps(sum));
    _mm512_mask_storeu_ps(to + k * job->component + at.w, at.lanes, sum);
  }
}

/* Not inlined: with it the other vectors' loop would lack registers. */
static NEAR_APART __m512i near_square_apart(const struct near *job, const struct near_rows *rows,
                                            const struct near_vector *vector, float *to,
                                            __m512i most) {
  __m512 u[3];
  near_load_moves(rows, job->extent[2], vector, u);
  const struct near_move move = near_move_of(u);
#define SQUARE(at) near_square_vector(job, rows, at, u, &move, false, to, &most)
  NEAR_CALL(*vector, SQUARE);
#undef SQUARE
  return most;
}

static NEAR_INLINE void near_square_alike(const struct near *job, const struct near_rows *rows,
                                          struct near_vector at, float *to, __m512i *most) {
  __m512 u[3];
  near_load_moves(rows, job->extent[2], &at, u);
  const struct near_move move = near_move_of(u);
  if (__builtin_expect(near_alike(&move, at.lanes), 1))
    near_square_vector(job, rows, at, u, &move, true, to, most);
  else
    *most = near_square_apart(job, rows, &at, to, *most);
}

static void near_square_slice(const struct near *shared, int d) {
  const struct near job = *shared; /* stores of vectors may change what has an address */
  const int width = job.extent[2];
  __m512i most = _mm512_setzero_si512();
  for (int h = 0; h < job.extent[1]; h++) {
    struct near_rows rows;
    float *to = job.to + ((int64_t)d * job.extent[1] + h) * job.row;
    near_rows_find(&job, job.v, d, h, &rows);
    for (int w = 0; w < width; w += SIMD_WIDTH) {
      const struct near_vector vector = near_vector_at(w, width);
#define SQUARE(at) near_square_alike(&job, &rows, at, to, &most)
      NEAR_CALL(vector, SQUARE);
#undef SQUARE
    }
  }
  job.most[d] = (int)_mm512_reduce_max_epu32(most);
}

/* The derivatives along the axes: towards neighbours, whichever way they are. */
static NEAR_INLINE void near_slopes(const __m512 corner[NEAR_CORNERS], const struct near_move *move,
                                    __m512 slope[3]) {
  __m512 rise[NEAR_CORNERS / 2], row[NEAR_CORNERS / 2];
  SIMD_UNROLL
  for (int k = 0; k < NEAR_CORNERS / 2; k++) {
    rise[k] = _mm512_sub_ps(corner[2 * k + 1], corner[2 * k]);
    row[k] = _mm512_fmadd_ps(move->by[2], rise[k], corner[2 * k]);
  }
  const __m512 near = _mm512_sub_ps(row[1], row[0]), far = _mm512_sub_ps(row[3], row[2]);
  slope[0] = _mm512_sub_ps(_mm512_fmadd_ps(move->by[1], far, row[2]),
                           _mm512_fmadd_ps(move->by[1], near, row[0]));
  slope[1] = near_blend(near, far, move->by[0]);
  slope[2] = near_blend(near_blend(rise[0], rise[1], move->by[1]),
                        near_blend(rise[2], rise[3], move->by[1]), move->by[0]);
}

/* What the voxels of a vector and those above and below them scatter to it, by component: in all,
 * and of it what goes on to the next voxel of the row, and to the one before. */
struct near_scatter {
  __m512 all[3], next[3], before[3];
};

/* The weights of what goes from the rows of a slice and row `from` (0: before, 2: behind) to the
 * middle ones, and the lanes where there is any; those of what is behind have the other sign, which
 * takes an operation less. */
static NEAR_INLINE __mmask16 near_weigh(__m512 u, int from, __mmask16 lanes, __m512 *weight) {
  *weight = from == 1 ? _mm512_sub_ps(_mm512_set1_ps(1), _mm512_abs_ps(u)) : u;
  if (from == 1) return lanes;
  return from == 0 ? _mm512_mask_cmp_ps_mask(lanes, u, _mm512_setzero_ps(), _CMP_GT_OQ)
                   : _mm512_mask_cmp_ps_mask(lanes, u, _mm512_setzero_ps(), _CMP_LT_OQ);
}

static NEAR_INLINE void near_scatter_sum(const struct near_rows *v,
                                         const struct near_rows *gradient, int64_t width,
                                         struct near_vector at, struct near_scatter *to) {
  const __m512 none = _mm512_setzero_ps();
  __m512 all[3], next[3], before[3];
  SIMD_UNROLL
  for (int c = 0; c < 3; c++) all[c] = next[c] = before[c] = none;
  SIMD_UNROLL
  for (int i = 0; i < NEAR_ROWS; i++) {
    const bool turned = (i / 3 == 2) != (i % 3 == 2);
    const float *row = v->row[i];
    __m512 d, h;
    __mmask16 some = near_weigh(near_load(row, &at), i / 3, at.lanes, &d);
    some = near_weigh(near_load(row + width, &at), i % 3, some, &h);
    if (some == 0) continue; /* a smooth field comes to a voxel from four rows */
    const __m512 weight = _mm512_maskz_mul_ps(some, d, h);
    const __m512 along_w = near_load(row + 2 * width, &at);
    const __m512 high = _mm512_mul_ps(weight, _mm512_max_ps(along_w, none));
    const __m512 low = _mm512_mul_ps(weight, _mm512_min_ps(along_w, none));
    SIMD_UNROLL
    for (int c = 0; c < 3; c++) {
      const __m512 g = near_load(gradient->row[i] + c * width, &at);
      all[c] = turned ? _mm512_fnmadd_ps(weight, g, all[c]) : _mm512_fmadd_ps(weight, g, all[c]);
      next[c] = turned ? _mm512_fnmadd_ps(high, g, next[c]) : _mm512_fmadd_ps(high, g, next[c]);
      before[c] = turned ? _mm512_fmadd_ps(low, g, before[c]) : _mm512_fnmadd_ps(low, g, before[c]);
    }
  }
  SIMD_UNROLL
  for (int c = 0; c < 3; c++) {
    to->all[c] = all[c];
    to->next[c] = next[c];
    to->before[c] = before[c];
  }
}

static NEAR_INLINE void near_scatter_find(const struct near_rows *v,
                                          const struct near_rows *gradient, int64_t width,
                                          const struct near_vector *at, struct near_scatter *to) {
  if (at->lanes == 0xffff)
    near_scatter_sum(v, gradient, width, (struct near_vector){at->w, 0xffff, 0, 0}, to);
  else
    near_scatter_sum(v, gradient, width, *at, to);
}

/* What arrives at a vector, given what the one before it, it and the next one scatter. */
static NEAR_INLINE __m512 near_arriving(const struct near_scatter *const from[3], int c) {
  const struct near_scatter *left = from[0], *here = from[1], *right = from[2];
  const __m512 goes = _mm512_add_ps(here->next[c], here->before[c]);
  const __m512i from_left =
      _mm512_alignr_epi32((__m512i)here->next[c], (__m512i)left->next[c], SIMD_WIDTH - 1);
  const __m512i from_right =
      _mm512_alignr_epi32((__m512i)right->before[c], (__m512i)here->before[c], 1);
  return _mm512_add_ps(_mm512_sub_ps(here->all[c], goes),
                       _mm512_add_ps((__m512)from_left, (__m512)from_right));
}

/* The derivatives of what the components are where voxels are moved to, each times its gradient:
 * components are added up at the cells' corners. */
static NEAR_INLINE void near_slopes_sum(int64_t width, const struct near_rows *v,
                                        const float *gradient, struct near_vector at,
                                        const struct near_move *move, bool alike, __m512 slope[3]) {
  __m512 sum[NEAR_CORNERS], corner[NEAR_CORNERS];
  SIMD_UNROLL
  for (int c = 0; c < 3; c++) {
    const __m512 g = near_load(gradient + c * width, &at);
    near_corners(v, c * width, &at, move, alike, corner);
    SIMD_UNROLL
    for (int k = 0; k < NEAR_CORNERS; k++)
      sum[k] = c > 0 ? _mm512_fmadd_ps(g, corner[k], sum[k]) : _mm512_mul_ps(g, corner[k]);
  }
  near_slopes(sum, move, slope);
}

static NEAR_APART void near_slopes_apart(int64_t width, const struct near_rows *v,
                                         const float *gradient, const struct near_vector *vector,
                                         __m512 slope[3]) {
  __m512 u[3];
  near_load_moves(v, width, vector, u);
  const struct near_move move = near_move_of(u);
#define SLOPES(at) near_slopes_sum(width, v, gradient, at, &move, false, slope)
  NEAR_CALL(*vector, SLOPES);
#undef SLOPES
}

static NEAR_INLINE void near_gradient_vector(int64_t width, const struct near_rows *v,
                                             const float *gradient, struct near_vector at,
                                             const struct near_scatter *const from[3], float *to) {
  __m512 u[3], slope[3];
  near_load_moves(v, width, &at, u);
  const struct near_move move = near_move_of(u);
  if (__builtin_expect(near_alike(&move, at.lanes), 1)) {
    near_slopes_sum(width, v, gradient, at, &move, true, slope);
  } else {
    __m512 apart[3];
    near_slopes_apart(width, v, gradient, &at, apart);
    SIMD_UNROLL
    for (int k = 0; k < 3; k++) slope[k] = apart[k];
  }
  SIMD_UNROLL
  for (int k = 0; k < 3; k++) {
    const __m512 g = near_load(gradient + k * width, &at);
    const __m512 other = _mm512_add_ps(g, near_arriving(from, k));
    const __m512 value =
        _mm512_mask_sub_ps(_mm512_add_ps(other, slope[k]), move.back[k], other, slope[k]);
    _mm512_mask_storeu_ps(to + k * width + at.w, at.lanes, value);
  }
}

static NEAR_INLINE void near_gradient_row(int width, const struct near_rows *v,
                                          const struct near_rows *gradient, float *to) {
  enum { AROUND = 3 };
  static const struct near_scatter none;
  struct near_scatter room[AROUND];
  const struct near_scatter *from[AROUND] = {&none, &room[0], &none};
  struct near_vector next = near_vector_at(0, width);
#define GRADIENT(at) near_gradient_vector(width, v, gradient->row[NEAR_ROWS / 2], at, from, to)
  near_scatter_find(v, gradient, width, &next, &room[0]);
  for (int i = 0, w = 0; w < width; w += SIMD_WIDTH) {
    const struct near_vector at = next;
    i = i + 1 < AROUND ? i + 1 : 0;
    from[2] = &none;
    if (w + SIMD_WIDTH < width) {
      next = near_vector_at(w + SIMD_WIDTH, width);
      near_scatter_find(v, gradient, width, &next, &room[i]);
      from[2] = &room[i];
    }
    NEAR_CALL(at, GRADIENT);
    from[0] = from[1];
    from[1] = from[2];
  }
#undef GRADIENT
}

static void near_gradient_slice(const struct near *shared, int d) {
  const struct near job = *shared;
  for (int h = 0; h < job.extent[1]; h++) {
    struct near_rows v, gradient;
    near_rows_find(&job, job.v, d, h, &v);
    near_rows_find(&job, job.gradient, d, h, &gradient);
    near_gradient_row(job.extent[2], &v, &gradient,
                      job.to + ((int64_t)d * job.extent[1] + h) * job.row);
  }
}

/* Whether the field written last moves nothing as far as a voxel. */
static bool near_within(const struct near *job) {
  const float one = 1;
  int limit;
  memcpy(&limit, &one, sizeof limit);
  for (int d = 0; d < job->extent[0]; d++)
    if (job->most[d] >= limit) return false;
  return true;
}

static bool near_square(const struct near *job) {
#pragma omp parallel for schedule(static)
  for (int d = 0; d < job->extent[0]; d++) near_square_slice(job, d);
  return near_within(job);
}

static void near_gradient(const struct near *job) {
#pragma omp parallel for schedule(static)
  for (int d = 0; d < job->extent[0]; d++) near_gradient_slice(job, d);
}

/* to = scale * from, which is planar. */
static bool near_scale(const struct near *job, const float *from, float scale) {
  const int width = job->extent[2];
  const int64_t voxels = (int64_t)job->extent[0] * job->extent[1] * width;
#pragma omp parallel for schedule(static)
  for (int d = 0; d < job->extent[0]; d++) {
    __m512i most = _mm512_setzero_si512();
    for (int i = 0; i < 3 * job->extent[1]; i++) {
      const int64_t row = (int64_t)d * job->extent[1] + i / 3;
      const float *x = from + i % 3 * voxels + row * width;
      float *to = job->to + row * job->row + i % 3 * job->component;
      for (int w = 0; w < width; w += SIMD_WIDTH) {
        const unsigned lanes = simd_lanes_until(width - w);
        const simd value = scale * simd_load_lanes(x + w, lanes);
        most = _mm512_max_epu32(most, (__m512i)_mm512_abs_ps((__m512)value));
        simd_store_lanes(to + w, value, lanes);
      }
    }
    job->most[d] = (int)_mm512_reduce_max_epu32(most);
  }
  return near_within(job);
}
