/* How the weight gradient on tensor cores is cut into blocks: what the host plans and its kernels
 * read. Follows from the shapes alone, so that every sum has one order. */
#pragma once
#include "kernels/conv/conv_cuda.h"

enum {
  GRADIENT_ACROSS = 16,    /* voxels of dy along w in a tile: the depth of a matrix */
  GRADIENT_MOST_ROWS = 12, /* along h */
  GRADIENT_MOST_WARPS = 9,
  GRADIENT_LARGE_WARPS = 8, /* where each has 2 x 2 matrices */
  GRADIENT_MOST_TAPS = 3,   /* along h that a warp takes together */
  GRADIENT_LEFT = 16,       /* channels of x in a matrix */
  GRADIENT_RIGHT = 16,      /* channels of dy in a pair of matrices */
};

static inline constexpr int gradient_warps(int lefts, int rights) {
  return lefts * rights == 4 ? GRADIENT_LARGE_WARPS : GRADIENT_MOST_WARPS;
}

/* A block sums over a range of steps; a step is one plane (of one phase) of a tile of dy. Its warps
 * share the `columns` (taps along d and w) and, where these are few, the tile's rows (`splits`);
 * each has `taps` along h times `lefts` x `rights` matrices of sums. Blocks differ in their range
 * (`chunks`) and in their group: phase, tap group along h, column group, channels of x and dy. */
struct gradient_plan {
  struct conv_axis axis[3];
  int samples, x_extent[3], y_extent[3];
  int channels, out_channels;
  int taps[3], taps_together; /* along d h w; along h in one warp */
  int lefts, rights;          /* matrices of 16 channels of x and of dy in a warp */
  int rows;                   /* of a tile of dy */
  int x_rows, x_columns;      /* of the tile of x in shared memory, */
  int x_residue;              /* whose columns lie stride by stride: so many of each residue */
  int ring;                   /* planes of x in shared memory */
  int tiles_h, tiles_w, planes;
  int columns, splits; /* columns: of a block */
  int row_groups, column_groups, left_groups, right_groups, phases, groups;
  int chunks;
  int64_t steps;         /* of all tiles of all samples */
  size_t x_slot, y_slot; /* bytes of a plane in shared memory */
};

/* Floats that one block writes: [warp column][tap along h][channel of x][channel of dy]. */
static inline __host__ __device__ int gradient_tile(const struct gradient_plan &plan) {
  return plan.columns * plan.taps_together * plan.lefts * GRADIENT_LEFT * plan.rights *
         GRADIENT_RIGHT;
}

/* Where a block's group lies. */
struct gradient_group {
  int right, left, column, row, phase;
};
static inline __device__ struct gradient_group gradient_group_of(const struct gradient_plan &plan,
                                                                 int index) {
  struct gradient_group group;
  group.right = index % plan.right_groups;
  index /= plan.right_groups;
  group.left = index % plan.left_groups;
  index /= plan.left_groups;
  group.column = index % plan.column_groups;
  index /= plan.column_groups;
  group.row = index % plan.row_groups;
  group.phase = index / plan.row_groups;
  return group;
}
static inline __device__ int gradient_group_index(const struct gradient_plan &plan,
                                                  const struct gradient_group &group) {
  int index = group.phase * plan.row_groups + group.row;
  index = index * plan.column_groups + group.column;
  index = index * plan.left_groups + group.left;
  return index * plan.right_groups + group.right;
}

static inline __device__ void gradient_split_phase(const struct gradient_plan &plan, int index,
                                                   int (&phase)[3]) {
  phase[2] = index % plan.axis[2].phases;
  index /= plan.axis[2].phases;
  phase[1] = index % plan.axis[1].phases;
  phase[0] = index / plan.axis[1].phases;
}

/* Shared memory of a block: the ring of x, two planes of dy, and where their elements come from; at
 * the end, where warps share rows, the sums of one of them per column. */
static inline size_t gradient_shared(const struct gradient_plan &plan) {
  size_t tables = (plan.x_slot + plan.y_slot) / 16 * sizeof(int);
  size_t bytes = plan.ring * plan.x_slot + 2 * plan.y_slot + tables;
  size_t sums = plan.splits > 1 ? gradient_tile(plan) * sizeof(float) : 0;
  return bytes > sums ? bytes : sums;
}

struct gradient_plan gradient_plan_of(const struct node *node, int input);
