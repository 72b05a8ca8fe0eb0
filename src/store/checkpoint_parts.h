/* The fixed parts of a checkpoint file. */
#pragma once
#include <stddef.h>
#include <stdint.h>
#include "store/bytes.h"

enum {
  CHECKPOINT_HEADER = 64,
  CHECKPOINT_TRAILER = 16,
  CHECKPOINT_ALIGNMENT = 64,
  CHECKPOINT_VERSION = 1,
};
#define CHECKPOINT_MAGIC "MEDTRAIN"
#define CHECKPOINT_END "ENDTRAIN"

/* Where the fields stand in the header. */
enum {
  AT_VERSION = 8,
  AT_TABLE_BYTES = 16,
  AT_DATA_OFFSET = 24,
  AT_FILE_BYTES = 32,
  AT_TABLE_CRC = 56,
  AT_HEADER_CRC = 60,
};

static inline uint64_t checkpoint_align(uint64_t offset) {
  return (offset + CHECKPOINT_ALIGNMENT - 1) / CHECKPOINT_ALIGNMENT * CHECKPOINT_ALIGNMENT;
}
