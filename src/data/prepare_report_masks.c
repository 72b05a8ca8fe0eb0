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

enum status prepare_write_label_map(const struct preparation *preparation) {
  const struct structure_list *structures = &preparation->structures;
  if (!structures->count) return STATUS_OK;
  char *path = prepare_beside(preparation, "label_map.json");
  json_t *root = json_object();
  for (int i = 0; root && i < structures->count; i++)
    json_object_set_new(root, structures->names[i], json_integer(i));
  char *text = root ? json_dumps(root, JSON_INDENT(2) | JSON_PRESERVE_ORDER) : NULL;
  enum status status =
      path && text ? file_replace(path, text, strlen(text))
                   : status_fail(STATUS_FAILED, __FILE__, __LINE__,
                                 "%s: out of memory for label_map.json", preparation->master);
  json_decref(root);
  free(text);
  free(path);
  return status;
}
