/* The truth of a subject that evaluation compares with (internal to the task): as it was prepared,
 * or as it is in the files it came from. */
#pragma once
#include "task/segmentation_prediction.h"

struct segmentation_truth {
  const struct segmentation_view *view;
  const struct dataset *dataset;
  int subject;
  bool source;      /* from the files */
  struct grid grid; /* where the truth lies: the subject's own stored voxels, or the file */
  struct segmentation_box box; /* stored: these of the padded volume */
  uint8_t *labels; /* classes on the grid, for classes that exclude each other; NULL otherwise */
};

/* source: the label map, or the image's grid and a mask per structure, are read from the subject's
 * source files and turned into classes as prepare does. */
CHECKED enum status segmentation_truth_open(struct segmentation_truth *truth,
                                            const struct segmentation_view *view,
                                            const struct dataset *dataset, int subject,
                                            bool source);

/* 1 where structure c is, else 0, on the truth's grid. For structures that overlap. A structure
 * without a file is empty. */
CHECKED enum status segmentation_truth_mask(const struct segmentation_truth *truth, int c,
                                            uint8_t *mask);

/* The subject's own voxels of the stored volume. */
struct segmentation_box segmentation_own_box(const struct dataset *dataset, int subject);

/* As segmentation_prediction_slice, of the stored truth: plane `index` of the subject's own box. */
void segmentation_truth_slice(const struct segmentation_view *view, const struct dataset *dataset,
                              int subject, int axis, int index, uint16_t *classes);

/* Across each axis, the plane of the subject's own box with the most voxels of any class but the
 * background; the middle one where there is none. */
CHECKED enum status segmentation_truth_fullest(const struct segmentation_view *view,
                                               const struct dataset *dataset, int subject,
                                               int plane[3]);

/* Accepts a zeroed one. */
void segmentation_truth_close(struct segmentation_truth *truth);
