/* Opening a NIfTI file or pair, and whether its header can be true: dimensions, type, sizes. */
#include "volume/header.h"
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "base/file.h"

static bool has_suffix(const char *path, size_t length, const char *suffix) {
  size_t tail = strlen(suffix);
  return length >= tail && strncasecmp(path + length - tail, suffix, tail) == 0;
}

/* The other file of a pair, compressed like this one if there is such a file, else unlike it.
 * NULL: out of memory. */
static char *find_partner(const char *path, const char *suffix) {
  size_t length = strlen(path);
  bool compressed = has_suffix(path, length, ".gz");
  if (compressed) length -= 3;
  int stem = (int)length - 4;
  char *partner = file_format("%.*s%s%s", stem, path, suffix, compressed ? ".gz" : "");
  if (!partner || file_exists(partner)) return partner;
  char *other = file_format("%.*s%s%s", stem, path, suffix, compressed ? "" : ".gz");
  if (!other || !file_exists(other)) {
    free(other);
    return partner;
  }
  free(partner);
  return other;
}

static bool names_part(const char *path, const char *suffix) {
  size_t length = strlen(path);
  if (has_suffix(path, length, ".gz")) length -= 3;
  return has_suffix(path, length, suffix);
}

static bool is_pair(const struct header *header) {
  return header->fields.magic[1] == 'i';
}

/* ni1 and ni2: the voxels are in the .img file. */
static enum status open_voxels(struct header *header) {
  REQUIRE(names_part(header->path, ".hdr"), STATUS_FAILED,
          "%s: magic: expected n+%d in a single file, found ni%d (half of a .hdr/.img pair)",
          header->path, header->version, header->version);
  char *image = find_partner(header->path, ".img");
  REQUIRE(image, STATUS_FAILED, "%s: out of memory", header->path);
  stream_close(&header->stream);
  enum status status = stream_open(&header->stream, image);
  free(image);
  if (status) return status_pass(status, __func__, __FILE__, __LINE__);
  return STATUS_OK;
}

/* Squeezes trailing 1s and decides what dimensions 4 and 5 mean. */
static enum status judge_dimensions(struct header *header, const struct volume_policy *policy) {
  int64_t *dim = header->fields.dim;
  REQUIRE(dim[0] >= 1 && dim[0] <= 7, STATUS_FAILED, "%s: dim[0]: expected 1 to 7, found %lld",
          header->path, (long long)dim[0]);
  for (int i = 1; i < 8; i++) {
    if (i > dim[0]) dim[i] = 1; /* unused entries may hold anything */
    REQUIRE(dim[i] >= 1 && dim[i] <= INT_MAX, STATUS_FAILED,
            "%s: dim[%d]: expected 1 to %d, found %lld", header->path, i, INT_MAX,
            (long long)dim[i]);
  }
  int many = 0;
  for (int i = 4; i < 8; i++) many += dim[i] > 1;
  REQUIRE(many == 0 || policy->allow_channels, STATUS_FAILED,
          "%s: dim: expected one 3-D volume, found %lld x %lld x %lld x %lld x %lld", header->path,
          (long long)dim[1], (long long)dim[2], (long long)dim[3], (long long)dim[4],
          (long long)dim[5]);
  REQUIRE(many <= 1 && dim[6] == 1 && dim[7] == 1, STATUS_FAILED,
          "%s: dim: expected channels in the 4th or in the 5th dimension, found dim[4..7] = %lld, "
          "%lld, %lld, %lld",
          header->path, (long long)dim[4], (long long)dim[5], (long long)dim[6], (long long)dim[7]);
  for (int a = 0; a < 3; a++) header->extent[a] = (int)dim[a + 1];
  header->channels = (int)(dim[4] * dim[5]);
  return STATUS_OK;
}

static enum status judge_type(struct header *header, struct volume *volume) {
  int code = header->fields.datatype;
  header->type = sample_find(code);
  REQUIRE(header->type, STATUS_FAILED,
          "%s: datatype: expected an integer or float type of 8 to 64 bits, found %d (%s)",
          header->path, code, sample_name(code));
  if (header->fields.bitpix != 8 * header->type->bytes)
    volume_warn(volume, "bitpix: expected %d for %s, found %d (ignored)", 8 * header->type->bytes,
                header->type->name, header->fields.bitpix);
  return STATUS_OK;
}

