/* loss_smooth on the GPU. A block of threads takes a piece of a few rows and moves along d, so that
 * the neighbours come from the first cache. Backward gathers: the derivative of a sum of squared
 * differences is, along each axis, a difference of differences (difference's adjoint after the
 * mask of the places where it is taken), so that a voxel's gradient is a stencil of its neighbours.
 * The differences that terms.c lists are written out here, since they must be known to the
 * compiler. */
#include "kernels/common/cuda_reduce.h"
extern "C" {
#include "kernels/loss_smooth/terms.h"
}

enum {
  ALONG = 32, /* a block: elements of a row, rows, slices */
  ROWS = 8,
  SLICES = 16,
  THREADS = ALONG * ROWS,
  REACH = 4, /* how far the stencil of a gradient goes at most */
};

/* The samples, or the channels of all samples where these lie apart: `volumes` of [d h row], and
 * `step` elements from a voxel to the next in a row. */
struct field {
  int volumes, d, h, row, step;
  float weight[SMOOTH_MOST_TERMS]; /* scales of the terms in units of the first */
};

/* How the kinds differ. */
template <int KIND>
struct traits {
  enum {
    BENDS = KIND == SMOOTH_BENDING || KIND == SMOOTH_BENDING_COMPACT,
    FORWARD = KIND == SMOOTH_L1 || KIND == SMOOTH_L2,
    SPAN = KIND == SMOOTH_BENDING ? 2 : 1, /* of second differences */
    BORDER = FORWARD                  ? 0
             : KIND == SMOOTH_BENDING ? 2
                                      : 1, /* voxels cropped */
  };
};

/* Where the block is: of this thread, `slices` elements from `at` on. */
struct smooth_place {
  int volume, first, end, h, along;
  bool inside;
};

__device__ inline struct smooth_place place_make(const struct field &field) {
  struct smooth_place place;
  int pieces = gridDim.z / field.volumes;
  place.volume = blockIdx.z / pieces;
  place.first = blockIdx.z % pieces * SLICES;
  place.end = place.first + SLICES < field.d ? place.first + SLICES : field.d;
  place.h = blockIdx.y * ROWS + threadIdx.x / ALONG;
  place.along = blockIdx.x * ALONG + threadIdx.x % ALONG;
  place.inside = place.h < field.h && place.along < field.row;
  return place;
}

__device__ inline int64_t element_at(const struct field &field, const struct smooth_place &place,
                                     int d) {
  return (((int64_t)place.volume * field.d + d) * field.h + place.h) * field.row + place.along;
}

/* --- forward --- */

/* The second difference and twice the central one at u, neighbours `by` elements apart. */
__device__ inline float second(const float *u, int by) {
  return (u[by] - u[0]) - (u[0] - u[-by]);
}
__device__ inline float central(const float *u, int by) {
  return u[by] - u[-by];
}
__device__ inline float square(float value) {
  return value * value;
}

template <int KIND>
__device__ inline float bending_energy(const float *u, int d, int h, int w) {
  const int span = traits<KIND>::SPAN;
  const float axis = span == 1 ? 1 : 1.0f / 16, mixed = 2.0f / 16;
  float same =
      square(second(u, span * d)) + square(second(u, span * h)) + square(second(u, span * w));
  float cross = square(central(u + d, h) - central(u - d, h)) +
                square(central(u + d, w) - central(u - d, w)) +
                square(central(u + h, w) - central(u - h, w));
  return axis * same + mixed * cross;
}

template <int KIND>
__device__ inline float forward_energy(float difference) {
  return KIND == SMOOTH_L1 ? fabsf(difference) : difference * difference;
}

__device__ inline bool is_cropped(const int at[3], const int extent[3], int border) {
  bool is = false;
  for (int a = 0; a < 3; a++) is |= at[a] < border || at[a] >= extent[a] - border;
  return is;
}

