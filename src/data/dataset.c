/* Using an open data set: voxels, checksums, splits. */
#include "data/dataset.h"
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include "base/file.h"
#include "data/dataset_parts.h"

size_t dataset_count_voxels(const struct dataset *dataset) {
  return (size_t)dataset->extent[0] * (size_t)dataset->extent[1] * (size_t)dataset->extent[2];
}

const float *dataset_image(const struct dataset *dataset, int subject) {
  const struct dataset_subject *entry = &dataset->subjects[subject];
  return dataset->maps[entry->map].images + dataset_count_voxels(dataset) * (size_t)entry->row;
}

const uint8_t *dataset_label(const struct dataset *dataset, int subject) {
  const struct dataset_subject *entry = &dataset->subjects[subject];
  const uint8_t *labels = dataset->maps[entry->map].labels;
  return labels ? labels + dataset_count_voxels(dataset) * (size_t)entry->row : NULL;
}

static enum status check_bytes(const struct dataset *dataset, int subject, const char *field,
                               const void *data, size_t bytes, uint32_t expected) {
  const struct dataset_subject *entry = &dataset->subjects[subject];
  uint32_t found = file_checksum(0, data, bytes);
  REQUIRE(found == expected, STATUS_FAILED,
          "%s: subject %s: field %s: expected the checksum %08x, found %08x: the stored values are "
          "damaged; remove the file and run prepare again",
          dataset->maps[entry->map].path, entry->id, field, (unsigned)expected, (unsigned)found);
  return STATUS_OK;
}

enum status dataset_verify(struct dataset *dataset, int subject) {
  if (atomic_load(&dataset->verified[subject])) return STATUS_OK;
  const struct dataset_subject *entry = &dataset->subjects[subject];
  size_t voxels = dataset_count_voxels(dataset);
  TRY(check_bytes(dataset, subject, "image", dataset_image(dataset, subject),
                  voxels * sizeof(float), entry->checksum_image));
  if (dataset->has_labels)
    TRY(check_bytes(dataset, subject, "label", dataset_label(dataset, subject), voxels,
                    entry->checksum_label));
  atomic_store(&dataset->verified[subject], 1);
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

/* Pages at the ends may hold a neighbour's voxels too: those are read again when touched. */
static void release(const struct dataset_map *map, const void *data, size_t bytes) {
  size_t page = (size_t)sysconf(_SC_PAGESIZE);
  size_t first = (size_t)((const unsigned char *)data - map->memory) / page * page;
  size_t next = (size_t)((const unsigned char *)data - map->memory) + bytes;
  madvise(map->memory + first, next - first, MADV_DONTNEED);
}

void dataset_release_pages(const struct dataset *dataset, int subject) {
  const struct dataset_map *map = &dataset->maps[dataset->subjects[subject].map];
  size_t voxels = dataset_count_voxels(dataset);
  release(map, dataset_image(dataset, subject), voxels * sizeof(float));
  if (dataset->has_labels) release(map, dataset_label(dataset, subject), voxels);
}

void dataset_close(struct dataset *dataset) {
  for (int i = 0; i < dataset->map_count; i++) {
    if (dataset->maps[i].memory) munmap(dataset->maps[i].memory, dataset->maps[i].bytes);
    free(dataset->maps[i].path);
  }
  for (int i = 0; i < dataset->subject_count; i++) {
    free(dataset->subjects[i].id);
    free(dataset->subjects[i].source);
  }
  free(dataset->maps);
  free(dataset->subjects);
  free(dataset->label_values);
  free(dataset->verified);
  *dataset = (struct dataset){0};
}