static enum status judge_offset(const struct header *header) {
  int64_t least = is_pair(header) ? 0 : header->version == 1 ? 352 : 544;
  REQUIRE(header->fields.vox_offset >= least, STATUS_FAILED,
          "%s: vox_offset: expected %lld or more, found %lld", header->path, (long long)least,
          (long long)header->fields.vox_offset);
  return STATUS_OK;
}

/* The promise of the header against what the file can hold and what the caller allows. */
static enum status judge_size(struct header *header, const struct volume_policy *policy) {
  size_t count = 1, bytes = 0, memory = 0;
  bool overflow = __builtin_mul_overflow(count, (size_t)header->channels, &count);
  for (int a = 0; a < 3; a++)
    overflow |= __builtin_mul_overflow(count, (size_t)header->extent[a], &count);
  overflow |= __builtin_mul_overflow(count, (size_t)header->type->bytes, &bytes);
  overflow |= __builtin_mul_overflow(count, sizeof(float), &memory);
  uint64_t offset = (uint64_t)header->fields.vox_offset,
           capacity = stream_capacity(&header->stream);
  uint64_t available = capacity > offset ? capacity - offset : 0;
  const char *path = header->stream.path;
  REQUIRE(!overflow && memory <= PTRDIFF_MAX, STATUS_FAILED,
          "%s: dim: expected a volume that fits in memory, found %d x %d x %d x %d", path,
          header->extent[0], header->extent[1], header->extent[2], header->channels);
  REQUIRE(bytes <= available, STATUS_FAILED,
          "%s: voxel data: expected %zu bytes (%d x %d x %d x %d of %s) after byte %llu, found "
          "%s%llu (truncated, or a damaged header)",
          path, bytes, header->extent[0], header->extent[1], header->extent[2], header->channels,
          header->type->name, (unsigned long long)offset,
          header->stream.compressed ? "a compressed file that holds at most " : "",
          (unsigned long long)available);
  REQUIRE(!policy->maximum_bytes || memory <= policy->maximum_bytes, STATUS_FAILED,
          "%s: dim: expected at most %zu bytes of memory, found %zu (%d x %d x %d x %d float32)",
          path, policy->maximum_bytes, memory, header->extent[0], header->extent[1],
          header->extent[2], header->channels);
  header->count = count;
  return STATUS_OK;
}

static enum status open_and_judge(struct header *header, const struct volume_policy *policy,
                                  struct volume *volume) {
  unsigned char bytes[HEADER2_BYTES];
  size_t found = 0, more = 0;
  TRY(stream_open(&header->stream, header->path));
  TRY(stream_read(&header->stream, bytes, HEADER1_BYTES, &found));
  if (found == HEADER1_BYTES)
    TRY(stream_read(&header->stream, bytes + found, header_size(bytes) - found, &more));
  TRY(header_parse(header, bytes, found + more));
  TRY(judge_dimensions(header, policy));
  TRY(judge_type(header, volume));
  TRY(judge_offset(header));
  if (is_pair(header)) TRY(open_voxels(header));
  TRY(judge_size(header, policy));
  return STATUS_OK;
}

enum status header_open(struct header *header, const char *path, const struct volume_policy *policy,
                        struct volume *volume) {
  *header = (struct header){0};
  header->path = names_part(path, ".img") ? find_partner(path, ".hdr") : strdup(path);
  REQUIRE(header->path, STATUS_FAILED, "%s: out of memory", path);
  enum status status = open_and_judge(header, policy, volume);
  if (status) {
    header_close(header);
    return status_pass(status, __func__, __FILE__, __LINE__);
  }
  return STATUS_OK;
}

void header_close(struct header *header) {
  stream_close(&header->stream);
  free(header->path);
  *header = (struct header){0};
}

enum status header_get_scaling(const struct header *header, double *slope, double *inter) {
  *slope = header->fields.scl_slope;
  *inter = header->fields.scl_inter;
  if (!isfinite(*slope) || *slope == 0) {
    *slope = 1;
    *inter = 0;
  }
  REQUIRE(isfinite(*inter), STATUS_FAILED,
          "%s: scl_inter: expected a finite number beside scl_slope %g, found %g", header->path,
          *slope, *inter);
  return STATUS_OK;
}
