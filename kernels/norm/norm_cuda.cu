/* norm on CUDA: forward and backward from the statistics, and the table's kernels. */
#include "kernels/norm/norm_cuda.h"

static int smaller(int64_t a, int64_t b) {
  return (int)(a < b ? a : b);
}

static struct norm_view norm_view_make(const struct node *node, int most_lanes) {
  const struct tensor *x = &node->x[0];
  bool last = x->layout == LAYOUT_LAST;
  struct norm_view view = {};
  view.arguments = *norm_arguments_of(node);
  view.real_samples = x->shape.n;
  view.real_channels = x->shape.c;
  view.samples = last ? x->shape.n : x->shape.n * x->shape.c;
  view.channels = last ? x->shape.c : 1;
  view.voxels = shape_voxels(x->shape);
  view.lanes = view.channels % most_lanes == 0 ? most_lanes : 1;
  view.across = smaller(view.channels / view.lanes, NORM_MOST_ACROSS);
  int64_t turns = view.voxels / (NORM_THREADS / view.across * NORM_LEAST_TURNS);
  int64_t ranges = smaller(turns, NORM_MOST_RANGES / view.samples);
  view.each = (view.voxels + (ranges > 1 ? ranges : 1) - 1) / (ranges > 1 ? ranges : 1);
  view.ranges = (int)((view.voxels + view.each - 1) / view.each);
  view.groups = norm_groups(node);
  view.running = norm_is_running(node);
  return view;
}

template <typename T, int LANES, bool RESIDUAL>
__global__ void __launch_bounds__(NORM_THREADS)
    apply(const T *__restrict__ x, const T *__restrict__ residual, T *__restrict__ y,
          struct norm_tables tables, struct norm_view view) {
  struct norm_place place = norm_place_find(view);
  if (!place.inside) return;
  const struct norm_column<LANES> column = norm_column_load<LANES>(view, place, tables);
  const int64_t step = (int64_t)place.rows * view.channels;
  int64_t voxel = place.first + place.row, at = norm_element(view, place, voxel);
#pragma unroll NORM_IN_FLIGHT
  for (; voxel < place.end; voxel += place.rows, at += step) {
    float value[LANES], added[LANES] = {};
    cuda_load<T, LANES>(x + at, value);
    if constexpr (RESIDUAL) cuda_load<T, LANES>(residual + at, added);
#pragma unroll
    for (int l = 0; l < LANES; l++) {
      value[l] = (value[l] - column.mean[l]) * column.scale[l] + column.shift[l] + added[l];
      if (!(value[l] > 0)) value[l] *= view.arguments.slope;
    }
    cuda_store<T, LANES>(y + at, value);
  }
}

/* Where backward's results go; NULL: they are not wanted. */
template <typename T>
struct norm_target {
  T *dx[2];
  bool add[2];
};

template <typename T, int LANES, bool READS_SIGN>
__global__ void __launch_bounds__(NORM_THREADS)
    give(struct norm_source<T> source, struct norm_target<T> target, struct norm_tables tables,
         struct norm_view view) {
  struct norm_place place = norm_place_find(view);
  if (!place.inside) return;
  const struct norm_column<LANES> column = norm_column_load<LANES>(view, place, tables);
  float2 line[LANES];
#pragma unroll
  for (int l = 0; l < LANES; l++)
    line[l] =
        tables.line
            ? tables.line[norm_view_group(view, norm_plane(view, place.sample, place.column + l))]
            : make_float2(0, 0);
  const int64_t step = (int64_t)place.rows * view.channels;
  int64_t voxel = place.first + place.row, at = norm_element(view, place, voxel);
#pragma unroll 2
  for (; voxel < place.end; voxel += place.rows, at += step) {
    float apart[LANES], gradient[LANES], own[LANES];
    norm_load_gradient<T, LANES, READS_SIGN>(source, at, column, view.arguments.slope, apart,
                                             gradient);
#pragma unroll
    for (int l = 0; l < LANES; l++)
      own[l] = gradient[l] * column.scale[l] + apart[l] * line[l].x + line[l].y;
    if (target.dx[0]) cuda_give<T, LANES>(target.dx[0] + at, own, target.add[0]);
    if (target.dx[1]) cuda_give<T, LANES>(target.dx[1] + at, gradient, target.add[1]);
  }
}

/* --- launches --- */

