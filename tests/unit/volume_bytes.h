/* NIfTI files made byte by byte for the tests, at the offsets that nifti1.h and nifti2.h document:
 * nothing here shares code with the reader. */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>
#include "base/file.h"

/* What to put into a header. bytes_default() makes a good one. */
struct bytes_plan {
  int version; /* 1 or 2 */
  bool swapped, pair;
  int datatype, bitpix;
  long long dim[8], offset;
  double pixdim[8], slope, inter;
  int qform_code, sform_code, units, intent;
  double quatern[3], shift[3], srow[12];
};

struct bytes_file {
  unsigned char *bytes;
  size_t count;
};

static inline struct bytes_plan bytes_default(int datatype, int bitpix) {
  return (struct bytes_plan){.version = 1,
                             .datatype = datatype,
                             .bitpix = bitpix,
                             .dim = {3, 3, 4, 5, 1, 1, 1, 1},
                             .offset = 352,
                             .pixdim = {1, 2, 3, 4, 1, 1, 1, 1},
                             .slope = 1,
                             .sform_code = 1,
                             .units = 2,
                             .srow = {2, 0, 0, -10, 0, 3, 0, -20, 0, 0, 4, -30}};
}

static inline void bytes_put(unsigned char *at, const void *value, size_t size, bool swapped) {
  const unsigned char *from = value;
  for (size_t i = 0; i < size; i++) at[i] = from[swapped ? size - 1 - i : i];
}

static inline void bytes_put_float(unsigned char *at, double value, bool wide, bool swapped) {
  float narrow = (float)value;
  if (wide)
    bytes_put(at, &value, 8, swapped);
  else
    bytes_put(at, &narrow, 4, swapped);
}

static inline void bytes_put_int(unsigned char *at, long long value, size_t size, bool swapped) {
  int16_t two = (int16_t)value;
  int32_t four = (int32_t)value;
  int64_t eight = value;
  const void *from = size == 2 ? (void *)&two : size == 4 ? (void *)&four : (void *)&eight;
  bytes_put(at, from, size, swapped);
}

static inline void bytes_fill_1(unsigned char *at, const struct bytes_plan *plan) {
  bool swap = plan->swapped;
  bytes_put_int(at, 348, 4, swap);
  for (int i = 0; i < 8; i++) bytes_put_int(at + 40 + 2 * i, plan->dim[i], 2, swap);
  bytes_put_int(at + 68, plan->intent, 2, swap);
  bytes_put_int(at + 70, plan->datatype, 2, swap);
  bytes_put_int(at + 72, plan->bitpix, 2, swap);
  for (int i = 0; i < 8; i++) bytes_put_float(at + 76 + 4 * i, plan->pixdim[i], false, swap);
  bytes_put_float(at + 108, (double)plan->offset, false, swap);
  bytes_put_float(at + 112, plan->slope, false, swap);
  bytes_put_float(at + 116, plan->inter, false, swap);
  at[123] = (unsigned char)plan->units;
  bytes_put_int(at + 252, plan->qform_code, 2, swap);
  bytes_put_int(at + 254, plan->sform_code, 2, swap);
  for (int i = 0; i < 3; i++) bytes_put_float(at + 256 + 4 * i, plan->quatern[i], false, swap);
  for (int i = 0; i < 3; i++) bytes_put_float(at + 268 + 4 * i, plan->shift[i], false, swap);
  for (int i = 0; i < 12; i++) bytes_put_float(at + 280 + 4 * i, plan->srow[i], false, swap);
  memcpy(at + 344, plan->pair ? "ni1" : "n+1", 4);
}

