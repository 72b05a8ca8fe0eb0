/* Tiles of 16 x 16 numbers: what is read and what is written are whole cache lines, whatever the
 * extents. */
#include "volume/turn.h"
#include <string.h>

enum { TILE = SAMPLE_TILE, WORTH_THREADS = 1 << 18 };

/* tile[i][k] of up to 16 slices, from sample `at` on. */
static void fill_tile(const struct turning *turning, size_t at, size_t plane, int slices, int count,
                      sample_tile tile) {
  const struct sample_type *type = turning->type;
  size_t bytes = (size_t)type->bytes;
  const unsigned char *raw = turning->raw + at * bytes;
  if (turning->slope == 1 && turning->inter == 0)
    type->widen(raw, plane * bytes, slices, count, tile);
  else
    type->scale(raw, plane * bytes, slices, count, turning->slope, turning->inter, tile);
}

static void turn_rows(const struct turning *turning, int j, float *values) {
  const int *extent = turning->extent;
  size_t row = (size_t)extent[0], plane = row * (size_t)extent[1];
  sample_tile tile;
  for (int i = 0; i < extent[0]; i += TILE) {
    int count = extent[0] - i < TILE ? extent[0] - i : TILE;
    for (int k = 0; k < turning->slices; k += TILE) {
      int slices = turning->slices - k < TILE ? turning->slices - k : TILE;
      size_t at = (size_t)k * plane + (size_t)j * row + (size_t)i;
      fill_tile(turning, at, plane, slices, count, tile);
      for (int n = 0; n < count; n++) {
        size_t line = (size_t)(i + n) * (size_t)extent[1] + (size_t)j;
        memcpy(values + line * (size_t)extent[2] + k, tile[n], (size_t)slices * sizeof(float));
      }
    }
  }
}

void turn_samples(const struct turning *turning, float *values) {
  size_t samples =
      (size_t)turning->extent[0] * (size_t)turning->extent[1] * (size_t)turning->slices;
#pragma omp parallel for schedule(static) if (samples >= WORTH_THREADS)
  for (int j = 0; j < turning->extent[1]; j++) turn_rows(turning, j, values);
}
