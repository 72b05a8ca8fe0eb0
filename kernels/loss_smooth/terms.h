/* What a smoothness penalty is made of: terms, each the sum of the squares (or absolute values) of
 * one finite difference, which is a few weighted neighbours. */
#pragma once
#include "kernels/loss_smooth/loss_smooth.h"

enum { SMOOTH_MOST_TERMS = 6, SMOOTH_MOST_TAPS = 4 };

struct smooth_tap {
  int offset[3]; /* d h w */
  double coefficient;
};

struct smooth_term {
  double scale; /* of the sum in the loss: weight, multiply and one over the number of places */
  int taps;
  struct smooth_tap tap[SMOOTH_MOST_TAPS];
  int first[3], end[3]; /* where the difference is taken */
};

struct smooth_penalty {
  bool absolute; /* |difference| in place of its square */
  int terms;
  struct smooth_term term[SMOOTH_MOST_TERMS];
};

/* The penalty of a node's arguments and extents. */
struct smooth_penalty smooth_penalty_make(const struct node *node);

/* The least extent of an axis for which a kind is defined, and a kind's name. */
int smooth_least_extent(enum loss_smooth_kind kind);
const char *smooth_kind_name(enum loss_smooth_kind kind);
