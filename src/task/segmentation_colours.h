/* The colours of classes, for pictures and for the programs that show label maps. */
#pragma once
#include <stdint.h>
#include "base/status.h"
#include "store/canvas.h"

/* Always the same for a class: those near each other differ most. Class 0 is black. */
struct colour segmentation_colour(int class);

/* What the values of a label map are called. */
struct segmentation_legend {
  int count;                /* classes without the background */
  const char *const *names; /* [count]: of classes 1, 2, ... */
  const int64_t *values; /* [value_count]: their numbers in the map; those behind are as classes */
  int value_count;
};

/* Beside a label map FILE.nii or FILE.nii.gz: FILE.ctbl, a colour table of 3D Slicer (number, name
 * without spaces, red, green, blue, opacity; 0 is transparent), and FILE.txt, a label
 * description file of ITK-SNAP. Replaces the files. */
CHECKED enum status segmentation_write_colours(const char *label_map,
                                               const struct segmentation_legend *legend);
