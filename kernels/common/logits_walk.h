/* Walks over logits and labels on the CPU in pieces of rows, for any of the layouts there. Compiled
 * once per instruction set. */
#pragma once
#include "kernels/common/logits.h"
#include "kernels/common/simd.h"

/* What logits are multiplied with: 1 / log(2), so that they are powers of 2, and what the three
 * axes make larger. */
#define LOGITS_UNIT (1.44269504F / 64)

/* The logits of a row of labels, in this unit: 3 * near + far. */
struct logits_row {
  const float *near, *far;
};

/* Rows of labels of a slice, in each row `step` in any order: label v of row r is
 * labels[r * step + v], and of class k place k * step + v of the row's logits, of its gradient z[r
 * * step * classes] on. `step` is a multiple of SIMD_WIDTH; what makes it one is labelled
 * LOGITS_IGNORED. */
struct logits_piece {
  int n, classes, count, step; /* count: of rows; there is one more, which may be read */
  const struct logits_row *rows;
  float *z;
  const unsigned char *labels;
  double *sums; /* forward: of the block that the piece is in */
};

/* A vector of a piece: that from label v of a row on. */
struct logits_place {
  int row, v;
};
static inline struct logits_place logits_after(const struct logits_piece *piece,
                                               struct logits_place at) {
  at.v += SIMD_WIDTH;
  if (at.v < piece->step) return at;
  return (struct logits_place){at.row + 1, 0};
}

/* For statements about the vector `at` and the next one. */
#define LOGITS_EACH_VECTOR(piece, at, next)                                                      \
  for (struct logits_place at = {0, 0}, next = logits_after(piece, at); at.row < (piece)->count; \
       at = next, next = logits_after(piece, at))

static inline const unsigned char *logits_labels_at(const struct logits_piece *piece,
                                                    struct logits_place at) {
  return piece->labels + at.row * piece->step + at.v;
}

static inline float *logits_gradient_at(const struct logits_piece *piece, int classes,
                                        struct logits_place at) {
  return piece->z + at.row * classes * piece->step + at.v;
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
