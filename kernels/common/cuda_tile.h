/* How kernels cut volumes into blocks of threads: a block covers a box, each of its threads a
 * column of voxels along d, so that neighbours in all three directions share what the cache holds.
 * The w axis counts `items`: voxels, or voxels times groups of channels that lie side by side. */
#pragma once
#include "kernels/common/cuda_vector.h"

enum { CUDA_TILE_THREADS = 256 };

/* Division by a number that is known at launch, of numbers below 2^31: a multiplication and a shift
 * (Granlund and Montgomery, "Division by invariant integers using multiplication", 1994). */
struct cuda_divider {
  unsigned divisor, multiplier, shift;
};

static inline struct cuda_divider cuda_divider_make(unsigned divisor) {
  struct cuda_divider divider = {divisor, 0, 0};
  while (((uint64_t)1 << divider.shift) < divisor) divider.shift++;
  const uint64_t excess = ((uint64_t)1 << divider.shift) - divisor;
  divider.multiplier = (unsigned)((excess << 32) / divisor + 1);
  return divider;
}

/* The quotient; *rest becomes the remainder. */
__device__ inline unsigned cuda_divide(unsigned number, const struct cuda_divider &by,
                                       unsigned *rest) {
  const unsigned quotient = (__umulhi(number, by.multiplier) + number) >> by.shift;
  *rest = number - quotient * by.divisor;
  return quotient;
}

/* Kernels take it by value. A plane is one volume of items: a sample, or one channel of it. */
struct cuda_tiles {
  int items, rows, slices;                       /* extents of a plane along w, h, d */
  int across, down, thick;                       /* of a block, along w, h, d */
  struct cuda_divider along_w, along_h, along_d; /* blocks of a plane */
};

/* The block is as wide as fills the rows best: 32, 16 or 8 threads, always within one warp. */
static inline struct cuda_tiles cuda_tiles_make(int64_t items, int rows, int slices, int thick) {
  struct cuda_tiles tiles;
  tiles.items = (int)items;
  tiles.rows = rows;
  tiles.slices = slices;
  tiles.across = 32;
  for (int width = 16; width >= 8; width /= 2)
    if (cuda_blocks(items, width) * (int64_t)width <
        cuda_blocks(items, tiles.across) * (int64_t)tiles.across)
      tiles.across = width;
  tiles.down = CUDA_TILE_THREADS / tiles.across;
  tiles.thick = thick;
  tiles.along_w = cuda_divider_make(cuda_blocks(items, tiles.across));
  tiles.along_h = cuda_divider_make(cuda_blocks(rows, tiles.down));
  tiles.along_d = cuda_divider_make(cuda_blocks(slices, thick));
  return tiles;
}

/* The grid for `planes` planes, to be launched with blocks of cuda_tiles_block. */
static inline unsigned cuda_tiles_grid(const struct cuda_tiles *tiles, int64_t planes) {
  return (unsigned)(planes * tiles->along_w.divisor * tiles->along_h.divisor *
                    tiles->along_d.divisor);
}

static inline dim3 cuda_tiles_block(const struct cuda_tiles *tiles) {
  return dim3((unsigned)tiles->across, (unsigned)tiles->down);
}

/* What one thread does: slices [first, end) at (row, item) of a plane; nothing unless `inside`. */
struct cuda_column {
  int plane, item, row, first, end;
  bool inside;
};

__device__ inline struct cuda_column cuda_column_find(const struct cuda_tiles &tiles) {
  unsigned w, h, d;
  struct cuda_column column;
  column.plane =
      (int)cuda_divide(cuda_divide(cuda_divide(blockIdx.x, tiles.along_w, &w), tiles.along_h, &h),
                       tiles.along_d, &d);
  column.item = (int)(w * blockDim.x + threadIdx.x);
  column.row = (int)(h * blockDim.y + threadIdx.y);
  column.first = (int)d * tiles.thick;
  column.end =
      column.first + tiles.thick < tiles.slices ? column.first + tiles.thick : tiles.slices;
  column.inside = column.item < tiles.items && column.row < tiles.rows;
  return column;
}

/* How the elements of one tensor fall to threads: `planes` volumes per sample, in each of which a
 * voxel has `groups` groups of `lanes` channels. */
struct cuda_split {
  int planes, groups, lanes;
  struct cuda_divider by_planes, by_groups;
};

/* Channels side by side are taken in groups of 16 bytes (`lanes` of them) where c allows. */
static inline struct cuda_split cuda_split_of(const struct tensor *tensor, bool last, int lanes) {
  const int channels = tensor->shape.c;
  struct cuda_split split;
  split.lanes = last && channels % lanes == 0 ? lanes : 1;
  split.planes = last ? 1 : channels;
  split.groups = last ? channels / split.lanes : 1;
  split.by_planes = cuda_divider_make((unsigned)split.planes);
  split.by_groups = cuda_divider_make((unsigned)split.groups);
  return split;
}

/* Where a column of tiles over `split` is: the sample, the first channel, the place on the w axis.
 */
struct cuda_place {
  int sample, channel, w;
};

__device__ inline struct cuda_place cuda_place_find(const struct cuda_split &split,
                                                    const struct cuda_column &column) {
  unsigned plane, group;
  struct cuda_place place;
  place.sample = (int)cuda_divide((unsigned)column.plane, split.by_planes, &plane);
  place.w = (int)cuda_divide((unsigned)column.item, split.by_groups, &group);
  place.channel = (int)plane + (int)group * split.lanes;
  return place;
}

/* Element `number` of those that are `bytes` apart: one multiplication where Index has 32 bits. */
template <typename T, typename Index>
__device__ inline T *cuda_at(T *from, Index number, unsigned bytes) {
  return (T *)((char *)from + (uint64_t)number * bytes);
}

/* Three floats of each of `count` threads, side by side in memory from `to` on. A row of at most 32
 * threads of one warp calls it together; `lane` is the place in it, `shared` its 3 * width floats.
 */
__device__ inline void cuda_store_triples(float *shared, int lane, int width, int count,
                                          const float (&value)[3], bool add, float *to) {
  __syncwarp();
#pragma unroll
  for (int k = 0; k < 3; k++) shared[3 * lane + k] = value[k];
  __syncwarp();
#pragma unroll
  for (int k = 0; k < 3; k++) {
    int i = lane + k * width;
    if (i < 3 * count) to[i] = add ? to[i] + shared[i] : shared[i];
  }
}
