/* Writing shards and their master under temporary names (PATH.part), renamed when all is on disk.
 */
#pragma once
#include "data/h5.h"
#include "data/shard.h"

struct shard_writer {
  struct h5_file file;
  char *temporary;
  const struct shard *shard;      /* what is written; borrowed */
  hid_t array[SHARD_ARRAY_COUNT]; /* open data sets, or < 0 */
  hid_t transfer;
  const MPI_Comm *communicator; /* NULL: this process alone */
};

/* shard: path, index, count, subject_count, channels, extent, classes, has_labels, label values,
 * names, structures, recipe, config; the subjects may follow until shard_writer_finish.
 * compression: gzip level, 0 for contiguous. communicator NULL: this process alone; else
 * Collective, and so is all that follows.
 */
CHECKED enum status shard_writer_open(struct shard_writer *writer, const struct shard *shard,
                                      int compression, const MPI_Comm *communicator);

/* Writes one subject's values, shard_array_bytes of each array that the shard has; row -1: takes
 * part without any. */
CHECKED enum status shard_writer_put(struct shard_writer *writer, int row,
                                     const void *const values[SHARD_ARRAY_COUNT]);

/* Writes the small fields from shard->subjects (the same on all ranks), closes, syncs and renames.
 * The writer is closed afterwards, whatever came of it. */
CHECKED enum status shard_writer_finish(struct shard_writer *writer);

/* Closes and removes the temporary file. Accepts a closed or zeroed one. */
void shard_writer_abandon(struct shard_writer *writer);

/* How many channels, and which classes and structures there are, in a shard or its master. */
CHECKED enum status shard_write_contents(struct h5_file *file, const struct shard *shard);

/* Writes the master over all shards (in order, with their subjects filled in). */
CHECKED enum status master_write(const char *master_path, const struct shard *shards, int count);

/* Syncs a closed file and renames it: after that it is there, or the old one still is. */
CHECKED enum status shard_publish(const char *temporary, const char *path);
