/* The area of the surface in a cell of 2x2x2 voxels, by which of them are inside. */
#pragma once

/* The eight voxels are the corners of a box whose edges have the lengths of the spacing. Corner
 * number 4 i + 2 j + k lies at (i, j, k); bit n of a code says that corner n is inside. The surface
 * goes through the middles of the edges between inside and outside (Lorensen & Cline, "Marching
 * cubes", 1987), cuts off whichever side has fewer corners where a face can be read in two ways,
 * and where its border is not flat it is the triangulation with the largest area in the unit cube.
 * area[0] and area[255] are 0. */
void metrics_surfel_areas(const double spacing[3], double area[256]);
