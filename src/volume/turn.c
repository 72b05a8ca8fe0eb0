/* Tiles of 16 x 16 numbers: what is read and what is written are whole cache lines, whatever the
 * extents. Tiles of the same slices follow each other, so that a file's slices are read in order.
 */
#include "volume/turn.h"
#include <string.h>

enum { TILE = SAMPLE_TILE, WIDTH = 4, WORTH_THREADS = 1 << 18 };
typedef float floats __attribute__((vector_size(4 * WIDTH)));

/* tile[k][i] of up to 16 slices, from sample `at` on. */
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

/* 4 x 4 numbers of a tile, rows `step` apart where they go. */
static inline void transpose(const float *from, float *to, size_t step) {
  floats row[WIDTH];
  for (int k = 0; k < WIDTH; k++) memcpy(&row[k], from + k * TILE, sizeof row[k]);
  floats a = __builtin_shufflevector(row[0], row[1], 0, 4, 1, 5);
  floats b = __builtin_shufflevector(row[2], row[3], 0, 4, 1, 5);
  floats c = __builtin_shufflevector(row[0], row[1], 2, 6, 3, 7);
  floats d = __builtin_shufflevector(row[2], row[3], 2, 6, 3, 7);
  const floats column[WIDTH] = {
      __builtin_shufflevector(a, b, 0, 1, 4, 5), __builtin_shufflevector(a, b, 2, 3, 6, 7),
      __builtin_shufflevector(c, d, 0, 1, 4, 5), __builtin_shufflevector(c, d, 2, 3, 6, 7)};
  for (int i = 0; i < WIDTH; i++) memcpy(to + (size_t)i * step, &column[i], sizeof column[i]);
}

/* Column i of the tile to values[i * step]; a whole tile. */
static void put_tile(sample_tile tile, float *values, size_t step) {
  for (int i = 0; i < TILE; i += WIDTH)
    for (int k = 0; k < TILE; k += WIDTH)
      transpose(&tile[k][i], values + (size_t)i * step + k, step);
}

static void put_part(sample_tile tile, int slices, int count, float *values, size_t step) {
  for (int i = 0; i < count; i++)
    for (int k = 0; k < slices; k++) values[(size_t)i * step + (size_t)k] = tile[k][i];
}

/* Row j of up to 16 slices from k on. */
static void turn_row(const struct turning *turning, int j, int k, float *values) {
  const int *extent = turning->extent;
  size_t row = (size_t)extent[0], plane = row * (size_t)extent[1];
  size_t step = (size_t)extent[1] * (size_t)extent[2];
  int slices = turning->slices - k < TILE ? turning->slices - k : TILE;
  sample_tile tile;
  for (int i = 0; i < extent[0]; i += TILE) {
    int count = extent[0] - i < TILE ? extent[0] - i : TILE;
    size_t at = (size_t)k * plane + (size_t)j * row + (size_t)i;
    float *to = values + (size_t)i * step + (size_t)j * (size_t)extent[2] + k;
    fill_tile(turning, at, plane, slices, count, tile);
    if (count == TILE && slices == TILE)
      put_tile(tile, to, step);
    else
      put_part(tile, slices, count, to, step);
  }
}

void turn_samples(const struct turning *turning, float *values) {
  size_t samples =
      (size_t)turning->extent[0] * (size_t)turning->extent[1] * (size_t)turning->slices;
#pragma omp parallel for collapse(2) schedule(static) if (samples >= WORTH_THREADS)
  for (int k = 0; k < turning->slices; k += TILE)
    for (int j = 0; j < turning->extent[1]; j++) turn_row(turning, j, k, values);
}
