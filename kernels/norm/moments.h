/* The moments of a set of numbers, and of two sets together. */
#pragma once
#include "kernels/common/shared.h"

struct moments {
  double count, mean, squares; /* squares: the sum of squared distances from the mean */
};

/* Chan, Golub, LeVeque 1983. */
HOST_DEVICE static inline struct moments moments_join(struct moments a, struct moments b) {
  struct moments both = a;
  if (a.count == 0) return b;
  if (b.count == 0) return a;
  both.count += b.count;
  double apart = b.mean - a.mean, share = b.count / both.count;
  both.mean += apart * share;
  both.squares += b.squares + apart * apart * a.count * share;
  return both;
}

HOST_DEVICE static inline struct moments moments_make(double count, double mean, double squares) {
  struct moments moments;
  moments.count = count;
  moments.mean = mean;
  moments.squares = squares;
  return moments;
}