/* In units of the first term's scale; at: the voxel's place along d h w. */
template <int KIND>
__device__ inline float energy_at(const struct field &field, const float *u, const int at[3],
                                  const int extent[3], const int stride[3]) {
  float energy = 0;
  if (is_cropped(at, extent, traits<KIND>::BORDER)) return 0;
  if constexpr (traits<KIND>::BENDS) {
    energy = bending_energy<KIND>(u, stride[0], stride[1], stride[2]);
  } else if constexpr (traits<KIND>::FORWARD) {
    for (int a = 0; a < 3; a++)
      if (at[a] < extent[a] - 1)
        energy += field.weight[a] * forward_energy<KIND>(u[stride[a]] - u[0]);
  } else {
    for (int a = 0; a < 3; a++) energy += square(central(u, stride[a])) / 4;
  }
  return energy;
}

template <int KIND>
__global__ void __launch_bounds__(THREADS)
    smooth_forward(struct field field, const float *x, double *partial) {
  struct smooth_place place = place_make(field);
  const int extent[3] = {field.d, field.h, field.row / field.step};
  const int stride[3] = {field.h * field.row, field.row, field.step};
  double sum = 0;
  for (int d = place.first; d < place.end && place.inside; d++) {
    const int at[3] = {d, place.h, place.along / field.step};
    sum += (double)energy_at<KIND>(field, x + element_at(field, place, d), at, extent, stride);
  }
  sum = block_sum<THREADS>(sum);
  int64_t block = ((int64_t)blockIdx.z * gridDim.y + blockIdx.y) * gridDim.x + blockIdx.x;
  if (threadIdx.x == 0) partial[block] = sum;
}

/* --- backward --- */

/* A voxel's neighbours along one axis: offsets of those 1 to REACH before and behind it, where
 * these would lie outside the nearest that does not, and whether differences are taken at the
 * places up to 2 before (mask[0], mask[1]), at (mask[2]) and behind it. */
struct smooth_axis {
  int before[REACH + 1], behind[REACH + 1];
  float mask[5];
};

/* INTERIOR: nothing is outside. border: as in traits. */
template <bool INTERIOR>
__device__ inline struct smooth_axis axis_make(int at, int extent, int stride, int border) {
  struct smooth_axis axis;
  for (int k = 0; k <= REACH; k++) {
    axis.before[k] = (INTERIOR || k < at ? k : at) * -stride;
    axis.behind[k] = (INTERIOR || k < extent - 1 - at ? k : extent - 1 - at) * stride;
  }
  for (int k = 0; k < 5; k++) {
    int place = at + k - 2;
    axis.mask[k] = INTERIOR || (place >= border && place < extent - border) ? 1 : 0;
  }
  return axis;
}

/* The adjoint of the second difference, after it. */
template <int SPAN>
__device__ inline float second_adjoint(const float *u, const struct smooth_axis &axis) {
  float far_before = u[axis.before[2 * SPAN]], before = u[axis.before[SPAN]], own = u[0];
  float behind = u[axis.behind[SPAN]], far_behind = u[axis.behind[2 * SPAN]];
  float low = before - far_before, left = own - before;
  float right = behind - own, high = far_behind - behind;
  const float scale = SPAN == 1 ? 1 : 1.0f / 16;
  return scale * (axis.mask[2 - SPAN] * (left - low) - 2 * axis.mask[2] * (right - left) +
                  axis.mask[2 + SPAN] * (high - right));
}

/* The same of the central difference, given the values 2 before, at and 2 behind. */
__device__ inline float central_adjoint(float before, float own, float behind,
                                        const struct smooth_axis &axis) {
  return 0.25f * (axis.mask[1] * (own - before) - axis.mask[3] * (behind - own));
}

__device__ inline float central_adjoint_at(const float *u, const struct smooth_axis &axis) {
  return central_adjoint(u[axis.before[2]], u[0], u[axis.behind[2]], axis);
}

