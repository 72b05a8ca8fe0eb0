/* Using an open data set: voxels, checksums, splits. */
#include "data/dataset.h"
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include "base/file.h"
#include "data/dataset_parts.h"

#if !defined MADV_POPULATE_READ && defined __linux__
#define MADV_POPULATE_READ 22 /* Linux 5.14; older ones refuse it */
#endif

enum { SMALL_BYTES = 256 << 20 };

size_t dataset_array_bytes(const struct dataset *dataset, enum shard_array array) {
  size_t voxels =
      (size_t)dataset->extent[0] * (size_t)dataset->extent[1] * (size_t)dataset->extent[2];
  if (array == SHARD_IMAGE) return voxels * sizeof(float) * (size_t)dataset->channels;
  if (array == SHARD_LABEL) return dataset->has_labels ? voxels : 0;
  if (array == SHARD_MASK) return voxels * (size_t)dataset->mask_planes;
  return sizeof(uint32_t) * (size_t)dataset->extent[0] * (size_t)dataset->counted;
}

const unsigned char *dataset_find_array(const struct dataset *dataset, int subject,
                                        enum shard_array array) {
  const struct dataset_subject *entry = &dataset->subjects[subject];
  const unsigned char *first = dataset->maps[entry->map].array[array];
  return first ? first + dataset_array_bytes(dataset, array) * (size_t)entry->row : NULL;
}

const float *dataset_image(const struct dataset *dataset, int subject) {
  return (const float *)(const void *)dataset_find_array(dataset, subject, SHARD_IMAGE);
}

const uint8_t *dataset_label(const struct dataset *dataset, int subject) {
  return dataset_find_array(dataset, subject, SHARD_LABEL);
}

const uint8_t *dataset_mask(const struct dataset *dataset, int subject) {
  return dataset_find_array(dataset, subject, SHARD_MASK);
}

const uint16_t *dataset_slice_structures(const struct dataset *dataset, int subject) {
  const struct dataset_subject *entry = &dataset->subjects[subject];
  const uint16_t *counts = dataset->maps[entry->map].slice_structures;
  return counts ? counts + (size_t)dataset->extent[0] * (size_t)entry->row : NULL;
}

const uint64_t *dataset_structure_voxels(const struct dataset *dataset, int subject) {
  const struct dataset_subject *entry = &dataset->subjects[subject];
  const uint64_t *counts = dataset->maps[entry->map].structure_voxels;
  return counts ? counts + (size_t)dataset->structure_count * (size_t)entry->row : NULL;
}

static uint32_t expected_checksum(const struct dataset_subject *entry, enum shard_array array) {
  switch (array) {
    case SHARD_IMAGE:
      return entry->checksum_image;
    case SHARD_LABEL:
      return entry->checksum_label;
    case SHARD_MASK:
      return entry->checksum_mask;
    default:
      return entry->checksum_voxels;
  }
}

static enum status verify_array(const struct dataset *dataset, int subject,
                                enum shard_array array) {
  const struct dataset_subject *entry = &dataset->subjects[subject];
  const unsigned char *values = dataset_find_array(dataset, subject, array);
  if (!values) return STATUS_OK;
  uint32_t expected = expected_checksum(entry, array);
  uint32_t found = file_checksum(0, values, dataset_array_bytes(dataset, array));
  REQUIRE(found == expected, STATUS_FAILED,
          "%s: subject %s: field %s: expected the checksum %08x, found %08x: the stored values are "
          "damaged; remove the file and run prepare again",
          dataset->maps[entry->map].path, entry->id, shard_array_name(array), (unsigned)expected,
          (unsigned)found);
  return STATUS_OK;
}

enum status dataset_verify(struct dataset *dataset, int subject) {
  if (atomic_load(&dataset->verified[subject])) return STATUS_OK;
  for (int array = 0; array < SHARD_MAPPED_COUNT; array++)
    TRY(verify_array(dataset, subject, (enum shard_array)array));
  atomic_store(&dataset->verified[subject], 1);
  return STATUS_OK;
}

