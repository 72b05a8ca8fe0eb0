/* The reports of the published preprocessing, by its file names: what was set, and what became of
 * each pair of image and label map. */
#include <stdlib.h>
#include "data/json_text.h"
#include "data/prepare_parts.h"

static json_t *list_ints(const struct int_list *list) {
  json_t *array = json_array();
  for (int i = 0; i < list->count; i++) json_array_append_new(array, json_integer(list->value[i]));
  return array;
}

static json_t *list_reals(const struct real_list *list) {
  json_t *array = json_array();
  for (int i = 0; i < list->count; i++) json_array_append_new(array, json_real(list->value[i]));
  return array;
}

static json_t *describe_config(const struct config *config, const json_t *report) {
  json_t *root = json_object();
  const char *const texts[][2] = {
      {"source", config->data.source},   {"orientation", config->data.orientation},
      {"grid", config->data.grid},       {"crop", config->data.crop},
      {"padding", config->data.padding}, {"intensity", config->data.intensity}};
  json_object_set(root, "target_shape", json_object_get(report, "extent"));
  json_object_set(root, "channels", json_object_get(report, "channels"));
  json_object_set(root, "classes", json_object_get(report, "classes"));
  for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
    json_object_set_new(root, texts[i][0], json_text(texts[i][1]));
  json_object_set_new(root, "spacing", list_reals(&config->data.spacing));
  json_object_set_new(root, "resample", list_ints(&config->data.resample));
  json_object_set_new(root, "size", list_ints(&config->data.size));
  json_object_set_new(root, "multiple", json_integer(config->data.multiple));
  json_object_set_new(root, "image_interpolation", json_string("linear"));
  json_object_set_new(root, "label_interpolation", json_string("nearest"));
  json_object_set(root, "settings", json_object_get(report, "settings"));
  return root;
}

/* What of a subject's entry in prepare.json goes where: a member, or a member of it. */
static const struct {
  const char *name, *from, *member;
} fields[] = {{"id", "id", NULL},
              {"image", "image", NULL},
              {"channel_files", "channel_files", NULL},
              {"label", "label", NULL},
              {"status", "status", NULL},
              {"reason", "reason", NULL},
              {"original_shape", "before", "extent"},
              {"new_shape", "after", "extent"},
              {"original_spacing", "before", "spacing"},
              {"new_spacing", "after", "spacing"},
              {"padding_before", "padding", "before"},
              {"padding_after", "padding", "after"},
              {"range_before", "range_before", NULL},
              {"range_after", "range_after", NULL},
              {"split", "split", NULL}};

static json_t *list_labels(const json_t *subject) {
  json_t *list = json_array(), *voxels = json_object_get(subject, "class_voxels"), *count;
  const char *class;
  json_object_foreach(voxels, class, count) json_array_append_new(list, json_integer(atoll(class)));
  return list;
}

static json_t *describe_pair(const json_t *subject) {
  json_t *pair = json_object();
  for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
    json_t *value = json_object_get(subject, fields[i].from);
    if (fields[i].member) value = json_object_get(value, fields[i].member);
    if (value) json_object_set(pair, fields[i].name, value);
  }
  if (json_object_get(subject, "class_voxels"))
    json_object_set_new(pair, "labels_found", list_labels(subject));
  return pair;
}

enum status prepare_write_reference(const struct preparation *preparation, const json_t *report) {
  json_t *root = json_object(), *pairs = json_array(), *subject;
  size_t index;
  json_array_foreach(json_object_get(report, "subjects"), index, subject)
      json_array_append_new(pairs, describe_pair(subject));
  json_object_set(root, "totals", json_object_get(report, "totals"));
  json_object_set_new(root, "pairs", pairs);
  TRY(prepare_write_json(preparation, "preprocessing_report.json", root));
  return prepare_write_json(preparation, "preprocessing_config.json",
                            describe_config(preparation->config, report));
}
