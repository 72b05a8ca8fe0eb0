/* conv by its definition, for any layout, kernel, stride and real type: what every other kernel is
 * checked against. Sums are double. */
#include "kernels/conv/conv_reference.h"

extern const struct kernel REAL_NAME(conv_reference);

/* A channel of a sample of an input as the convolution sees it: 0 outside, upsampled where it is
 * marked so. */
struct view {
  const real *data;
  struct shape shape;        /* upsampled */
  int doubled;               /* 1: upsampled */
  int64_t voxel, row, plane; /* stored elements from one to the next */
};

static struct view view_input(const struct node *node, const struct io *io, int i, int n, int c) {
  const struct tensor *tensor = &node->x[i];
  int64_t voxel = tensor_voxel_stride(tensor), row = voxel * tensor->shape.w;
  return (struct view){(const real *)io->x[i] + tensor_at(tensor, n, c, 0, 0, 0),
                       conv_input_shape(node, i),
                       conv_arguments_of(node)->upsample[i],
                       voxel,
                       row,
                       row * tensor->shape.h};
}

/* Row h of slice d; NULL: outside. */
static const real *view_row(const struct view *view, int d, int h) {
  const struct shape *s = &view->shape;
  if (d < 0 || d >= s->d || h < 0 || h >= s->h) return NULL;
  return view->data + (d >> view->doubled) * view->plane + (h >> view->doubled) * view->row;
}

static inline double row_at(const struct view *view, const real *row, int w) {
  return w < 0 || w >= view->shape.w ? 0 : row[(w >> view->doubled) * view->voxel];
}

static int64_t weight_at(const struct node *node, int co, int ci, int kd, int kh, int kw) {
  const int *extent = node->parameter[CONV_WEIGHT].extent;
  return ((((int64_t)co * extent[1] + ci) * extent[2] + kd) * extent[3] + kh) * extent[4] + kw;
}

static double output_at(const struct node *node, const struct io *io, const int at[5]) {
  const struct conv_arguments *a = conv_arguments_of(node);
  const real *w = io->w[CONV_WEIGHT], *bias = io->w[CONV_BIAS];
  double sum = a->bias ? bias[at[1]] : 0;
  w += weight_at(node, at[1], 0, 0, 0, 0);
  for (int i = 0; i < node->input_count; i++) {
    for (int c = 0; c < node->x[i].shape.c; c++) {
      struct view x = view_input(node, io, i, at[0], c);
      for (int kd = 0; kd < a->kernel[0]; kd++)
        for (int kh = 0; kh < a->kernel[1]; kh++, w += a->kernel[2]) {
          const real *row = view_row(&x, at[2] * a->stride[0] + kd - a->padding[0],
                                     at[3] * a->stride[1] + kh - a->padding[1]);
          for (int kw = 0; kw < a->kernel[2] && row; kw++)
            sum += w[kw] * row_at(&x, row, at[4] * a->stride[2] + kw - a->padding[2]);
        }
    }
  }
  return sum > 0 ? sum : a->slope * sum;
}

void REAL_NAME(conv_reference_output)(const struct node *node, const struct io *io, bool add) {
  struct shape s = node->y.shape;
  int channels = tensor_stored_channels(&node->y);
  real *y = io->y;
#pragma omp parallel for schedule(static) collapse(3)
  for (int n = 0; n < s.n; n++)
    for (int c = 0; c < channels; c++)
      for (int d = 0; d < s.d; d++)
        for (int h = 0; h < s.h; h++)
          for (int w = 0; w < s.w; w++) {
            const int at[] = {n, c, d, h, w};
            real *to = y + tensor_at(&node->y, n, c, d, h, w);
            double value = c < s.c ? output_at(node, io, at) : 0;
            *to = (real)(add ? *to + value : value);
          }
}

/* dy becomes the gradient in front of the activation. */
static void undo_activation(const struct node *node, const struct io *io) {
  float slope = conv_arguments_of(node)->slope;
  if (slope == 1) return;
  const real *y = io->y;
  real *dy = io->dy;
  int64_t elements = tensor_elements(&node->y);
#pragma omp parallel for schedule(static)
  for (int64_t i = 0; i < elements; i++)
    if (!(y[i] > 0)) dy[i] *= slope;
}

void REAL_NAME(conv_reference_bias)(const struct node *node, const struct io *io) {
  struct shape s = node->y.shape;
  const real *dy = io->dy;
  real *db = io->dw[CONV_BIAS];
#pragma omp parallel for schedule(static)
  for (int c = 0; c < s.c; c++) {
    double sum = 0;
    for (int n = 0; n < s.n; n++)
      for (int d = 0; d < s.d; d++)
        for (int h = 0; h < s.h; h++)
          for (int w = 0; w < s.w; w++) sum += dy[tensor_at(&node->y, n, c, d, h, w)];
    db[c] = (real)sum;
  }
}

