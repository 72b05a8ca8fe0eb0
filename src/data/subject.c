/* Reading and checking a subject, and bringing it to its target grid in one interpolation. */
#include "data/subject.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "data/classes.h"
#include "data/label_names.h"
#include "volume/intensity.h"

enum { CLASS_LIMIT = 255 };

struct choice {
  const char *name;
  int value;
};

static const struct choice nonfinite[] = {
    {"error", NONFINITE_ERROR}, {"zero", NONFINITE_ZERO}, {"mean", NONFINITE_MEAN}, {NULL, 0}};
static const struct choice unknown[] = {
    {"error", UNKNOWN_ERROR}, {"ras", UNKNOWN_RAS}, {"las", UNKNOWN_LAS}, {NULL, 0}};

static int choose(const struct choice *choices, const char *name) {
  for (; choices->name; choices++)
    if (strcmp(choices->name, name) == 0) return choices->value;
  return 0;
}

struct volume_policy subject_policy(const struct config *config, bool labels) {
  return (struct volume_policy){
      .nonfinite = (enum volume_nonfinite)choose(nonfinite, config->data.nonfinite),
      .unknown_orientation = (enum volume_unknown)choose(unknown, config->data.unknown_orientation),
      .labels = labels,
      .maximum_bytes = (size_t)config->data.maximum_gib << 30};
}

static float *channel_of(const struct volume *image, int channel) {
  return image->values + (size_t)channel * volume_count(image);
}

/* range: lowest, highest */
static void find_range(const struct volume *image, int channel, float range[2]) {
  volume_find_range(channel_of(image, channel), volume_count(image), range);
}

static enum status normalise(const struct config *config, struct volume *image, int channel) {
  const struct intensity *intensity = intensity_find(config->data.intensity);
  REQUIRE(intensity, STATUS_USAGE, "data.intensity: found \"%s\", which is not in --list",
          config->data.intensity);
  struct intensity_options options = intensity->defaults;
  options.low = config->data.intensity_low;
  options.high = config->data.intensity_high;
  return intensity->apply(channel_of(image, channel), volume_count(image), &options, image->source);
}

static enum status read_channel(const struct config *config, const struct subject_source *source,
                                int channel, struct subject_volumes *volumes) {
  struct volume *image = &volumes->image;
  float *range = volumes->range[channel], normalised[2];
  find_range(image, channel, range);
  const char *file = channel > 0 && source->channel_file_count ? source->channel_files[channel - 1]
                                                               : source->image;
  REQUIRE(range[0] < range[1] || image->channels > 1, STATUS_FAILED,
          "%s: expected an image, found a blank volume: every voxel is %g", file, (double)range[0]);
  REQUIRE(range[0] < range[1], STATUS_FAILED,
          "%s: expected an image, found a blank channel %d: every voxel is %g", file, channel,
          (double)range[0]);
  TRY(normalise(config, image, channel));
  find_range(image, channel, normalised);
  bool zero = strcmp(config->data.padding, "zero") == 0;
  volumes->outside[channel] = zero ? 0 : normalised[0];
  return STATUS_OK;
}

static enum status read_image(const struct config *config, const struct subject_source *source,
                              struct subject_volumes *volumes) {
  TRY(subject_read_image(config, source, &volumes->image));
  for (int c = 0; c < volumes->image.channels; c++) TRY(read_channel(config, source, c, volumes));
  return STATUS_OK;
}

static enum status check_classes(const struct config *config, struct subject_volumes *volumes) {
  struct volume *label = &volumes->label;
  float range[2];
  find_range(label, 0, range);
  REQUIRE(range[0] >= 0 && range[1] <= CLASS_LIMIT, STATUS_FAILED,
          "%s: expected labels of 0 to %d, found %g to %g; data.labels says which values to keep",
          label->source, CLASS_LIMIT, (double)range[0], (double)range[1]);
  int names = label_names_count(config);
  REQUIRE(!names || range[1] <= (float)names, STATUS_FAILED,
          "%s: expected labels of 0 to %d (data.label_names), found %g", label->source, names,
          (double)range[1]);
  volumes->largest_label = (int)range[1];
  if (range[1] == 0) volume_warn(label, "no voxel has a label other than 0");
  return STATUS_OK;
}

enum status subject_check_grid(const struct volume *image, const struct volume *other,
                               const char *kind) {
  struct grid a = volume_get_grid(image), b = volume_get_grid(other);
  if (grid_is_same(&a, &b, GRID_TOLERANCE)) return STATUS_OK;
  for (int i = 0; i < 3; i++)
    REQUIRE(a.extent[i] == b.extent[i], STATUS_FAILED,
            "%s: expected a %s on its image's grid, %dx%dx%d voxels, found %dx%dx%d", other->source,
            kind, a.extent[0], a.extent[1], a.extent[2], b.extent[0], b.extent[1], b.extent[2]);
  char ours[4], theirs[4];
  double spacing[3], found[3];
  affine_get_orientation(&a.affine, ours);
  affine_get_orientation(&b.affine, theirs);
  affine_get_spacing(&a.affine, spacing);
  affine_get_spacing(&b.affine, found);
  FAIL(STATUS_FAILED,
       "%s: expected a %s at its image's place within %g mm (%s, spacing %gx%gx%g, origin "
       "%g %g %g), found another (%s, %gx%gx%g, %g %g %g)",
       other->source, kind, GRID_TOLERANCE, ours, spacing[0], spacing[1], spacing[2],
       a.affine.m[0][3], a.affine.m[1][3], a.affine.m[2][3], theirs, found[0], found[1], found[2],
       b.affine.m[0][3], b.affine.m[1][3], b.affine.m[2][3]);
}

