/* One stream of random numbers per (seed, epoch). */
#include "data/order.h"
#include "base/random.h"

void order_epoch(uint64_t seed, int64_t epoch, int count, int *order) {
  uint64_t number = (uint64_t)epoch;
  struct random stream =
      random_stream(seed, RANDOM_ORDER, (uint32_t)number, (uint32_t)(number >> 32));
  random_permutation(&stream, order, count);
}
