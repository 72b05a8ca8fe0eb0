/* A shard or a master file in words. */
#include <fcntl.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/file.h"
#include "base/text.h"
#include "data/h5.h"
#include "data/shard.h"
#include "data/split.h"

bool shard_is_hdf5(const char *path) {
  static const unsigned char signature[8] = {0x89, 'H', 'D', 'F', '\r', '\n', 0x1a, '\n'};
  unsigned char found[8] = {0};
  int descriptor = open(path, O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) return false;
  bool same = read(descriptor, found, sizeof found) == (ssize_t)sizeof found &&
              memcmp(found, signature, sizeof found) == 0;
  close(descriptor);
  return same;
}

static void print_values(const struct shard *shard, FILE *out) {
  if (!shard->label_value_count) return;
  fprintf(out, "  label values  ");
  for (int i = 0; i < shard->label_value_count; i++)
    fprintf(out, "%s%lld -> %d", i ? ", " : "", (long long)shard->label_values[i], i + 1);
  fputc('\n', out);
}

static void print_names(const struct shard *shard, FILE *out) {
  if (!shard->label_name_count) return;
  fprintf(out, "  classes  ");
  for (int i = 0; i < shard->label_name_count; i++)
    fprintf(out, "%s%d %s", i ? ", " : "", i + 1, shard->label_names[i]);
  fputc('\n', out);
}

static void print_structures(const struct shard *shard, FILE *out) {
  if (!shard->structure_count) return;
  fprintf(out, "  structures  ");
  for (int i = 0; i < shard->structure_count; i++)
    fprintf(out, "%s%d %s", i ? ", " : "", i, shard->structures[i]);
  fputc('\n', out);
}

/* How many structures and slices of a subject have anything. */
static void print_masks(const struct shard *shard, int row, FILE *out) {
  const struct shard_subject *subject = &shard->subjects[row];
  if (!shard->structure_count) return;
  int structures = 0, slices = 0;
  size_t first = (size_t)row * (size_t)shard->structure_count;
  for (int i = 0; i < shard->structure_count; i++)
    structures += shard->structure_voxels[first + (size_t)i] > 0;
  for (int i = 0; i < shard->extent[0]; i++)
    slices += shard->slice_structures[(size_t)row * (size_t)shard->extent[0] + (size_t)i] > 0;
  fprintf(out, "  masks %08x of %d structures in %d slices, %llu voxels of several",
          (unsigned)subject->checksum_mask, structures, slices,
          (unsigned long long)subject->overlap_voxels);
}

static void print_recipe(const struct shard *shard, FILE *out) {
  for (const char *line = shard->recipe; *line;) {
    int length = (int)strcspn(line, "\n");
    fprintf(out, "  %.*s\n", length, line);
    line += length + (line[length] == '\n');
  }
}

/* What a subject's own voxels are, where some are padding, and where its labelled ones are. */
static void print_place(const struct shard *shard, const struct shard_subject *subject, FILE *out) {
  const int32_t *first = subject->box_first, *count = subject->box_count;
  bool whole = true;
  for (int i = 0; i < 3; i++) whole = whole && count[i] == shard->extent[i];
  if (!whole)
    fprintf(out, "  own voxels %d x %d x %d from %d %d %d", count[0], count[1], count[2], first[0],
            first[1], first[2]);
  if (!isnan(subject->centroid[0]))
    fprintf(out, "  centroid %.1f %.1f %.1f mm", subject->centroid[0], subject->centroid[1],
            subject->centroid[2]);
}

static void print_subjects(const struct shard *shard, FILE *out) {
  for (int row = 0; row < shard->subject_count; row++) {
    const struct shard_subject *subject = &shard->subjects[row];
    fprintf(out, "  %s  %s  spacing %g x %g x %g mm  checksum %08x", subject->id,
            split_name((enum split)subject->split), subject->spacing[0], subject->spacing[1],
            subject->spacing[2], (unsigned)subject->checksum_image);
    if (shard->has_labels)
      fprintf(out, " %08x  largest class %d", (unsigned)subject->checksum_label,
              subject->largest_label);
    if (subject->category >= 0) fprintf(out, "  category %d", (int)subject->category);
    print_masks(shard, row, out);
    print_place(shard, subject, out);
    fprintf(out, "  %s\n", subject->source);
  }
}