static size_t lay_out(const struct norm_view *view, void *workspace, struct norm_memory *memory) {
  size_t planes = (size_t)view->samples * (size_t)view->channels;
  size_t partial = planes * (size_t)view->ranges * sizeof(float2);
  size_t total = planes * sizeof(double2);
  partial = (partial + sizeof(double2) - 1) / sizeof(double2) * sizeof(double2);
  if (workspace) {
    unsigned char *base = (unsigned char *)workspace;
    memory->partial = (float2 *)base;
    memory->total = (double2 *)(base + partial);
    memory->line = (float2 *)(base + partial + total);
  }
  return partial + total + (size_t)view->groups * sizeof(float2);
}

template <typename T, int LANES, bool RESIDUAL>
static void launch_forward(const struct node *node, const struct norm_view *view,
                           const struct io *io, struct stream *stream) {
  CUDA_LAUNCH((apply<T, LANES, RESIDUAL>), norm_grid(view), NORM_THREADS, 0, stream,
              (const T *)io->x[0], (const T *)io->x[1], (T *)io->y, norm_tables_of(node, io),
              *view);
}

template <typename T, int LANES, bool READS_SIGN>
static void launch_backward(const struct norm_view *view, const struct io *io,
                            const struct norm_tables *tables, struct stream *stream) {
  struct norm_source<T> source = {
    (const T *)io->x[0], (const T *)io->y, (const T *)io->dy
  };
  struct norm_target<T> target = {
    {(T *)io->dx[0], (T *)io->dx[1]}, {
      io->dx_add[0], io->dx_add[1]
    }
  };
  CUDA_LAUNCH((give<T, LANES, READS_SIGN>), norm_grid(view), NORM_THREADS, 0, stream, source,
              target, *tables, *view);
}

template <typename T>
static enum status norm_again(const struct node *node, const struct io *io, struct stream *stream) {
  constexpr int MOST = cuda_most_lanes<T>;
  struct norm_view view = norm_view_make(node, MOST);
  bool residual = norm_has_residual(node);
  (view.lanes > 1 ? (residual ? launch_forward<T, MOST, true> : launch_forward<T, MOST, false>)
                  : (residual ? launch_forward<T, 1, true> : launch_forward<T, 1, false>))(
      node, &view, io, stream);
  return cuda_launched(node->name);
}

template <typename T>
static enum status norm_forward(const struct node *node, const struct io *io,
                                struct stream *stream) {
  struct norm_view view = norm_view_make(node, cuda_most_lanes<T>);
  struct norm_memory memory;
  lay_out(&view, io->workspace, &memory);
  norm_measure<T>(node, &view, io, &memory, stream);
  return norm_again<T>(node, io, stream);
}

template <typename T>
static enum status norm_backward(const struct node *node, const struct io *io,
                                 struct stream *stream) {
  constexpr int MOST = cuda_most_lanes<T>;
  struct norm_view view = norm_view_make(node, MOST);
  struct norm_tables tables = norm_tables_of(node, io);
  struct norm_memory memory;
  bool sign = norm_reads_y(node);
  lay_out(&view, io->workspace, &memory);
  norm_sum<T>(node, &view, io, &memory, stream);
  if (!view.running) tables.line = memory.line;
  if (io->dx[0] || io->dx[1])
    (view.lanes > 1 ? (sign ? launch_backward<T, MOST, true> : launch_backward<T, MOST, false>)
                    : (sign ? launch_backward<T, 1, true> : launch_backward<T, 1, false>))(
        &view, io, &tables, stream);
  return cuda_launched(node->name);
}

static bool norm_applies(const struct node *node) {
  return node->y.layout == node->x[0].layout;
}

template <typename T>
static void norm_prepare(struct node *node) {
  struct norm_view view = norm_view_make(node, cuda_most_lanes<T>);
  node->forward_workspace = node->backward_workspace = lay_out(&view, NULL, NULL);
}

#define NORM_KERNEL(suffix, type, dtype_) \
  CUDA_KERNEL(norm_cuda, suffix) = {      \
      .name = "hand",                     \
      .device = DEVICE_CUDA,              \
      .dtype = dtype_,                    \
      .training = true,                   \
      .applies = norm_applies,            \
      .prepare = norm_prepare<type>,      \
      .forward = norm_forward<type>,      \
      .backward = norm_backward<type>,    \
      .again = norm_again<type>,          \
  }

NORM_KERNEL(f32, float, DTYPE_F32);
NORM_KERNEL(bf16, __nv_bfloat16, DTYPE_BF16);
NORM_KERNEL(f16, __half, DTYPE_F16);