/* The gradient of weight [co][channel c of input i][kd][kh][kw]. */
static double weight_gradient_at(const struct node *node, const struct io *io, int co, int i, int c,
                                 const int k[3]) {
  const struct conv_arguments *a = conv_arguments_of(node);
  struct shape s = node->y.shape;
  int64_t step = tensor_voxel_stride(&node->y);
  double sum = 0;
  for (int n = 0; n < s.n; n++) {
    struct view x = view_input(node, io, i, n, c);
    const real *dy = (const real *)io->dy + tensor_at(&node->y, n, co, 0, 0, 0);
    for (int d = 0; d < s.d; d++)
      for (int h = 0; h < s.h; h++, dy += step * s.w) {
        const real *row = view_row(&x, d * a->stride[0] + k[0] - a->padding[0],
                                   h * a->stride[1] + k[1] - a->padding[1]);
        for (int w = 0; w < s.w && row; w++)
          sum += dy[step * w] * row_at(&x, row, w * a->stride[2] + k[2] - a->padding[2]);
      }
  }
  return sum;
}

void REAL_NAME(conv_reference_weights)(const struct node *node, const struct io *io, int i,
                                       int first) {
  const struct conv_arguments *a = conv_arguments_of(node);
  real *dw = io->dw[CONV_WEIGHT];
#pragma omp parallel for schedule(static) collapse(2)
  for (int co = 0; co < a->out_channels; co++)
    for (int c = 0; c < node->x[i].shape.c; c++)
      for (int kd = 0; kd < a->kernel[0]; kd++)
        for (int kh = 0; kh < a->kernel[1]; kh++)
          for (int kw = 0; kw < a->kernel[2]; kw++) {
            const int k[] = {kd, kh, kw};
            dw[weight_at(node, co, first + c, kd, kh, kw)] =
                (real)weight_gradient_at(node, io, co, i, c, k);
          }
}

/* The output voxel that tap k reads position x for, or -1. */
static int reader(int x, int k, int padding, int stride, int extent) {
  int scaled = x + padding - k;
  return scaled >= 0 && scaled % stride == 0 && scaled / stride < extent ? scaled / stride : -1;
}

/* The gradient of one voxel of an input as the convolution sees it; `channel` over all inputs. */
static double input_gradient_at(const struct node *node, const struct io *io, int channel,
                                const int at[5]) {
  const struct conv_arguments *a = conv_arguments_of(node);
  struct shape s = node->y.shape;
  const real *w = io->w[CONV_WEIGHT], *dy = io->dy;
  double sum = 0;
  for (int kd = 0; kd < a->kernel[0]; kd++) {
    int d = reader(at[2], kd, a->padding[0], a->stride[0], s.d);
    for (int kh = 0; kh < a->kernel[1] && d >= 0; kh++) {
      int h = reader(at[3], kh, a->padding[1], a->stride[1], s.h);
      for (int kw = 0; kw < a->kernel[2] && h >= 0; kw++) {
        int j = reader(at[4], kw, a->padding[2], a->stride[2], s.w);
        for (int co = 0; co < s.c && j >= 0; co++)
          sum += (double)w[weight_at(node, co, channel, kd, kh, kw)] *
                 dy[tensor_at(&node->y, at[0], co, d, h, j)];
      }
    }
  }
  return sum;
}

/* The gradient of one stored voxel: of all that it is upsampled to. */
static double stored_gradient_at(const struct node *node, const struct io *io, int i, int channel,
                                 const int at[5]) {
  if (!conv_arguments_of(node)->upsample[i]) return input_gradient_at(node, io, channel, at);
  double sum = 0;
  for (int child = 0; child < 8; child++) {
    const int full[] = {at[0], at[1], 2 * at[2] + child / 4, 2 * at[3] + child / 2 % 2,
                        2 * at[4] + child % 2};
    sum += input_gradient_at(node, io, channel, full);
  }
  return sum;
}

void REAL_NAME(conv_reference_data)(const struct node *node, const struct io *io, int i,
                                    int first) {
  struct shape s = node->x[i].shape;
  int channels = tensor_stored_channels(&node->x[i]);
  real *dx = io->dx[i];
  bool add = io->dx_add[i];
#pragma omp parallel for schedule(static) collapse(3)
  for (int n = 0; n < s.n; n++)
    for (int c = 0; c < channels; c++)
      for (int d = 0; d < s.d; d++)
        for (int h = 0; h < s.h; h++)
          for (int w = 0; w < s.w; w++) {
            const int at[] = {n, c, d, h, w};
            real *to = dx + tensor_at(&node->x[i], n, c, d, h, w);
            double value = c < s.c ? stored_gradient_at(node, io, i, first + c, at) : 0;
            *to = (real)(add ? *to + value : value);
          }
}

static enum status forward(const struct node *node, const struct io *io, struct stream *stream) {
  (void)stream;
  REAL_NAME(conv_reference_output)(node, io, false);
  return STATUS_OK;
}

static enum status backward(const struct node *node, const struct io *io, struct stream *stream) {
  (void)stream;
  undo_activation(node, io);
  if (conv_arguments_of(node)->bias) REAL_NAME(conv_reference_bias)(node, io);
  for (int i = 0, first = 0; i < node->input_count; first += node->x[i++].shape.c) {
    REAL_NAME(conv_reference_weights)(node, io, i, first);
    if (io->dx[i]) REAL_NAME(conv_reference_data)(node, io, i, first);
  }
  return STATUS_OK;
}

const struct kernel REAL_NAME(conv_reference) = {
    .name = "reference",
    .device = DEVICE_CPU,
    .dtype = REAL_DTYPE,
    .training = true,
    .forward = forward,
    .backward = backward,
};
