/* One function per layout adds subjects to a list; what holds for all layouts is checked
 * afterwards. */
#include "data/discover.h"
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include "base/file.h"
#include "data/csv.h"
#include "data/split.h"

enum { ID_BYTES = 255 };

static const char *const suffixes[] = {".nii.gz", ".nii", ".hdr", ".hdr.gz"};
enum { SUFFIX_COUNT = sizeof suffixes / sizeof *suffixes };

struct list {
  struct subject_source *subjects;
  int count;
};

void discover_free(struct subject_source *subjects, int count) {
  for (int i = 0; subjects && i < count; i++) {
    free(subjects[i].id);
    free(subjects[i].image);
    free(subjects[i].label);
    free(subjects[i].patient);
  }
  free(subjects);
}

/* Takes image and label over, also on failure; the id is copied. */
static enum status add(struct list *list, const char *id, char *image, char *label, int split) {
  size_t bytes = sizeof *list->subjects * (size_t)(list->count + 1);
  struct subject_source *longer = image ? realloc(list->subjects, bytes) : NULL;
  char *name = strdup(id);
  if (!longer || !name) {
    if (longer) list->subjects = longer;
    free(image);
    free(label);
    free(name);
    FAIL(STATUS_FAILED, "out of memory for the list of subjects");
  }
  list->subjects = longer;
  longer[list->count++] =
      (struct subject_source){.id = name, .image = image, .label = label, .split = split};
  return STATUS_OK;
}

/* The length of a volume's file name without its suffix; 0 if it is none. */
static size_t stem_length(const char *name) {
  size_t length = strlen(name);
  for (int i = 0; i < SUFFIX_COUNT && name[0] != '.'; i++) {
    size_t tail = strlen(suffixes[i]);
    if (length > tail && strcmp(name + length - tail, suffixes[i]) == 0) return length - tail;
  }
  return 0;
}

/* The name without its suffix; returns its length, 0 for what is no volume. */
static size_t copy_stem(const char *name, char stem[256]) {
  size_t length = stem_length(name);
  if (length > 255) return 0; /* longer than a file name can be */
  memcpy(stem, name, length);
  stem[length] = 0;
  return length;
}

/* folder/stem with whichever suffix exists (caller frees); NULL when none does. */
static char *find_volume(const char *folder, const char *stem) {
  for (int i = 0; i < SUFFIX_COUNT; i++) {
    char *path = file_format("%s/%s%s", folder, stem, suffixes[i]);
    if (path && file_exists(path)) return path;
    free(path);
  }
  return NULL;
}

/* Where a layout looks: folders of data.source. */
struct places {
  char *images, *labels;
};

/* Calls `add_one` for every name in places->images; frees the places. */
static enum status walk(struct list *list, struct places *places,
                        enum status (*add_one)(struct list *list, const struct places *places,
                                               const char *name)) {
  char **names = NULL;
  int count = 0;
  enum status status = places->images && places->labels
                           ? file_list(places->images, "", &names, &count)
                           : status_fail(STATUS_FAILED, __FILE__, __LINE__, "out of memory");
  for (int i = 0; !status && i < count; i++) status = add_one(list, places, names[i]);
  file_list_free(names, count);
  free(places->images);
  free(places->labels);
  return status;
}

static enum status add_from_folders(struct list *list, const struct places *places,
                                    const char *name) {
  char stem[256];
  if (!copy_stem(name, stem)) return STATUS_OK;
  char *label = NULL;
  if (file_is_directory(places->labels)) {
    label = find_volume(places->labels, stem);
    REQUIRE(label, STATUS_FAILED, "%s/%s: expected its label map %s/%s.nii.gz, found none",
            places->images, name, places->labels, stem);
  }
  return add(list, stem, file_join(places->images, name), label, -1);
}

static enum status find_in_folders(const struct config *config, struct list *list) {
  struct places places = {file_join(config->data.source, "images"),
                          file_join(config->data.source, "labels")};
  return walk(list, &places, add_from_folders);
}

static enum status add_plain(struct list *list, const struct places *places, const char *name) {
  char stem[256];
  return copy_stem(name, stem) ? add(list, stem, file_join(places->images, name), NULL, -1)
                               : STATUS_OK;
}

static enum status find_plain(const struct config *config, struct list *list) {
  struct places places = {strdup(config->data.source), strdup("")};
  return walk(list, &places, add_plain);
}

