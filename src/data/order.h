/* The order of samples in an epoch. */
#pragma once
#include <stdint.h>

/* order[0..count): a permutation of 0..count-1, a function of (seed, epoch) only. */
void order_epoch(uint64_t seed, int64_t epoch, int count, int *order);