static enum status read_label(const struct config *config, const struct subject_source *source,
                              struct subject_volumes *volumes) {
  if (!source->label) return STATUS_OK;
  struct volume_policy policy = subject_policy(config, true);
  policy.nonfinite = NONFINITE_ERROR;
  TRY(volume_read(&volumes->label, source->label, &policy));
  TRY(subject_check_grid(&volumes->image, &volumes->label, "label map"));
  classes_make(config, &volumes->label);
  return check_classes(config, volumes);
}

static void copy_sizes(const struct int_list *list, int sizes[3]) {
  for (int i = 0; i < 3 && list->count == 3; i++) sizes[i] = (int)list->value[i];
}

bool subject_keeps_slices(const struct config *config) {
  return strcmp(config->data.grid, "slices") == 0;
}

bool subject_keeps_grid(const struct config *config) {
  return strcmp(config->data.grid, "own") == 0;
}

static void request_common_grid(const struct config *config, struct grid_request *request) {
  for (int i = 0; i < 3; i++)
    request->multiple[i] = i == 0 && subject_keeps_slices(config) ? 1 : (int)config->data.multiple;
  for (int i = 0; i < 3 && config->data.spacing.count == 3; i++)
    request->spacing[i] = config->data.spacing.value[i];
  copy_sizes(&config->data.resample, request->resize);
  copy_sizes(&config->data.size, request->extent);
}

/* With data.crop "refuse": data.size may only pad. */
static enum status check_crop(const struct config *config, const struct volume *image,
                              const struct grid_request *request) {
  struct grid_request uncut = {.orientation = request->orientation};
  struct grid grid = volume_get_grid(image), found;
  if (strcmp(config->data.crop, "refuse") != 0) return STATUS_OK;
  memcpy(uncut.spacing, request->spacing, sizeof uncut.spacing);
  memcpy(uncut.resize, request->resize, sizeof uncut.resize);
  TRY(grid_plan(&grid, &uncut, &found));
  for (int i = 0; i < 3; i++)
    REQUIRE(
        !request->extent[i] || found.extent[i] <= request->extent[i], STATUS_FAILED,
        "%s: expected at most %d voxels on axis %d (data.size, data.crop = \"refuse\"), found %d",
        image->source, request->extent[i], i, found.extent[i]);
  return STATUS_OK;
}

static enum status plan_target(const struct config *config, struct subject_volumes *volumes) {
  struct grid_request request = {.orientation = config->data.orientation};
  if (!subject_keeps_grid(config)) request_common_grid(config, &request);
  TRY(check_crop(config, &volumes->image, &request));
  struct grid grid = volume_get_grid(&volumes->image);
  return grid_plan(&grid, &request, &volumes->target);
}

enum status subject_read(const struct config *config, const struct subject_source *source,
                         struct subject_volumes *volumes) {
  *volumes = (struct subject_volumes){0};
  enum status status = read_image(config, source, volumes);
  if (!status) status = read_label(config, source, volumes);
  if (!status) status = plan_target(config, volumes);
  if (status) subject_close(volumes);
  return status;
}

void subject_close(struct subject_volumes *volumes) {
  volume_close(&volumes->image);
  volume_close(&volumes->label);
  *volumes = (struct subject_volumes){0};
}

static enum status resample_label(const struct subject_volumes *volumes, const struct grid *padded,
                                  uint8_t **label) {
  *label = NULL;
  if (!volumes->label.values) return STATUS_OK;
  const struct resample_options options = {.method = RESAMPLE_NEAREST};
  struct volume result;
  TRY(volume_resample(&volumes->label, padded, &options, &result));
  size_t count = volume_count(&result);
  uint8_t *classes = malloc(count);
  for (size_t i = 0; classes && i < count; i++) classes[i] = (uint8_t)result.values[i];
  volume_close(&result);
  REQUIRE(classes, STATUS_FAILED, "%s: out of memory", volumes->label.source);
  *label = classes;
  return STATUS_OK;
}

enum status subject_resample(struct subject_volumes *volumes, const int extent[3], float **image,
                             uint8_t **label) {
  const struct resample_options options = {.fills = volumes->outside};
  struct grid padded = volumes->target; /* voxels behind the end are outside the field of view */
  memcpy(padded.extent, extent, sizeof padded.extent);
  struct volume result;
  TRY(resample_label(volumes, &padded, label));
  enum status status = volume_resample(&volumes->image, &padded, &options, &result);
  if (status) {
    free(*label);
    *label = NULL;
    return status_pass(status, __func__, __FILE__, __LINE__);
  }
  for (int c = 0; c < result.channels; c++) find_range(&result, c, volumes->stored[c]);
  *image = result.values;
  result.values = NULL;
  volume_close(&result);
  return STATUS_OK;
}

/* Sums of whole numbers: exact in any order. */
void subject_find_centroid(const struct affine *affine, const int extent[3], const uint8_t *label,
                           double centroid[3]) {
  int64_t count = 0, sum[3] = {0};
  for (int i = 0; label && i < extent[0]; i++)
    for (int j = 0; j < extent[1]; j++)
      for (int k = 0; k < extent[2]; k++) {
        if (!label[((size_t)i * (size_t)extent[1] + (size_t)j) * (size_t)extent[2] + (size_t)k])
          continue;
        count++;
        sum[0] += i;
        sum[1] += j;
        sum[2] += k;
      }
  double middle[3];
  for (int a = 0; a < 3; a++) middle[a] = count ? (double)sum[a] / (double)count : NAN;
  affine_apply(affine, middle, centroid);
}
