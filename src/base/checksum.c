/* CRC-32C, eight bytes at a time (slicing by eight: Kounavis and Berry, 2005). */
#include "base/file.h"
#include <pthread.h>
#include <string.h>

static uint32_t table[8][256];
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void fill_table(void) {
  for (uint32_t i = 0; i < 256; i++) {
    uint32_t crc = i;
    for (int bit = 0; bit < 8; bit++) crc = (crc >> 1) ^ (crc & 1 ? 0x82F63B78u : 0);
    table[0][i] = crc;
  }
  for (uint32_t i = 0; i < 256; i++)
    for (int slice = 1; slice < 8; slice++)
      table[slice][i] = (table[slice - 1][i] >> 8) ^ table[0][table[slice - 1][i] & 0xff];
}

static uint32_t take_eight(uint32_t crc, const unsigned char *at) {
  uint32_t low = crc ^ ((uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 |
                        (uint32_t)at[3] << 24);
  return table[7][low & 0xff] ^ table[6][low >> 8 & 0xff] ^ table[5][low >> 16 & 0xff] ^
         table[4][low >> 24] ^ table[3][at[4]] ^ table[2][at[5]] ^ table[1][at[6]] ^
         table[0][at[7]];
}

uint32_t file_checksum(uint32_t crc, const void *data, size_t bytes) {
  pthread_once(&once, fill_table);
  const unsigned char *at = data;
  crc = ~crc;
  for (; bytes >= 8; bytes -= 8, at += 8) crc = take_eight(crc, at);
  for (; bytes > 0; bytes--, at++) crc = (crc >> 8) ^ table[0][(crc ^ *at) & 0xff];
  return ~crc;
}
