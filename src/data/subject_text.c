/* What is said about a subject: where it came from, what was done to it, and by which settings. */
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/file.h"
#include "data/subject.h"

enum { PIECE_BYTES = 1 << 20 };

static enum status feed_file(const char *path, uint32_t *checksum) {
  int descriptor = open(path, O_RDONLY | O_CLOEXEC);
  REQUIRE(descriptor >= 0, STATUS_FAILED, "%s: cannot open: %s", path, strerror(errno));
  unsigned char *piece = malloc(PIECE_BYTES);
  ssize_t got = piece ? 1 : -1;
  while (got > 0 && (got = read(descriptor, piece, PIECE_BYTES)) > 0)
    *checksum = file_checksum(*checksum, piece, (size_t)got);
  int reason = errno;
  free(piece);
  close(descriptor);
  REQUIRE(got == 0, STATUS_FAILED, "%s: cannot read: %s", path, strerror(reason));
  return STATUS_OK;
}

/* The voxel file beside a .hdr header, in a new string; NULL when there is none. */
static char *voxel_file(const char *path) {
  const char *dot = strstr(path, ".hdr");
  for (const char *next = dot; next; next = strstr(next + 1, ".hdr")) dot = next;
  if (!dot || (strcmp(dot, ".hdr") != 0 && strcmp(dot, ".hdr.gz") != 0)) return NULL;
  static const char *const suffixes[] = {".img", ".img.gz"};
  for (int i = 0; i < 2; i++) {
    char *voxels = file_format("%.*s%s", (int)(dot - path), path, suffixes[i]);
    if (voxels && file_exists(voxels)) return voxels;
    free(voxels);
  }
  return NULL;
}

enum status subject_checksum(const char *path, uint32_t *checksum) {
  *checksum = 0;
  TRY(feed_file(path, checksum));
  char *voxels = voxel_file(path);
  enum status status = voxels ? feed_file(voxels, checksum) : STATUS_OK;
  free(voxels);
  return status;
}

enum status subject_checksum_image(const struct subject_source *source, uint32_t *checksum) {
  TRY(subject_checksum(source->image, checksum));
  for (int c = 0; c < source->channel_file_count; c++) {
    uint32_t bytes;
    TRY(subject_checksum(source->channel_files[c], &bytes));
    *checksum = file_checksum(*checksum, &bytes, sizeof bytes);
  }
  return STATUS_OK;
}

static void print_reals(FILE *out, const char *name, const struct real_list *list) {
  fprintf(out, "%s =", name);
  for (int i = 0; i < list->count; i++) fprintf(out, " %.15g", list->value[i]);
  fputc('\n', out);
}

static void print_ints(FILE *out, const char *name, const struct int_list *list) {
  fprintf(out, "%s =", name);
  for (int i = 0; i < list->count; i++) fprintf(out, " %lld", (long long)list->value[i]);
  fputc('\n', out);
}

static void print_common_grid(FILE *out, const struct config *config) {
  print_reals(out, "data.spacing", &config->data.spacing);
  print_ints(out, "data.resample", &config->data.resample);
  print_ints(out, "data.size", &config->data.size);
  if (strcmp(config->data.crop, "center") != 0) fprintf(out, "data.crop = %s\n", config->data.crop);
  fprintf(out, "data.multiple = %lld\n", (long long)config->data.multiple);
}

/* Settings that came later are named only where they are used, so that older shards stay fresh. */
enum status subject_recipe(const struct config *config, char **recipe) {
  size_t bytes;
  *recipe = NULL;
  FILE *out = open_memstream(recipe, &bytes);
  REQUIRE(out, STATUS_FAILED, "out of memory for the settings' text");
  fprintf(out, "data.orientation = %s\n", config->data.orientation);
  if (strcmp(config->data.grid, "common") != 0) fprintf(out, "data.grid = %s\n", config->data.grid);
  if (!subject_keeps_grid(config)) print_common_grid(out, config);
  if (config->data.channels > 1)
    fprintf(out, "data.channels = %lld\n", (long long)config->data.channels);
  fprintf(out, "data.intensity = %s %.15g %.15g\n", config->data.intensity,
          config->data.intensity_low, config->data.intensity_high);
  if (strcmp(config->data.padding, "lowest") != 0)
    fprintf(out, "data.padding = %s\n", config->data.padding);
  print_ints(out, "data.labels", &config->data.labels);
  if (config->data.relabel.count) print_ints(out, "data.relabel", &config->data.relabel);
  fprintf(out, "data.nonfinite = %s\n", config->data.nonfinite);
  fprintf(out, "data.unknown_orientation = %s\n", config->data.unknown_orientation);
  REQUIRE(fclose(out) == 0 && *recipe, STATUS_FAILED, "out of memory for the settings' text");
  return STATUS_OK;
}

