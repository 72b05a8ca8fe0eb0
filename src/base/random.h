/* Counter-based random numbers (Philox4x32-10: Salmon et al., "Parallel random numbers: as easy as
 * 1, 2, 3", SC 2011). A draw is a function of its key and its counter only: nothing depends on
 * rank, thread or order. */
#pragma once
#include <stdint.h>

/* What a stream of numbers is for; part of the key, so that no two uses share numbers. */
enum random_purpose {
  RANDOM_WEIGHTS = 1,
  RANDOM_ORDER = 2,
  RANDOM_PAIRS = 3,
  RANDOM_PHANTOM = 4,
  RANDOM_SPLIT = 5,
  RANDOM_TEST = 6,
  RANDOM_AUGMENT = 7,
  RANDOM_POSES = 8,
  RANDOM_POSE_NOISE = 9,
  RANDOM_PATCHES = 10,
  RANDOM_PASSES = 11,
  RANDOM_DEFORMATIONS = 12,
  RANDOM_DROPOUT = 13,
};

/* A stream: numbers are read one after another from `index` on. Copy it to replay it. */
struct random {
  uint32_t key[2];     /* seed and purpose */
  uint32_t subject[2]; /* (epoch, sample), (step, slot), ... as the use defines */
  uint64_t index;      /* next 32-bit number of the stream */
  uint32_t block[4];   /* the block that holds number `index` when `filled` is its number + 1 */
  uint64_t filled;
};

/* A stream keyed by (seed, purpose, a, b), at its beginning. */
struct random random_stream(uint64_t seed, enum random_purpose purpose, uint32_t a, uint32_t b);

/* One block of Philox4x32-10: out = philox(counter, key). */
void random_philox(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4]);

uint32_t random_bits(struct random *stream);
double random_uniform(struct random *stream);                        /* in [0, 1), 53 bits */
double random_range(struct random *stream, double low, double high); /* in [low, high) */
double random_normal(struct random *stream); /* mean 0, deviation 1 (Box-Muller) */
uint32_t random_below(struct random *stream,
                      uint32_t bound); /* in [0, bound), unbiased; bound >= 1 */

/* Fills order[0..count) with a random permutation of 0..count-1 (Fisher-Yates). */
void random_permutation(struct random *stream, int *order, int count);
