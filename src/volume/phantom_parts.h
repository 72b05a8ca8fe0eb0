/* What a phantom is made of: the anatomy of the template and the deformation of a subject. Both
 * live in coordinates that go from -1 to 1 across the field of view (x right, y anterior, z
 * superior). Private to the volume room. */
#pragma once
#include <stdint.h>
#include "base/status.h"

enum tissue {
  TISSUE_AIR,
  TISSUE_SCALP,
  TISSUE_SKULL,
  TISSUE_MUSCLE,
  TISSUE_FLUID,
  TISSUE_GRAY,
  TISSUE_WHITE,
  TISSUE_THALAMUS,
  TISSUE_PUTAMEN,
  TISSUE_CAUDATE,
  TISSUE_HINDBRAIN,
  TISSUE_COUNT,
};

/* T1-like brightness, white matter 1. */
extern const double tissue_levels[TISSUE_COUNT];

struct anatomy {
  int label;        /* of the structure at the point: sharp */
  double intensity; /* blended over `width` at borders, as voxels of that size show it */
};

/* The template at a point. Labels above `labels` are not used: what is around them takes their
 * place. */
struct anatomy anatomy_at(const double point[3], double width, const double levels[TISSUE_COUNT],
                          int labels);
const char *anatomy_label_name(int label);

/* Numbers of one subject, by what they are for: the last word of the random stream's key. */
enum { PHANTOM_VELOCITY, PHANTOM_CONTRAST, PHANTOM_BIAS, PHANTOM_NOISE };

/* A diffeomorphism of the field of view onto itself, kept as displacements on a grid. */
struct deformation {
  int extent;
  double (*shift)[3]; /* [x][y][z] */
};

/* exp of a random smooth velocity field that vanishes at the border, by scaling and squaring
 * (Arsigny et al., MICCAI 2006). amplitude: root mean square of the velocity. */
CHECKED enum status deformation_make(struct deformation *deformation, uint64_t seed,
                                     uint32_t subject, double amplitude);
void deformation_apply(const struct deformation *deformation, const double point[3],
                       double result[3]);
void deformation_close(struct deformation *deformation);
