/* Walks over logits and labels on the CPU in pieces of rows, for any of the layouts there. Compiled
 * once per instruction set. */
#pragma once
#include "kernels/common/logits.h"
#include "kernels/common/simd.h"

/* The logits of a row of labels, or what becomes of them: low_weight * low + high_weight * high. */
struct logits_row {
  const float *low, *high;
  float low_weight, high_weight;
};

/* Rows of labels of a slice, in each row `step` in any order: label v of row r is
 * labels[r * step + v], and of class k place k * step + v of the row's logits, of its gradient z[r
 * * step * classes] on. `step` is a multiple of SIMD_WIDTH; what makes it one is labelled
 * LOGITS_IGNORED. */
struct logits_piece {
  int n, classes, count, step;
  const struct logits_row *rows;
  float *z;
  const unsigned char *labels;
  double *sums; /* forward: of the block that the piece is in */
};

/* For statements about `v`, the first of `many` vectors of labels of row r. */
#define LOGITS_EACH_VECTORS(piece, r, v, many) \
  for (int r = 0; r < (piece)->count; r++)     \
    for (int v = 0, step_ = (piece)->step; v < step_; v += (many)*SIMD_WIDTH)

static inline float *logits_gradient_at(const struct logits_piece *piece, int classes, int r,
                                        int v) {
  return piece->z + r * classes * piece->step + v;
}

/* What is done with a piece. Backward: sets the gradient, 0 at what is left out. */
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
