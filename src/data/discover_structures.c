/* The layout of the TotalSegmentator data set: a folder per subject, a mask per structure, and a
 * table of the splits beside the subjects. */
#include <stdlib.h>
#include <string.h>
#include "base/file.h"
#include "data/csv.h"
#include "data/discover_parts.h"
#include "data/split.h"

/* meta.csv; subject < 0: there is none, or it says no splits. */
struct table {
  struct csv csv;
  int subject, split;
};

static enum status open_table(const char *source, struct table *table) {
  *table = (struct table){.subject = -1};
  char *path = file_join(source, "meta.csv");
  REQUIRE(path, STATUS_FAILED, "%s: out of memory", source);
  enum status status = STATUS_OK;
  if (file_exists(path)) status = csv_read_separated(&table->csv, path, ';');
  free(path);
  if (status || !table->csv.columns) return status;
  table->split = csv_find(&table->csv, "split");
  if (table->split >= 0) table->subject = csv_find(&table->csv, "image_id");
  return STATUS_OK;
}

/* -1 without a table of splits. */
static enum status find_split(const struct table *table, const char *id, int *split) {
  const struct csv *csv = &table->csv;
  *split = -1;
  if (table->subject < 0) return STATUS_OK;
  for (int row = 0; row < csv->rows; row++) {
    if (strcmp(csv_get(csv, row, table->subject), id) != 0) continue;
    const char *name = csv_get(csv, row, table->split);
    *split = split_find(name);
    REQUIRE(*split >= 0, STATUS_FAILED, "%s:%d: split: expected train, val or test, found \"%s\"",
            csv->path, csv_line(csv, row), name);
    return STATUS_OK;
  }
  FAIL(STATUS_FAILED, "%s: image_id: expected a line for subject %s, found none", csv->path, id);
}

static enum status add_subject(struct subject_list *list, const struct table *table,
                               const char *folder, const char *id) {
  char *image = discover_volume(folder, "ct");
  if (!image) image = discover_volume(folder, "mri");
  if (!image) return STATUS_OK;
  int split;
  enum status status = find_split(table, id, &split);
  if (status) {
    free(image);
    return status;
  }
  TRY(discover_add(list, id, image, NULL, split));
  char *masks = file_join(folder, "segmentations");
  list->subjects[list->count - 1].masks = masks;
  REQUIRE(masks, STATUS_FAILED, "%s: out of memory", folder);
  REQUIRE(file_is_directory(masks), STATUS_FAILED, "%s: expected a folder of masks, found none",
          masks);
  return STATUS_OK;
}

static enum status add_all(const struct config *config, const struct table *table,
                           struct subject_list *list) {
  char **names;
  int count;
  TRY(file_list(config->data.source, "", &names, &count));
  enum status status = STATUS_OK;
  for (int i = 0; !status && i < count; i++) {
    if (names[i][0] == '.') continue;
    char *folder = file_join(config->data.source, names[i]);
    if (!folder) status = status_fail(STATUS_FAILED, __FILE__, __LINE__, "out of memory");
    if (folder && file_is_directory(folder)) status = add_subject(list, table, folder, names[i]);
    free(folder);
  }
  file_list_free(names, count);
  return status;
}

enum status discover_totalsegmentator(const struct config *config, struct subject_list *list) {
  struct table table;
  TRY(open_table(config->data.source, &table));
  enum status status = add_all(config, &table, list);
  csv_close(&table.csv);
  return status;
}
