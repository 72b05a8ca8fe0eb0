/* One checkpoint file ("NAME.medtrain"), all little-endian:
 *   64-byte header: "MEDTRAIN", u32 version, u32 0, u64 table bytes, u64 data offset, u64 file
 * bytes, 16 zero bytes, u32 CRC of the table, u32 CRC of the 60 bytes before table: JSON
 * {"metadata": {...}, "tensors": [{name, dtype, shape, offset, bytes, crc32c}]} data: each tensor
 * at its offset (from the start of the file, a multiple of 64), zeros between 16-byte trailer: u32
 * CRC of header and table, u32 0, "ENDTRAIN" The table holds every tensor's checksum, so that the
 * trailer's vouches for the whole file. */
#pragma once
#include <jansson.h>
#include <stddef.h>
#include "base/status.h"
#include "store/tensors.h"

#define CHECKPOINT_SUFFIX ".medtrain"

struct checkpoint {
  char *path;
  json_t *metadata; /* an object: what checkpoint_write was given */
  struct stored_tensor *tensors;
  int count;
  char *memory;  /* the file */
  json_t *table; /* owns metadata and names */
};

/* Writes the file so that a crash leaves what was at `path` before, or the new one. `metadata` is
 * any JSON object (step, epoch, seed, config text ...; borrowed). */
CHECKED enum status checkpoint_write(const char *path, const json_t *metadata,
                                     const struct stored_tensor *tensors, int count);

/* Reads the file and verifies every checksum; a damaged one is an error that names the file, the
 * part, and what was expected and found. Close with checkpoint_close. */
CHECKED enum status checkpoint_read(const char *path, struct checkpoint *checkpoint);

/* The tensor of that name, or NULL; valid until checkpoint_close. */
const struct stored_tensor *checkpoint_find(const struct checkpoint *checkpoint, const char *name);

/* Copies a tensor to `data` if it is there with this dtype and number of bytes; else an error. */
CHECKED enum status checkpoint_copy(const struct checkpoint *checkpoint, const char *name,
                                    const char *dtype, size_t bytes, void *data);

/* Accepts a zeroed checkpoint. */
void checkpoint_close(struct checkpoint *checkpoint);
