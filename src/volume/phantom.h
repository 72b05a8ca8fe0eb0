/* Labelled synthetic heads for trials and tests: an analytic template, deformed per subject by a
 * random diffeomorphism, with MR-like contrast, bias field and noise. */
#pragma once
#include <stdint.h>
#include "volume/volume.h"

enum { PHANTOM_LABELS = 12 };

struct phantom_options {
  int extent[3];    /* voxels; the head fills the field of view whatever it is */
  double spacing;   /* mm, isotropic; 0: such that the longest side is 192 mm */
  uint64_t seed;    /* of the data set */
  uint32_t subject; /* number of the subject: 0, 1, ... */
  int labels;       /* foreground labels, 1..PHANTOM_LABELS; later ones join what surrounds them */
  double deformation; /* root mean square displacement in percent of the field of view; 0: none */
  double noise;       /* Rician, deviation relative to white matter's intensity */
  double bias;        /* multiplicative, deviation of its logarithm */
  double contrast;    /* deviation of the subject's tissue intensities, relative */
};

/* 96^3 at 2 mm, subject 0 of seed 0, all labels, and the deformation, noise, bias and
 * contrast of a T1 data set: label maps of two subjects overlap with a mean Dice of 0.6 to 0.7. */
struct phantom_options phantom_defaults(void);

/* The name of a label 0..PHANTOM_LABELS ("background", "gray matter", ...), NULL outside. */
const char *phantom_label_name(int label);

/* Makes one subject: image (white matter about 1) and label map, orientation RAS. Either may be
 * NULL. A function of the options only: the same bits for any number of threads; the anatomy of a
 * (seed, subject) is the same at every extent. STATUS_USAGE for options outside their range. */
CHECKED enum status phantom_make(const struct phantom_options *options, struct volume *image,
                                 struct volume *labels);
