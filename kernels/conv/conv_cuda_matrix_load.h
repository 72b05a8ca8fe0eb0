/* How a block of a pass on tensor cores goes through tiles, sources, chunks and taps, and what it
 * loads into shared memory for them. */
#pragma once
#include "kernels/common/cuda_matrix.h"
#include "kernels/conv/conv_cuda_matrix.h"

/* Which part of the pass a block is at work on. */
struct cursor {
  int tile, source, chunk, tap;
  int window; /* of the places in shared memory */
};

__device__ static inline struct cursor cursor_next_chunk(const struct matrix_pass &pass,
                                                         struct cursor at) {
  at.tap = 0;
  at.window = pass.stages - 1 - at.window;
  if (++at.chunk < pass.source[at.source].chunks) return at;
  at.chunk = 0;
  if (++at.source < pass.count) return at;
  at.source = 0;
  at.tile += gridDim.x;
  return at;
}

__device__ static inline struct cursor cursor_next(const struct matrix_pass &pass,
                                                   struct cursor at) {
  if (++at.tap < pass.source[at.source].most_taps[0]) return at;
  return cursor_next_chunk(pass, at);
}

/* A tile's first voxel. */
struct place {
  int sample, channel_tile, at[3];
};

__device__ static inline struct place find_place(const struct matrix_pass &pass, int tile) {
  struct place place;
  unsigned index = (unsigned)tile;
  place.channel_tile = (int)(index % pass.channel_tiles), index /= pass.channel_tiles;
  for (int i = 2; i >= 0; i--) {
    place.at[i] = (int)(index % pass.tiles[i]) * pass.tile[i];
    index /= pass.tiles[i];
  }
  place.sample = (int)index;
  return place;
}

/* A warp's first voxel in the tile, its phase and its part of the channels. */
struct share {
  int d, h, phase_w, warp_n;
};

__device__ static inline struct share find_share(const struct matrix_pass &pass) {
  struct share share;
  int warp = threadIdx.x / 32;
  share.warp_n = warp % pass.warps_n, warp /= pass.warps_n;
  share.phase_w = warp % pass.strip, warp /= pass.strip;
  share.h = warp % pass.warps_h * pass.rows;
  share.d = warp / pass.warps_h;
  return share;
}

/* Whether a warp has any voxel of the target. */
__device__ static inline bool is_inside(const struct matrix_pass &pass, const struct place &place,
                                        const struct share &share) {
  return place.at[0] + share.d < pass.extent[0] && place.at[1] + share.h < pass.extent[1];
}

/* Where a voxel's row in shared memory keeps its first half: every second four voxels have them
 * swapped, so that fragments meet no bank twice. */
__device__ static inline int swapped(int position, int half) {
  return (position >> 2 & 1) ^ half;
}

/* Starts to copy the window of a chunk: each thread takes pieces of a plane through all planes. */
__device__ static void load_window(const struct matrix_pass &pass, struct cursor at,
                                   cuda_shared windows) {
  const struct place tile = find_place(pass, at.tile);
  const struct matrix_source &source = pass.source[at.source];
  int origin[3];
  for (int i = 0; i < 3; i++)
    origin[i] =
        (source.phases[i] == 2 ? tile.at[i] / 2 : tile.at[i] * source.step[i]) + source.origin[i];
  const int half = threadIdx.x & 1, byte = at.chunk * MATRIX_CHUNK + MATRIX_PIECE * half;
  const int shift = source.lane_step - 1; /* of 1 or 2 */
  const int64_t plane = (int64_t)source.extent[1] * source.extent[2] * source.voxel;
  const int plane_to = source.window[1] * source.pitch * MATRIX_CHUNK;
  const unsigned char *data = source.data + tile.sample * source.sample + origin[0] * plane + byte;
  for (int v = threadIdx.x >> 1; v < source.window[1] * source.window[2]; v += blockDim.x >> 1) {
    int v_h = (int)((uint64_t)v * source.reciprocal >> 32), v_w = v - v_h * source.window[2];
    int h = origin[1] + v_h, w = origin[2] + v_w;
    bool inside = byte < source.voxel && (unsigned)h < (unsigned)source.extent[1] &&
                  (unsigned)w < (unsigned)source.extent[2];
    const unsigned char *from = data + ((int64_t)h * source.extent[2] + w) * source.voxel;
    int position = (v_w & shift) * source.part + (v_w >> shift);
    cuda_shared row = windows + at.window * pass.window_bytes +
                      (v_h * source.pitch + position) * MATRIX_CHUNK +
                      MATRIX_PIECE * swapped(position, half);
    for (int d = 0; d < source.window[0]; d++) {
      cuda_copy_start(row, from, inside && (unsigned)(origin[0] + d) < (unsigned)source.extent[0]);
      row += plane_to;
      from += plane;
    }
  }
}

/* Starts to copy the weights of a tap along d. */
__device__ static void load_slice(const struct matrix_pass &pass, struct cursor at,
                                  cuda_shared to) {
  const struct matrix_source &source = pass.source[at.source];
  int64_t slice =
      ((int64_t)(at.tile % pass.channel_tiles) * source.chunks + at.chunk) * source.most_taps[0] +
      at.tap;
  const unsigned char *from = source.packed + slice * source.slice;
  for (int i = threadIdx.x * MATRIX_PIECE; i < source.slice; i += blockDim.x * MATRIX_PIECE)
    cuda_copy_start(to + i, from + i, true);
}
