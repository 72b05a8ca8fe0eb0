/* The files of prepared data (HDF5, readable by h5py and HDFView).
 *
 * A shard NAME-SSSSS-of-NNNNN.h5 holds n subjects:
 *   image           float32 [n][d][h][w]   contiguous, or one gzip chunk per subject
 *   label           uint8   [n][d][h][w]   classes; only when the data has labels
 *   id, source, label_source, history      fixed-length UTF-8 strings [n]; history is JSON
 *   affine          float64 [n][4][4]      voxel -> RAS+ mm of the stored grid
 *   spacing         float64 [n][3]         mm
 *   box_first, box_count  int32 [n][3]     the subject's own voxels; the rest is padding
 *   centroid        float64 [n][3]         RAS+ mm, of the labelled voxels; NaN without any
 *   split           uint8   [n]            0 train, 1 validation, 2 test
 *   largest_label   uint8   [n]            the highest class that occurs
 *   source_checksum, label_source_checksum uint32 [n]  CRC-32C of the source files' bytes
 *   checksum_image, checksum_label         uint32 [n]  CRC-32C of the stored bytes
 * and the attributes
 *   medtrain_format, shard_index, shard_count  int
 *   classes         int      with the background; 0: the highest class that occurs, plus 1
 *   label_values    int64[]  label_values[c-1] became class c; absent: values are classes
 *   recipe          string   the settings that the stored bytes depend on
 *   config          string   the whole configuration it was made with
 * The master NAME.h5 shows every field as one data set over all shards (virtual data sets whose
 * file names are relative, so that the folder can be moved), and has the attributes shard_count and
 * manifest. Subjects are sorted by id through all shards.
 *
 * All metadata is written in the 1.10 format, which carries checksums, so that HDF5 itself refuses
 * damaged ones. HDF5 1.10 is not hardened against files made to attack it: open only shards from
 * where you would also run a program. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include "base/status.h"

enum { SHARD_FORMAT = 1 };

/* What a shard knows of a subject, without its voxels. */
struct shard_subject {
  char *id, *source, *label_source, *history; /* label_source: "" without a label */
  double affine[4][4], spacing[3];
  int32_t box_first[3], box_count[3];
  double centroid[3];
  uint8_t split, largest_label;
  uint32_t source_checksum, label_source_checksum, checksum_image, checksum_label;
};

/* A shard's description. image_offset, label_offset: where the contiguous data lies in the file. */
struct shard {
  char *path;
  int index, count; /* this shard, of so many */
  int subject_count, extent[3], classes;
  bool has_labels, compressed;
  bool complete; /* no field is missing, as box and centroid are in shards of earlier versions */
  int label_value_count;
  int64_t *label_values;
  char *recipe, *config;
  struct shard_subject *subjects;
  uint64_t image_offset, label_offset, file_bytes;
};

/* The path of a shard of a master file: "a/b.h5" -> "a/b-00003-of-00008.h5" (caller frees); NULL
 * when out of memory. */
char *shard_path(const char *master_path, int index, int count);

/* Reads everything but the voxels and checks it: format, types, shapes, that contiguous data lies
 * inside the file. Errors name file, field, expected and found. On failure *shard is left zeroed.
 */
CHECKED enum status shard_read(struct shard *shard, const char *path);

/* Reads one subject's voxels through HDF5 into image (float32 [d][h][w]) and, unless NULL, label.
 */
CHECKED enum status shard_read_subject(const struct shard *shard, int row, float *image,
                                       uint8_t *label);

/* Accepts a zeroed one. */
void shard_close(struct shard *shard);

/* What a master file stands for: the number of its shards (1..100000) and the manifest of their
 * content when it was written. */
CHECKED enum status shard_read_master(const char *master_path, int *shard_count,
                                      uint64_t *manifest);

/* What the data of all shards is: a hash of ids, checksums of the stored bytes, splits, affines,
 * boxes, extents and classes, the same for the same subjects in any number of shards. Never 0. */
uint64_t shard_manifest(const struct shard *shards, int count);

/* The number of classes of the data of all shards, with the background; 1 without labels. */
int shard_classes(const struct shard *shards, int count);

/* For people: what a shard or master file holds. Reads all voxels and verifies their checksums. */
CHECKED enum status shard_inspect(const char *path, FILE *out);

/* Whether the file is HDF5 (by its signature). */
bool shard_is_hdf5(const char *path);
