/* Losses of logits and labels (kernels/common/logits.h) on the GPU. A thread has one voxel of the
 * labels, whose logits are a row in shared memory; rows are loaded and stored by all threads of a
 * block together. Where labels are finer, the gradient is gathered: a block owns a box of logits,
 * goes through the planes of labels that read it and adds up in shared memory what each of its
 * logits gets, in an order that depends on nothing but the logit. */
#pragma once
#include "kernels/common/cuda_reduce.h"
#include "kernels/common/cuda_tile.h"
extern "C" {
#include "kernels/common/logits.h"
}

enum {
  LOGITS_THREADS = 256,
  LOGITS_LEAST = 2048, /* voxels of a block */
  LOGITS_DEEP = 8,     /* slices of logits of a box */
  LOGITS_WIDE = 32,    /* labels of a row of a box */
  LOGITS_MOST_SHARED = 96 << 10,
};

/* Kernels take it by value. */
struct cuda_logits {
  struct logits shape;
  struct cuda_strides strides; /* of the logits */
  int pitch;                   /* floats from row to row in shared memory; odd, so that the rows of
                                  a warp fall to different banks */
  int voxels, chunk;   /* labels of a sample; of a block of a kernel that goes through them */
  bool finer, aligned; /* labels are more than logits; samples begin at 16 bytes */
  struct cuda_divider by_classes, by_w, by_h;
};

static inline struct cuda_logits cuda_logits_of(const struct node *node) {
  struct cuda_logits logits;
  logits.shape = logits_of(node);
  logits.strides = cuda_strides_of(&node->x[0]);
  logits.pitch = logits.shape.classes | 1;
  logits.voxels = (int)shape_voxels(node->x[1].shape);
  logits.finer = logits.voxels != shape_voxels(node->x[0].shape);
  logits.aligned = logits.strides.sample * dtype_bytes(node->x[0].dtype) % 16 == 0;
  const int blocks = cuda_partials(logits.voxels, LOGITS_LEAST);
  const int tiles = (int)cuda_blocks(logits.voxels, LOGITS_THREADS);
  logits.chunk = (tiles + blocks - 1) / blocks * LOGITS_THREADS;
  logits.by_classes = cuda_divider_make((unsigned)logits.shape.classes);
  logits.by_w = cuda_divider_make((unsigned)logits.shape.fine[2]);
  logits.by_h = cuda_divider_make((unsigned)logits.shape.fine[1]);
  return logits;
}

/* What all their kernels ask of a node: voxels are counted in ints. */
static inline bool cuda_logits_applies(const struct node *node) {
  return shape_voxels(node->x[1].shape) < INT32_MAX - (1 << 16) && node->x[0].shape.n <= 65535 &&
         node->x[0].layout != LAYOUT_BLOCKED &&
         shape_voxels(node->x[0].shape) * node->x[0].shape.c < INT32_MAX;
}

/* The grid of kernels that go through the labels: x chunks of a sample, y samples. */
static inline dim3 cuda_logits_grid(const struct cuda_logits &logits) {
  return dim3(cuda_blocks(logits.voxels, logits.chunk), (unsigned)logits.shape.n);
}

static inline size_t cuda_logits_rows(const struct cuda_logits &logits) {
  return sizeof(float) * LOGITS_THREADS * (size_t)logits.pitch;
}

/* --- rows of as many labels as logits --- */

template <typename T, int LANES>
__device__ inline void logits_load_lanes(const struct cuda_logits &logits, const T *from, int count,
                                         float *rows) {
  const int classes = logits.shape.classes;
  for (int e = (int)threadIdx.x * LANES; e < count; e += LOGITS_THREADS * LANES) {
    unsigned c;
    unsigned v = cuda_divide((unsigned)e, logits.by_classes, &c);
    float value[LANES] = {};
    if (e + LANES <= count)
      cuda_load<T, LANES>(from + e, value);
    else
      for (int l = 0; l < LANES; l++)
        if (e + l < count) value[l] = to_float(from[e + l]);
#pragma unroll
    for (int l = 0; l < LANES; l++) {
      if (e + l < count) rows[v * logits.pitch + c] = value[l];
      if ((int)++c == classes) c = 0, v++;
    }
  }
}

