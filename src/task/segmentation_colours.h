/* The colours of classes, for pictures and for the programs that show label maps. */
#pragma once
#include "base/status.h"
#include "store/canvas.h"

/* Always the same for a class: those near each other differ most. Class 0 is black. */
struct colour segmentation_colour(int class);

/* A colour table of 3D Slicer (.ctbl: number, name without spaces, red, green, blue, opacity; class
 * 0 is transparent). names[i] is class i + 1's. Replaces the file. */
CHECKED enum status segmentation_write_slicer_colours(const char *path, const char *const *names,
                                                      int count);

/* A label description file of ITK-SNAP (.txt). */
CHECKED enum status segmentation_write_snap_colours(const char *path, const char *const *names,
                                                    int count);

/* Both beside a label map FILE.nii or FILE.nii.gz: FILE.ctbl and FILE_labels.txt. */
CHECKED enum status segmentation_write_colours(const char *label_map, const char *const *names,
                                               int count);
