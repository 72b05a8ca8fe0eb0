/* Copies between layouts and through upsamplings, a row of voxels at a time. */
#include "kernels/conv/conv_onednn_passes.h"
#include "kernels/conv/conv_direct.h"

extern const struct conv_onednn_passes SIMD_NAME(conv_onednn_passes);

/* The row of voxels that starts at (n, channel, d, h, 0). */
struct place {
  int n, channel, d, h;
};

static int64_t start_of(const struct tensor *tensor, struct place at) {
  return tensor_at(tensor, at.n, at.channel, at.d, at.h, 0);
}

/* Row number `index` of all rows of all groups. */
static struct place place_of(const struct tensor *tensor, int64_t index) {
  struct shape s = tensor->shape;
  int group = conv_group_of(tensor), groups = tensor_stored_channels(tensor) / group;
  int64_t plane = index / s.h;
  return (struct place){(int)(plane / s.d / groups), (int)(plane / s.d % groups) * group,
                        (int)(plane % s.d), (int)(index % s.h)};
}

static int64_t row_count(const struct tensor *tensor) {
  return (int64_t)tensor->shape.n * tensor->shape.d * tensor->shape.h *
         (tensor_stored_channels(tensor) / conv_group_of(tensor));
}

/* Channels of the place's group that are there. */
static int channels_at(const struct tensor *tensor, struct place at) {
  int left = tensor->shape.c - at.channel, group = conv_group_of(tensor);
  return left < group ? left : group;
}

static void copy_block(const float *from, float *to) {
  SIMD_UNROLL
  for (int p = 0; p < SIMD_PER_BLOCK; p++)
    simd_store(to + p * SIMD_WIDTH, simd_load(from + p * SIMD_WIDTH));
}

/* A row of `to` whose voxels are `factor` to one of `from`. */
static void spread_row(const struct tensor *from, const float *data, const struct tensor *to,
                       struct place at, int factor, float *row) {
  struct place source = {at.n, at.channel, at.d / factor, at.h / factor};
  int64_t step = tensor_voxel_stride(from), pitch = tensor_voxel_stride(to);
  if (from->layout == LAYOUT_BLOCKED && to->layout == LAYOUT_BLOCKED) {
    const float *x = data + start_of(from, source);
    for (int w = 0; w < to->shape.w; w++) copy_block(x + w / factor * step, row + w * pitch);
    return;
  }
  if (to->layout == LAYOUT_BLOCKED) memset(row, 0, sizeof(float) * (size_t)(to->shape.w * pitch));
  int channels = channels_at(to, at);
  for (int c = 0; c < channels; c++, source.channel++) {
    const float *x = data + start_of(from, source);
    for (int w = 0; w < to->shape.w; w++) row[w * pitch + c] = x[w / factor * step];
  }
}

static void spread(const struct tensor *from, const float *data, const struct tensor *to,
                   float *result) {
  int factor = to->shape.w / from->shape.w;
#pragma omp parallel for schedule(static)
  for (int64_t i = 0; i < row_count(to); i++) {
    struct place at = place_of(to, i);
    spread_row(from, data, to, at, factor, result + start_of(to, at));
  }
}

/* `lanes` floats at every voxel of a row of `to` := (or +=) the sums of the rows of `from`. */
static void collect_row(const float *const rows[4], int count, int factor, int lanes,
                        struct tensor to, float *row, bool add) {
  int64_t step = CHANNEL_BLOCK * factor, pitch = tensor_voxel_stride(&to);
  for (int w = 0; w < to.shape.w; w++)
    for (int lane = 0; lane < lanes; lane++) {
      float sum = add ? row[w * pitch + lane] : 0;
      for (int r = 0; r < count; r++)
        for (int v = 0; v < factor; v++) sum += rows[r][w * step + v * CHANNEL_BLOCK + lane];
      row[w * pitch + lane] = sum;
    }
}

static void collect(const struct tensor *from, const float *data, const struct tensor *to,
                    float *result, bool add) {
  int factor = from->shape.w / to->shape.w, count = factor * factor;
#pragma omp parallel for schedule(static)
  for (int64_t i = 0; i < row_count(to); i++) {
    struct place at = place_of(to, i);
    const float *rows[4] = {0};
    for (int r = 0; r < count; r++)
      rows[r] = data + start_of(from, (struct place){at.n, at.channel, factor * at.d + r / factor,
                                                     factor * at.h + r % factor});
    float *row = result + start_of(to, at);
    if (to->layout == LAYOUT_BLOCKED)
      collect_row(rows, count, factor, CHANNEL_BLOCK, *to, row, add);
    else
      collect_row(rows, count, factor, 1, *to, row, add);
  }
}

static void move(const float *from, float *to, int64_t count, bool add) {
  if (!add)
    memcpy(to, from, sizeof(float) * (size_t)count);
  else
    for (int64_t i = 0; i < count; i++) to[i] += from[i];
}

const struct conv_onednn_passes SIMD_NAME(conv_onednn_passes) = {
    .available = simd_available,
    .spread = spread,
    .collect = collect,
    .move = move,
    .activation = SIMD_NAME(conv_activation),
    .activation_size = SIMD_NAME(conv_activation_size),
};
