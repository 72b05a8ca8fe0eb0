/* Walks over logits and labels on the CPU in pieces of rows, for any of the layouts there. Compiled
 * once per instruction set. */
#pragma once
#include "kernels/common/logits.h"
#include "kernels/common/simd.h"

enum { LOGITS_ROOM = 288 };

/* Labels of some rows, in any order, with their logits: z[class * LOGITS_ROOM + voxel]. `count` is
 * a multiple of SIMD_WIDTH; what makes it one is labelled LOGITS_IGNORED. */
struct logits_piece {
  int n, classes, count;
  float *z;
  const unsigned char *labels;
  double *sums; /* forward: of the block that the piece is in */
};

/* What is done with a piece. Backward: z becomes the gradient, 0 at what is left out. */
typedef void logits_each(const struct logits_piece *piece, const void *context);

/* How many blocks a sample is cut into: by shapes alone. */
int SIMD_NAME(logits_blocks)(const struct logits *logits);

/* Calls `each` on all voxels with `count` sums per block, 0 at first; writes them to
 * partial [n][count][blocks]. */
void SIMD_NAME(logits_sums)(const struct node *node, const struct io *io, logits_each *each,
                            const void *context, double *partial, int count);

/* Calls `each` on all voxels and gives dx[0] what it makes of their logits. */
void SIMD_NAME(logits_gradient)(const struct node *node, const struct io *io, logits_each *each,
                                const void *context);
