/* Materialised samples, and the tables that describe them. */
#pragma once
#include "data/dataset.h"
#include "task/pose.h"

/* A sample that was written. */
struct materialised_row {
  int64_t variant;
  struct pose pose;
  double centre[3]; /* RAS+ mm, that the pose turns about */
  int subject;
};

struct materialised {
  const struct config *config;
  const struct dataset *dataset;
  const char *directory;
  enum split split;
  int64_t epoch;
  int count;
  struct materialised_row *rows;
};

/* The name of a sample's file: "ID_variant0007.nii.gz" (caller frees); NULL when out of memory. */
char *materialised_name(const struct materialised *done, const struct materialised_row *row);

/* Writes metadata.csv and metadata.json into the folder: every sample's pose, the convention, and
 * the settings. */
CHECKED enum status materialised_describe(const struct materialised *done);
