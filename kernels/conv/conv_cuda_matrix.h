/* A convolution pass on tensor cores: its geometry, and how its weights lie in memory. Channels are
 * taken in chunks of 32 bytes (16 elements of 16 bits, 8 floats), which is what one multiply takes;
 * so bytes are all that most of this knows of types.
 *
 * A block of threads computes a tile of target voxels, in all phases, for block_channels channels.
 * Its warps lie side by side along d and h, along the phases of w, and along channels; each has
 * `rows` rows (along h) of 16 voxels that are `strip` apart along w. For each source, chunk and tap
 * along d, the window of source voxels that the tile reads and a slice of the weights lie in shared
 * memory. */
#pragma once
#include "kernels/conv/conv_cuda.h"

enum {
  MATRIX_CHUNK = 32, /* bytes */
  MATRIX_PIECE = 16, /* bytes: what a copy takes */
  MATRIX_WIDTH = 16, /* voxels of a row */
  MATRIX_MOST_WARPS = 8,
};

/* Target voxel t of the tile reads voxels origin + position + tap of a source along an axis, where
 * position is step*t, or with 2 phases t/2 + offset[t % 2]. */
struct matrix_source {
  const unsigned char *data, *packed;
  int64_t sample;    /* bytes of one */
  int extent[3];     /* voxels */
  int voxel, chunks; /* bytes of a voxel, chunks that they make */
  int phases[3], step[3];
  int taps[3][2], offset[3][2], most_taps[3];
  int origin[3];       /* where the window of the tile at 0 begins */
  int window[3];       /* voxels */
  int lane_step;       /* of lanes' voxels along w; rows in shared memory hold first the voxels
                          0, lane_step .., then 1, lane_step + 1 .. */
  int part, pitch;     /* voxels of such a part of a row; of the row */
  unsigned reciprocal; /* 2^32 / window[2], rounded up */
  int slice;           /* bytes of weights of a tap along d */
};

struct matrix_pass {
  struct matrix_source source[OP_MAX_INPUTS];
  int count;
  void *target;
  const float *bias; /* NULL: none */
  float slope;
  bool add, wide; /* to what is there; the target is float32 whatever is computed in */
  int extent[3], channels, samples;
  int phases[3];           /* the most of all sources */
  int rows, warp_channels; /* of a warp */
  int warps_d, warps_h, warps_n;
  int strip; /* phases along w: a warp for each */
  int block_channels;
  int tile[3], tiles[3], channel_tiles, tile_count;
  int blocks;                    /* that the device runs together; each takes several tiles */
  int stages;                    /* windows in shared memory: 1, or 2 that take turns */
  int window_bytes, slice_bytes; /* places in shared memory; there are two slices */
};

static inline int conv_cuda_matrix_threads(const struct matrix_pass *pass) {
  return 32 * pass->warps_d * pass->warps_h * pass->strip * pass->warps_n;
}

/* The geometry of a pass: forward from all inputs to y, or else from dy to the gradient of one
 * input. Pointers are left NULL. False where there is none. */
bool conv_cuda_matrix_plan(const struct node *node, bool forward, int input,
                           struct matrix_pass *pass);

/* Bytes of shared memory of a block, and of a source's weights. */
size_t conv_cuda_matrix_shared(const struct matrix_pass *pass);
size_t conv_cuda_matrix_packed(const struct matrix_pass *pass, int source);

/* Fills in the sources' weights: `workspace` holds them one after another, each rounded up by
 * conv_cuda_round. They lie as [channel tile][chunk][tap d][phase d h w][tap h][tap w][channel][32
 * bytes], taps counted to the most of any phase (what is not there is unused). Channels are in the
 * order in which lanes hold columns, and the halves of every second four channels' bytes are
 * swapped so that ldmatrix meets no bank twice. */
void conv_cuda_matrix_pack(const struct node *node, const struct io *io, bool forward, int input,
                           struct matrix_pass *pass, void *workspace, struct stream *stream);
