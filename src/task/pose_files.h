/* What prediction writes of an estimated pose. */
#pragma once
#include "data/subject.h"
#include "task/pose.h"

struct pose_finding {
  const char *path, *directory; /* the volume; where results go */
  const char *name;             /* of the results */
  struct pose pose;
  double centre[3];       /* RAS+ mm */
  double angle, distance; /* of the whole rotation, degrees; of the translation, mm */
  bool flagged;           /* beyond pose.qc_rotation or pose.qc_translation */
};

/* Sets angle, distance and flagged; says so of a flagged volume. */
void pose_judge(const struct config *config, struct pose_finding *finding);

/* Writes the volume's own files. */
CHECKED enum status pose_write_files(const struct config *config,
                                     const struct pose_finding *finding,
                                     const struct subject_volumes *volumes);

/* Writes predictions.csv. */
CHECKED enum status pose_write_table(const struct pose_finding *findings, int count,
                                     const char *directory);

/* Writes NAME_qc.png: middle slices as they are and moved back, in a red frame when flagged. */
CHECKED enum status pose_write_figure(const struct config *config,
                                      const struct pose_finding *finding,
                                      const struct volume *image);
