/* The files of prepared data (HDF5, readable by h5py and HDFView).
 *
 * A shard NAME-SSSSS-of-NNNNN.h5 holds n subjects:
 * - image float32 [n][d][h][w]: contiguous, or one gzip chunk per subject; of C > 1 channels
 *   [n][C][d][h][w], so that a slice along d is C pieces
 * - label uint8 [n][d][h][w]: classes; only when the data has labels
 * - mask uint8 [n][d][b][h][w], only when the data has structures, K of them, which may overlap:
 *   bit c%8 of byte c/8 of the b = ceil(K/8) says whether a voxel is of structure c. A slice along
 *   d is one piece, as loss_bce and loss_dice read it
 * - slice_voxels uint32 [n][d][k]: how many voxels each class (with masks, structure) has in a
 *   slice along d; not in shards of earlier versions
 * - id, source, label_source, history: fixed-length UTF-8 strings [n]; source is the file of the
 *   first channel, history is JSON; with masks label_source is their folder
 * - affine float64 [n][4][4]: voxel -> RAS+ mm of the stored grid; spacing float64 [n][3], mm
 * - box_first, box_count int32 [n][3]: the subject's own voxels; the rest is padding
 * - centroid float64 [n][3]: RAS+ mm, of the labelled voxels; NaN without any
 * - split uint8 [n]: 0 train, 1 validation, 2 test
 * - largest_label uint8 [n]: the highest class that occurs
 * - category int32 [n]: of the whole subject, from 0; -1: not known; absent where no subject has
 * one
 * - source_checksum, label_source_checksum uint32 [n]: CRC-32C of the source files' bytes
 * - checksum_image, checksum_label, checksum_mask, checksum_voxels uint32 [n]: CRC-32C of the
 *   stored bytes of image, label, mask and slice_voxels
 *
 * with masks also
 * - structures, strings [K]: their names; structure_voxels uint64 [n][K]: how many voxels each has
 * - slice_structures uint16 [n][d]: how many structures occur in a slice along d
 * - slice_checksum uint32 [n][d]: CRC-32C of the slice's image and then its mask
 * - overlap_voxels uint64 [n]: voxels of more than one structure
 *
 * with data.label_names also
 * - label_names, strings [classes - 1]: of classes 1, 2, ...
 *
 * and the attributes
 * - medtrain_format, shard_index, shard_count, int
 * - channels, int: C; absent: 1
 * - structure_count, int: K; absent: none
 * - label_name_count, int; absent: none
 * - classes, int: with the background; 0: the highest class that occurs, plus 1
 * - label_values, int64[]: label_values[c-1] became class c; absent: values are classes
 * - recipe, string: the settings that the stored bytes depend on
 * - config, string: the whole configuration it was made with
 *
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

enum {
  SHARD_FORMAT = 1,
  SHARD_CHANNEL_LIMIT = 16,
  SHARD_CLASS_LIMIT = 256,
  SHARD_CATEGORY_LIMIT = 65536
};

/* The fields with values per voxel, which are mapped, and those with some per slice or structure.
 */
enum shard_array {
  SHARD_IMAGE,
  SHARD_LABEL,
  SHARD_MASK,
  SHARD_SLICE_VOXELS,
  SHARD_MAPPED_COUNT,
  SHARD_SLICE_STRUCTURES = SHARD_MAPPED_COUNT,
  SHARD_SLICE_CHECKSUM,
  SHARD_STRUCTURE_VOXELS,
  SHARD_ARRAY_COUNT
};

/* What a shard knows of a subject, without its voxels. */
struct shard_subject {
  char *id, *source, *label_source, *history; /* label_source: "" without a label */
  double affine[4][4], spacing[3];
  int32_t box_first[3], box_count[3];
  double centroid[3];
  uint8_t split, largest_label;
  int32_t category;
  uint32_t source_checksum, label_source_checksum;
  uint32_t checksum_image, checksum_label, checksum_mask, checksum_voxels;
  uint64_t overlap_voxels;
};

/* A shard's description. */
struct shard {
  char *path;
  int index, count; /* this shard, of so many */
  int subject_count, channels, extent[3], classes;
  bool has_labels, compressed;
  int counted;   /* classes, or structures, whose voxels are counted; 0: none */
  bool complete; /* no field is missing, as box and centroid are in shards of earlier versions */
  int label_value_count;
  int64_t *label_values;
  int structure_count; /* 0: no masks */
  char **structures;
  int label_name_count; /* 0, or classes - 1 */
  char **label_names;
  bool has_categories;
  char *recipe, *config;
  struct shard_subject *subjects;
  uint64_t file_bytes, offset[SHARD_MAPPED_COUNT]; /* where contiguous data lies in the file */
  /* Once read: [n][d], [n][d], [n][K]; NULL without masks. */
  uint16_t *slice_structures;
  uint32_t *slice_checksum;
  uint64_t *structure_voxels;
};

/* The path of a shard of a master file: "a/b.h5" -> "a/b-00003-of-00008.h5" (caller frees); NULL
 * when out of memory. */
char *shard_path(const char *master_path, int index, int count);

/* Reads everything but the voxels and checks it: format, types, shapes, that contiguous data lies
 * inside the file. Errors name file, field, expected and found. On failure *shard is left zeroed.
 */
CHECKED enum status shard_read(struct shard *shard, const char *path);

/* Whether classes have the same names in both, or none. */
bool shard_same_names(const struct shard *a, const struct shard *b);

/* Whether both have masks of the same structures in the same order, or both none. */
bool shard_same_structures(const struct shard *a, const struct shard *b);

/* Bytes of one subject in an array; 0: the shard has none of it. */
size_t shard_array_bytes(const struct shard *shard, enum shard_array array);

/* CRC-32C of a subject's stored bytes in a mapped array. */
uint32_t shard_array_checksum(const struct shard_subject *subject, enum shard_array array);

/* "image", ... */
const char *shard_array_name(enum shard_array array);

/* Reads one subject's values through HDF5: shard_array_bytes of them. */
CHECKED enum status shard_read_subject(const struct shard *shard, int row, enum shard_array array,
                                       void *values);

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