static enum status add_from_mmwhs(struct list *list, const struct places *places,
                                  const char *name) {
  static const char mark[] = "_image";
  char stem[256];
  size_t length = copy_stem(name, stem), tail = sizeof mark - 1;
  if (length <= tail || strcmp(stem + length - tail, mark) != 0) return STATUS_OK;
  stem[length - tail] = 0;
  char *partner = file_format("%s_label", stem);
  REQUIRE(partner, STATUS_FAILED, "out of memory");
  char *label = find_volume(places->labels, partner);
  free(partner);
  return add(list, stem, file_join(places->images, name), label, -1);
}

static enum status find_in_mmwhs(const struct config *config, struct list *list) {
  const char *source = config->data.source, *subset = config->data.subset;
  struct places places = {file_join(source, subset), file_join(source, subset)};
  return walk(list, &places, add_from_mmwhs);
}

static enum status add_from_oasis(struct list *list, const struct config *config,
                                  const char *name) {
  const char *labels = config->data.oasis_labels;
  if (name[0] == '.') return STATUS_OK;
  char *folder = file_join(config->data.source, name);
  char *image = folder ? find_volume(folder, "aligned_norm") : NULL;
  char *stem = file_format("aligned_%s", labels);
  char *label = image && stem ? find_volume(folder, stem) : NULL;
  free(stem);
  free(folder);
  if (!image) return STATUS_OK;
  if (label) return add(list, name, image, label, -1);
  free(image);
  FAIL(STATUS_FAILED, "%s/%s: expected aligned_%s.nii.gz beside aligned_norm, found none",
       config->data.source, name, labels);
}

static enum status find_in_oasis(const struct config *config, struct list *list) {
  char **names;
  int count;
  TRY(file_list(config->data.source, "", &names, &count));
  enum status status = STATUS_OK;
  for (int i = 0; !status && i < count; i++) status = add_from_oasis(list, config, names[i]);
  file_list_free(names, count);
  return status;
}

/* A path of the csv: as it is when absolute, else below data.source. NULL when out of memory. */
static char *place(const struct config *config, const char *path) {
  return path[0] == '/' || !config->data.source[0] ? strdup(path)
                                                   : file_join(config->data.source, path);
}

struct columns {
  int subject, image, label, split, patient;
};

static enum status add_from_row(struct list *list, const struct config *config,
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
  char *label_path = label[0] ? place(config, label) : NULL;
  REQUIRE(label_path || !label[0], STATUS_FAILED, "%s: out of memory", csv->path);
  TRY(add(list, id, place(config, image), label_path, split));
  if (columns->patient < 0) return STATUS_OK;
  const char *patient = csv_get(csv, row, columns->patient);
  REQUIRE(patient[0], STATUS_FAILED, "%s:%d: patient: expected a name, found nothing", csv->path,
          line);
  struct subject_source *subject = &list->subjects[list->count - 1];
  subject->patient = strdup(patient);
  REQUIRE(subject->patient, STATUS_FAILED, "out of memory for the list of subjects");
  return STATUS_OK;
}

static enum status find_in_rows(const struct config *config, const struct csv *csv,
                                struct list *list) {
  struct columns columns = {csv_find(csv, "subject"), csv_find(csv, "image"),
                            csv_find(csv, "label"), csv_find(csv, "split"),
                            csv_find(csv, "patient")};
  REQUIRE(
      columns.subject >= 0 && columns.image >= 0, STATUS_FAILED,
      "%s: expected a header with the columns subject,image,label[,split,patient], found no \"%s\"",
      csv->path, columns.subject < 0 ? "subject" : "image");
  for (int row = 0; row < csv->rows; row++) TRY(add_from_row(list, config, csv, &columns, row));
  return STATUS_OK;
}

static enum status find_in_csv(const struct config *config, struct list *list) {
  REQUIRE(config->data.list[0], STATUS_USAGE,
          "data.list: expected a csv file for data.layout = \"csv\", found nothing");
  struct csv csv;
  TRY(csv_read(&csv, config->data.list));
  enum status status = find_in_rows(config, &csv, list);
  csv_close(&csv);
  return status;
}

static const struct layout {
  const char *name, *expected;
  bool needs_source;
  enum status (*find)(const struct config *config, struct list *list);
} layouts[] = {
    {"folders", "images/*.nii.gz", true, find_in_folders},
    {"plain", "*.nii.gz", true, find_plain},
    {"oasis", "*/aligned_norm.nii.gz", true, find_in_oasis},
    {"mmwhs", "*_image.nii.gz in the folder data.subset", true, find_in_mmwhs},
    {"csv", "a line per subject", false, find_in_csv},
};

