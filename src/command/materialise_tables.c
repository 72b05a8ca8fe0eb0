/* metadata.csv and metadata.json. */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include "base/file.h"
#include "base/text.h"
#include "command/materialise.h"
#include "data/json_text.h"

char *materialised_name(const struct materialised *done, const struct materialised_row *row) {
  return file_format("%s_variant%04lld.nii.gz", done->dataset->subjects[row->subject].id,
                     (long long)row->variant);
}

static void print_row(const struct materialised *done, const struct materialised_row *row,
                      const char *file, FILE *out) {
  text_print_quoted(out, done->dataset->subjects[row->subject].id);
  fprintf(out, ",%lld", (long long)row->variant);
  for (int i = 0; i < 3; i++) fprintf(out, ",%.15g", row->pose.rotation[i]);
  for (int i = 0; i < 3; i++) fprintf(out, ",%.15g", row->pose.translation[i]);
  for (int i = 0; i < 3; i++) fprintf(out, ",%.15g", row->centre[i]);
  fprintf(out, ",\"%s\",%s,", RIGID_CONVENTION, split_name(done->split));
  text_print_quoted(out, file);
  fputc('\n', out);
}

static json_t *describe_row(const struct materialised *done, const struct materialised_row *row,
                            const char *file) {
  const double *r = row->pose.rotation, *t = row->pose.translation, *c = row->centre;
  return json_pack("{s:o, s:I, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:s, s:s, s:o}", "case",
                   json_text(done->dataset->subjects[row->subject].id), "variant",
                   (json_int_t)row->variant, "rx", r[0], "ry", r[1], "rz", r[2], "tx", t[0], "ty",
                   t[1], "tz", t[2], "cx", c[0], "cy", c[1], "cz", c[2], "convention",
                   RIGID_CONVENTION, "split", split_name(done->split), "file", json_text(file));
}

static json_t *describe_settings(const struct materialised *done) {
  const struct config *config = done->config;
  const int64_t *size = config->pose.size.value;
  const double *spacing = config->pose.spacing.value;
  char manifest[32];
  snprintf(manifest, sizeof manifest, "%016llx",
           (unsigned long long)dataset_manifest(done->dataset));
  return json_pack(
      "{s:s, s:[I,I,I], s:[f,f,f], s:s, s:f, s:f, s:s, s:s, s:s, s:I, s:I, s:s}", "convention",
      RIGID_CONVENTION, "size", (json_int_t)size[0], (json_int_t)size[1], (json_int_t)size[2],
      "spacing_mm", spacing[0], spacing[1], spacing[2], "sampling", config->pose.sampling,
      "rotation_range_deg", config->pose.rotation_range, "translation_range_mm",
      config->pose.translation_range, "fill", config->pose.fill, "mask", config->pose.mask,
      "canonical", config->pose.canonical, "seed", (json_int_t)config->root.seed, "epoch",
      (json_int_t)done->epoch, "data", manifest);
}

/* Both tables, one sample at a time. */
static enum status describe_rows(const struct materialised *done, FILE *table, json_t *samples) {
  fputs("case,variant,rx,ry,rz,tx,ty,tz,cx,cy,cz,convention,split,file\n", table);
  for (int i = 0; i < done->count; i++) {
    char *file = materialised_name(done, &done->rows[i]);
    int failed =
        file ? json_array_append_new(samples, describe_row(done, &done->rows[i], file)) : -1;
    if (!failed) print_row(done, &done->rows[i], file, table);
    free(file);
    REQUIRE(!failed, STATUS_FAILED, "%s: out of memory for metadata.json", done->directory);
  }
  return STATUS_OK;
}

static enum status write_text(const struct materialised *done, const char *name, const char *text) {
  char *path = text ? file_join(done->directory, name) : NULL;
  REQUIRE(path, STATUS_FAILED, "%s: out of memory for %s", done->directory, name);
  enum status status = file_replace(path, text, strlen(text));
  free(path);
  return status;
}

enum status materialised_describe(const struct materialised *done) {
  char *table_text = NULL, *text = NULL;
  size_t bytes;
  FILE *table = open_memstream(&table_text, &bytes);
  json_t *root = describe_settings(done), *samples = json_array();
  enum status status = table && root && samples ? describe_rows(done, table, samples)
                                                : status_fail(STATUS_FAILED, __FILE__, __LINE__,
                                                              "%s: out of memory", done->directory);
  if (table) fclose(table);
  json_object_set_new(root, "samples", samples);
  if (!status)
    text = json_dumps(root, JSON_INDENT(1) | JSON_PRESERVE_ORDER | JSON_REAL_PRECISION(15));
  json_decref(root);
  if (!status) status = write_text(done, "metadata.csv", table_text);
  if (!status) status = write_text(done, "metadata.json", text);
  free(table_text);
  free(text);
  return status;
}
