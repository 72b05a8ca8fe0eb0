/* Compressed shards, unpacked once per node into a plain file that all ranks map. */
#pragma once
#include "data/shard.h"

/* Bytes before the first image in a cache file; the other mapped arrays follow, whole after whole.
 */
enum { CACHE_HEADER_BYTES = 4096 };

/* Finds or makes the cache file of a compressed shard in `folder` (NULL or "": beside the shard).
 * The first process to come unpacks while the others wait; the file appears under its name when it
 * is whole. *path: its path (caller frees). */
CHECKED enum status cache_open(const struct shard *shard, const char *folder, char **path);

/* Bytes of the whole file. */
uint64_t cache_bytes(const struct shard *shard);

/* Where an array begins in it. */
uint64_t cache_offset(const struct shard *shard, enum shard_array array);
