/* gate on the GPU: neighbouring threads share a voxel, 16 bytes of its channels each where they lie
 * together, and add what its gate gets among themselves. x of any layout but blocks. */
#include "kernels/common/cuda_vector.h"
#include "kernels/common/cuda_reduce.h"

enum { THREADS = 256 };

/* One call, by value. */
struct gate_view {
  struct cuda_strides strides; /* of x, y and their gradients */
  int64_t voxels, all;         /* of a sample, of all samples */
  int lanes, groups, across;   /* channels of an access, accesses of a voxel, its threads */
};

static struct gate_view view_make(const struct node *node, int lanes, bool aligned) {
  const struct tensor *x = &node->x[0];
  struct gate_view view;
  view.strides = cuda_strides_of(x);
  view.voxels = shape_voxels(x->shape);
  view.all = view.voxels * x->shape.n;
  view.lanes = aligned && view.strides.channel == 1 && x->shape.c % lanes == 0 ? lanes : 1;
  view.groups = x->shape.c / view.lanes;
  for (view.across = 1; view.across < view.groups && view.across < CUDA_WARP;) view.across *= 2;
  return view;
}

/* A thread's voxel, and where it is in x. */
struct gate_place {
  int64_t voxel, at;
  int group; /* the first that is its own */
};
__device__ static inline gate_place gate_place_of(const gate_view &view) {
  const int row = (int)threadIdx.x / view.across;
  gate_place place;
  place.voxel = (int64_t)blockIdx.x * (THREADS / view.across) + row;
  place.group = (int)threadIdx.x % view.across;
  place.at = place.voxel / view.voxels * view.strides.sample +
             place.voxel % view.voxels * view.strides.voxel;
  return place;
}

/* 1 / (1 + e^-q), and what it leaves of 1. */
struct gate_open {
  float open, rest;
};
__device__ static inline gate_open gate_sigmoid(float q) {
  const float small = expf(-fabsf(q)), one = 1 / (1 + small), other = small * one;
  gate_open gate;
  gate.open = q > 0 ? one : other;
  gate.rest = q > 0 ? other : one;
  return gate;
}

template <typename T, int LANES>
__global__ void __launch_bounds__(THREADS)
    gate_multiply(gate_view view, const T *__restrict__ x, const T *__restrict__ q, T *y) {
  const gate_place place = gate_place_of(view);
  if (place.voxel >= view.all) return;
  const float open = gate_sigmoid(to_float(q[place.voxel])).open;
  for (int group = place.group; group < view.groups; group += view.across) {
    const int64_t at = place.at + group * LANES * view.strides.channel;
    float value[LANES];
    cuda_load<T, LANES>(x + at, value);
#pragma unroll
    for (int l = 0; l < LANES; l++) value[l] *= open;
    cuda_store<T, LANES>(y + at, value);
  }
}

/* dx and dq may be NULL. */
template <typename T>
struct gate_gradients {
  const T *x, *q, *dy;
  T *dx, *dq;
  bool add_dx, add_dq;
};

template <typename T, int LANES>
__device__ static inline float gate_walk(const gate_view &view, const gate_place &place, float open,
                                         const gate_gradients<T> &io) {
  float sum = 0;
  for (int group = place.group; group < view.groups; group += view.across) {
    const int64_t at = place.at + group * LANES * view.strides.channel;
    float value[LANES], gradient[LANES];
    cuda_load<T, LANES>(io.x + at, value);
    cuda_load<T, LANES>(io.dy + at, gradient);
#pragma unroll
    for (int l = 0; l < LANES; l++) {
      sum += value[l] * gradient[l];
      gradient[l] *= open;
    }
    if (io.dx) cuda_give<T, LANES>(io.dx + at, gradient, io.add_dx);
  }
  return sum;
}

template <typename T, int LANES>
__global__ void __launch_bounds__(THREADS)
    gate_differentiate(gate_view view, gate_gradients<T> io) {
  const gate_place place = gate_place_of(view);
  const bool inside = place.voxel < view.all;
  const gate_open gate = gate_sigmoid(inside ? to_float(io.q[place.voxel]) : 0);
  float sum = inside ? gate_walk<T, LANES>(view, place, gate.open, io) : 0;
  for (int distance = view.across / 2; distance > 0; distance /= 2)
    sum += __shfl_xor_sync(0xffffffffu, sum, distance);
  if (!inside || place.group > 0 || !io.dq) return;
  float gradient[1] = {sum * gate.open * gate.rest};
  cuda_give<T, 1>(io.dq + place.voxel, gradient, io.add_dq);
}

template <typename T, int LANES>
static void launch_forward(const gate_view &view, const struct io *io, struct stream *stream) {
  CUDA_LAUNCH((gate_multiply<T, LANES>), cuda_blocks(view.all, THREADS / view.across), THREADS, 0,
              stream, view, (const T *)io->x[0], (const T *)io->x[1], (T *)io->y);
}

template <typename T, int LANES>
static void launch_backward(const gate_view &view, const struct io *io, struct stream *stream) {
  const gate_gradients<T> gradients = {(const T *)io->x[0], (const T *)io->x[1], (const T *)io->dy,
                                       (T *)io->dx[0],      (T *)io->dx[1],      io->dx_add[0],
                                       io->dx_add[1]};
  CUDA_LAUNCH((gate_differentiate<T, LANES>), cuda_blocks(view.all, THREADS / view.across), THREADS,
              0, stream, view, gradients);
}

template <typename T>
static enum status gate_forward(const struct node *node, const struct io *io,
                                struct stream *stream) {
  constexpr int LANES = cuda_most_lanes<T>;
  const bool aligned = cuda_aligned(io->x[0]) && cuda_aligned(io->y);
  const gate_view view = view_make(node, LANES, aligned);
  (view.lanes > 1 ? launch_forward<T, LANES> : launch_forward<T, 1>)(view, io, stream);
  return cuda_launched(node->name);
}

template <typename T>
static enum status gate_backward(const struct node *node, const struct io *io,
                                 struct stream *stream) {
  constexpr int LANES = cuda_most_lanes<T>;
  const bool aligned = cuda_aligned(io->x[0]) && cuda_aligned(io->dy) && cuda_aligned(io->dx[0]);
  const gate_view view = view_make(node, LANES, aligned);
  (view.lanes > 1 ? launch_backward<T, LANES> : launch_backward<T, 1>)(view, io, stream);
  return cuda_launched(node->name);
}

#define GATE_KERNEL(suffix, type, dtype_) \
  CUDA_KERNEL(gate_cuda, suffix) = {      \
      .name = "hand",                     \
      .device = DEVICE_CUDA,              \
      .dtype = dtype_,                    \
      .training = true,                   \
      .forward = gate_forward<type>,      \
      .backward = gate_backward<type>,    \
  }

GATE_KERNEL(f32, float, DTYPE_F32);
GATE_KERNEL(bf16, __nv_bfloat16, DTYPE_BF16);
GATE_KERNEL(f16, __half, DTYPE_F16);
