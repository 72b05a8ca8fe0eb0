/* Passes of convolutions whose target voxels share no source voxel, and never see one outside: with
 * kernel 1, or a kernel as large as its stride. Activations are read and written where they lie. */
#pragma once
#include "kernels/conv/conv_direct.h"
#include "kernels/conv/conv_panel.h"

/* The gradient of a bias: sums of all channels that count of the source, or of the target. */
struct conv_point_sums {
  bool of_source;
  float *channels;
};

/* Whether a blocked target sees a blocked source so. */
bool SIMD_NAME(conv_point_fits)(const struct tensor *target, const struct conv_source *source);

/* As conv_rows; pays where rows are not too short. */
bool SIMD_NAME(conv_point_pays)(const struct tensor *target, const struct conv_source *sources,
                                int count);
void SIMD_NAME(conv_point)(const struct conv_target *target, const struct conv_source *sources,
                           int count);

/* The same for `count` voxels, at most CONV_PANEL_PLACES, of sample n from voxel `first` on, where
 * each sees the one at its own place; what lies `ahead` voxels behind is asked for. */
void SIMD_NAME(conv_point_part)(const struct conv_target *target, const struct conv_source *source,
                                int n, int first, int count, int ahead,
                                struct conv_panel_waiting *waiting);

/* A convolution of one of the tensors that conv_point_outer reads. */
struct conv_point_also {
  const struct conv_target *target;
  const struct conv_source *source;
};

/* Whether conv_point_outer sees each voxel once, at its own place, so that it may compute another
 * convolution of that kind from what lies in a cache. */
bool SIMD_NAME(conv_point_outer_sees_once)(const struct tensor *target,
                                           const struct conv_source *source);

/* As conv_outer, for a target of one phase; and the sums over all voxels of one side's channels. */
bool SIMD_NAME(conv_point_outer_pays)(const struct tensor *target,
                                      const struct conv_source *source);
size_t SIMD_NAME(conv_point_outer_size)(const struct tensor *target,
                                        const struct conv_source *source);
/* Whether it gives these sums: of the source only where each of its voxels is seen. */
bool SIMD_NAME(conv_point_outer_sums)(const struct tensor *target, const struct conv_source *source,
                                      bool of_source);
void SIMD_NAME(conv_point_outer)(const struct tensor *target, const float *data,
                                 const struct conv_source *source, float *partial,
                                 const struct conv_point_sums *sums,  /* NULL: not wanted */
                                 const struct conv_point_also *also); /* likewise */

/* Whether each target voxel sees just the source voxel at its own place. */
static inline bool conv_point_is_plain(const struct conv_packing *packing) {
  for (int i = 0; i < 3; i++) {
    const struct conv_axis *a = &packing->axis[i];
    if (a->phases != 1 || a->step != 1 || a->taps[0] != 1 || a->first[0] != 0) return false;
  }
  return true;
}

/* All voxels of a sample as one row. */
static inline struct tensor conv_point_flatten(const struct tensor *tensor) {
  struct tensor flat = *tensor;
  flat.shape.w = (int)shape_voxels(tensor->shape);
  flat.shape.d = flat.shape.h = 1;
  return flat;
}
