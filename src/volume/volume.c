/* The volume in memory. */
#include "volume/volume.h"
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include "base/file.h"
#include "volume/memory.h"

enum status volume_allocate(struct volume *volume, const struct grid *grid, int channels) {
  *volume = (struct volume){.channels = channels, .affine = grid->affine};
  memcpy(volume->extent, grid->extent, sizeof volume->extent);
  size_t count = (size_t)channels;
  bool overflow = channels < 1;
  for (int a = 0; a < 3; a++)
    overflow |=
        grid->extent[a] < 1 || __builtin_mul_overflow(count, (size_t)grid->extent[a], &count);
  if (!overflow && count <= PTRDIFF_MAX / sizeof(float))
    volume->values = memory_large(count * sizeof(float));
  if (volume->values) return STATUS_OK;
  *volume = (struct volume){0};
  FAIL(STATUS_FAILED, "cannot allocate a volume of %d x %d x %d x %d voxels", grid->extent[0],
       grid->extent[1], grid->extent[2], channels);
}

enum status volume_create(struct volume *volume, const struct grid *grid, int channels) {
  TRY(volume_allocate(volume, grid, channels));
  memset(volume->values, 0, volume_count(volume) * (size_t)channels * sizeof *volume->values);
  return STATUS_OK;
}

void volume_close(struct volume *volume) {
  memory_return(volume->values);
  free(volume->source);
  free(volume->warnings);
  *volume = (struct volume){0};
}

struct grid volume_get_grid(const struct volume *volume) {
  struct grid grid = {.affine = volume->affine};
  memcpy(grid.extent, volume->extent, sizeof grid.extent);
  return grid;
}

size_t volume_count(const struct volume *volume) {
  return (size_t)volume->extent[0] * (size_t)volume->extent[1] * (size_t)volume->extent[2];
}

void volume_warn(struct volume *volume, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  char *line = NULL;
  int length = vasprintf(&line, format, arguments);
  va_end(arguments);
  if (length < 0) return;
  if (!volume->warnings) {
    volume->warnings = line;
    return;
  }
  char *both = file_format("%s\n%s", volume->warnings, line);
  free(line);
  if (!both) return;
  free(volume->warnings);
  volume->warnings = both;
}

/* The old voxel that becomes (0,0,0), and the distance in values between neighbours along each new
 * axis. */
struct turn {
  ptrdiff_t first, step[3];
};

static struct turn plan_turn(const int extent[3], const int from[3], const bool flip[3]) {
  ptrdiff_t stride[3] = {(ptrdiff_t)extent[1] * extent[2], extent[2], 1};
  struct turn turn = {0};
  for (int a = 0; a < 3; a++) {
    turn.step[a] = flip[a] ? -stride[from[a]] : stride[from[a]];
    if (flip[a]) turn.first += stride[from[a]] * (extent[from[a]] - 1);
  }
  return turn;
}

static void copy_turned(const float *values, const struct turn *turn, const int extent[3],
                        float *result) {
#pragma omp parallel for schedule(static)
  for (int i = 0; i < extent[0]; i++)
    for (int j = 0; j < extent[1]; j++) {
      const float *from = values + turn->first + i * turn->step[0] + j * turn->step[1];
      float *to = result + ((ptrdiff_t)i * extent[1] + j) * extent[2];
      for (int k = 0; k < extent[2]; k++) to[k] = from[k * turn->step[2]];
    }
}

enum status volume_reorient(struct volume *volume, const char *code) {
  struct grid old = volume_get_grid(volume), grid;
  int from[3];
  bool flip[3];
  TRY(grid_reorient(&old, code, &grid, from, flip));
  struct turn turn = plan_turn(old.extent, from, flip);
  if (from[0] == 0 && from[1] == 1 && !flip[0] && !flip[1] && !flip[2]) return STATUS_OK;
  struct volume result;
  TRY(volume_create(&result, &grid, volume->channels));
  size_t count = volume_count(volume);
  for (int c = 0; c < volume->channels; c++)
    copy_turned(volume->values + (size_t)c * count, &turn, grid.extent,
                result.values + (size_t)c * count);
  free(volume->values);
  volume->values = result.values;
  volume->affine = grid.affine;
  memcpy(volume->extent, grid.extent, sizeof grid.extent);
  return STATUS_OK;
}
