/* warp for planar images, by vectors of neighbours on the w axis. */
#include "kernels/warp/warp_vector.h"
#include "kernels/warp/warp_walk.h"

/* So many floats ahead is fetched what is read or written once, in up to four places at a time. */
enum { AHEAD = 256 };

/* Where SIMD_WIDTH neighbours on the w axis fall, `lanes` of which there are. INNER: everywhere
 * between voxels of the image, all there is to know are the cells' voxels. EDGE: these are within
 * the image, some of their corners do not count. */
struct place {
  alignas(64) simd fraction[3];
  simd slope[3];
  struct simd_cells cells;
  unsigned lanes;
  enum { INNER, EDGE, ANYWHERE } kind;
};

/* Neighbours on the w axis: what a row of any length is done in. */
enum { PLACES = 16 };
struct places {
  int n, count;
  int64_t at; /* number of the first one's first voxel */
  struct place place[PLACES];
};

static __attribute__((noinline)) void place_any(const struct warp_job *job,
                                                const struct simd_box *box, const int first[3],
                                                const simd u[3], struct place *place) {
  const struct warp_vector at = warp_vector_find(u, first, job->extent, job->arguments);
  for (int k = 0; k < 3; k++) {
    place->fraction[k] = at.fraction[k];
    place->slope[k] = at.slope[k];
  }
  place->kind = ANYWHERE;
  simd_cells_find(&place->cells, box, at.low, place->lanes);
}

#if defined SIMD_ISA_AVX512
/* Cells half outside an axis are moved within and mirrored, those outside moved only. */
static inline void place_edge(const struct simd_box *box, simd_int low[3], struct place *place) {
  const __m512 one = _mm512_set1_ps(1);
  place->cells.some = place->lanes;
  for (int k = 0; k < 3; k++) {
    const __m512i at = (__m512i)low[k], last = _mm512_set1_epi32(box->pairs[k]);
    const __mmask16 below = _mm512_cmpeq_epi32_mask(at, _mm512_set1_epi32(-1));
    const __mmask16 above = _mm512_cmpeq_epi32_mask(at, last);
    const __mmask16 live = _mm512_cmplt_epu32_mask(_mm512_add_epi32(at, _mm512_set1_epi32(1)),
                                                   _mm512_add_epi32(last, _mm512_set1_epi32(2)));
    const __m512 fraction = (__m512)place->fraction[k];
    const __m512i upper = _mm512_sub_epi32(last, _mm512_set1_epi32(1));
    place->cells.some &= live;
    place->cells.inside[k][0] = (unsigned)(__mmask16)~above;
    place->cells.inside[k][1] = (unsigned)(__mmask16)~below;
    place->fraction[k] =
        (simd)_mm512_mask_sub_ps(_mm512_maskz_mov_ps(live, fraction), below | above, one, fraction);
    place->slope[k] = (simd)_mm512_mask_sub_ps(one, below | above, _mm512_setzero_ps(), one);
    low[k] = (simd_int)_mm512_min_epi32(_mm512_max_epi32(at, _mm512_setzero_si512()), upper);
  }
  place->cells.voxel = simd_voxel(box, low);
  place->cells.whole = false;
  place->kind = EDGE;
}
#endif

/* The same for WARP_ZEROS and WARP_LINEAR where that is simple; else false. */
static inline bool place_plain(const struct simd_box *box, const int first[3], const simd u[3],
                               struct place *place) {
  struct warp_vector at;
  for (int k = 0; k < 3; k++) {
    warp_vector_split_near(&at, k, u[k], warp_vector_index(first, k));
    place->fraction[k] = at.fraction[k];
  }
  place->kind = INNER;
  if (__builtin_expect(simd_cells_inner(&place->cells, box, at.low), 1) &&
      place->lanes == SIMD_LANES)
    return true;
#if defined SIMD_ISA_AVX512
  if (box->room >= 0 && box->pairs[0] && box->pairs[1] && box->pairs[2]) {
    place_edge(box, at.low, place);
    return true;
  }
#endif
  return false;
}

