/* One subject's way from files to what a shard holds. */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include "base/status.h"
#include "config/config.h"
#include "data/discover.h"
#include "data/shard.h"
#include "volume/resample.h"
#include "volume/volume.h"

enum { SUBJECT_HISTORY_BYTES = 4096 };

/* A subject as read: checked, intensities normalised, labels turned into classes; on its own grid.
 */
struct subject_volumes {
  struct volume image, label;           /* label zeroed when the subject has none */
  struct grid target;                   /* where it is going: its own voxels, padding excluded */
  float outside[SHARD_CHANNEL_LIMIT];   /* of each channel, for voxels outside the field of view */
  float range[SHARD_CHANNEL_LIMIT][2];  /* of each channel's values in the file */
  float stored[SHARD_CHANNEL_LIMIT][2]; /* and of those that subject_resample made */
  int largest_label;
};

/* data.grid "own": volumes are turned to data.orientation by permutation and flips only, and keep
 * their spacing and extent. */
bool subject_keeps_grid(const struct config *config);

/* data.grid "slices": as on the common grid, but each subject has its own number of slices along
 * the first axis. */
bool subject_keeps_slices(const struct config *config);

/* How files are read: data.nonfinite, data.unknown_orientation and data.maximum_gib. */
struct volume_policy subject_policy(const struct config *config, bool labels);

/* Reads and checks; what it fails with says what is wrong with the subject. On failure *volumes is
 * left zeroed. */
CHECKED enum status subject_read(const struct config *config, const struct subject_source *source,
                                 struct subject_volumes *volumes);

/* Reads the image of data.channels channels from its files, as they are: one file of 4 axes, or one
 * per channel. What it fails with names the file. On failure *image is left zeroed. */
CHECKED enum status subject_read_image(const struct config *config,
                                       const struct subject_source *source, struct volume *image);

/* STATUS_FAILED unless both have the same extents and the same place; names the other's file, calls
 * it a `kind` ("mask") and says what was expected and found. */
CHECKED enum status subject_check_grid(const struct volume *image, const struct volume *other,
                                       const char *kind);

/* Accepts a zeroed one. */
void subject_close(struct subject_volumes *volumes);

/* Brings the volumes to `target`, then pads the end of each axis up to `extent` (each at least
 * target's) with `outside` and class 0: image float32 [channel][d][h][w] and label uint8 [d][h][w]
 * (caller frees both; label NULL without one). */
CHECKED enum status subject_resample(struct subject_volumes *volumes, const int extent[3],
                                     float **image, uint8_t **label);

/* Where the middle of the voxels of any class but 0 is, in RAS+ mm; NaN without any. label: as
 * subject_resample made it for `extent`, or NULL. */
void subject_find_centroid(const struct affine *affine, const int extent[3], const uint8_t *label,
                           double centroid[3]);

/* What was done, as JSON in at most SUBJECT_HISTORY_BYTES with its 0 byte. */
CHECKED enum status subject_describe(const struct config *config,
                                     const struct subject_volumes *volumes, char *history);

/* CRC-32C of all of an image's files. */
CHECKED enum status subject_checksum_image(const struct subject_source *source, uint32_t *checksum);

/* CRC-32C of a source file's bytes; of .hdr the header's and then the .img file's. */
CHECKED enum status subject_checksum(const char *path, uint32_t *checksum);

/* The settings that the stored bytes depend on, as text (caller frees). */
CHECKED enum status subject_recipe(const struct config *config, char **recipe);
