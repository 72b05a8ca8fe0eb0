/* Where voxels are in the world: affines, grids, orientation codes. World is RAS+ millimetres
 * everywhere in the program (x to the patient's Right, y Anterior, z Superior); files in LPS are
 * converted at the border. */
#pragma once
#include <stdbool.h>
#include "base/status.h"

/* Voxel (i, j, k) -> RAS+ mm: world = m[.][0..2] * voxel + m[.][3]. Voxel centres are at integers.
 */
struct affine {
  double m[3][4];
};

/* A box of voxels in the world. extent: i, j, k = d, h, w. */
struct grid {
  int extent[3];
  struct affine affine;
};

struct affine affine_identity(void);

/* Diagonal `spacing` with voxel (0,0,0) at `origin` (mm). */
struct affine affine_scaling(const double spacing[3], const double origin[3]);

/* outer o inner: first `inner`, then `outer`. */
struct affine affine_compose(const struct affine *outer, const struct affine *inner);

/* Fails when the matrix is singular or not finite. */
CHECKED enum status affine_invert(const struct affine *affine, struct affine *inverse);

/* Determinant of the 3x3 part: negative for left-handed voxel axes. */
double affine_determinant(const struct affine *affine);

/* point and result may be the same array. */
void affine_apply(const struct affine *affine, const double point[3], double result[3]);

/* The length of each column in mm: the voxel spacing along i, j, k. */
void affine_get_spacing(const struct affine *affine, double spacing[3]);

/* Whether the columns are mutually orthogonal (no shear), within 1e-4 of their lengths: only then
 * can a qform hold the affine. */
bool affine_is_orthogonal(const struct affine *affine);

/* Which world axis each voxel axis is nearest to, and which way it points: world[i] = 0, 1, 2 and
 * sign[i] = +1, -1. Always a permutation, also for oblique and sheared affines. The algorithm of
 * nibabel's io_orientation: the rotation nearest to the matrix (polar factor), strongest axis
 * first. */
void affine_get_axes(const struct affine *affine, int world[3], int sign[3]);

/* Three letters of L/R, P/A, I/S and a 0 byte: where i, j, k point to (nibabel's aff2axcodes). */
void affine_get_orientation(const struct affine *affine, char code[4]);

/* Reads "RAS", "lps", ... ; STATUS_USAGE for anything that does not name each axis once. */
CHECKED enum status orientation_parse(const char *code, int world[3], int sign[3]);

/* The grid with its axes permuted and flipped so that its orientation is `code`: the same voxels
 * in the same places. from[a] = old axis that becomes axis a, flip[a] = whether it is reversed. */
CHECKED enum status grid_reorient(const struct grid *grid, const char *code, struct grid *result,
                                  int from[3], bool flip[3]);

/* Whether extents are equal and every voxel's place is, within `tolerance` mm. */
bool grid_is_same(const struct grid *a, const struct grid *b, double tolerance);
#define GRID_TOLERANCE 1e-3 /* mm: what an image and its label map must agree in */

/* The place in the world (mm) of the middle of the field of view. */
void grid_get_centre(const struct grid *grid, double centre[3]);

/* extent[0] * extent[1] * extent[2]. */
long long grid_count(const struct grid *grid);
