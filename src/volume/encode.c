/* Voxel types that are written, and how numbers become them (integers: to nearest, ties to even).
 */
#include "volume/encode.h"
#include <math.h>
#include <stdint.h>
#include <string.h>
#include "nifti2_io.h"

#define ENCODER(type)                                                       \
  static void encode_##type(const float *values, void *raw, size_t count) { \
    type *to = raw;                                                         \
    for (size_t i = 0; i < count; i++) to[i] = (type)rintf(values[i]);      \
  }
ENCODER(uint8_t)
ENCODER(int16_t)
ENCODER(int32_t)

static void encode_float(const float *values, void *raw, size_t count) {
  memcpy(raw, values, count * sizeof(float));
}

const struct sample_form sample_forms[] = {
    [VOLUME_FLOAT32] = {NIFTI_TYPE_FLOAT32, "float32", 4, 0, 0, encode_float},
    [VOLUME_UINT8] = {NIFTI_TYPE_UINT8, "uint8", 1, 0, UINT8_MAX, encode_uint8_t},
    [VOLUME_INT16] = {NIFTI_TYPE_INT16, "int16", 2, INT16_MIN, INT16_MAX, encode_int16_t},
    [VOLUME_INT32] = {NIFTI_TYPE_INT32, "int32", 4, INT32_MIN, INT32_MAX, encode_int32_t},
};
const int sample_form_count = sizeof sample_forms / sizeof *sample_forms;
