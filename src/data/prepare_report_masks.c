/* What is said about masks beside the shards: in prepare.json and in label_map.json. */
#include <stdlib.h>
#include <string.h>
#include "base/file.h"
#include "data/json_text.h"
#include "data/prepare_parts.h"

static json_t *voxels_of(const struct shard *shard, int row, int *empty) {
  const uint64_t *voxels = shard->structure_voxels + (size_t)row * (size_t)shard->structure_count;
  json_t *object = json_object();
  *empty = 0;
  for (int i = 0; i < shard->structure_count; i++) {
    *empty += voxels[i] == 0;
    if (voxels[i])
      json_object_set_new(object, shard->structures[i], json_integer((json_int_t)voxels[i]));
  }
  return object;
}

void prepare_report_masks(json_t *entry, const struct shard *shard, int row) {
  if (!shard->structure_count) return;
  const struct shard_subject *subject = &shard->subjects[row];
  const uint16_t *slices = shard->slice_structures + (size_t)row * (size_t)shard->extent[0];
  int empty, labelled = 0;
  for (int d = 0; d < shard->extent[0]; d++) labelled += slices[d] > 0;
  char checksum[16];
  snprintf(checksum, sizeof checksum, "%08x", (unsigned)subject->checksum_mask);
  json_object_set_new(entry, "checksum_mask", json_string(checksum));
  json_object_set_new(entry, "structure_voxels", voxels_of(shard, row, &empty));
  json_object_set_new(entry, "empty_structures", json_integer(empty));
  json_object_set_new(entry, "overlap_voxels", json_integer((json_int_t)subject->overlap_voxels));
  json_object_set_new(entry, "labelled_slices", json_integer(labelled));
}

json_t *prepare_report_classes(const struct shard *shard, int row) {
  uint32_t *counts = malloc(shard_array_bytes(shard, SHARD_SLICE_VOXELS));
  if (!counts || shard_read_subject(shard, row, SHARD_SLICE_VOXELS, counts) != STATUS_OK) {
    status_clear();
    free(counts);
    return NULL;
  }
  json_t *object = json_object();
  for (int class = 0; class < shard->counted; class ++) {
    json_int_t voxels = 0;
    for (int d = 0; d < shard->extent[0]; d++) voxels += counts[d * shard->counted + class];
    char name[16];
    snprintf(name, sizeof name, "%d", class);
    if (voxels) json_object_set_new(object, name, json_integer(voxels));
  }
  free(counts);
  return object;
}

enum status prepare_write_label_map(const struct preparation *preparation) {
  const struct structure_list *structures = &preparation->structures;
  if (!structures->count && !preparation->label_name_count) return STATUS_OK;
  json_t *root = json_object();
  for (int i = 0; root && i < structures->count; i++)
    json_object_set_new(root, structures->names[i], json_integer(i));
  for (int i = 0; root && i < preparation->label_name_count; i++)
    json_object_set_new(root, preparation->label_names[i], json_integer(i + 1));
  return prepare_write_json(preparation, "label_map.json", root);
}
