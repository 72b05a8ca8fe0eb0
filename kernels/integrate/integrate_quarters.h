/* The squaring of integrate_simd.c with AVX-512, and its part. A vector of 16 holds four voxels, or
 * two rows of a cell: voxels w and w + 1 of row h, then those of row h + 1. A cell is two of these,
 * slices d and d + 1. */

enum { QUARTERS = 4 };

/* lane + slope * fraction, by lanes. */
struct line {
  __m512 at_zero, slope;
};

static inline __m512 line_at(struct line line, float fraction) {
  return _mm512_fmadd_ps(line.slope, _mm512_set1_ps(fraction), line.at_zero);
}

/* By quarters, the same for all components. */
static inline __m512 quarters(float a, float b, float c, float d) {
  return _mm512_setr_ps(a, a, a, a, b, b, b, b, c, c, c, c, d, d, d, d);
}
static inline struct line weights_h(void) {
  return (struct line){quarters(1, 1, 0, 0), quarters(-1, -1, 1, 1)};
}
static inline struct line weights_w(void) {
  return (struct line){quarters(1, 0, 1, 0), quarters(-1, 1, -1, 1)};
}

static inline __m512 rows_load(const four *from, int64_t row) {
  const __m256 near = _mm256_loadu_ps((const float *)from);
  return _mm512_insertf32x8(_mm512_castps256_ps512(near),
                            _mm256_loadu_ps((const float *)(from + row)), 1);
}

/* A cell's slice, its rows, between its two slices, and what there is between these. */
struct cell {
  __m512 between, rise;
};

static inline struct cell cell_load(const struct squaring *job, const struct run *run, int i) {
  const int64_t row = job->extent[2], slice = (int64_t)job->extent[1] * row;
  const four *from = job->v + run->cells.voxel[i];
  const __m512 low = rows_load(from, row);
  struct cell cell = {.rise = _mm512_sub_ps(rows_load(from + slice, row), low)};
  cell.between = _mm512_fmadd_ps(_mm512_set1_ps(run->cells.fraction[0][i]), cell.rise, low);
  return cell;
}

/* The sums of the quarters of four vectors. */
static inline __m512 quarters_sum(const __m512 x[QUARTERS]) {
  __m512 two[2];
  for (int k = 0; k < 2; k++)
    two[k] = _mm512_add_ps(_mm512_shuffle_f32x4(x[2 * k], x[2 * k + 1], 0x44),
                           _mm512_shuffle_f32x4(x[2 * k], x[2 * k + 1], 0xee));
  return _mm512_add_ps(_mm512_shuffle_f32x4(two[0], two[1], 0x88),
                       _mm512_shuffle_f32x4(two[0], two[1], 0xdd));
}

static inline bool all_interior(const struct run *run, int i) {
  const int *interior = run->cells.interior + i;
  return i + QUARTERS <= run->count && interior[0] & interior[1] & interior[2] & interior[3];
}

static inline void add_to(const four *from, four *to, __m512 value) {
  _mm512_storeu_ps(to, _mm512_add_ps(_mm512_loadu_ps(from), value));
}

static inline void square_four(const struct squaring *job, const struct run *run, int at) {
  const struct line h = weights_h(), w = weights_w();
  __m512 x[QUARTERS];
  SIMD_UNROLL
  for (int k = 0; k < QUARTERS; k++) {
    const int i = at + k;
    __m512 weight =
        _mm512_mul_ps(line_at(h, run->cells.fraction[1][i]), line_at(w, run->cells.fraction[2][i]));
    x[k] = _mm512_mul_ps(weight, cell_load(job, run, i).between);
  }
  add_to(job->v + run->at + at, job->to + run->at + at, quarters_sum(x));
}

static void run_square(const struct squaring *job, const struct run *run) {
  for (int i = 0; i < run->count; i += QUARTERS)
    if (all_interior(run, i))
      square_four(job, run, i);
    else
      for (int k = i; k < i + QUARTERS && k < run->count; k++) square_one(job, run, k);
}

/* The slopes along d, h and w are made in lanes 0, 2 and 3 of the quarters. */
static inline __m512 by_axis(float d, float h, float w) {
  return _mm512_setr_ps(d, 0, h, w, d, 0, h, w, d, 0, h, w, d, 0, h, w);
}
static inline struct line slopes_h(void) {
  const __m512 by_h = by_axis(0, 1, 0), others = by_axis(1, 0, 1);
  const struct line h = weights_h();
  return (struct line){
      _mm512_fmadd_ps(by_h, quarters(-1, -1, 1, 1), _mm512_mul_ps(others, h.at_zero)),
      _mm512_mul_ps(others, h.slope)};
}
static inline struct line slopes_w(void) {
  const __m512 by_w = by_axis(0, 0, 1), others = by_axis(1, 1, 0);
  const struct line w = weights_w();
  return (struct line){
      _mm512_fmadd_ps(by_w, quarters(-1, 1, -1, 1), _mm512_mul_ps(others, w.at_zero)),
      _mm512_mul_ps(others, w.slope)};
}