/* The rows of voxels [first, first + count) of a sample, count at most LOGITS_THREADS. Not yet
 * there for other threads. */
template <typename T>
__device__ inline void logits_load(const struct cuda_logits &logits, const T *sample, int first,
                                   int count, float *rows) {
  const int classes = logits.shape.classes;
  if (logits.strides.channel == 1) {
    const T *from = sample + (int64_t)first * classes;
    if (logits.aligned)
      logits_load_lanes<T, cuda_most_lanes<T>>(logits, from, count * classes, rows);
    else
      logits_load_lanes<T, 1>(logits, from, count * classes, rows);
  } else if ((int)threadIdx.x < count) {
    for (int k = 0; k < classes; k++)
      rows[threadIdx.x * logits.pitch + k] =
          to_float(sample[k * logits.strides.channel + first + threadIdx.x]);
  }
}

template <typename T>
__device__ inline void logits_put(T *to, float value, bool add) {
  *to = from_float<T>(add ? to_float(*to) + value : value);
}

template <typename T, int LANES>
__device__ inline void logits_store_lanes(const struct cuda_logits &logits, T *to, int count,
                                          bool add, const float *rows) {
  const int classes = logits.shape.classes;
  for (int e = (int)threadIdx.x * LANES; e < count; e += LOGITS_THREADS * LANES) {
    unsigned c;
    unsigned v = cuda_divide((unsigned)e, logits.by_classes, &c);
    float value[LANES];
#pragma unroll
    for (int l = 0; l < LANES; l++) {
      value[l] = e + l < count ? rows[v * logits.pitch + c] : 0;
      if ((int)++c == classes) c = 0, v++;
    }
    if (e + LANES <= count)
      cuda_give<T, LANES>(to + e, value, add);
    else
      for (int l = 0; l < LANES; l++)
        if (e + l < count) logits_put(to + e + l, value[l], add);
  }
}

template <typename T>
__device__ inline void logits_store(const struct cuda_logits &logits, T *sample, int first,
                                    int count, bool add, const float *rows) {
  const int classes = logits.shape.classes;
  if (logits.strides.channel == 1) {
    T *to = sample + (int64_t)first * classes;
    if (logits.aligned)
      logits_store_lanes<T, cuda_most_lanes<T>>(logits, to, count * classes, add, rows);
    else
      logits_store_lanes<T, 1>(logits, to, count * classes, add, rows);
  } else if ((int)threadIdx.x < count) {
    for (int k = 0; k < classes; k++)
      logits_put(sample + k * logits.strides.channel + first + threadIdx.x,
                 rows[threadIdx.x * logits.pitch + k], add);
  }
}

/* --- rows of more labels than logits --- */

/* The row of voxel `voxel` of the labels. */
template <typename T>
__device__ inline void logits_interpolate(const struct cuda_logits &logits, const T *sample,
                                          int voxel, float *row) {
  const struct logits &s = logits.shape;
  unsigned h, w;
  const unsigned d = cuda_divide(cuda_divide((unsigned)voxel, logits.by_w, &w), logits.by_h, &h);
  const struct logits_tap at_d = logits_tap_of((int)d, s.factor[0], s.coarse[0]);
  const struct logits_tap at_h = logits_tap_of((int)h, s.factor[1], s.coarse[1]);
  const struct logits_tap at_w = logits_tap_of((int)w, s.factor[2], s.coarse[2]);
  const int low = at_w.low * (int)logits.strides.voxel,
            high = at_w.high * (int)logits.strides.voxel;
  int line[4];
  float weight[4];
#pragma unroll
  for (int i = 0; i < 4; i++) {
    line[i] = ((i & 2 ? at_d.high : at_d.low) * s.coarse[1] + (i & 1 ? at_h.high : at_h.low)) *
              s.coarse[2] * (int)logits.strides.voxel;
    weight[i] =
        (i & 2 ? at_d.high_weight : at_d.low_weight) * (i & 1 ? at_h.high_weight : at_h.low_weight);
  }
  for (int k = 0; k < s.classes; k++, sample += logits.strides.channel) {
    float sum = 0;
#pragma unroll
    for (int i = 0; i < 4; i++)
      sum += weight[i] * (at_w.low_weight * to_float(sample[line[i] + low]) +
                          at_w.high_weight * to_float(sample[line[i] + high]));
    row[k] = sum;
  }
}

