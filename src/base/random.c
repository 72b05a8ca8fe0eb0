/* Philox4x32-10 and the few distributions the program needs. */
#include "base/random.h"
#include <math.h>
#include "base/philox.h"

void random_philox(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4]) {
  philox_block(counter, key, out);
}

struct random random_stream(uint64_t seed, enum random_purpose purpose, uint32_t a, uint32_t b) {
  uint32_t mixed = (uint32_t)(seed >> 32) ^ ((uint32_t)purpose * 0x85EBCA6Bu);
  return (struct random){.key = {(uint32_t)seed, mixed}, .subject = {a, b}};
}

uint32_t random_bits(struct random *stream) {
  uint64_t block = stream->index / 4;
  if (stream->filled != block + 1) {
    const uint32_t counter[4] = {(uint32_t)block, (uint32_t)(block >> 32), stream->subject[0],
                                 stream->subject[1]};
    random_philox(counter, stream->key, stream->block);
    stream->filled = block + 1;
  }
  return stream->block[stream->index++ % 4];
}

double random_uniform(struct random *stream) {
  uint64_t high = random_bits(stream) >> 5;
  uint64_t low = random_bits(stream) >> 6;
  return (double)(high * 67108864u + low) / 9007199254740992.0;
}

double random_range(struct random *stream, double low, double high) {
  return low + (high - low) * random_uniform(stream);
}

double random_normal(struct random *stream) {
  double radius = sqrt(-2.0 * log(1.0 - random_uniform(stream)));
  return radius * cos(6.283185307179586 * random_uniform(stream));
}

uint32_t random_below(struct random *stream, uint32_t bound) {
  uint32_t limit = UINT32_MAX - UINT32_MAX % bound;
  uint32_t bits = random_bits(stream);
  while (bits >= limit) bits = random_bits(stream);
  return bits % bound;
}

void random_permutation(struct random *stream, int *order, int count) {
  for (int i = 0; i < count; i++) order[i] = i;
  for (int i = count - 1; i > 0; i--) {
    int j = (int)random_below(stream, (uint32_t)i + 1);
    int swap = order[i];
    order[i] = order[j];
    order[j] = swap;
  }
}
