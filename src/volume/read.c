/* Reading voxels: a few slices of the file at a time, swapped, scaled and transposed from i fastest
 * to k fastest. nifticlib's own reading is not used: it zeroes NaN silently, does not scale, and
 * does not notice a damaged end of a compressed file. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "volume/clean.h"
#include "volume/header.h"

enum { SLAB_SLICES = 16, PIECE = 256, WORTH_THREADS = 1 << 18 };

struct reader {
  struct header header;
  double slope, inter;
  int slices;         /* of one slab */
  unsigned char *raw; /* [slice k][j][i] as in the file */
  float *turning;     /* per j: [slice k][i], numbers */
};

static void reader_close(struct reader *reader) {
  free(reader->raw);
  free(reader->turning);
  header_close(&reader->header);
}

static void decode_row(const struct reader *reader, const unsigned char *raw, float *values,
                       int count) {
  const struct sample_type *type = reader->header.type;
  double piece[PIECE];
  for (int start = 0; start < count; start += PIECE) {
    int part = count - start < PIECE ? count - start : PIECE;
    type->decode(raw + (size_t)start * (size_t)type->bytes, piece, (size_t)part);
    for (int n = 0; n < part; n++)
      values[start + n] = (float)(reader->slope * piece[n] + reader->inter);
  }
}

/* Row j of all slices of the slab: [k][i] -> [i][k]. */
static void turn_row(const struct reader *reader, const int extent[3], int j, int slices,
                     float *values) {
  size_t bytes = (size_t)reader->header.type->bytes, row = (size_t)extent[0];
  float *turning = reader->turning + (size_t)j * (size_t)reader->slices * row;
  for (int k = 0; k < slices; k++) {
    size_t line = (size_t)k * (size_t)extent[1] + (size_t)j;
    decode_row(reader, reader->raw + line * row * bytes, turning + (size_t)k * row, extent[0]);
  }
  for (int i = 0; i < extent[0]; i++) {
    float *to = values + ((size_t)i * (size_t)extent[1] + (size_t)j) * (size_t)extent[2];
    for (int k = 0; k < slices; k++) to[k] = turning[(size_t)k * row + (size_t)i];
  }
}

static enum status read_slab(struct reader *reader, const int extent[3], int slices,
                             float *values) {
  struct stream *stream = &reader->header.stream;
  size_t samples = (size_t)extent[0] * (size_t)extent[1] * (size_t)slices, found = 0;
  size_t bytes = samples * (size_t)reader->header.type->bytes;
  TRY(stream_read(stream, reader->raw, bytes, &found));
  REQUIRE(
      found == bytes, STATUS_FAILED,
      "%s: voxel data: expected %zu bytes after byte %lld, found %llu (truncated)", stream->path,
      reader->header.count * (size_t)reader->header.type->bytes,
      (long long)reader->header.fields.vox_offset,
      (unsigned long long)stream->position - (unsigned long long)reader->header.fields.vox_offset);
  if (reader->header.swapped && reader->header.type->bytes > 1)
    nifti_swap_Nbytes((int64_t)samples, reader->header.type->bytes, reader->raw);
#pragma omp parallel for schedule(static) if (samples >= WORTH_THREADS)
  for (int j = 0; j < extent[1]; j++) turn_row(reader, extent, j, slices, values);
  return STATUS_OK;
}

static enum status read_values(struct reader *reader, struct volume *volume) {
  const int *extent = volume->extent;
  size_t count = volume_count(volume);
  for (int c = 0; c < volume->channels; c++)
    for (int k = 0; k < extent[2]; k += SLAB_SLICES) {
      int slices = extent[2] - k < SLAB_SLICES ? extent[2] - k : SLAB_SLICES;
      TRY(read_slab(reader, extent, slices, volume->values + (size_t)c * count + k));
    }
  uint64_t left = 0;
  TRY(stream_finish(&reader->header.stream, &left));
  if (left) volume_warn(volume, "%llu bytes follow the voxels", (unsigned long long)left);
  return STATUS_OK;
}

static enum status allocate(struct reader *reader, struct volume *volume) {
  const struct header *header = &reader->header;
  reader->slices = volume->extent[2] < SLAB_SLICES ? volume->extent[2] : SLAB_SLICES;
  size_t samples = (size_t)volume->extent[0] * (size_t)volume->extent[1] * (size_t)reader->slices;
  reader->raw = malloc(samples * (size_t)header->type->bytes);
  reader->turning = malloc(samples * sizeof(float));
  volume->values = malloc(header->count * sizeof(float));
  REQUIRE(reader->raw && reader->turning && volume->values, STATUS_FAILED,
          "%s: out of memory for %zu voxels", header->path, header->count);
  return STATUS_OK;
}

static enum status describe(struct reader *reader, const char *path,
                            const struct volume_policy *policy, struct volume *volume) {
  struct header *header = &reader->header;
  TRY(header_open(header, path, policy, volume));
  TRY(header_get_scaling(header, &reader->slope, &reader->inter));
  memcpy(volume->extent, header->extent, sizeof volume->extent);
  volume->channels = header->channels;
  volume->is_integer = header->type->is_integer && reader->slope == rint(reader->slope) &&
                       reader->inter == rint(reader->inter);
  volume->source = strdup(path);
  REQUIRE(volume->source, STATUS_FAILED, "%s: out of memory", path);
  return header_place(header, policy, volume);
}

static enum status read_voxels(struct reader *reader, const struct volume_policy *policy,
                               struct volume *volume) {
  const struct header *header = &reader->header;
  TRY(allocate(reader, volume));
  TRY(stream_skip(&reader->header.stream, (uint64_t)header->fields.vox_offset, "voxel data"));
  TRY(read_values(reader, volume));
  return volume_clean(volume, policy);
}

/* Past the last voxel to the end of the file. */
static enum status pass_voxels(struct reader *reader, const struct volume_policy *policy,
                               struct volume *volume) {
  struct header *header = &reader->header;
  (void)policy; /* no number is looked at */
  uint64_t bytes = (uint64_t)header->count * (uint64_t)header->type->bytes, left = 0;
  TRY(stream_skip(&header->stream, (uint64_t)header->fields.vox_offset + bytes, "end of voxels"));
  TRY(stream_finish(&header->stream, &left));
  if (left) volume_warn(volume, "%llu bytes follow the voxels", (unsigned long long)left);
  return STATUS_OK;
}

static enum status read_any(struct volume *volume, const char *path,
                            const struct volume_policy *policy,
                            enum status (*voxels)(struct reader *, const struct volume_policy *,
                                                  struct volume *)) {
  *volume = (struct volume){0};
  struct reader reader = {0};
  enum status status = describe(&reader, path, policy, volume);
  if (!status && voxels) status = voxels(&reader, policy, volume);
  reader_close(&reader);
  if (status) volume_close(volume);
  return status;
}

enum status volume_read(struct volume *volume, const char *path,
                        const struct volume_policy *policy) {
  TRY(read_any(volume, path, policy, read_voxels));
  return STATUS_OK;
}

enum status volume_read_header(struct volume *volume, const char *path,
                               const struct volume_policy *policy) {
  TRY(read_any(volume, path, policy, NULL));
  return STATUS_OK;
}

enum status volume_check(struct volume *volume, const char *path,
                         const struct volume_policy *policy) {
  TRY(read_any(volume, path, policy, pass_voxels));
  return STATUS_OK;
}
