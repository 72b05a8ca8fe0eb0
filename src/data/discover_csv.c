/* The layout that is a table: one line per subject. */
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include "base/file.h"
#include "data/csv.h"
#include "data/discover_parts.h"
#include "data/shard.h"
#include "data/split.h"

/* A path of the csv: as it is when absolute, else below data.source. NULL when out of memory. */
static char *place(const struct config *config, const char *path) {
  return path[0] == '/' || !config->data.source[0] ? strdup(path)
                                                   : file_join(config->data.source, path);
}

/* Paths separated by ';' where an image has several channels. */
static enum status add_images(struct subject_list *list, const struct config *config,
                              const struct csv *csv, int row, const char *id, char *files) {
  int wanted = (int)config->data.channels, found = 1;
  for (const char *at = files; *at && wanted > 1; at++) found += *at == ';';
  REQUIRE(found == 1 || found == wanted, STATUS_FAILED,
          "%s:%d: image: expected one file or one for each of %d channels (data.channels), "
          "separated by ;, found %d",
          csv->path, csv_line(csv, row), wanted, found);
  char *rest = files, *next = found > 1 ? strsep(&rest, ";") : files;
  TRY(discover_add(list, id, place(config, next), NULL, -1));
  while (found > 1 && (next = strsep(&rest, ";")))
    TRY(discover_add_channel(list, place(config, next)));
  return STATUS_OK;
}

struct columns {
  int subject, image, label, split, patient, category;
};

/* A whole number, or nothing where it is not known. */
static enum status read_category(const struct csv *csv, int row, int column, int *category) {
  const char *text = column < 0 ? "" : csv_get(csv, row, column);
  size_t length = strlen(text);
  bool good = length <= 5 && strspn(text, "0123456789") == length;
  *category = good && length ? atoi(text) : -1;
  REQUIRE(good && *category < SHARD_CATEGORY_LIMIT, STATUS_FAILED,
          "%s:%d: category: expected a whole number of 0 to %d or nothing, found \"%s\"", csv->path,
          csv_line(csv, row), SHARD_CATEGORY_LIMIT - 1, text);
  return STATUS_OK;
}

static enum status add_from_row(struct subject_list *list, const struct config *config,
                                const struct csv *csv, const struct columns *columns, int row) {
  int line = csv_line(csv, row);
  const char *id = csv_get(csv, row, columns->subject), *image = csv_get(csv, row, columns->image);
  const char *label = columns->label < 0 ? "" : csv_get(csv, row, columns->label);
  REQUIRE(image[0], STATUS_FAILED, "%s:%d: image: expected a path, found nothing", csv->path, line);
  int split = -1;
  if (columns->split >= 0) {
    const char *name = csv_get(csv, row, columns->split);
    split = split_find(name);
    REQUIRE(split >= 0, STATUS_FAILED,
            "%s:%d: split: expected train, validation or test, found \"%s\"", csv->path, line,
            name);
  }
  char *files = strdup(image);
  REQUIRE(files, STATUS_FAILED, "%s: out of memory", csv->path);
  enum status status = add_images(list, config, csv, row, id, files);
  free(files);
  TRY(status);
  struct subject_source *subject = &list->subjects[list->count - 1];
  subject->split = split;
  if (label[0]) subject->label = place(config, label);
  REQUIRE(subject->label || !label[0], STATUS_FAILED, "%s: out of memory", csv->path);
  TRY(read_category(csv, row, columns->category, &subject->category));
  if (columns->patient < 0) return STATUS_OK;
  const char *patient = csv_get(csv, row, columns->patient);
  REQUIRE(patient[0], STATUS_FAILED, "%s:%d: patient: expected a name, found nothing", csv->path,
          line);
  subject->patient = strdup(patient);
  REQUIRE(subject->patient, STATUS_FAILED, "out of memory for the list of subjects");
  return STATUS_OK;
}

static enum status find_in_rows(const struct config *config, const struct csv *csv,
                                struct subject_list *list) {
  struct columns columns = {csv_find(csv, "subject"), csv_find(csv, "image"),
                            csv_find(csv, "label"),   csv_find(csv, "split"),
                            csv_find(csv, "patient"), csv_find(csv, "category")};
  REQUIRE(columns.subject >= 0 && columns.image >= 0, STATUS_FAILED,
          "%s: expected a header with the columns subject,image,label[,split,patient,category], "
          "found no \"%s\"",
          csv->path, columns.subject < 0 ? "subject" : "image");
  for (int row = 0; row < csv->rows; row++) TRY(add_from_row(list, config, csv, &columns, row));
  return STATUS_OK;
}

enum status discover_csv(const struct config *config, struct subject_list *list) {
  REQUIRE(config->data.list[0], STATUS_USAGE,
          "data.list: expected a csv file for data.layout = \"csv\", found nothing");
  struct csv csv;
  TRY(csv_read(&csv, config->data.list));
  enum status status = find_in_rows(config, &csv, list);
  csv_close(&csv);
  return status;
}
