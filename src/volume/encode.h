/* Numbers to the voxel types that are written. Private to the volume room. */
#pragma once
#include "volume/volume.h"

struct sample_form {
  int code; /* NIFTI_TYPE_* */
  const char *name;
  int bytes;
  double low, high; /* what an integer type can hold; 0, 0 for float */
  void (*encode)(const float *values, void *raw, size_t count);
};

/* One row per enum volume_type. */
extern const struct sample_form sample_forms[];
extern const int sample_form_count;
