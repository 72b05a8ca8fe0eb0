/* The squared Euclidean norm of a flat block of gradients. Squares are exact in float64; blocks of
 * GRAD_NORM_BLOCK elements are added in 16 lanes, the blocks by one binary tree, so that the bits
 * depend neither on the number of threads nor on the instruction set. NaN and infinity come out as
 * NaN or infinity. */
#pragma once
#include <stdint.h>

enum { GRAD_NORM_BLOCK = 4096 };

/* g: `count` floats in the CPU's memory. 0 for an empty block. */
double grad_norm_squared(const float *g, int64_t count);
