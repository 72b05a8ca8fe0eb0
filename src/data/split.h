/* Which subjects train, validate and test: a function of the seed and the number of subjects, or of
 * patients where some have several, only. */
#pragma once
#include <stdint.h>
#include "base/status.h"
#include "config/config.h"

enum split { SPLIT_TRAIN, SPLIT_VALIDATION, SPLIT_TEST, SPLIT_COUNT };

/* "train", "validation", "test". */
const char *split_name(enum split split);

/* The split of that name ("val" is validation too), -1 if there is none. */
int split_find(const char *name);

/* groups[0..count): the subjects' patients, numbered in the order in which they come. *group_count:
 * how many there are. */
CHECKED enum status split_group(const char *const *patients, int count, int *groups,
                                int *group_count);

/* splits[0..count) of subjects sorted by id, from data.split, data.validation, data.test and seed:
 * the last ones of a random (or, sorted, of the given) order are the test split, those before them
 * validation. A number below 1 is a share, rounded to the nearest count (a half up); else a count.
 * patients[0..count): whose volumes they are; a patient's stay together, and shares and counts are
 * of patients. STATUS_USAGE when a count is no whole number or nothing is left to train on. */
CHECKED enum status split_assign(const struct config *config, const char *const *patients,
                                 int count, uint8_t *splits);