/* The rows of LOGITS_THREADS voxels of the labels of sample blockIdx.y from `first` on, one for
 * each thread; returns the thread's label. All threads must call. */
template <typename T, bool FINER>
__device__ inline int logits_begin_tile(const struct cuda_logits &logits, const T *x,
                                        const unsigned char *labels, int first, float *rows) {
  const int voxel = first + (int)threadIdx.x, left = logits.voxels - first;
  const T *sample = x + blockIdx.y * logits.strides.sample;
  const int label = (int)threadIdx.x < left ? labels[(int64_t)blockIdx.y * logits.voxels + voxel]
                                            : (int)LOGITS_IGNORED;
  __syncthreads(); /* the rows of the tile before may still be read */
  if (FINER) {
    if (label < logits.shape.classes)
      logits_interpolate(logits, sample, voxel, rows + threadIdx.x * logits.pitch);
  } else {
    logits_load(logits, sample, first, left < LOGITS_THREADS ? left : (int)LOGITS_THREADS, rows);
    __syncthreads();
  }
  return label;
}

/* A row becomes e^(logit - largest); returns their sum. */
__device__ inline float logits_powers(float *row, int classes, float *largest) {
  float most = row[0], sum = 0;
  for (int k = 1; k < classes; k++) most = fmaxf(most, row[k]);
  for (int k = 0; k < classes; k++) {
    const float power = expf(row[k] - most);
    row[k] = power;
    sum += power;
  }
  *largest = most;
  return sum;
}

/* --- gradients ---
 * A loss brings, for its kernels, what one thread does with a row:
 *   FLOATS: of shared memory of its own
 *   void begin(const struct logits &, int n, float *own) const: all threads, once per block
 *   void slopes(float *row, int classes, int label, const float *own) const: logits become their
 *     gradient; not called for labels of no class, whose gradient is 0 */

__device__ inline void logits_clear_row(float *row, int classes) {
  for (int k = 0; k < classes; k++) row[k] = 0;
}

template <typename T, class Loss>
__global__ void __launch_bounds__(LOGITS_THREADS)
    logits_backward_same(const __grid_constant__ struct cuda_logits logits, const T *x,
                         const unsigned char *labels, const __grid_constant__ Loss loss, T *dx,
                         bool add) {
  CUDA_DYNAMIC_SHARED(float, rows);
  float *own = rows + LOGITS_THREADS * logits.pitch, *row = rows + threadIdx.x * logits.pitch;
  const int end = min((int)(blockIdx.x + 1) * logits.chunk, logits.voxels);
  loss.begin(logits.shape, blockIdx.y, own);
  for (int first = blockIdx.x * logits.chunk; first < end; first += LOGITS_THREADS) {
    const int label = logits_begin_tile<T, false>(logits, x, labels, first, rows);
    if (label < logits.shape.classes)
      loss.slopes(row, logits.shape.classes, label, own);
    else
      logits_clear_row(row, logits.shape.classes);
    __syncthreads();
    logits_store(logits, dx + blockIdx.y * logits.strides.sample, first,
                 min(end - first, (int)LOGITS_THREADS), add, rows);
  }
}

/* How the logits of finer labels are cut into boxes. */
struct logits_boxes {
  int size[3], count[3];     /* logits of a box, boxes; d h w */
  int labels, cells, around; /* at most, of a plane: labels, logits, logits that these read */
  size_t shared;             /* bytes, without the loss's own */
};

/* A box: its logits, the labels that read them, the logits that those are made of. */
struct logits_box {
  struct logits_range logits[3], labels[3], around[3];
};

