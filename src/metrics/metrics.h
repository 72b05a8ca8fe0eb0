/* How good a registration is: overlap and distance of label maps, regularity of displacements.
 * Arrays are [d][h][w], w fastest; extents are d, h, w; displacements are [3][d][h][w] in voxels,
 * channel c along axis c, moving(x + displacement(x)) lying on fixed(x). All results are the same
 * for any number of threads. */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include "base/status.h"

/* warped(x) = labels(x + displacement(x)) by nearest neighbour (halves upwards), 0 where x +
 * displacement(x) leaves [0, extent - 1]: scipy.ndimage.map_coordinates with order 0, as Learn2Reg
 * warps. */
void metrics_warp_labels(const uint8_t *labels, const float *displacement, const int extent[3],
                         uint8_t *warped);

/* dice[c] = 2 |fixed = c and warped = c| / (|fixed = c| + |warped = c|) for c = 0 .. classes - 1
 * (at most 256); NaN for a label that is absent from fixed or from `moving`, the label map before
 * warping, as Learn2Reg scores. Values of `classes` and above are not counted. */
void metrics_dice(const uint8_t *fixed, const uint8_t *moving, const uint8_t *warped,
                  int64_t voxels, int classes, double *dice);

/* The mean of the values that are not NaN; NaN if there are none. */
double metrics_mean(const double *values, int count);

/* Sorts the values that are not NaN to the front and returns their count. */
int metrics_sort(double *values, int count);

/* The value below which a share (0 to 1) of sorted values lies, interpolated linearly between
 * neighbours as numpy.quantile does; NaN if there are none. */
double metrics_quantile(const double *sorted, int count, double share);

/* Distances between the surfaces of a label in two label maps, in the unit of the spacing. Each
 * surface is made of surfels, one for each cell of 2x2x2 voxels that is partly inside, weighted by
 * its area (surfel.h); a surfel's distance is that to the nearest surfel of the other surface, cell
 * centre to cell centre (Nikolov et al., "Clinically applicable segmentation of head and neck
 * anatomy", JMIR 2021, and its surface-distance software). */
struct metrics_surface {
  double hausdorff_95; /* least distance that 95 % of a surface's area keeps; the larger of both
                          ways */
  double hausdorff;    /* the same with 100 % */
  double average;      /* area-weighted mean over both surfaces together */
  double surface_dice; /* share of both surfaces' area that is within the tolerance of the other;
                          NaN without a tolerance */
};

/* A box of voxels, both corners included. Empty when high < low along an axis. */
struct metrics_box {
  int low[3], high[3];
};

/* The boxes around the values 0 .. classes - 1 (at most 256) of a label map, grown to hold also
 * what they held before: start with metrics_box_empty(). */
struct metrics_box metrics_box_empty(void);
bool metrics_box_is_empty(const struct metrics_box *box);
void metrics_find_boxes(const uint8_t *map, const int extent[3], int classes,
                        struct metrics_box *boxes);

/* box: holds every voxel of the label in both maps; nothing outside is read. tolerance: of the
 * surface Dice, in the unit of the spacing; NaN: none. Distances are INFINITY and the surface Dice
 * is 0 if the label is in one map only, all are NaN if in none. Fails only for want of memory. */
CHECKED enum status metrics_surface_within(const uint8_t *a, const uint8_t *b, int label,
                                           const struct metrics_box *box, const int extent[3],
                                           const double spacing[3], double tolerance,
                                           struct metrics_surface *surface);

/* The same without a surface Dice, wherever the label is. */
CHECKED enum status metrics_surface_distance(const uint8_t *a, const uint8_t *b, int label,
                                             const int extent[3], const double spacing[3],
                                             struct metrics_surface *surface);

/* determinant[x] = det of the derivative of x + displacement(x): central differences, one-sided at
 * the border (numpy.gradient). A volume's own axis of extent 1 counts as undeformed. */
void metrics_jacobian(const float *displacement, const int extent[3], float *determinant);

/* Percentage of voxels with determinant <= 0 (metrics_jacobian; nothing added, nothing clipped). */
double metrics_fold_percent(const float *displacement, const int extent[3]);

/* SDlogJ as Learn2Reg computes it: population standard deviation of log(clip(det + 3, 1e-9, 1e9)),
 * central differences, voxels two or more away from the border. The 3 is the official script's, so
 * that figures can be compared; it makes the deviation much smaller than without. NaN if an extent
 * is below 5. */
double metrics_deviation_log_jacobian_l2r(const float *displacement, const int extent[3]);

/* Digital diffeomorphism (Liu et al., "On finite difference Jacobian computation in deformable
 * image registration", IJCV 2024): a voxel's neighbourhood is cut into tetrahedra in two ways, ten
 * finite difference determinants in all. Voxels at the border are left out. */
struct metrics_diffeomorphism {
  double volume_percent; /* NDV: volume folded over, in per cent of the voxels counted */
  double point_percent;  /* NDP: voxels with one of the ten determinants <= 0 */
};

/* mask: only voxels where it is not 0 count (NULL: all). NaN where no voxel counts. */
struct metrics_diffeomorphism metrics_digital_diffeomorphism(const float *displacement,
                                                             const int extent[3],
                                                             const uint8_t *mask);