static void print_shape(const struct shard *shard, FILE *out) {
  char bytes[32];
  const char *truth = shard->structure_count ? "with masks" : "no labels";
  fprintf(out, "%s: shard %d of %d, %d subjects of %d x %d x %d voxels, ", shard->path,
          shard->index, shard->count, shard->subject_count, shard->extent[0], shard->extent[1],
          shard->extent[2]);
  if (shard->channels > 1) fprintf(out, "%d channels, ", shard->channels);
  fprintf(out, "%s, %s, %s\n", shard->has_labels ? "with labels" : truth,
          shard->compressed ? "gzip" : "uncompressed",
          text_bytes((double)shard->file_bytes, bytes));
}

static enum status verify_array(const struct shard *shard, int row, enum shard_array array,
                                void *values) {
  const struct shard_subject *subject = &shard->subjects[row];
  size_t bytes = shard_array_bytes(shard, array);
  if (!bytes) return STATUS_OK;
  TRY(shard_read_subject(shard, row, array, values));
  uint32_t expected = shard_array_checksum(subject, array), found = file_checksum(0, values, bytes);
  REQUIRE(found == expected, STATUS_FAILED,
          "%s: subject %s: field %s: expected the checksum %08x, found %08x: the stored values are "
          "damaged; remove the file and run prepare again",
          shard->path, subject->id, shard_array_name(array), (unsigned)expected, (unsigned)found);
  return STATUS_OK;
}

static enum status verify(const struct shard *shard) {
  size_t most = 0;
  for (int array = 0; array < SHARD_MAPPED_COUNT; array++)
    if (shard_array_bytes(shard, (enum shard_array)array) > most)
      most = shard_array_bytes(shard, (enum shard_array)array);
  void *values = malloc(most);
  REQUIRE(values, STATUS_FAILED, "%s: out of memory", shard->path);
  enum status status = STATUS_OK;
  for (int row = 0; row < shard->subject_count; row++)
    for (int array = 0; array < SHARD_MAPPED_COUNT && !status; array++)
      status = verify_array(shard, row, (enum shard_array)array, values);
  free(values);
  return status;
}

static enum status inspect_shard(const char *path, bool alone, FILE *out) {
  struct shard shard;
  TRY(shard_read(&shard, path));
  print_shape(&shard, out);
  if (alone || shard.index == 0) {
    print_values(&shard, out);
    print_names(&shard, out);
    print_structures(&shard, out);
    print_recipe(&shard, out);
  }
  print_subjects(&shard, out);
  enum status status = verify(&shard);
  if (!status) fprintf(out, "  all checksums right\n");
  shard_close(&shard);
  return status;
}

static enum status inspect_master(const char *path, FILE *out) {
  int count;
  uint64_t manifest;
  TRY(shard_read_master(path, &count, &manifest));
  fprintf(out, "%s: master of %d shards, manifest %016llx\n", path, count,
          (unsigned long long)manifest);
  for (int i = 0; i < count; i++) {
    char *name = shard_path(path, i, count);
    enum status status = name ? inspect_shard(name, false, out)
                              : status_fail(STATUS_FAILED, __FILE__, __LINE__, "out of memory");
    free(name);
    TRY(status);
  }
  return STATUS_OK;
}

enum status shard_inspect(const char *path, FILE *out) {
  struct h5_file file;
  enum status status = h5_open(&file, path);
  bool shard = !status && h5_has_attribute(&file, "shard_index");
  h5_close(&file);
  TRY(status);
  return shard ? inspect_shard(path, true, out) : inspect_master(path, out);
}
