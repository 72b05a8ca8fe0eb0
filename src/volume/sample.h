/* The voxel types of NIfTI that are read: one row per type. Private to the volume room. */
#pragma once
#include <stdbool.h>
#include <stddef.h>

enum { SAMPLE_TILE = 16 };
typedef float sample_tile[SAMPLE_TILE][SAMPLE_TILE];

struct sample_type {
  int code; /* NIFTI_TYPE_* */
  const char *name;
  int bytes;
  bool is_integer;
  /* Native-endian samples, of which a file has any alignment, to rows of a tile: sample i of the
   * row that is k * step bytes behind raw becomes tile[k][i]. widen: as they are; scale: slope *
   * sample + inter, in double. -0 becomes 0. */
  void (*widen)(const unsigned char *raw, size_t step, int rows, int count, sample_tile tile);
  void (*scale)(const unsigned char *raw, size_t step, int rows, int count, double slope,
                double inter, sample_tile tile);
};

/* NULL for a type that is not read. */
const struct sample_type *sample_find(int code);

/* What a NIfTI datatype code is called, also for types that are not read ("RGB24", "COMPLEX64"). */
const char *sample_name(int code);
