/* The pieces of the pose task, one file each: a network sees a volume that a rigid motion has moved
 * and estimates that motion. Motions are made on the device that trains, from volumes on their own
 * grids, in one interpolation; training, evaluation and prediction run the same operators. Inputs,
 * in order: source [n 1 D H W] (a stored volume), motion (struct affine_motion: from the network's
 * grid to the source's), in mode pair reference and reference_motion (the volume before it was
 * moved), and while training target [n 6 1 1 1] (degrees, mm). Outputs: estimate [n 6 or 9 1 1 1],
 * image [n 1 d h w] (what the network sees). */
#pragma once
#include "kernels/affine/affine.h"
#include "task/task.h"
#include "volume/rigid.h"

enum { POSE_NUMBERS = 6 };
enum { POSE_SOURCE, POSE_MOTION, POSE_REFERENCE, POSE_REFERENCE_MOTION };

/* Whether the network also sees the volume before it was moved. */
bool pose_is_pair(const struct config *config);

/* Pose `variant` of a subject: a function of the seed, the subject's id, the variant, the sampling
 * and, where a training epoch draws new poses, the epoch. epoch -1: the fixed poses, which
 * evaluation uses. */
struct pose pose_motion(const struct task_run *run, int64_t epoch, int subject, int64_t variant);

/* The same from its parts. */
struct pose pose_draw_motion(const struct config *config, const char *id, int64_t epoch,
                             int64_t variant);

/* Which volume and which of its poses a sample is. */
struct pose_sample {
  int subject;
  int64_t epoch, variant; /* as pose_motion takes them */
};
struct pose_sample pose_sample_of(struct task_run *run, enum purpose purpose, enum split split,
                                  int64_t epoch, int64_t index);

/* The network's grid around a centre (RAS+ mm), axes right, anterior, superior. */
struct grid pose_grid(const struct config *config, const double centre[3]);

/* Half the sides of the network's field of view between the outermost voxel centres, mm. */
void pose_half_sides(const struct config *config, double half[3]);

/* How far the network sees from its centre, mm. */
double pose_mask_radius(const struct config *config);

/* The point that a stored subject's poses turn about (pose.canonical). */
void pose_centre(const struct task_run *run, int subject, double centre[3]);

/* What the affine operator needs to show `source` moved by a pose: voxels of the network's grid
 * around `centre` to those of the source, whose own voxels are in a box. */
CHECKED enum status pose_affine_motion(const struct config *config, const struct pose *pose,
                                       const double centre[3], const struct affine *source,
                                       const int box_first[3], const int box_count[3],
                                       struct affine_motion *motion);

/* The key of a sample's noise. */
void pose_find_key(const struct config *config, const char *id, int64_t epoch, int64_t variant,
                   struct affine_motion *motion);

/* Mean and deviation of a volume within its box, from every 61st voxel: what pose.fill = "noise"
 * makes noise of. */
void pose_find_noise(const float *source, const int extent[3], const int box_first[3],
                     const int box_count[3], struct affine_motion *motion);

CHECKED enum status pose_build(const struct task_run *run, const struct config *config,
                               enum purpose purpose, int samples, const int extent[3],
                               struct graph *graph);

/* What comes before the network, by itself: inputs source and motion, output image. */
CHECKED enum status pose_build_image(const struct task_run *run, const struct config *config,
                                     enum purpose purpose, int samples, const int extent[3],
                                     struct graph *graph);

/* The network's estimate as a pose. */
void pose_read_estimate(const struct config *config, const float *estimate, struct pose *pose);

CHECKED enum status pose_columns(const struct task_run *run, bool detailed,
                                 struct task_columns *columns);
CHECKED enum status pose_score(struct task_run *run, enum split split, int64_t index, bool detailed,
                               const struct task_network *network, const void *const *inputs,
                               double *row, char *label);
CHECKED enum status pose_draw(struct task_run *run, const struct task_network *network,
                              const void *const *inputs, struct task_image *images, int *count);
CHECKED enum status pose_report(const struct task_run *run, const struct task_scores *scores);
CHECKED enum status pose_predict(const struct config *config, const struct task_network *network,
                                 const char *const *files, int count, const char *directory);