/* The places of a row from voxel first[2] on, as many as there are or fit. */
static inline void places_find(const struct warp_job *job, const struct simd_box *shared,
                               bool plain, const int first[3], struct places *places) {
  const struct simd_box box = *shared; /* stores of vectors may change what has an address */
  const int64_t at = ((int64_t)first[0] * job->extent[1] + first[1]) * job->extent[2] + first[2];
  const int64_t voxels = job->voxels;
  const int left = job->extent[2] - first[2];
  const float *from = job->field + (int64_t)places->n * 3 * voxels + at;
  int i = 0;
  for (; i < PLACES && i * SIMD_WIDTH < left; i++) {
    struct place *place = &places->place[i];
    const int here[3] = {first[0], first[1], first[2] + i * SIMD_WIDTH};
    simd u[3];
    place->lanes = simd_lanes_until(left - i * SIMD_WIDTH);
    for (int k = 0; k < 3; k++) {
      const float *next = from + k * voxels + i * SIMD_WIDTH;
      __builtin_prefetch(next + AHEAD);
      u[k] = simd_load_lanes(next, place->lanes);
    }
    if (!plain || !place_plain(&box, here, u, place)) place_any(job, shared, here, u, place);
  }
  places->at = at;
  places->count = i;
}

static inline int64_t plane_of(const struct warp_job *job, int n, int c) {
  return ((int64_t)n * job->channels + c) * job->voxels;
}

static __attribute__((noinline)) void corners_any(const struct simd_box *box,
                                                  const struct place *place, const float *image,
                                                  simd corner[SIMD_CORNERS]) {
  simd_corners(box, &place->cells, image, corner);
  simd_corners_outside(&place->cells, (simd){0}, corner);
}

/* The corners, 0 outside the image. */
static inline __attribute__((always_inline)) void corners_find(const struct simd_box *box,
                                                               const struct place *place,
                                                               const float *image,
                                                               simd corner[SIMD_CORNERS]) {
  if (__builtin_expect(place->kind != ANYWHERE, 1)) {
    simd_corners_inner(box, &place->cells.voxel, image, corner);
    if (place->kind == EDGE) simd_corners_outside(&place->cells, (simd){0}, corner);
  } else {
    simd any[SIMD_CORNERS];
    corners_any(box, place, image, any);
    SIMD_UNROLL
    for (int k = 0; k < SIMD_CORNERS; k++) corner[k] = any[k];
  }
}

static void places_forward(const struct warp_job *job, const struct simd_box *shared,
                           const struct places *places) {
  const struct simd_box box = *shared; /* stores of vectors may change what has an address */
  const int count = places->count;
  for (int c = 0; c < job->channels; c++) {
    const float *image = job->image + plane_of(job, places->n, c);
    float *y = job->y + plane_of(job, places->n, c) + places->at;
    for (int i = 0; i < count; i++) {
      const struct place *place = &places->place[i];
      __builtin_prefetch(y + i * SIMD_WIDTH + AHEAD, 1);
      simd corner[SIMD_CORNERS];
      corners_find(&box, place, image, corner);
      simd_store_lanes(y + i * SIMD_WIDTH, simd_corners_sample(corner, place->fraction),
                       place->lanes);
    }
  }
}

static void places_field_gradient(const struct warp_job *job, const struct simd_box *shared,
                                  const struct places *places) {
  const struct simd_box box = *shared;
  const int64_t voxels = job->voxels, plane = plane_of(job, places->n, 0) + places->at;
  float *dfield = job->dfield + (int64_t)places->n * 3 * voxels + places->at;
  const float *image = job->image + plane_of(job, places->n, 0), *dy = job->dy + plane;
  const int count = places->count, channels = job->channels;
  const bool add = job->add_field;
  for (int i = 0; i < count; i++) {
    const struct place *place = &places->place[i];
    simd sum[3] = {{0}, {0}, {0}};
    for (int c = 0; c < channels; c++) {
      simd corner[SIMD_CORNERS], slope[3];
      corners_find(&box, place, image + c * voxels, corner);
      __builtin_prefetch(dy + c * voxels + i * SIMD_WIDTH + AHEAD);
      simd g = simd_load_lanes(dy + c * voxels + i * SIMD_WIDTH, place->lanes);
      simd_corners_slope(corner, place->fraction, slope);
      for (int k = 0; k < 3; k++) sum[k] += g * slope[k];
    }
    for (int k = 0; k < 3; k++) {
      float *to = dfield + k * voxels + i * SIMD_WIDTH;
      __builtin_prefetch(to + AHEAD, 1);
      simd value = sum[k];
      if (place->kind != INNER) value *= place->slope[k];
      if (add) value += simd_load_lanes(to, place->lanes);
      simd_store_lanes(to, value, place->lanes);
    }
  }
}