static enum status check_id(const struct subject_source *subject) {
  const char *id = subject->id;
  size_t length = strlen(id);
  REQUIRE(length >= 1 && length <= ID_BYTES, STATUS_FAILED,
          "%s: its subject's name: expected 1 to %d bytes, found %zu", subject->image, ID_BYTES,
          length);
  for (const char *at = id; *at; at++)
    REQUIRE((unsigned char)*at >= ' ' && *at != '/' && *at != 127, STATUS_FAILED,
            "%s: subject \"%s\": expected a name without '/' and control characters",
            subject->image, id);
  return STATUS_OK;
}

static enum status check_subject(const struct subject_source *subject,
                                 const struct subject_source *first) {
  TRY(check_id(subject));
  const char *paths[] = {subject->image, subject->label};
  for (int i = 0; i < 2; i++)
    REQUIRE(!paths[i] || (file_exists(paths[i]) && !file_is_directory(paths[i])), STATUS_FAILED,
            "subject %s: %s: expected a file, found none", subject->id, paths[i]);
  REQUIRE(!subject->label == !first->label, STATUS_FAILED,
          "subject %s has %s label map but subject %s has %s: expected all or none to have one",
          first->id, first->label ? "a" : "no", subject->id, subject->label ? "one" : "none");
  return STATUS_OK;
}

static int compare_ids(const void *a, const void *b) {
  return strcmp(((const struct subject_source *)a)->id, ((const struct subject_source *)b)->id);
}

static enum status check(const struct list *list) {
  for (int i = 0; i < list->count; i++) {
    const struct subject_source *subject = &list->subjects[i];
    TRY(check_subject(subject, &list->subjects[0]));
    REQUIRE(i == 0 || strcmp(subject->id, subject[-1].id) != 0, STATUS_FAILED,
            "subject %s occurs twice: %s and %s", subject->id, subject[-1].image, subject->image);
  }
  return STATUS_OK;
}

/* The length of the id's part that says whose volume it is. */
static size_t patient_length(const char *id, const char *separator) {
  size_t length = strlen(id);
  const char *last = NULL, *next = separator[0] ? strstr(id, separator) : NULL;
  for (; next; next = strstr(next + 1, separator)) last = next;
  return last && last != id ? (size_t)(last - id) : length;
}

static enum status find_patients(const struct config *config, struct list *list) {
  for (int i = 0; i < list->count; i++) {
    struct subject_source *subject = &list->subjects[i];
    if (subject->patient) continue; /* the csv says it */
    subject->patient = strndup(subject->id, patient_length(subject->id, config->data.patient));
    REQUIRE(subject->patient, STATUS_FAILED, "out of memory for the list of subjects");
  }
  return STATUS_OK;
}

static const struct layout *find_layout(const char *name) {
  for (size_t i = 0; i < sizeof layouts / sizeof *layouts; i++)
    if (strcmp(layouts[i].name, name) == 0) return &layouts[i];
  return NULL;
}

static enum status find_all(const struct config *config, struct list *list) {
  const struct layout *layout = find_layout(config->data.layout);
  const char *source = config->data.source;
  REQUIRE(layout, STATUS_USAGE,
          "data.layout: expected folders, plain, oasis, mmwhs or csv, found \"%s\"",
          config->data.layout);
  REQUIRE(source[0] || !layout->needs_source, STATUS_USAGE,
          "data.source: expected the folder of the volumes, found nothing");
  REQUIRE(!source[0] || file_is_directory(source), STATUS_USAGE,
          "data.source: %s: expected a folder, found none", source);
  TRY(layout->find(config, list));
  REQUIRE(list->count > 0, STATUS_FAILED, "%s: expected %s (data.layout = \"%s\"), found none",
          layout->needs_source ? source : config->data.list, layout->expected, layout->name);
  qsort(list->subjects, (size_t)list->count, sizeof *list->subjects, compare_ids);
  TRY(check(list));
  return find_patients(config, list);
}

enum status discover_subjects(const struct config *config, struct subject_source **subjects,
                              int *count) {
  struct list list = {0};
  *subjects = NULL;
  *count = 0;
  enum status status = find_all(config, &list);
  if (status) {
    discover_free(list.subjects, list.count);
    return status;
  }
  *subjects = list.subjects;
  *count = list.count;
  return STATUS_OK;
}
