/* NIfTI voxel types and how they become numbers. */
#include "volume/sample.h"
#include <stdint.h>
#include <string.h>
#include "nifti2_io.h"

#define DECODER(type)                                                        \
  static void decode_##type(const void *raw, double *values, size_t count) { \
    const type *from = raw;                                                  \
    for (size_t i = 0; i < count; i++) values[i] = (double)from[i];          \
  }
DECODER(uint8_t)
DECODER(int8_t)
DECODER(int16_t)
DECODER(uint16_t)
DECODER(int32_t)
DECODER(uint32_t)
DECODER(int64_t)
DECODER(uint64_t)
DECODER(float)
DECODER(double)

static const struct sample_type types[] = {
    {NIFTI_TYPE_UINT8, "uint8", 1, true, decode_uint8_t},
    {NIFTI_TYPE_INT16, "int16", 2, true, decode_int16_t},
    {NIFTI_TYPE_INT32, "int32", 4, true, decode_int32_t},
    {NIFTI_TYPE_FLOAT32, "float32", 4, false, decode_float},
    {NIFTI_TYPE_FLOAT64, "float64", 8, false, decode_double},
    {NIFTI_TYPE_INT8, "int8", 1, true, decode_int8_t},
    {NIFTI_TYPE_UINT16, "uint16", 2, true, decode_uint16_t},
    {NIFTI_TYPE_UINT32, "uint32", 4, true, decode_uint32_t},
    {NIFTI_TYPE_INT64, "int64", 8, true, decode_int64_t},
    {NIFTI_TYPE_UINT64, "uint64", 8, true, decode_uint64_t},
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
