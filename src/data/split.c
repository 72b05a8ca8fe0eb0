/* Cuts the subjects in three: train first, then validation, then test. */
#include "data/split.h"
#include <math.h>
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

enum status split_assign(const struct config *config, int count, uint8_t *splits) {
  int validation, test;
  TRY(count_of(config->data.validation, "data.validation", count, &validation));
  TRY(count_of(config->data.test, "data.test", count, &test));
  REQUIRE(
      validation + test < count, STATUS_USAGE,
      "data.validation and data.test: expected them to leave subjects to train on, found %d for "
      "validation and %d for testing of %d",
      validation, test, count);
  int *order = malloc(sizeof(int) * (size_t)count);
  REQUIRE(order, STATUS_FAILED, "out of memory for the order of %d subjects", count);
  fill_order(config, count, order);
  for (int i = 0; i < count; i++) {
    enum split split = i >= count - test                ? SPLIT_TEST
                       : i >= count - test - validation ? SPLIT_VALIDATION
                                                        : SPLIT_TRAIN;
    splits[order[i]] = (uint8_t)split;
  }
  free(order);
  return STATUS_OK;
}