__device__ inline struct logits_box logits_box_of(const struct logits &s,
                                                  const struct logits_boxes &boxes) {
  struct logits_box box;
  int index = blockIdx.x;
#pragma unroll
  for (int i = 2; i >= 0; i--) {
    const int from = index % boxes.count[i] * boxes.size[i];
    index /= boxes.count[i];
    struct logits_range own = {from, min(from + boxes.size[i], s.coarse[i])};
    box.logits[i] = own;
    box.labels[i] = logits_fine(own.from, own.to, s.factor[i], s.coarse[i], true);
    const int more = s.factor[i] - 1;
    box.around[i].from = max(own.from - more, 0);
    box.around[i].to = min(own.to + more, s.coarse[i]);
  }
  return box;
}

/* The logits around the box between two slices: rows in the order h w. */
template <typename T>
__device__ inline void box_load(const struct cuda_logits &logits, const struct logits_box &box,
                                const struct logits_tap &at, const T *sample, float *around) {
  const int classes = logits.shape.classes, wide = box.around[2].to - box.around[2].from;
  const int cells = (box.around[1].to - box.around[1].from) * wide;
  const int plane = logits.shape.coarse[1] * logits.shape.coarse[2];
  const bool last = logits.strides.channel == 1;
  for (int i = (int)threadIdx.x; i < cells * classes; i += LOGITS_THREADS) {
    const int cell = last ? i / classes : i % cells, k = last ? i % classes : i / cells;
    const int h = box.around[1].from + cell / wide, w = box.around[2].from + cell % wide;
    const T *from = sample + k * logits.strides.channel +
                    (h * logits.shape.coarse[2] + w) * logits.strides.voxel;
    float value = at.low_weight * to_float(from[(int64_t)at.low * plane * logits.strides.voxel]);
    if (at.high != at.low)
      value += at.high_weight * to_float(from[(int64_t)at.high * plane * logits.strides.voxel]);
    around[cell * logits.pitch + k] = value;
  }
}

/* The slopes of plane d of the box's labels: rows in the order h w. */
template <class Loss>
__device__ inline void box_slopes(const struct cuda_logits &logits, const struct logits_box &box,
                                  int d, const unsigned char *labels, const Loss &loss,
                                  const float *own, const float *around, float *rows) {
  const struct logits &s = logits.shape;
  const int wide = box.labels[2].to - box.labels[2].from, pitch = logits.pitch;
  const int count = (box.labels[1].to - box.labels[1].from) * wide;
  const int beside = box.around[2].to - box.around[2].from;
  for (int i = (int)threadIdx.x; i < count; i += LOGITS_THREADS) {
    const int h = box.labels[1].from + i / wide, w = box.labels[2].from + i % wide;
    const int label = labels[((int64_t)d * s.fine[1] + h) * s.fine[2] + w];
    float *row = rows + i * pitch;
    if (label >= s.classes) {
      logits_clear_row(row, s.classes);
      continue;
    }
    const struct logits_tap at_h = logits_tap_of(h, s.factor[1], s.coarse[1]);
    const struct logits_tap at_w = logits_tap_of(w, s.factor[2], s.coarse[2]);
    const float *low =
        around + ((at_h.low - box.around[1].from) * beside - box.around[2].from) * pitch;
    const float *high =
        around + ((at_h.high - box.around[1].from) * beside - box.around[2].from) * pitch;
    for (int k = 0; k < s.classes; k++) {
      const int a = at_w.low * pitch + k, b = at_w.high * pitch + k;
      row[k] = at_h.low_weight * (at_w.low_weight * low[a] + at_w.high_weight * low[b]) +
               at_h.high_weight * (at_w.low_weight * high[a] + at_w.high_weight * high[b]);
    }
    loss.slopes(row, s.classes, label, own);
  }
}