__device__ inline float mixed_adjoint(const float *u, const struct smooth_axis &a,
                                      const struct smooth_axis &b) {
  return central_adjoint(central_adjoint_at(u + a.before[2], b), central_adjoint_at(u, b),
                         central_adjoint_at(u + a.behind[2], b), a);
}

template <int KIND>
__device__ inline float bending_slope(const float *u, const struct smooth_axis &d,
                                      const struct smooth_axis &h, const struct smooth_axis &w) {
  const int span = traits<KIND>::SPAN;
  float same = second_adjoint<span>(u, d) * h.mask[2] * w.mask[2] +
               second_adjoint<span>(u, h) * d.mask[2] * w.mask[2] +
               second_adjoint<span>(u, w) * d.mask[2] * h.mask[2];
  float cross = mixed_adjoint(u, d, h) * w.mask[2] + mixed_adjoint(u, d, w) * h.mask[2] +
                mixed_adjoint(u, h, w) * d.mask[2];
  return 2 * (same + 2 * cross);
}

template <int KIND>
__device__ inline float forward_slope(float difference) {
  if (KIND == SMOOTH_L2) return 2 * difference;
  return (float)(difference > 0) - (float)(difference < 0);
}

/* Of the energy in units of the first term's scale. */
template <int KIND>
__device__ inline float slope_at(const struct field &field, const float *u,
                                 const struct smooth_axis &d, const struct smooth_axis &h,
                                 const struct smooth_axis &w) {
  if constexpr (traits<KIND>::BENDS) {
    return bending_slope<KIND>(u, d, h, w);
  } else if constexpr (traits<KIND>::FORWARD) {
    const struct smooth_axis *const all[3] = {&d, &h, &w};
    float slope = 0;
    for (int a = 0; a < 3; a++)
      slope += field.weight[a] * (forward_slope<KIND>(u[0] - u[all[a]->before[1]]) -
                                  forward_slope<KIND>(u[all[a]->behind[1]] - u[0]));
    return slope;
  } else {
    return 2 * (central_adjoint_at(u, d) * h.mask[2] * w.mask[2] +
                central_adjoint_at(u, h) * d.mask[2] * w.mask[2] +
                central_adjoint_at(u, w) * d.mask[2] * h.mask[2]);
  }
}

template <int KIND, bool INTERIOR>
__device__ inline void write_slopes(const struct field &field, const struct smooth_place &place,
                                    const float *x, float scale, bool add, float *dx) {
  const int border = traits<KIND>::BORDER, width = field.row / field.step;
  struct smooth_axis h = axis_make<INTERIOR>(place.h, field.h, field.row, border);
  struct smooth_axis w = axis_make<INTERIOR>(place.along / field.step, width, field.step, border);
  for (int i = place.first; i < place.end; i++) {
    struct smooth_axis d = axis_make<INTERIOR>(i, field.d, field.h * field.row, border);
    int64_t at = element_at(field, place, i);
    float slope = scale * slope_at<KIND>(field, x + at, d, h, w);
    dx[at] = (add ? dx[at] : 0) + slope;
  }
}

/* Whether all that a block's stencils read and all places that they ask for lie inside. */
__device__ inline bool is_interior(const struct field &field, const struct smooth_place &place) {
  int top = blockIdx.y * ROWS, left = blockIdx.x * ALONG, margin = REACH;
  return place.first >= margin && place.end + margin <= field.d && top >= margin &&
         top + ROWS + margin <= field.h && left >= margin * field.step &&
         left + ALONG + margin * field.step <= field.row;
}

/* scale: of dy, for energies in units of the first term's scale. */
template <int KIND>
__global__ void __launch_bounds__(THREADS)
    smooth_backward(struct field field, const float *x, const double *dy, double scale, bool add,
                    float *dx) {
  struct smooth_place place = place_make(field);
  float own = (float)(scale * *dy);
  if (is_interior(field, place))
    write_slopes<KIND, true>(field, place, x, own, add, dx);
  else if (place.inside)
    write_slopes<KIND, false>(field, place, x, own, add, dx);
}

