/* Which samples there are, and how one is read (internal to the task). */
#pragma once
#include "task/segmentation.h"

/* Whether segmentation.sample is `kind`. */

bool segmentation_samples(const struct config *config, const char *kind);

/* What a task_run of this task owns. */
struct segmentation_samples {
  int slices;        /* of all training subjects; 0: samples are no slices */
  int with, without; /* how many of them have structures, and have none */
  int without_kept;  /* of these an epoch takes so many */
  struct segmentation_slice {
    int subject, slice;
  } * list;            /* those with structures first */
  int *order;          /* of those without, in epoch order_epoch - 1 */
  int64_t order_epoch; /* 0: none yet */
  uint64_t *voxels;    /* [classes]; of the subject looked at */
  int side_axis;       /* flips along this axis swap left and right; -1: none does */
  int *mirror;         /* then: which class a class becomes, [classes] */
};

CHECKED enum status segmentation_open_samples(struct task_run *run,
                                              const struct segmentation_view *view);
int64_t segmentation_count(const struct task_run *run, enum purpose purpose, enum split split);
CHECKED enum status segmentation_fill(struct task_run *run, enum purpose purpose, enum split split,
                                      int64_t epoch, int64_t index, void *const *inputs);

/* A box of the stored voxels of a subject. */
struct segmentation_box {
  int first[3], extent[3];
};

/* Along how many axes things are turned and bent: 2 for slices and networks of planes. */
int segmentation_dimensions(const struct segmentation_view *view);

/* The extent of what is read for a window. Subjects of another spacing than the config's, or the
 * first one's, may show the outside of what is read at the corners of a turned window. */
void segmentation_find_source(const struct task_run *run, const struct segmentation_view *view,
                              int extent[3]);

/* segmentation_crop.c: a box [c][d][h][w] out of `channels` arrays of `extent`; what lies outside
 * them is 0. */
void segmentation_crop_image(const float *image, int channels, const int extent[3],
                             const struct segmentation_box *box, float *crop);
void segmentation_crop_labels(const uint8_t *labels, const int extent[3],
                              const struct segmentation_box *box, uint8_t *crop);
/* Masks are stored [d][planes][h][w]; the crop is [planes][d][h][w]. */
void segmentation_crop_masks(const uint8_t *masks, int planes, const int extent[3],
                             const struct segmentation_box *box, uint8_t *crop);

/* What flips from left to right make of classes: label maps in place; masks of `voxels`, [planes]
 * [voxels], in place. */
void segmentation_mirror_labels(const int *mirror, int classes, int64_t voxels, uint8_t *labels);
void segmentation_mirror_masks(const int *mirror, int classes, int64_t voxels, uint8_t *masks);