/* The labels along an axis that read logit `at`, and their weights. */
struct logits_readers {
  int first, count;
  float weight[4];
};
__device__ inline struct logits_readers logits_readers_of(int at, int factor, int extent) {
  struct logits_readers readers = {at, 1, {1, 0, 0, 0}};
  if (factor == 1) return readers;
  readers.first = max(2 * at - 1, 0);
  readers.count = min(2 * at + 3, 2 * extent) - readers.first;
#pragma unroll
  for (int i = 0; i < 4; i++) {
    const struct logits_tap tap = logits_tap_of(readers.first + i, 2, extent);
    readers.weight[i] =
        (tap.low == at ? tap.low_weight : 0) + (tap.high == at ? tap.high_weight : 0);
  }
  return readers;
}

/* What class k of the logit at (h, w) gets from a plane of slopes. */
__device__ inline float box_gather(const struct cuda_logits &logits, const struct logits_box &box,
                                   int h, int w, int k, const float *rows) {
  const struct logits &s = logits.shape;
  const struct logits_readers at_h = logits_readers_of(h, s.factor[1], s.coarse[1]);
  const struct logits_readers at_w = logits_readers_of(w, s.factor[2], s.coarse[2]);
  const int wide = box.labels[2].to - box.labels[2].from;
  const float *from =
      rows + k +
      ((at_h.first - box.labels[1].from) * wide + at_w.first - box.labels[2].from) * logits.pitch;
  float sum = 0;
#pragma unroll
  for (int i = 0; i < 4; i++) {
    float line = 0;
#pragma unroll
    for (int j = 0; j < 4; j++)
      if (i < at_h.count && j < at_w.count)
        line += at_w.weight[j] * from[(i * wide + j) * logits.pitch];
    sum += at_h.weight[i] * line;
  }
  return sum;
}

/* Adds a plane of slopes, d of the labels, to the sums of the two slices of logits that it lies
 * between, and gives the lower one to dx where this was the last plane that reads it. A thread has
 * the same logits every time. */
template <typename T>
__device__ inline void box_collect(const struct cuda_logits &logits, const struct logits_box &box,
                                   int d, const float *rows, float *sums, T *dx, bool add) {
  const struct logits &s = logits.shape;
  const struct logits_tap at = logits_tap_of(d, s.factor[0], s.coarse[0]);
  const bool done =
      d + 1 == box.labels[0].to || logits_tap_of(d + 1, s.factor[0], s.coarse[0]).low > at.low;
  const bool has_low = at.low >= box.logits[0].from && at.low < box.logits[0].to;
  const bool has_high = at.high != at.low && at.high < box.logits[0].to;
  const int wide = box.logits[2].to - box.logits[2].from;
  const int cells = (box.logits[1].to - box.logits[1].from) * wide, count = cells * s.classes;
  const bool last = logits.strides.channel == 1;
  float *low = sums + at.low % 2 * count, *high = sums + (at.low + 1) % 2 * count;
  for (int i = (int)threadIdx.x; i < count; i += LOGITS_THREADS) {
    const int cell = last ? i / s.classes : i % cells, k = last ? i % s.classes : i / cells;
    const int h = box.logits[1].from + cell / wide, w = box.logits[2].from + cell % wide;
    const float value = box_gather(logits, box, h, w, k, rows);
    if (has_high) high[i] += at.high_weight * value;
    if (!has_low) continue;
    const float sum = low[i] + at.low_weight * value;
    low[i] = done ? 0 : sum;
    const int64_t voxel = ((int64_t)at.low * s.coarse[1] + h) * s.coarse[2] + w;
    if (done) logits_put(dx + k * logits.strides.channel + voxel * logits.strides.voxel, sum, add);
  }
}

