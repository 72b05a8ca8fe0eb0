/* CRC-32C. Where the processor has an instruction for it (SSE 4.2), three stripes at a time, since
 * one instruction waits three cycles for the one before: the stripes are joined by what a stripe of
 * zeros does to a checksum, which is linear and kept as a table. Elsewhere eight bytes at a time
 * (slicing by eight: Kounavis and Berry, 2005). */
#include "base/file.h"
#include <pthread.h>
#include <stdbool.h>
#include <string.h>
#if defined __x86_64__
#include <nmmintrin.h>
#endif

enum { STRIPE_BYTES = 1024 };

static uint32_t table[8][256];
static uint32_t skip[4][256]; /* a checksum's bytes -> the checksum behind a stripe of zeros */
static bool has_instruction;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void fill_skip(void) {
  for (int bit = 0; bit < 32; bit++) {
    uint32_t crc = 1u << bit;
    for (int i = 0; i < STRIPE_BYTES; i++) crc = (crc >> 8) ^ table[0][crc & 0xff];
    for (int value = 0; value < 256; value++)
      if (value >> bit % 8 & 1) skip[bit / 8][value] ^= crc;
  }
}

static void fill_tables(void) {
  for (uint32_t i = 0; i < 256; i++) {
    uint32_t crc = i;
    for (int bit = 0; bit < 8; bit++) crc = (crc >> 1) ^ (crc & 1 ? 0x82F63B78u : 0);
    table[0][i] = crc;
  }
  for (uint32_t i = 0; i < 256; i++)
    for (int slice = 1; slice < 8; slice++)
      table[slice][i] = (table[slice - 1][i] >> 8) ^ table[0][table[slice - 1][i] & 0xff];
  fill_skip();
#if defined __x86_64__
  has_instruction = __builtin_cpu_supports("sse4.2");
#endif
}

#if defined __x86_64__
static uint64_t load_eight(const unsigned char *at) {
  uint64_t word;
  memcpy(&word, at, sizeof word);
  return word;
}

static uint32_t skip_stripe(uint64_t crc) {
  return skip[0][crc & 0xff] ^ skip[1][crc >> 8 & 0xff] ^ skip[2][crc >> 16 & 0xff] ^
         skip[3][crc >> 24 & 0xff];
}

/* Three stripes. */
__attribute__((target("sse4.2"))) static uint32_t take_stripes(uint32_t crc,
                                                               const unsigned char *at) {
  uint64_t first = crc, second = 0, third = 0;
  for (int i = 0; i < STRIPE_BYTES; i += 8) {
    first = _mm_crc32_u64(first, load_eight(at + i));
    second = _mm_crc32_u64(second, load_eight(at + STRIPE_BYTES + i));
    third = _mm_crc32_u64(third, load_eight(at + 2 * STRIPE_BYTES + i));
  }
  return skip_stripe(skip_stripe(first) ^ second) ^ (uint32_t)third;
}
#else
static uint32_t take_stripes(uint32_t crc, const unsigned char *at) {
  (void)at;
  return crc;
}
#endif

static uint32_t take_eight(uint32_t crc, const unsigned char *at) {
  uint32_t low = crc ^ ((uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 |
                        (uint32_t)at[3] << 24);
  return table[7][low & 0xff] ^ table[6][low >> 8 & 0xff] ^ table[5][low >> 16 & 0xff] ^
         table[4][low >> 24] ^ table[3][at[4]] ^ table[2][at[5]] ^ table[1][at[6]] ^
         table[0][at[7]];
}

uint32_t file_checksum(uint32_t crc, const void *data, size_t bytes) {
  pthread_once(&once, fill_tables);
  const unsigned char *at = data;
  enum { STRIPES_BYTES = 3 * STRIPE_BYTES };
  crc = ~crc;
  for (; has_instruction && bytes >= STRIPES_BYTES; bytes -= STRIPES_BYTES, at += STRIPES_BYTES)
    crc = take_stripes(crc, at);
  for (; bytes >= 8; bytes -= 8, at += 8) crc = take_eight(crc, at);
  for (; bytes > 0; bytes--, at++) crc = (crc >> 8) ^ table[0][(crc ^ *at) & 0xff];
  return ~crc;
}
