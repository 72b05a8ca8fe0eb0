/* NIfTI voxel types and how they become numbers. */
#include "volume/sample.h"
#include <stdint.h>
#include <string.h>
#include "nifti2_io.h"

/* A full row has a known length, so that compilers make vectors of it. */
#define EACH_SAMPLE(type, expression)                                       \
  for (int k = 0; k < rows; k++, raw += step) {                             \
    type from[SAMPLE_TILE];                                                 \
    if (count == SAMPLE_TILE)                                               \
      memcpy(from, raw, sizeof from);                                       \
    else {                                                                  \
      memset(from, 0, sizeof from);                                         \
      memcpy(from, raw, (size_t)count * sizeof *from);                      \
    }                                                                       \
    for (int i = 0; i < SAMPLE_TILE; i++) tile[k][i] = (float)(expression); \
  }

/* wide: where -0 becomes 0; float32 for what it holds exactly. */
#define DECODER(type, wide)                                                            \
  static void widen_##type(const unsigned char *raw, size_t step, int rows, int count, \
                           sample_tile tile) {                                         \
    EACH_SAMPLE(type, (wide)from[i] + (wide)0)                                         \
  }                                                                                    \
  static void scale_##type(const unsigned char *raw, size_t step, int rows, int count, \
                           double slope, double inter, sample_tile tile) {             \
    EACH_SAMPLE(type, slope *(double)from[i] + inter)                                  \
  }
DECODER(uint8_t, float)
DECODER(int8_t, float)
DECODER(int16_t, float)
DECODER(uint16_t, float)
DECODER(int32_t, double)
DECODER(uint32_t, double)
DECODER(int64_t, double)
DECODER(uint64_t, double)
DECODER(float, float)
DECODER(double, double)

static const struct sample_type types[] = {
    {NIFTI_TYPE_UINT8, "uint8", 1, true, widen_uint8_t, scale_uint8_t},
    {NIFTI_TYPE_INT16, "int16", 2, true, widen_int16_t, scale_int16_t},
    {NIFTI_TYPE_INT32, "int32", 4, true, widen_int32_t, scale_int32_t},
    {NIFTI_TYPE_FLOAT32, "float32", 4, false, widen_float, scale_float},
    {NIFTI_TYPE_FLOAT64, "float64", 8, false, widen_double, scale_double},
    {NIFTI_TYPE_INT8, "int8", 1, true, widen_int8_t, scale_int8_t},
    {NIFTI_TYPE_UINT16, "uint16", 2, true, widen_uint16_t, scale_uint16_t},
    {NIFTI_TYPE_UINT32, "uint32", 4, true, widen_uint32_t, scale_uint32_t},
    {NIFTI_TYPE_INT64, "int64", 8, true, widen_int64_t, scale_int64_t},
    {NIFTI_TYPE_UINT64, "uint64", 8, true, widen_uint64_t, scale_uint64_t},
};

const struct sample_type *sample_find(int code) {
  for (size_t i = 0; i < sizeof types / sizeof *types; i++)
    if (types[i].code == code) return &types[i];
  return NULL;
}

const char *sample_name(int code) {
  const struct sample_type *type = sample_find(code);
  return type ? type->name : nifti_datatype_string(code);
}
