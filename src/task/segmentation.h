/* Segmentation (internal to the task): which class a voxel is of (label maps, softmax), or which
 * structures it is of (masks that may overlap, sigmoids). One task for volumes, patches of them,
 * and slices: what the network is run on is its *window*. */
#pragma once
#include "kernels/dropout/dropout.h"
#include "task/task.h"

/* What the network sees and says. */
struct segmentation_view {
  const struct config *config;
  int stored;       /* channels of the image as prepared */
  int classes;      /* logits of a voxel */
  int categories;   /* of volumes as a whole; 0: none are told */
  bool overlapping; /* each class by itself, with bits of truth: data.layout says so */
  int planned[3];   /* for volumes of which extent the network was planned */
  int window[3];    /* d h w */
  int coarser[3];   /* its logits have the extents window[a] / coarser[a] */
};

/* Whether voxels may be of several structures: data.layout says so. */
bool segmentation_overlaps(const struct config *config);

/* For volumes of that extent. STATUS_USAGE: keys that do not fit each other, named. */
CHECKED enum status segmentation_look(const struct config *config, const int extent[3],
                                      struct segmentation_view *view);

/* Where the inputs of a graph are among its inputs; -1: there is none. */
struct segmentation_inputs {
  int image;    /* [c d h w] float32: the window, or what augmentation moves into it */
  int truth;    /* uint8: classes [1 d h w], or packed masks [ceil(K/8) d h w] */
  int change;   /* the first of what augmentation needs (augment.h) */
  int dropout;  /* [DROPOUT_KEY]: of this sample's random numbers */
  int category; /* uint8: of the subject, 255: not known */
  int count;
};
struct segmentation_inputs segmentation_inputs_of(const struct segmentation_view *view,
                                                  enum purpose purpose);

/* A plane along d of what the network says: probabilities [classes][h][w] of plane d of the volume,
 * mean over windows, passes and members. */
struct segmentation_planes {
  enum status (*take)(void *context, int d, const float *probabilities);
  /* OPTIONAL: with passes or members, [classes][h][w] of their population deviation. */
  enum status (*take_spread)(void *context, int d, const float *deviations);
  /* OPTIONAL: [view->categories], set to the mean over windows, passes and members of the
   * probability of each category. */
  double *categories;
  void *context;
};

/* Runs the network over a volume [c][d][h][w] by windows that overlap by segmentation.overlap, each
 * weighted by a Gaussian of deviation window/8 around its middle (Isensee et al., "nnU-Net", 2021);
 * windows beyond the volume see zeros. The mean is taken of all members of an ensemble and all
 * passes with dropout. Planes come in order. `extent`: of the volume. The network is the one of
 * view->planned. */
CHECKED enum status segmentation_infer(const struct segmentation_view *view,
                                       const struct task_network *network, const float *image,
                                       const int extent[3],
                                       const struct segmentation_planes *planes);

/* segmentation_build.c, _score.c, _report.c, _draw.c, _predict.c: the functions of struct task. */
CHECKED enum status segmentation_build(const struct task_run *run, const struct config *config,
                                       enum purpose purpose, int samples, const int extent[3],
                                       struct graph *graph);
CHECKED enum status segmentation_columns(const struct task_run *run, bool detailed,
                                         struct task_columns *columns);
CHECKED enum status segmentation_score(struct task_run *run, enum split split, int64_t index,
                                       bool detailed, const struct task_network *network,
                                       const void *const *inputs, double *row, char *label);
CHECKED enum status segmentation_report(const struct task_run *run,
                                        const struct task_scores *scores);
CHECKED enum status segmentation_draw(struct task_run *run, const struct task_network *network,
                                      const void *const *inputs, struct task_image *images,
                                      int *count);
CHECKED enum status segmentation_predict(const struct config *config,
                                         const struct task_network *network,
                                         const char *const *files, int count,
                                         const char *directory);
