/* Cuts the subjects in three: train first, then validation, then test. */
#include "data/split.h"
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include "base/random.h"

static const char *const names[SPLIT_COUNT] = {
    [SPLIT_TRAIN] = "train", [SPLIT_VALIDATION] = "validation", [SPLIT_TEST] = "test"};

const char *split_name(enum split split) {
  return names[split];
}

int split_find(const char *name) {
  for (int i = 0; i < SPLIT_COUNT; i++)
    if (strcmp(names[i], name) == 0) return i;
  return strcmp(name, "val") == 0 ? SPLIT_VALIDATION : -1;
}

static enum status count_of(double wanted, const char *key, int subjects, int *count) {
  if (wanted < 1) {
    *count = (int)floor(wanted * subjects + 0.5);
    return STATUS_OK;
  }
  REQUIRE(wanted == floor(wanted), STATUS_USAGE,
          "%s: expected a share below 1 or a whole number of subjects, found %g", key, wanted);
  REQUIRE(wanted <= subjects, STATUS_USAGE,
          "%s: expected at most the %d subjects there are, found %g", key, subjects, wanted);
  *count = (int)wanted;
  return STATUS_OK;
}

static void fill_order(const struct config *config, int count, int *order) {
  if (strcmp(config->data.split, "sorted") == 0) {
    for (int i = 0; i < count; i++) order[i] = i;
    return;
  }
  struct random stream = random_stream((uint64_t)config->root.seed, RANDOM_SPLIT, 0, 0);
  random_permutation(&stream, order, count);
}

struct entry {
  const char *name;
  int subject;
};

static int compare_entries(const void *a, const void *b) {
  const struct entry *x = a, *y = b;
  int order = strcmp(x->name, y->name);
  return order ? order : (x->subject > y->subject) - (x->subject < y->subject);
}

/* Entries of one name are neighbours, the first subject first: it stands for the group. */
static void number_groups(struct entry *entries, int count, int *groups, int *group_count) {
  qsort(entries, (size_t)count, sizeof *entries, compare_entries);
  for (int i = 0; i < count; i++) {
    bool same = i > 0 && strcmp(entries[i].name, entries[i - 1].name) == 0;
    groups[entries[i].subject] = same ? groups[entries[i - 1].subject] : entries[i].subject;
  }
  *group_count = 0;
  for (int i = 0; i < count; i++) groups[i] = groups[i] == i ? (*group_count)++ : groups[groups[i]];
}

enum status split_group(const char *const *patients, int count, int *groups, int *group_count) {
  struct entry *entries = malloc(sizeof *entries * (size_t)count);
  REQUIRE(entries, STATUS_FAILED, "out of memory for the order of %d subjects", count);
  for (int i = 0; i < count; i++) entries[i] = (struct entry){patients[i], i};
  number_groups(entries, count, groups, group_count);
  free(entries);
  return STATUS_OK;
}

/* splits[0..count) of patients. */
static enum status assign_patients(const struct config *config, int count, int *order,
                                   uint8_t *splits) {
  int validation, test;
  TRY(count_of(config->data.validation, "data.validation", count, &validation));
  TRY(count_of(config->data.test, "data.test", count, &test));
  REQUIRE(
      validation + test < count, STATUS_USAGE,
      "data.validation and data.test: expected them to leave subjects to train on, found %d for "
      "validation and %d for testing of %d",
      validation, test, count);
  fill_order(config, count, order);
  for (int i = 0; i < count; i++) {
    enum split split = i >= count - test                ? SPLIT_TEST
                       : i >= count - test - validation ? SPLIT_VALIDATION
                                                        : SPLIT_TRAIN;
    splits[order[i]] = (uint8_t)split;
  }
  return STATUS_OK;
}

/* Spreads the patients' splits over their subjects, last first: a group's number is at most that of
 * its subject, so that nothing is overwritten before it is read. */
static void spread(const int *groups, int count, uint8_t *splits) {
  for (int i = count - 1; i >= 0; i--) splits[i] = splits[groups[i]];
}

enum status split_assign(const struct config *config, const char *const *patients, int count,
                         uint8_t *splits) {
  int *groups = malloc(sizeof *groups * 2 * (size_t)count), group_count = 0;
  REQUIRE(groups, STATUS_FAILED, "out of memory for the order of %d subjects", count);
  enum status status = split_group(patients, count, groups, &group_count);
  if (!status) status = assign_patients(config, group_count, groups + count, splits);
  if (!status) spread(groups, count, splits);
  free(groups);
  return status;
}
