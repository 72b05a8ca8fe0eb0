/* A subject's masks of structures: many files, packed into bits one after the other. */
#pragma once
#include <stdint.h>
#include "data/structures.h"
#include "data/subject.h"

/* What a shard stores of a subject's masks; extent as the subject's image is stored. */
struct subject_masks {
  uint8_t *bits;          /* [d][planes][h][w]: structure c is bit c%8 of plane c/8 */
  uint64_t *voxels;       /* [structure]: how many it has */
  uint16_t *slices;       /* [d]: how many structures occur */
  uint32_t *slice_voxels; /* [d][structure]: how many voxels of it */
  uint64_t overlap;       /* voxels of more than one structure */
};

/* Of all mask files' names and bytes. A structure without a file is empty. */
CHECKED enum status subject_checksum_masks(const struct subject_source *source,
                                           const struct structure_list *structures,
                                           uint32_t *checksum);

/* Reads every mask file to its end, keeps nothing, and checks that it is whole and lies on the
 * image's grid. */
CHECKED enum status subject_check_masks(const struct config *config,
                                        const struct subject_source *source,
                                        const struct structure_list *structures,
                                        const struct volume *image);

/* Reads each mask once and brings it to volumes->target, padded to `extent`, by nearest neighbour.
 * What is above 1/2 is of the structure. What is odd (values of a label map, a structure that no
 * voxel is left of) is said in the image's warnings. At no time more than one mask is in memory
 * unpacked. */
CHECKED enum status subject_read_masks(const struct config *config,
                                       const struct subject_source *source,
                                       const struct structure_list *structures,
                                       struct subject_volumes *volumes, const int extent[3],
                                       struct subject_masks *masks);

/* Accepts a zeroed one. */
void subject_free_masks(struct subject_masks *masks);