/* x + its neighbour: components 0 and 1 together, and 2 and 3. */
static inline __m512 pairs_sum(__m512 x) {
  return _mm512_add_ps(x, _mm512_permute_ps(x, 0xb1));
}

static inline void slope_four(const struct squaring *job, const struct run *run, int at) {
  const struct line h = slopes_h(), w = slopes_w();
  const __m512i order = _mm512_setr_epi32(0, 2, 3, 1, 4, 6, 7, 5, 8, 10, 11, 9, 12, 14, 15, 13);
  __m512 x[QUARTERS];
  SIMD_UNROLL
  for (int k = 0; k < QUARTERS; k++) {
    const int i = at + k;
    const struct cell cell = cell_load(job, run, i);
    const __m512 g = _mm512_broadcast_f32x4(*(const __m128 *)&job->gradient[run->at + i]);
    __m512 across = pairs_sum(_mm512_mul_ps(g, cell.rise));
    __m512 along_rows = pairs_sum(_mm512_mul_ps(g, cell.between));
    __m512 sums = _mm512_add_ps(_mm512_shuffle_ps(across, along_rows, 0x00),
                                _mm512_shuffle_ps(across, along_rows, 0xaa));
    __m512 weight =
        _mm512_mul_ps(line_at(h, run->cells.fraction[1][i]), line_at(w, run->cells.fraction[2][i]));
    x[k] = _mm512_mul_ps(sums, weight);
  }
  four *to = job->dv + run->at + at;
  add_to(to, to, _mm512_permutexvar_ps(order, quarters_sum(x)));
}

/* What goes to the corners of the cell of voxel `at`, which the next voxel's cell mostly shares:
 * added up before it is stored. */
struct cell_sums {
  int at; /* -1: there is nothing */
  __m512 slice[2];
};

static inline void add_quarter(four *to, __m512 slice, int quarter) {
  __m128 value = quarter ? _mm512_extractf32x4_ps(slice, 2) : _mm512_castps512_ps128(slice);
  _mm_storeu_ps((float *)to, _mm_add_ps(_mm_loadu_ps((const float *)to), value));
}

/* Stores what goes to column w, and goes on to the cell at the next column. */
static inline void sums_advance(const struct squaring *job, struct cell_sums *sums) {
  const int64_t row = job->extent[2], slice = (int64_t)job->extent[1] * row;
  four *to = job->dv + sums->at;
  for (int k = 0; k < 2; k++) {
    add_quarter(to + k * slice, sums->slice[k], 0);
    add_quarter(to + k * slice + row, sums->slice[k], 2);
    sums->slice[k] = _mm512_maskz_shuffle_f32x4(0x0f0f, sums->slice[k], sums->slice[k], 0x31);
  }
  sums->at++;
}

static inline void sums_flush(const struct squaring *job, struct cell_sums *sums) {
  for (int k = 0; k < 2 && sums->at >= 0; k++) sums_advance(job, sums);
  sums->at = -1;
}

static inline void sums_move(const struct squaring *job, struct cell_sums *sums, int at) {
  if (sums->at == at) return;
  if (sums->at >= 0 && sums->at + 1 == at) {
    sums_advance(job, sums);
    return;
  }
  sums_flush(job, sums);
  sums->at = at;
  sums->slice[0] = sums->slice[1] = _mm512_setzero_ps();
}

static inline void sums_add(const struct squaring *job, const struct run *run, int i,
                            struct cell_sums *sums) {
  const struct line h = weights_h(), w = weights_w();
  const __m512 g = _mm512_broadcast_f32x4(*(const __m128 *)&job->gradient[run->at + i]);
  __m512 weight =
      _mm512_mul_ps(line_at(h, run->cells.fraction[1][i]), line_at(w, run->cells.fraction[2][i]));
  __m512 both = _mm512_mul_ps(g, weight);
  __m512 upper = _mm512_mul_ps(_mm512_set1_ps(run->cells.fraction[0][i]), both);
  sums_move(job, sums, run->cells.voxel[i]);
  sums->slice[0] = _mm512_add_ps(sums->slice[0], _mm512_sub_ps(both, upper));
  sums->slice[1] = _mm512_add_ps(sums->slice[1], upper);
}

static void run_square_backward(const struct squaring *job, const struct run *run) {
  struct cell_sums sums = {.at = -1};
  for (int i = 0; i < run->count; i += QUARTERS)
    if (all_interior(run, i))
      slope_four(job, run, i);
    else
      for (int k = i; k < i + QUARTERS && k < run->count; k++) slope_one(job, run, k);
  for (int i = 0; i < run->count; i++) {
    if (run->cells.interior[i]) {
      sums_add(job, run, i, &sums);
      continue;
    }
    sums_flush(job, &sums);
    scatter_one(job, run, i);
  }
  sums_flush(job, &sums);
}
