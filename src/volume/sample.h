/* The voxel types of NIfTI that are read: one row per type. Private to the volume room. */
#pragma once
#include <stdbool.h>
#include <stddef.h>

struct sample_type {
  int code; /* NIFTI_TYPE_* */
  const char *name;
  int bytes;
  bool is_integer;
  /* Native-endian samples to double. */
  void (*decode)(const void *raw, double *values, size_t count);
};

/* NULL for a type that is not read. */
const struct sample_type *sample_find(int code);

/* What a NIfTI datatype code is called, also for types that are not read ("RGB24", "COMPLEX64"). */
const char *sample_name(int code);
