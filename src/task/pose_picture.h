/* Slices of volumes for people. */
#pragma once
#include "store/canvas.h"
#include "volume/volume.h"

/* Three slices through the middle of a volume with axes right, anterior, superior: axial, coronal
 * and sagittal, side by side, right on the right, anterior and superior up; all in pixels of one
 * size. Crossed lines mark the middle. */
struct picture_strip {
  double pixel; /* mm */
  int width, height;
};

/* How large a strip of that grid is with the longest side of the field of view over `side` pixels.
 */
struct picture_strip picture_strip_plan(const struct grid *grid, int side);

/* Draws the strip at x, y. values: [i][j][k] on the grid, shown from `low` to `high`. */
void picture_strip_draw(struct canvas *canvas, int x, int y, const struct picture_strip *strip,
                        const struct grid *grid, const float *values, double low, double high);