template <typename T, class Loss>
__global__ void __launch_bounds__(LOGITS_THREADS)
    logits_backward_finer(const __grid_constant__ struct cuda_logits logits,
                          const __grid_constant__ struct logits_boxes boxes, const T *x,
                          const unsigned char *labels, const __grid_constant__ Loss loss, T *dx,
                          bool add) {
  CUDA_DYNAMIC_SHARED(float, rows);
  float *around = rows + boxes.labels * logits.pitch;
  float *sums = around + boxes.around * logits.pitch;
  float *own = sums + 2 * boxes.cells * logits.shape.classes;
  const struct logits_box box = logits_box_of(logits.shape, boxes);
  const int n = blockIdx.y;
  for (int i = (int)threadIdx.x; i < 2 * boxes.cells * logits.shape.classes; i += LOGITS_THREADS)
    sums[i] = 0;
  loss.begin(logits.shape, n, own);
  for (int d = box.labels[0].from; d < box.labels[0].to; d++) {
    const struct logits_tap at = logits_tap_of(d, logits.shape.factor[0], logits.shape.coarse[0]);
    box_load(logits, box, at, x + n * logits.strides.sample, around);
    __syncthreads();
    box_slopes(logits, box, d, labels + (int64_t)n * logits.voxels, loss, own, around, rows);
    __syncthreads();
    box_collect(logits, box, d, rows, sums, dx + n * logits.strides.sample, add);
  }
}

/* --- launching --- */

/* Of so many labels at most in a plane. */
static inline struct logits_boxes logits_boxes_try(const struct cuda_logits &logits, int most) {
  const struct logits &s = logits.shape;
  struct logits_boxes boxes;
  int labels[3] = {0, 0, 0}, around[3] = {0, 0, 0};
  boxes.size[0] = LOGITS_DEEP;
  for (int i = 2; i > 0; i--) {
    const int room = i == 2 ? (int)LOGITS_WIDE : most / labels[2];
    const int inside = s.factor[i] == 1 ? room : (room - 2) / 2;
    boxes.size[i] = s.fine[i] <= room ? s.coarse[i] : inside;
    labels[i] = s.fine[i] <= room ? s.fine[i] : room;
    around[i] = min(boxes.size[i] + 2 * (s.factor[i] - 1), s.coarse[i]);
  }
  for (int i = 0; i < 3; i++) boxes.count[i] = (s.coarse[i] + boxes.size[i] - 1) / boxes.size[i];
  boxes.labels = labels[1] * labels[2];
  boxes.around = around[1] * around[2];
  boxes.cells = boxes.size[1] * boxes.size[2];
  boxes.shared = sizeof(float) * ((size_t)(boxes.labels + boxes.around) * logits.pitch +
                                  2 * (size_t)boxes.cells * s.classes);
  return boxes;
}

static inline struct logits_boxes logits_boxes_of(const struct cuda_logits &logits) {
  int most = 2 * LOGITS_THREADS;
  struct logits_boxes boxes = logits_boxes_try(logits, most);
  while (boxes.shared > LOGITS_MOST_SHARED && most > 4 * LOGITS_WIDE)
    boxes = logits_boxes_try(logits, most /= 2);
  return boxes;
}

/* dx[0] of a loss. */
template <typename T, class Loss>
static inline enum status logits_backward(const struct node *node, const struct io *io,
                                          const Loss &loss, struct stream *stream) {
  const struct cuda_logits logits = cuda_logits_of(node);
  const T *x = (const T *)io->x[0];
  const unsigned char *labels = (const unsigned char *)io->x[1];
  if (logits.finer) {
    const struct logits_boxes boxes = logits_boxes_of(logits);
    const size_t bytes = boxes.shared + sizeof(float) * Loss::FLOATS;
    const dim3 grid((unsigned)(boxes.count[0] * boxes.count[1] * boxes.count[2]),
                    (unsigned)logits.shape.n);
    cudaFuncSetAttribute(logits_backward_finer<T, Loss>,
                         cudaFuncAttributeMaxDynamicSharedMemorySize, (int)bytes);
    CUDA_LAUNCH((logits_backward_finer<T, Loss>), grid, LOGITS_THREADS, bytes, stream, logits,
                boxes, x, labels, loss, (T *)io->dx[0], io->dx_add[0]);
  } else {
    const size_t bytes = cuda_logits_rows(logits) + sizeof(float) * Loss::FLOATS;
    CUDA_LAUNCH((logits_backward_same<T, Loss>), cuda_logits_grid(logits), LOGITS_THREADS, bytes,
                stream, logits, x, labels, loss, (T *)io->dx[0], io->dx_add[0]);
  }
  return cuda_launched(node->name);
}
