/* Which subjects there are: finds images and label maps under data.source by data.layout.
 *   folders  images/NAME.nii.gz (.nii, .hdr) and labels/NAME with the same stem; no labels folder:
 *            no labels. The subject's id is NAME without its suffix.
 *            With data.channels = C > 1 also images/NAME_0000, NAME_0001, ..., one file per
 *            channel; the subject is NAME.
 *   plain    every volume in data.source, without labels; ids as above.
 *   oasis    one folder per subject (its id) with aligned_norm.nii.gz and aligned_seg4.nii.gz or
 *            aligned_seg35.nii.gz; folders without aligned_norm are passed over.
 *   mmwhs    ID_image.nii.gz and, beside it or for none, ID_label.nii.gz in the folder data.subset;
 *            other files are passed over.
 *   csv      data.list: a header line subject,image,label[,split,patient,category] and one line per
 * subject; paths relative to data.source; fields may be quoted as in RFC 4180. totalsegmentator one
 * folder per subject (its id) with ct.nii.gz or mri.nii.gz and the folder segmentations of one mask
 * per structure, STRUCTURE.nii.gz; folders without an image are passed over. data.source/meta.csv,
 * where it is there and has the columns image_id and split (separated by semicolons), says the
 * splits. Names that begin with a dot ("._x" of macOS) are passed over.
 *
 * With data.channels > 1 the csv's column image is one file, or one per channel separated by ';'.
 *
 * A subject is one volume; several may be of one patient, who stays in one split: the csv's column
 * says which, or data.patient, a text: what is before its last occurrence in the id. */
#pragma once
#include "base/status.h"
#include "config/config.h"

struct subject_source {
  char *id;             /* unique; not empty; no '/', no control characters; at most 255 bytes */
  char *image;          /* path; the file exists */
  char *label;          /* path, or NULL; all subjects have one or none has */
  char **channel_files; /* of channels 1, 2, ... where each has its own; image is channel 0's */
  int channel_file_count;
  char *masks;   /* folder of masks, or NULL; all subjects have one or none has */
  char *patient; /* whose volume it is; never NULL */
  int category;  /* from a table's column, from 0; -1: none */
  int split;     /* enum split from a table's column, else -1; all subjects have one or none has */
};

/* The subjects sorted by id (byte values). Duplicate ids, missing files and an empty result are
 * errors that name the file and what was expected. Free with discover_free. */
CHECKED enum status discover_subjects(const struct config *config, struct subject_source **subjects,
                                      int *count);

/* Accepts NULL. */
void discover_free(struct subject_source *subjects, int count);