static inline void bytes_fill_2(unsigned char *at, const struct bytes_plan *plan) {
  bool swap = plan->swapped;
  bytes_put_int(at, 540, 4, swap);
  memcpy(at + 4, plan->pair ? "ni2\0\r\n\032\n" : "n+2\0\r\n\032\n", 8);
  bytes_put_int(at + 12, plan->datatype, 2, swap);
  bytes_put_int(at + 14, plan->bitpix, 2, swap);
  for (int i = 0; i < 8; i++) bytes_put_int(at + 16 + 8 * i, plan->dim[i], 8, swap);
  for (int i = 0; i < 8; i++) bytes_put_float(at + 104 + 8 * i, plan->pixdim[i], true, swap);
  bytes_put_int(at + 168, plan->offset, 8, swap);
  bytes_put_float(at + 176, plan->slope, true, swap);
  bytes_put_float(at + 184, plan->inter, true, swap);
  bytes_put_int(at + 344, plan->qform_code, 4, swap);
  bytes_put_int(at + 348, plan->sform_code, 4, swap);
  for (int i = 0; i < 3; i++) bytes_put_float(at + 352 + 8 * i, plan->quatern[i], true, swap);
  for (int i = 0; i < 3; i++) bytes_put_float(at + 376 + 8 * i, plan->shift[i], true, swap);
  for (int i = 0; i < 12; i++) bytes_put_float(at + 400 + 8 * i, plan->srow[i], true, swap);
  bytes_put_int(at + 500, plan->units, 4, swap);
  bytes_put_int(at + 504, plan->intent, 4, swap);
}

static inline void bytes_put_sample(unsigned char *at, double value, int datatype, bool swapped) {
  uint64_t large = (uint64_t)value;
  switch (datatype) {
    case 2:
    case 256:
      *at = (unsigned char)(int)value;
      return;
    case 4:
    case 512:
      bytes_put_int(at, (long long)value, 2, swapped);
      return;
    case 8:
    case 768:
      bytes_put_int(at, (long long)value, 4, swapped);
      return;
    case 1024:
      bytes_put_int(at, (long long)value, 8, swapped);
      return;
    case 1280:
      bytes_put(at, &large, 8, swapped);
      return;
    case 16:
    case 64:
      bytes_put_float(at, value, datatype == 64, swapped);
      return;
    default: /* a type that is not read: zeros will do */
      return;
  }
}

static inline struct bytes_file bytes_new(size_t count) {
  struct bytes_file file = {.bytes = calloc(count ? count : 1, 1), .count = count};
  if (!file.bytes) abort();
  return file;
}

/* Header and, for single files, samples. */
static inline struct bytes_file bytes_make(const struct bytes_plan *plan, const double *samples,
                                           size_t count) {
  size_t size = (size_t)plan->bitpix / 8, header = plan->version == 1 ? 348 : 540;
  size_t offset = plan->pair ? header : (size_t)plan->offset;
  struct bytes_file file = bytes_new(offset + (plan->pair ? 0 : count * size));
  if (plan->version == 1)
    bytes_fill_1(file.bytes, plan);
  else
    bytes_fill_2(file.bytes, plan);
  for (size_t i = 0; i < count && !plan->pair; i++)
    bytes_put_sample(file.bytes + offset + i * size, samples[i], plan->datatype, plan->swapped);
  return file;
}

static inline struct bytes_file bytes_compress(const void *bytes, size_t count) {
  struct bytes_file file = bytes_new(compressBound(count) + 64);
  z_stream stream = {.next_in = (unsigned char *)(uintptr_t)bytes,
                     .avail_in = (unsigned)count,
                     .next_out = file.bytes,
                     .avail_out = (unsigned)file.count};
  if (deflateInit2(&stream, 6, Z_DEFLATED, 31, 8, 0) || deflate(&stream, Z_FINISH) != Z_STREAM_END)
    abort();
  file.count = stream.total_out;
  deflateEnd(&stream);
  return file;
}

/* Removed first: some file systems flush a file that is truncated and written again. */
static inline void bytes_save(const char *path, const void *bytes, size_t count) {
  remove(path);
  FILE *file = fopen(path, "wb");
  if (!file || fwrite(bytes, 1, count, file) != count || fclose(file)) abort();
}

/* Makes the file and saves it as folder/name; the path is the caller's. */
static inline char *bytes_store(const char *folder, const char *name, const struct bytes_plan *plan,
                                const double *samples, size_t count) {
  struct bytes_file file = bytes_make(plan, samples, count);
  char *path = file_join(folder, name);
  bytes_save(path, file.bytes, file.count);
  free(file.bytes);
  return path;
}