enum status dataset_verify_slice(struct dataset *dataset, int subject, int slice) {
  const struct dataset_subject *entry = &dataset->subjects[subject];
  size_t slices = (size_t)dataset->extent[0], number = (size_t)slice;
  _Atomic unsigned char *verified = &dataset->verified_slices[(size_t)subject * slices + number];
  if (atomic_load(&dataset->verified[subject]) || atomic_load(verified)) return STATUS_OK;
  const struct dataset_map *map = &dataset->maps[entry->map];
  size_t channels = (size_t)dataset->channels;
  size_t piece = dataset_array_bytes(dataset, SHARD_IMAGE) / slices / channels;
  size_t mask = dataset_array_bytes(dataset, SHARD_MASK) / slices;
  const unsigned char *image = dataset_find_array(dataset, subject, SHARD_IMAGE) + number * piece;
  uint32_t expected = map->slice_checksum[(size_t)entry->row * slices + number], found = 0;
  for (size_t c = 0; c < channels; c++)
    found = file_checksum(found, image + c * slices * piece, piece);
  found =
      file_checksum(found, dataset_find_array(dataset, subject, SHARD_MASK) + number * mask, mask);
  REQUIRE(found == expected, STATUS_FAILED,
          "%s: subject %s: slice %d: expected the checksum %08x, found %08x: the stored values are "
          "damaged; remove the file and run prepare again",
          map->path, entry->id, slice, (unsigned)expected, (unsigned)found);
  atomic_store(verified, 1);
  return STATUS_OK;
}

int dataset_select(const struct dataset *dataset, enum split split, int *subjects) {
  int count = 0;
  for (int i = 0; i < dataset->subject_count; i++) {
    if (dataset->subjects[i].split != split) continue;
    if (subjects) subjects[count] = i;
    count++;
  }
  return count;
}

int dataset_find(const struct dataset *dataset, const char *id) {
  int low = 0, high = dataset->subject_count - 1;
  while (low <= high) {
    int middle = low + (high - low) / 2, order = strcmp(dataset->subjects[middle].id, id);
    if (order == 0) return middle;
    if (order < 0)
      low = middle + 1;
    else
      high = middle - 1;
  }
  return -1;
}

uint64_t dataset_manifest(const struct dataset *dataset) {
  return dataset->manifest;
}

static size_t page_bytes(void) {
  return (size_t)sysconf(_SC_PAGESIZE);
}

void dataset_map_pages(const void *values, size_t bytes) {
#ifdef MADV_POPULATE_READ
  size_t inside = (uintptr_t)values % page_bytes();
  madvise((unsigned char *)(uintptr_t)values - inside, bytes + inside, MADV_POPULATE_READ);
#else
  (void)values;
  (void)bytes;
#endif
}

/* What may stay mapped for good. */
static bool is_small(const struct dataset *dataset) {
  size_t bytes = 0;
  for (int i = 0; i < dataset->map_count; i++) bytes += dataset->maps[i].bytes;
  return bytes <= SMALL_BYTES;
}

/* Pages at the ends may hold a neighbour's voxels too: those are read again when touched. */
static void release(const struct dataset_map *map, const void *data, size_t bytes) {
  size_t page = page_bytes();
  size_t first = (size_t)((const unsigned char *)data - map->memory) / page * page;
  size_t next = (size_t)((const unsigned char *)data - map->memory) + bytes;
  madvise(map->memory + first, next - first, MADV_DONTNEED);
}

void dataset_release_pages(const struct dataset *dataset, int subject) {
  const struct dataset_map *map = &dataset->maps[dataset->subjects[subject].map];
  if (is_small(dataset)) return;
  for (int i = 0; i < SHARD_MAPPED_COUNT; i++) {
    enum shard_array array = (enum shard_array)i;
    const void *values = dataset_find_array(dataset, subject, array);
    if (values) release(map, values, dataset_array_bytes(dataset, array));
  }
}

void dataset_close(struct dataset *dataset) {
  for (int i = 0; i < dataset->map_count; i++) {
    if (dataset->maps[i].memory) munmap(dataset->maps[i].memory, dataset->maps[i].bytes);
    free(dataset->maps[i].path);
    free(dataset->maps[i].slice_structures);
    free(dataset->maps[i].slice_checksum);
    free(dataset->maps[i].structure_voxels);
  }
  for (int i = 0; i < dataset->subject_count; i++) {
    free(dataset->subjects[i].id);
    free(dataset->subjects[i].source);
    free(dataset->subjects[i].label_source);
  }
  free(dataset->maps);
  free(dataset->subjects);
  free(dataset->label_values);
  for (int i = 0; dataset->structures && i < dataset->structure_count; i++)
    free(dataset->structures[i]);
  free(dataset->structures);
  for (int i = 0; dataset->label_names && i < dataset->label_name_count; i++)
    free(dataset->label_names[i]);
  free(dataset->label_names);
  free(dataset->verified);
  free(dataset->verified_slices);
  *dataset = (struct dataset){0};
}