static json_t *describe_grid(const struct grid *grid) {
  char orientation[4];
  double spacing[3];
  affine_get_orientation(&grid->affine, orientation);
  affine_get_spacing(&grid->affine, spacing);
  return json_pack("{s:s, s:[i,i,i], s:[f,f,f]}", "orientation", orientation, "extent",
                   grid->extent[0], grid->extent[1], grid->extent[2], "spacing", spacing[0],
                   spacing[1], spacing[2]);
}

/* Adds a volume's warnings, one string per line. */
static void add_warnings(json_t *list, const struct volume *volume) {
  const char *at = volume->warnings;
  while (at && *at) {
    size_t length = strcspn(at, "\n");
    /* a line that is no UTF-8 is left out: json_stringn gives NULL, and appending NULL does nothing
     */
    json_array_append_new(list, json_stringn(at, length));
    at += length + (at[length] == '\n');
  }
}

/* How many voxels of `to` are before and after the field of view of `from` on each axis; below 0,
 * how many of its voxels were cut off there. The axes of both are the same but for order and
 * direction. */
static json_t *describe_padding(const struct grid *from, const struct grid *to) {
  int before[3], after[3];
  struct affine inverse;
  if (affine_invert(&to->affine, &inverse) != STATUS_OK) return NULL;
  struct affine map = affine_compose(&inverse, &from->affine);
  for (int a = 0; a < 3; a++) {
    double low = map.m[a][3], high = low;
    for (int b = 0; b < 3; b++) {
      double first = -0.5 * map.m[a][b], last = (from->extent[b] - 0.5) * map.m[a][b];
      low += fmin(first, last);
      high += fmax(first, last);
    }
    before[a] = (int)lround(low + 0.5);
    after[a] = to->extent[a] - (int)lround(high + 0.5);
  }
  return json_pack("{s:[i,i,i], s:[i,i,i]}", "before", before[0], before[1], before[2], "after",
                   after[0], after[1], after[2]);
}

/* Lowest and highest value of each channel. */
static json_t *describe_ranges(const float (*ranges)[2], int channels) {
  json_t *list = json_array();
  for (int c = 0; c < channels; c++)
    json_array_append_new(list, json_pack("[f,f]", (double)ranges[c][0], (double)ranges[c][1]));
  return list;
}

static json_t *describe(const struct config *config, const struct subject_volumes *volumes) {
  struct grid before = volume_get_grid(&volumes->image);
  json_t *warnings = json_array();
  if (!warnings) return NULL;
  add_warnings(warnings, &volumes->image);
  add_warnings(warnings, &volumes->label);
  json_t *history =
      json_pack("{s:o, s:o, s:[s,f,f], s:o}", "before", describe_grid(&before), "after",
                describe_grid(&volumes->target), "intensity", config->data.intensity,
                config->data.intensity_low, config->data.intensity_high, "warnings", warnings);
  int channels = volumes->image.channels;
  json_object_set_new(history, "padding", describe_padding(&before, &volumes->target));
  json_object_set_new(history, "range_before", describe_ranges(volumes->range, channels));
  json_object_set_new(history, "range_after", describe_ranges(volumes->stored, channels));
  return history;
}

enum status subject_describe(const struct config *config, const struct subject_volumes *volumes,
                             char *history) {
  json_t *root = describe(config, volumes);
  char *text =
      root ? json_dumps(root, JSON_COMPACT | JSON_SORT_KEYS | JSON_REAL_PRECISION(15)) : NULL;
  if (text && strlen(text) >= SUBJECT_HISTORY_BYTES) {
    free(text);
    json_object_set_new(root, "warnings", json_pack("[s]", "too many to keep here"));
    text = json_dumps(root, JSON_COMPACT | JSON_SORT_KEYS | JSON_REAL_PRECISION(15));
  }
  json_decref(root);
  bool fits = text && strlen(text) < SUBJECT_HISTORY_BYTES;
  if (fits) memcpy(history, text, strlen(text) + 1);
  free(text);
  REQUIRE(fits, STATUS_FAILED, "%s: out of memory for its history", volumes->image.source);
  return STATUS_OK;
}