/* Calls visit for all rows of slice d of sample n. */
static void slice_visit(const struct warp_job *job, int n, int d,
                        void (*visit)(const struct warp_job *, const struct simd_box *,
                                      const struct places *)) {
  const int start[3] = {0, 0, 0};
  const struct simd_box box = simd_box_make(job->extent, start, job->extent);
  const bool plain = job->arguments->mode == WARP_LINEAR && job->arguments->padding == WARP_ZEROS;
  struct places places;
  places.n = n;
  for (int h = 0; h < job->extent[1]; h++)
    for (int w = 0; w < job->extent[2]; w += PLACES * SIMD_WIDTH) {
      const int first[3] = {d, h, w};
      places_find(job, &box, plain, first, &places);
      visit(job, &box, &places);
    }
}

static void scatter_outside(float *image, const struct warp_cells *cells, int i,
                            const int extent[3], float gradient) {
  struct warp_axis at[3];
  for (int k = 0; k < 3; k++)
    at[k] = (struct warp_axis){cells->low[k][i], cells->fraction[k][i], 1};
  for (int corner = 0; corner < 8; corner++) {
    int voxel = warp_cells_corner(cells, i, corner, extent);
    if (voxel >= 0) image[voxel] += gradient * warp_corner_weight(at, corner);
  }
}

static inline void scatter(float *image, const struct warp_cells *cells, int i, const int extent[3],
                           float gradient) {
  if (__builtin_expect(!cells->interior[i], 0)) {
    scatter_outside(image, cells, i, extent, gradient);
    return;
  }
  float *low = image + cells->voxel[i], *high = low + extent[1] * extent[2];
  float d = cells->fraction[0][i], h = cells->fraction[1][i], w = cells->fraction[2][i];
  const float rows[4] = {(1 - d) * (1 - h) * gradient, (1 - d) * h * gradient,
                         d * (1 - h) * gradient, d * h * gradient};
  float *const to[4] = {low, low + extent[2], high, high + extent[2]};
  /* float by float: a pair read right after its halves were written stalls the processor */
  for (int k = 0; k < 4; k++) to[k][0] += rows[k] * (1 - w);
  for (int k = 0; k < 4; k++) to[k][1] += rows[k] * w;
}

static void run_image_gradient(const struct warp_job *job, const struct warp_run *run) {
  for (int c = 0; c < job->channels; c++) {
    int64_t plane = ((int64_t)run->n * job->channels + c) * job->voxels;
    for (int i = 0; i < run->count; i++)
      scatter(job->dimage + plane, &run->cells, i, job->extent, job->dy[plane + run->at + i]);
  }
}

static bool warp_applies(const struct node *node) {
  return simd_available() && node->x[0].layout == LAYOUT_PLANAR &&
         node->x[1].layout == LAYOUT_PLANAR && shape_voxels(node->y.shape) <= SIMD_MOST_VOXELS;
}

static enum status warp_forward(const struct node *node, const struct io *io,
                                struct stream *stream) {
  (void)stream;
  struct warp_job job = warp_job_make(node, io);
  const int depth = job.extent[0];
#pragma omp parallel for schedule(static)
  for (int slice = 0; slice < node->y.shape.n * depth; slice++)
    slice_visit(&job, slice / depth, slice % depth, places_forward);
  return STATUS_OK;
}

static enum status warp_backward(const struct node *node, const struct io *io,
                                 struct stream *stream) {
  (void)stream;
  struct warp_job job = warp_job_make(node, io);
  const int depth = job.extent[0];
#pragma omp parallel for schedule(static)
  for (int slice = 0; slice < (job.dfield ? node->y.shape.n * depth : 0); slice++)
    slice_visit(&job, slice / depth, slice % depth, places_field_gradient);
  if (job.dimage) warp_walk_backward(node, io, run_image_gradient);
  return STATUS_OK;
}

extern const struct kernel SIMD_NAME(warp_planar_simd);
const struct kernel SIMD_NAME(warp_planar_simd) = {
    .name = SIMD_LABEL("planar"),
    .device = DEVICE_CPU,
    .dtype = DTYPE_F32,
    .training = true,
    .applies = warp_applies,
    .forward = warp_forward,
    .backward = warp_backward,
};
