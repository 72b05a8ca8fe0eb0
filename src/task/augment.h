/* Augmentation, for any task: every training sample is turned, scaled, bent, mirrored and changed
 * in its intensities by numbers of its own. These are drawn here, on the CPU, from (seed, epoch,
 * subject, variant) alone; what they do is done by operators of the graph, on the device that
 * trains. The defaults of section augment draw nothing: then there are no inputs and no nodes.
 *
 * Axes are those of the arrays, d h w. A task's `source` is a box of stored voxels; the network's
 * `window` has the same spacing. With `dimensions` 2 nothing happens along d: no turn but the one
 * in the planes, no other scale, no flip, the same deformation in all planes. */
#pragma once
#include "base/random.h"
#include "config/config.h"
#include "graph/graph.h"
#include "kernels/affine/affine.h"
#include "kernels/intensity/intensity.h"

/* What happens to a sample. */
struct augment_sample {
  bool flip[3];        /* axes that are mirrored; the caller swaps structures of left and right */
  double rotation[3];  /* degrees about d, h and w */
  double scale[3];     /* how much larger things become */
  double deformation;  /* mm; 0: none */
  struct random bends; /* where the numbers of its deformation begin */
  double noise;        /* deviation */
  double brightness, contrast, gamma, gamma_inverted; /* 1: as it is */
  double blur[3];                                     /* deviations in voxels; 0: none */
  double low_resolution[3];                           /* what extents shrink to; 1: none */
  float key[2];                                       /* of the noise */
};

/* STATUS_USAGE: keys that mean nothing, or nothing together; named. */
CHECKED enum status augment_check(const struct config *config, int dimensions);

/* Whether samples move (the graph then has the operator affine), are bent as well, or change in
 * their intensities. */
bool augment_moves(const struct config *config);
bool augment_deforms(const struct config *config);
bool augment_contrasts(const struct config *config);

/* Copy `variant` of a subject in an epoch: the same whenever and wherever it is asked for. id: the
 * subject's; variant: 0 to 2^32 - 1, slices count. The config has been checked. */
void augment_draw(const struct config *config, int64_t epoch, const char *id, int64_t variant,
                  int dimensions, struct augment_sample *sample);

/* A sample to which nothing happens. */
struct augment_sample augment_nothing(void);

/* How large a source must be for the largest turn and scale to leave nothing of a window outside it
 * when their middles are at most half a voxel apart, and as good as nothing of the largest
 * deformation (three deviations); at most `volume`. spacing: mm. Without movement the window. */
void augment_source_extent(const struct config *config, const int window[3],
                           const double spacing[3], int dimensions, const int volume[3],
                           int extent[3]);

/* What the operator affine needs. centre: the source's voxel that becomes the middle of the window,
 * which is (extent - 1) / 2 of each; first, count: the source's box of valid voxels. Turns are
 * rigid in mm; flips without turns are exact. */
void augment_motion(const struct augment_sample *sample, const int window[3],
                    const double spacing[3], const double centre[3], const int first[3],
                    const int count[3], struct affine_motion *motion);

/* Extent of the deformation's coefficients, which are [3] of them. */
void augment_control_extent(const struct config *config, const int window[3], int dimensions,
                            int extent[3]);
/* Writes the coefficients [3][extent], in voxels: the displacement's deviation is that of the
 * sample in mm, but for rows at the borders. */
void augment_control(const struct config *config, const struct augment_sample *sample,
                     const int window[3], const double spacing[3], int dimensions, float *control);

/* Numbers of a sample for the operators that change intensities: a multiple of 16 each. */
struct intensity_numbers augment_intensity(const struct augment_sample *sample);
void augment_blur(const struct augment_sample *sample, float numbers[16]);
void augment_low_resolution(const struct augment_sample *sample, float numbers[16]);

/* Values of a graph; -1: there is none. */
struct augment_inputs {
  int motion, control;                 /* [n 32 1 1 1], [n 3 gd gh gw] */
  int intensity, blur, low_resolution; /* [n 16 1 1 1] each */
};

/* How many inputs a graph gets. */
int augment_input_count(const struct config *config);

/* Adds them, in the order of the struct. */
CHECKED enum status augment_add_inputs(struct graph *graph, const struct config *config,
                                       int samples, const int window[3], int dimensions,
                                       struct augment_inputs *inputs);

/* Writes a sample's, each a plain array, in the same order: augment_input_count of them from `to`
 * on. Otherwise as augment_motion. */
void augment_fill(const struct config *config, const struct augment_sample *sample,
                  const int window[3], const double spacing[3], int dimensions,
                  const double centre[3], const int first[3], const int count[3], void *const *to);

/* What a source looks like through the window: an image by linear interpolation, or `labels` (bytes
 * of any kind) by the nearest, from the same places. augment_moves. */
CHECKED enum status augment_add_moved(struct graph *graph, const struct config *config,
                                      const int window[3], const char *name, int source,
                                      const struct augment_inputs *inputs, bool labels, int *moved);

/* An image with other intensities: noise, blur, brightness, contrast, low resolution, gamma, in
 * this order; as it is if there is nothing to change. */
CHECKED enum status augment_add_contrast(struct graph *graph, const struct config *config,
                                         int image, const struct augment_inputs *inputs,
                                         int *changed);
