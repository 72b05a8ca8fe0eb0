/* What the network says of a volume, brought to any grid (internal to the task): collects the
 * planes of segmentation_infer, then gives label maps, masks and probability maps on the grid of a
 * file. Voxels outside the field of view are background. */
#pragma once
#include "task/segmentation_sample.h"
#include "volume/volume.h"

struct segmentation_prediction {
  bool overlapping;
  int classes;
  float threshold; /* structures that overlap: probability from which a voxel is of one */
  struct segmentation_box box; /* of the inferred volume: the subject's own voxels */
  struct grid grid;            /* of the box */
  int plane[2];                /* h w of the inferred volume */
  size_t voxels;               /* of the box */
  float *values;  /* [classes][d][h][w], for classes that exclude each other; NULL otherwise */
  uint8_t *codes; /* the same for structures that overlap, rounded to 1/255, but so that each is on
                     the side of the threshold that it was on */
};

/* The box's own grid, where `affine` is of the volume around it. */
struct grid segmentation_box_grid(const struct affine *affine, const struct segmentation_box *box);

/* extent, affine: of the volume that is inferred; box: the voxels of it that are kept. Memory: 4
 * bytes a voxel and class, 1 for structures that overlap. */
CHECKED enum status segmentation_prediction_open(struct segmentation_prediction *prediction,
                                                 const struct segmentation_view *view,
                                                 const int extent[3], const struct affine *affine,
                                                 const struct segmentation_box *box);

/* struct segmentation_planes' take, with the prediction as context: keeps plane d of
 * [classes][h][w]. Whatever has that form may be collected and brought to a grid, deviations, too.
 */
enum status segmentation_prediction_take(void *prediction, int d, const float *probabilities);

/* The class of each of the target's voxels: the likeliest, the lower of two that are equally
 * likely. Probabilities are interpolated linearly, then compared. For classes that exclude each
 * other, at most 256. labels: uint8 [i][j][k]. */
CHECKED enum status segmentation_prediction_labels(const struct segmentation_prediction *prediction,
                                                   const struct grid *target, uint8_t *labels);

/* 1 where structure c has at least the threshold's probability (interpolated linearly), else 0.
 * Only around the structure are voxels looked at. For structures that overlap. */
CHECKED enum status segmentation_prediction_mask(const struct segmentation_prediction *prediction,
                                                 int c, const struct grid *target, uint8_t *mask);

/* The probabilities of class c on the target grid, 0 outside the field of view. The caller closes
 * *map; on failure it is left zeroed. */
CHECKED enum status segmentation_prediction_map(const struct segmentation_prediction *prediction,
                                                int c, const struct grid *target,
                                                struct volume *map);

/* The plane `index` of the box across `axis`, in the order of the other two axes: the likeliest
 * class, or 1 + the last of the structures that a voxel is of; 0: none. */
void segmentation_prediction_slice(const struct segmentation_prediction *prediction, int axis,
                                   int index, uint16_t *classes);

/* Accepts a zeroed one. */
void segmentation_prediction_close(struct segmentation_prediction *prediction);
