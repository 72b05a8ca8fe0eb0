/* The table of layouts, and what holds for all of them. */
#include "data/discover.h"
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include "base/file.h"
#include "data/discover_parts.h"

enum { ID_BYTES = 255 };

void discover_free(struct subject_source *subjects, int count) {
  for (int i = 0; subjects && i < count; i++) {
    free(subjects[i].id);
    free(subjects[i].image);
    free(subjects[i].label);
    free(subjects[i].masks);
    for (int c = 0; c < subjects[i].channel_file_count; c++) free(subjects[i].channel_files[c]);
    free(subjects[i].channel_files);
    free(subjects[i].patient);
  }
  free(subjects);
}

enum status discover_add(struct subject_list *list, const char *id, char *image, char *label,
                         int split) {
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
  longer[list->count++] = (struct subject_source){
      .id = name, .image = image, .label = label, .category = -1, .split = split};
  return STATUS_OK;
}

enum status discover_add_channel(struct subject_list *list, char *path) {
  struct subject_source *subject = &list->subjects[list->count - 1];
  size_t bytes = sizeof *subject->channel_files * (size_t)(subject->channel_file_count + 1);
  char **longer = path ? realloc(subject->channel_files, bytes) : NULL;
  if (!longer) free(path);
  REQUIRE(longer, STATUS_FAILED, "out of memory for the list of subjects");
  subject->channel_files = longer;
  longer[subject->channel_file_count++] = path;
  return STATUS_OK;
}

static const struct layout {
  const char *name, *expected;
  bool needs_source;
  enum status (*find)(const struct config *config, struct subject_list *list);
} layouts[] = {
    {"folders", "images/*.nii.gz", true, discover_folders},
    {"plain", "*.nii.gz", true, discover_plain},
    {"oasis", "*/aligned_norm.nii.gz", true, discover_oasis},
    {"mmwhs", "*_image.nii.gz in the folder data.subset", true, discover_mmwhs},
    {"totalsegmentator", "*/ct.nii.gz or */mri.nii.gz", true, discover_totalsegmentator},
    {"csv", "a line per subject", false, discover_csv},
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

/* path: may be NULL. */
static enum status check_file(const struct subject_source *subject, const char *path) {
  REQUIRE(!path || (file_exists(path) && !file_is_directory(path)), STATUS_FAILED,
          "subject %s: %s: expected a file, found none", subject->id, path);
  return STATUS_OK;
}

static enum status check_subject(const struct subject_source *subject,
                                 const struct subject_source *first) {
  TRY(check_id(subject));
  TRY(check_file(subject, subject->image));
  TRY(check_file(subject, subject->label));
  for (int c = 0; c < subject->channel_file_count; c++)
    TRY(check_file(subject, subject->channel_files[c]));
  REQUIRE(!subject->label == !first->label, STATUS_FAILED,
          "subject %s has %s label map but subject %s has %s: expected all or none to have one",
          first->id, first->label ? "a" : "no", subject->id, subject->label ? "one" : "none");
  return STATUS_OK;
}

static int compare_ids(const void *a, const void *b) {
  return strcmp(((const struct subject_source *)a)->id, ((const struct subject_source *)b)->id);
}

static enum status check(const struct subject_list *list) {
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

static enum status find_patients(const struct config *config, struct subject_list *list) {
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

static enum status find_all(const struct config *config, struct subject_list *list) {
  const struct layout *layout = find_layout(config->data.layout);
  const char *source = config->data.source;
  REQUIRE(layout, STATUS_USAGE,
          "data.layout: expected folders, plain, oasis, mmwhs, totalsegmentator or csv, "
          "found \"%s\"",
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
  struct subject_list list = {0};
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
