/* The identity of the data: FNV-1a, 64 bits, over what training could notice. */
#include <string.h>
#include "data/shard.h"

static uint64_t feed(uint64_t hash, const void *data, size_t bytes) {
  const unsigned char *at = data;
  for (size_t i = 0; i < bytes; i++) hash = (hash ^ at[i]) * 0x100000001b3u;
  return hash;
}

static uint64_t feed_number(uint64_t hash, uint64_t number) {
  unsigned char bytes[8];
  for (int i = 0; i < 8; i++) bytes[i] = (unsigned char)(number >> 8 * i);
  return feed(hash, bytes, sizeof bytes);
}

/* A box that is everything adds nothing: such data is what it was before there were boxes. */
static uint64_t feed_box(uint64_t hash, const struct shard_subject *subject, const int extent[3]) {
  bool whole = true;
  for (int i = 0; i < 3; i++) whole = whole && subject->box_count[i] == extent[i];
  for (int i = 0; i < 3 && !whole; i++) {
    hash = feed_number(hash, (uint64_t)subject->box_first[i]);
    hash = feed_number(hash, (uint64_t)subject->box_count[i]);
  }
  return hash;
}

/* As with boxes: subjects without one are what they were before there were categories. */
static uint64_t feed_category(uint64_t hash, const struct shard_subject *subject) {
  return subject->category < 0 ? hash : feed_number(hash, (uint64_t)subject->category + 1);
}

static uint64_t feed_subject(uint64_t hash, const struct shard_subject *subject,
                             const int extent[3]) {
  hash = feed(hash, subject->id, strlen(subject->id) + 1);
  hash = feed_number(hash, subject->split);
  hash = feed(hash, subject->affine, sizeof subject->affine);
  hash = feed(hash, subject->spacing, sizeof subject->spacing);
  hash = feed_box(hash, subject, extent);
  hash = feed_category(hash, subject);
  hash = feed_number(hash, subject->checksum_image);
  return feed_number(hash, subject->checksum_label);
}

int shard_classes(const struct shard *shards, int count) {
  int classes = 1;
  for (int i = 0; i < count; i++) {
    if (shards[i].classes > classes) classes = shards[i].classes;
    for (int row = 0; row < shards[i].subject_count; row++)
      if (shards[i].subjects[row].largest_label >= classes)
        classes = shards[i].subjects[row].largest_label + 1;
  }
  return classes;
}

/* Counts have no checksum of their own. */
static uint64_t feed_mask(uint64_t hash, const struct shard *shard, int row) {
  const struct {
    enum shard_array array;
    const void *values;
  } known[] = {{SHARD_SLICE_STRUCTURES, shard->slice_structures},
               {SHARD_SLICE_CHECKSUM, shard->slice_checksum},
               {SHARD_STRUCTURE_VOXELS, shard->structure_voxels}};
  hash = feed_number(hash, shard->subjects[row].checksum_mask);
  hash = feed_number(hash, shard->subjects[row].overlap_voxels);
  for (int i = 0; i < 3; i++) {
    size_t bytes = shard_array_bytes(shard, known[i].array);
    hash = feed(hash, (const unsigned char *)known[i].values + (size_t)row * bytes, bytes);
  }
  return hash;
}

/* Data without masks is what it was before there were any. */
static uint64_t feed_masks(uint64_t hash, const struct shard *shards, int count) {
  const struct shard *first = &shards[0];
  for (int i = 0; i < first->structure_count; i++)
    hash = feed(hash, first->structures[i], strlen(first->structures[i]) + 1);
  for (int i = 0; i < count && first->structure_count; i++)
    for (int row = 0; row < shards[i].subject_count; row++) hash = feed_mask(hash, &shards[i], row);
  return hash;
}

uint64_t shard_manifest(const struct shard *shards, int count) {
  uint64_t hash = 0xcbf29ce484222325u;
  for (int i = 0; i < 3; i++) hash = feed_number(hash, (uint64_t)shards[0].extent[i]);
  hash = feed_number(hash, (uint64_t)shard_classes(shards, count));
  hash = feed_number(hash, shards[0].has_labels);
  if (shards[0].channels > 1) hash = feed_number(hash, (uint64_t)shards[0].channels);
  for (int i = 0; i < count; i++)
    for (int row = 0; row < shards[i].subject_count; row++)
      hash = feed_subject(hash, &shards[i].subjects[row], shards[i].extent);
  hash = feed_masks(hash, shards, count);
  return hash ? hash : 1;
}
