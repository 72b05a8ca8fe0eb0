/* prepare.json: what became of every subject, from what the shards say and what the survey refused.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "base/file.h"
#include "data/json_text.h"
#include "data/prepare_parts.h"
#include "data/split.h"

static json_t *checksum_of(uint32_t checksum) {
  char text[16];
  snprintf(text, sizeof text, "%08x", (unsigned)checksum);
  return json_string(text);
}

static void add_bad(json_t *entry, const struct preparation *preparation, int index) {
  const char *policy = preparation->config->data.bad_volume;
  json_object_set_new(entry, "status",
                      json_string(strcmp(policy, "skip") == 0 ? "skipped" : "failed"));
  json_object_set_new(entry, "reason", json_text(preparation->records[index].reason));
}

/* JSON has no NaN: a subject without labelled voxels has no centroid. */
static void add_place(json_t *entry, const struct shard_subject *subject) {
  const int32_t *first = subject->box_first, *count = subject->box_count;
  const double *centroid = subject->centroid;
  json_object_set_new(entry, "box_first", json_pack("[i,i,i]", first[0], first[1], first[2]));
  json_object_set_new(entry, "box_count", json_pack("[i,i,i]", count[0], count[1], count[2]));
  json_object_set_new(entry, "centroid",
                      isnan(centroid[0])
                          ? json_null()
                          : json_pack("[f,f,f]", centroid[0], centroid[1], centroid[2]));
}

static void add_stored(json_t *entry, const struct shard *shard, int row) {
  const struct shard_subject *subject = &shard->subjects[row];
  const char *slash = strrchr(shard->path, '/');
  json_t *history = json_loads(subject->history, 0, NULL);
  json_object_set_new(entry, "status", json_string("ok"));
  json_object_set_new(entry, "split", json_string(split_name((enum split)subject->split)));
  json_object_set_new(entry, "shard", json_text(slash ? slash + 1 : shard->path));
  json_object_set_new(entry, "row", json_integer(row));
  if (subject->category >= 0)
    json_object_set_new(entry, "category", json_integer(subject->category));
  add_place(entry, subject);
  json_object_set_new(entry, "checksum_image", checksum_of(subject->checksum_image));
  if (shard->has_labels) {
    json_object_set_new(entry, "checksum_label", checksum_of(subject->checksum_label));
    json_object_set_new(entry, "largest_label", json_integer(subject->largest_label));
    if (shard->counted)
      json_object_set_new(entry, "class_voxels", prepare_report_classes(shard, row));
  }
  prepare_report_masks(entry, shard, row);
  if (history) json_object_update(entry, history);
  json_decref(history);
}

/* Of channels 1, 2, ... */
static json_t *files_of(const struct subject_source *source) {
  json_t *list = json_array();
  for (int c = 0; c < source->channel_file_count; c++)
    json_array_append_new(list, json_text(source->channel_files[c]));
  return list;
}

static json_t *start_entry(const struct preparation *preparation, int index) {
  const struct subject_source *source = &preparation->sources[index];
  const struct survey_record *record = &preparation->records[index];
  json_t *entry = json_object();
  json_object_set_new(entry, "id", json_text(source->id));
  if (strcmp(source->patient, source->id) != 0)
    json_object_set_new(entry, "patient", json_text(source->patient));
  json_object_set_new(entry, "image", json_text(source->image));
  if (source->channel_file_count) json_object_set_new(entry, "channel_files", files_of(source));
  json_object_set_new(entry, "image_checksum", checksum_of(record->source_checksum));
  if (!source->label && !source->masks) return entry;
  json_object_set_new(entry, source->label ? "label" : "masks",
                      json_text(source->label ? source->label : source->masks));
  json_object_set_new(entry, source->label ? "label_checksum" : "masks_checksum",
                      checksum_of(record->label_source_checksum));
  return entry;
}

struct place {
  int shard, row;
};

/* Subjects and rows are both sorted by id, so that one walk finds all. */
static void step(const struct preparation *preparation, struct place *place) {
  if (++place->row < preparation->shards[place->shard].subject_count) return;
  place->row = 0;
  place->shard++;
}

static json_t *list_subjects(const struct preparation *preparation, int *good) {
  json_t *list = json_array();
  struct place place = {0};
  for (int i = 0; i < preparation->source_count; i++) {
    json_t *entry = start_entry(preparation, i);
    if (preparation->records[i].reason) {
      add_bad(entry, preparation, i);
    } else {
      ++*good;
      if (preparation->shard_count) {
        add_stored(entry, &preparation->shards[place.shard], place.row);
        step(preparation, &place);
      }
    }
    json_array_append_new(list, entry);
  }
  return list;
}

static int count_split(const struct preparation *preparation, int split) {
  int count = 0;
  for (int s = 0; s < preparation->shard_count; s++)
    for (int row = 0; row < preparation->shards[s].subject_count; row++)
      count += preparation->shards[s].subjects[row].split == split;
  return count;
}

static json_t *totals(const struct preparation *preparation, int good) {
  json_t *object =
      json_pack("{s:i, s:i, s:i, s:i}", "subjects", preparation->source_count, "good", good, "bad",
                preparation->source_count - good, "shards", preparation->shard_count);
  for (int split = 0; split < SPLIT_COUNT; split++)
    json_object_set_new(object, split_name((enum split)split),
                        json_integer(count_split(preparation, split)));
  return object;
}

static json_t *describe(const struct preparation *preparation) {
  int good = 0, count = preparation->shard_count;
  json_t *root = json_object();
  json_object_set_new(root, "master", json_text(preparation->master));
  json_object_set_new(root, "settings", json_text(preparation->recipe));
  json_object_set_new(root, "subjects", list_subjects(preparation, &good));
  json_object_set_new(root, "totals", totals(preparation, good));
  if (!count) return root;
  const int *extent = preparation->shards[0].extent;
  char manifest[32];
  snprintf(manifest, sizeof manifest, "%016llx",
           (unsigned long long)shard_manifest(preparation->shards, count));
  json_object_set_new(root, "channels", json_integer(preparation->shards[0].channels));
  json_object_set_new(root, "extent", json_pack("[i,i,i]", extent[0], extent[1], extent[2]));
  json_object_set_new(root, "classes", json_integer(shard_classes(preparation->shards, count)));
  json_object_set_new(root, "manifest", json_string(manifest));
  return root;
}

enum status prepare_report(const struct preparation *preparation) {
  json_t *root = describe(preparation);
  enum status status = STATUS_OK;
  if (root && preparation->config->data.reference_reports)
    status = prepare_write_reference(preparation, root);
  if (!status) return prepare_write_json(preparation, "prepare.json", root);
  json_decref(root);
  return status_pass(status, __func__, __FILE__, __LINE__);
}

enum status prepare_write_json(const struct preparation *preparation, const char *name,
                               json_t *root) {
  char *path = prepare_beside(preparation, name);
  char *text =
      root ? json_dumps(root, JSON_INDENT(2) | JSON_PRESERVE_ORDER | JSON_REAL_PRECISION(15))
           : NULL;
  enum status status = path && text
                           ? file_replace(path, text, strlen(text))
                           : status_fail(STATUS_FAILED, __FILE__, __LINE__,
                                         "%s: out of memory for %s", preparation->master, name);
  json_decref(root);
  free(text);
  free(path);
  return status;
}