/* --- the kernel --- */

static struct field field_make(const struct node *node, const struct smooth_penalty *penalty) {
  const struct tensor *x = &node->x[0];
  int apart = x->layout == LAYOUT_LAST ? 1 : x->shape.c, step = x->shape.c / apart;
  struct field field = {x->shape.n * apart, x->shape.d, x->shape.h, x->shape.w * step, step, {}};
  for (int t = 0; t < penalty->terms; t++)
    field.weight[t] = (float)(penalty->term[t].scale / penalty->term[0].scale);
  return field;
}

static dim3 field_blocks(const struct field &field) {
  return dim3(cuda_blocks(field.row, ALONG), cuda_blocks(field.h, ROWS),
              cuda_blocks(field.d, SLICES) * field.volumes);
}

static int64_t partial_count(const struct node *node) {
  struct smooth_penalty penalty = smooth_penalty_make(node);
  dim3 blocks = field_blocks(field_make(node, &penalty));
  return (int64_t)blocks.x * blocks.y * blocks.z;
}

static int kind_of(const struct node *node) {
  return ((const struct loss_smooth_arguments *)(const void *)node->arguments)->kind;
}

template <int KIND>
static void launch_forward(const struct field &field, const struct io *io, double *partial,
                           struct stream *stream) {
  CUDA_LAUNCH(smooth_forward<KIND>, field_blocks(field), THREADS, 0, stream, field,
              (const float *)io->x[0], partial);
}

template <int KIND>
static void launch_backward(const struct field &field, const struct io *io, double scale,
                            struct stream *stream) {
  CUDA_LAUNCH(smooth_backward<KIND>, field_blocks(field), THREADS, 0, stream, field,
              (const float *)io->x[0], (const double *)io->dy, scale, io->dx_add[0],
              (float *)io->dx[0]);
}

static void loss_smooth_prepare(struct node *node) {
  node->forward_workspace = (size_t)partial_count(node) * sizeof(double);
}

static enum status loss_smooth_forward(const struct node *node, const struct io *io,
                                       struct stream *stream) {
  static void (*const launch[SMOOTH_KINDS])(const struct field &, const struct io *, double *,
                                            struct stream *) = {
      launch_forward<SMOOTH_BENDING>, launch_forward<SMOOTH_BENDING_COMPACT>,
      launch_forward<SMOOTH_L1>, launch_forward<SMOOTH_L2>, launch_forward<SMOOTH_DIFFUSION>};
  struct smooth_penalty penalty = smooth_penalty_make(node);
  double *partial = (double *)io->workspace;
  launch[kind_of(node)](field_make(node, &penalty), io, partial, stream);
  cuda_fold(partial, partial_count(node), 1, penalty.term[0].scale, (double *)io->y, stream);
  return cuda_launched(node->name);
}

static enum status loss_smooth_backward(const struct node *node, const struct io *io,
                                        struct stream *stream) {
  static void (*const launch[SMOOTH_KINDS])(const struct field &, const struct io *, double,
                                            struct stream *) = {
      launch_backward<SMOOTH_BENDING>, launch_backward<SMOOTH_BENDING_COMPACT>,
      launch_backward<SMOOTH_L1>, launch_backward<SMOOTH_L2>, launch_backward<SMOOTH_DIFFUSION>};
  struct smooth_penalty penalty = smooth_penalty_make(node);
  if (!io->dx[0]) return STATUS_OK;
  launch[kind_of(node)](field_make(node, &penalty), io, penalty.term[0].scale, stream);
  return cuda_launched(node->name);
}

CUDA_KERNEL(loss_smooth_cuda, f32) = {
    .name = "hand",
    .device = DEVICE_CUDA,
    .dtype = DTYPE_F32,
    .training = true,
    .applies = NULL,
    .prepare = loss_smooth_prepare,
    .forward = loss_smooth_forward,
    .backward = loss_smooth_backward,
};
