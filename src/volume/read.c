/* Reading voxels: all at once, or, where that cannot be, a few slices of the file at a time;
 * swapped, scaled and transposed from i fastest to k fastest. nifticlib's own reading is not used:
 * it zeroes NaN silently, does not scale, and does not notice a damaged end of a compressed file.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "volume/clean.h"
#include "volume/header.h"
#include "volume/memory.h"
#include "volume/turn.h"

enum { SLAB_SLICES = 16 };

struct reader {
  struct header header;
  double slope, inter;
  unsigned char *content; /* of the whole file; NULL where it is read in slabs */
  unsigned char *slab;    /* [slice k][j][i] as in the file */
};

static void reader_close(struct reader *reader) {
  memory_return(reader->content);
  free(reader->slab);
  header_close(&reader->header);
}

/* `raw` is changed where the byte order is the other one. */
static void turn(const struct reader *reader, unsigned char *raw, const int extent[3], int slices,
                 float *values) {
  const struct header *header = &reader->header;
  size_t samples = (size_t)extent[0] * (size_t)extent[1] * (size_t)slices;
  if (header->swapped && header->type->bytes > 1)
    nifti_swap_Nbytes((int64_t)samples, header->type->bytes, raw);
  const struct turning turning = {.type = header->type,
                                  .raw = raw,
                                  .extent = {extent[0], extent[1], extent[2]},
                                  .slices = slices,
                                  .slope = reader->slope,
                                  .inter = reader->inter};
  turn_samples(&turning, values);
}

static enum status read_slab(struct reader *reader, const int extent[3], int slices,
                             float *values) {
  struct stream *stream = &reader->header.stream;
  size_t samples = (size_t)extent[0] * (size_t)extent[1] * (size_t)slices, found = 0;
  size_t bytes = samples * (size_t)reader->header.type->bytes;
  TRY(stream_read(stream, reader->slab, bytes, &found));
  REQUIRE(
      found == bytes, STATUS_FAILED,
      "%s: voxel data: expected %zu bytes after byte %lld, found %llu (truncated)", stream->path,
      reader->header.count * (size_t)reader->header.type->bytes,
      (long long)reader->header.fields.vox_offset,
      (unsigned long long)stream->position - (unsigned long long)reader->header.fields.vox_offset);
  turn(reader, reader->slab, extent, slices, values);
  return STATUS_OK;
}

static void turn_content(struct reader *reader, struct volume *volume) {
  size_t count = volume_count(volume), bytes = count * (size_t)reader->header.type->bytes;
  unsigned char *raw = reader->content + reader->header.fields.vox_offset;
  for (int c = 0; c < volume->channels; c++)
    turn(reader, raw + (size_t)c * bytes, volume->extent, volume->extent[2],
         volume->values + (size_t)c * count);
}

static enum status read_slabs(struct reader *reader, struct volume *volume) {
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

static enum status allocate_slab(struct reader *reader, const struct volume *volume) {
  const struct header *header = &reader->header;
  int slices = volume->extent[2] < SLAB_SLICES ? volume->extent[2] : SLAB_SLICES;
  size_t samples = (size_t)volume->extent[0] * (size_t)volume->extent[1] * (size_t)slices;
  reader->slab = malloc(samples * (size_t)header->type->bytes);
  REQUIRE(reader->slab, STATUS_FAILED, "%s: out of memory for %zu voxels", header->path,
          header->count);
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

/* Whole numbers as they are in the file have no NaN among them. */
static enum status clean(const struct reader *reader, const struct volume_policy *policy,
                         struct volume *volume) {
  bool plain = reader->header.type->is_integer && reader->slope == 1 && reader->inter == 0;
  return plain && !policy->labels ? STATUS_OK : volume_clean(volume, policy);
}

static unsigned char *unpack(struct header *header) {
  return stream_unpack(&header->stream, (uint64_t)header->fields.vox_offset,
                       header->count * (size_t)header->type->bytes);
}

static enum status read_voxels(struct reader *reader, const struct volume_policy *policy,
                               struct volume *volume) {
  struct header *header = &reader->header;
  volume->values = memory_large(header->count * sizeof(float));
  REQUIRE(volume->values, STATUS_FAILED, "%s: out of memory for %zu voxels", header->path,
          header->count);
  reader->content = unpack(header);
  if (reader->content) {
    turn_content(reader, volume);
    return clean(reader, policy, volume);
  }
  TRY(allocate_slab(reader, volume));
  TRY(stream_skip(&header->stream, (uint64_t)header->fields.vox_offset, "voxel data"));
  TRY(read_slabs(reader, volume));
  return clean(reader, policy, volume);
}

/* Past the last voxel to the end of the file. */
static enum status pass_voxels(struct reader *reader, const struct volume_policy *policy,
                               struct volume *volume) {
  struct header *header = &reader->header;
  (void)policy; /* no number is looked at */
  reader->content = unpack(header);
  if (reader->content) return STATUS_OK;
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
