/* The prepared subjects, as training reads them: images and label maps mapped into memory from the
 * shards, so that the page cache of a node is its ranks' one shared cache. Read-only, without MPI.
 * Subjects are numbered by id (byte values), whatever the number of shards. HDF5 is called by
 * dataset_open only; afterwards any thread may read. A shard that another process cuts short while
 * it is mapped ends the program by SIGBUS: prepare never does that, it replaces whole files. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/status.h"
#include "data/split.h"
#include "volume/geometry.h"

struct dataset_map; /* a shard's mapping */

struct dataset_subject {
  char *id;
  enum split split;
  struct affine affine; /* voxel -> RAS+ mm of the stored grid */
  double spacing[3];    /* mm */
  /* Where the subject's own voxels are: all of them, but for data.grid = "own", where subjects are
   * padded at the end of each axis to one extent. */
  int box_first[3], box_count[3];
  double centroid[3]; /* RAS+ mm: of the voxels of any class but 0; NaN without any */
  char *source;       /* the image file it was made from; the first of several channels' files */
  char *label_source; /* the label file or the folder of masks; "" without */
  int category;       /* of the subject as a whole, from 0; -1: none is known */
  int map;            /* which shard, and which row of it */
  int row;
  /* CRC-32C of the stored bytes */
  uint32_t checksum_image, checksum_label, checksum_mask, checksum_voxels;
  uint64_t overlap_voxels; /* of more than one structure */
};

struct dataset {
  int subject_count;
  int extent[3];  /* d h w, the same for all subjects */
  int channels;   /* of an image */
  int classes;    /* with the background; 1 without labels */
  int categories; /* the largest of a subject, plus 1; 0 when none is known */
  int label_name_count;
  char **label_names; /* of classes 1, 2, ...; NULL when they have none */
  bool has_labels;
  int label_value_count; /* data.labels of prepare: label_values[c-1] became class c; 0: as they
                            were */
  int64_t *label_values;
  int structure_count; /* of masks that may overlap; 0 without */
  char **structures;   /* their names, in the order of channels */
  bool has_masks;
  int mask_planes; /* bytes of a voxel's masks: ceil(structure_count / 8) */
  int counted;     /* classes, or structures, whose voxels are counted in the shards; 0 in those of
                      earlier versions */
  uint64_t manifest;
  struct dataset_subject *subjects;
  int map_count;
  struct dataset_map *maps;
  _Atomic unsigned char *verified;        /* by subject */
  _Atomic unsigned char *verified_slices; /* [subject][slice]; NULL without masks */
};

/* Opens a master file and the shards beside it, checks every size, type and offset against the
 * files, and maps them. Compressed shards are unpacked first, once per node, into cache_folder
 * (NULL or "": beside the shards); the ranks of a node share the files. Errors name file, field,
 * expected and found. On failure *dataset is left zeroed. */
CHECKED enum status dataset_open(struct dataset *dataset, const char *master_path,
                                 const char *cache_folder);

/* float32 [channels][d][h][w], w fastest; valid until dataset_close. A slice along d is one piece
 * per channel. */
const float *dataset_image(const struct dataset *dataset, int subject);

/* Classes, uint8 [d][h][w]; NULL when there are no labels. */
const uint8_t *dataset_label(const struct dataset *dataset, int subject);

/* Masks, uint8 [d][mask_planes][h][w]: structure c is bit c%8 of plane c/8. NULL without. A slice
 * along d is one piece of mask_planes * h * w bytes, and what loss_bce reads for one sample. */
const uint8_t *dataset_mask(const struct dataset *dataset, int subject);

/* How many structures occur in each slice along d, [d]: known without touching the voxels. 0 for
 * slices of padding. NULL without masks. */
const uint16_t *dataset_slice_structures(const struct dataset *dataset, int subject);

/* How many voxels each structure has, [structure_count]. NULL without masks. */
const uint64_t *dataset_structure_voxels(const struct dataset *dataset, int subject);

/* How many voxels a subject has of each class [classes], or of each structure [structure_count]
 * where the data has masks; padding counts as class 0. For data with labels or masks. */
void dataset_count_voxels(const struct dataset *dataset, int subject, uint64_t *voxels);

/* A voxel (d, h, w) of a class, or of a structure where the data has masks: each voxel it has is
 * drawn by as many of the 2^32 numbers as any other, to within one. One slice along d is read.
 * False when the subject has no such voxel. Any thread may call this. */
bool dataset_draw_voxel(const struct dataset *dataset, int subject, int class, uint32_t number,
                        int voxel[3]);

/* As dataset_verify, for a slice along d of the image and the masks alone: nothing else is read.
 * For data with masks. */
CHECKED enum status dataset_verify_slice(struct dataset *dataset, int subject, int slice);

/* Checks the stored bytes against their checksums, the first time it is asked about a subject (and
 * again after a failure). The error names shard, subject, field, expected and found. */
CHECKED enum status dataset_verify(struct dataset *dataset, int subject);

/* The numbers of a split's subjects in order, into subjects (room for subject_count; NULL: only
 * count). Returns how many. */
int dataset_select(const struct dataset *dataset, enum split split, int *subjects);

/* The subject of that id, or -1. */
int dataset_find(const struct dataset *dataset, const char *id);

/* What the data is: a hash of ids, checksums of the stored bytes, splits, affines, boxes, extents
 * and classes. The same subjects in another number of shards give the same one. Never 0. */
uint64_t dataset_manifest(const struct dataset *dataset);

/* Maps the pages of an array of a subject that is about to be read as a whole, `bytes` from
 * `values` on, all at once: much faster than one page fault after the other, and from a disk in
 * large pieces. Only advice. */
void dataset_map_pages(const void *values, size_t bytes);

/* Gives the subject's pages back to the system, so that resident memory stays bounded; they are
 * read again when touched. Nothing is given back where all shards together are small (256 MiB). */
void dataset_release_pages(const struct dataset *dataset, int subject);

/* Accepts a zeroed one. */
void dataset_close(struct dataset *dataset);
