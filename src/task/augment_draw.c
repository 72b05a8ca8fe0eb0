/* Which keys make sense, and what happens to a sample. */
#include <math.h>
#include <string.h>
#include "base/file.h"
#include "task/augment.h"
#include "volume/geometry.h"

/* Numbers that a variant may use: more than it does, so that variants do not overlap; and those of
 * a deformation. */
enum { NUMBERS_PER_VARIANT = 256, BENDS_SHIFT = 28 };

/* --- flips --- */

/* The array axis that a letter of data.orientation names, or -1. */
static int axis_of(const struct config *config, char letter) {
  static const char pairs[3][3] = {"LR", "PA", "IS"};
  int world[3], sign[3];
  if (orientation_parse(config->data.orientation, world, sign)) {
    status_clear();
    return -1;
  }
  for (int axis = 0; axis < 3; axis++)
    if (letter && strchr(pairs[world[axis]], letter)) return axis;
  return -1;
}

/* Reads "LR", "LR,AP", ...; what is no letter separates. False: a letter that names no axis. */
static bool find_flips(const struct config *config, bool flip[3]) {
  bool known = true;
  for (int axis = 0; axis < 3; axis++) flip[axis] = false;
  for (const char *at = config->augment.flip; *at; at++) {
    int axis = axis_of(config, *at);
    if (strchr(", ;", *at)) continue;
    if (axis >= 0) flip[axis] = true;
    known = known && axis >= 0;
  }
  return known;
}

static enum status check_flips(const struct config *config, int dimensions) {
  bool flip[3];
  if (!*config->augment.flip) return STATUS_OK;
  REQUIRE(
      *config->data.orientation, STATUS_USAGE,
      "augment.flip: expected data.orientation to say which axis that is, found \"%s\" and none",
      config->augment.flip);
  REQUIRE(find_flips(config, flip), STATUS_USAGE,
          "augment.flip: expected axes as in \"LR,AP,IS\", found \"%s\"", config->augment.flip);
  REQUIRE(dimensions == 3 || !flip[0], STATUS_USAGE,
          "augment.flip: expected axes of the slices' planes, found \"%s\" and slices along the "
          "first axis of data.orientation %s",
          config->augment.flip, config->data.orientation);
  return STATUS_OK;
}

/* --- keys --- */

static enum status check_range(const char *key, const struct real_list *range) {
  REQUIRE(range->count == 0 || range->count == 2, STATUS_USAGE,
          "augment.%s: expected low and high, found %d numbers", key, range->count);
  REQUIRE(range->count == 0 || range->value[0] <= range->value[1], STATUS_USAGE,
          "augment.%s: expected low before high, found %g, %g", key, range->value[0],
          range->value[1]);
  return STATUS_OK;
}

enum status augment_check(const struct config *config, int dimensions) {
  int rotations = config->augment.rotation.count, points = config->augment.elastic_spacing.count;
  REQUIRE(rotations == 0 || rotations == 1 || rotations == 3, STATUS_USAGE,
          "augment.rotation: expected 1 number or 3, found %d", rotations);
  REQUIRE(points == 1 || points == 3, STATUS_USAGE,
          "augment.elastic_spacing: expected 1 number or 3, found %d", points);
  TRY(check_range("scaling", &config->augment.scaling));
  TRY(check_range("brightness", &config->augment.brightness));
  TRY(check_range("contrast", &config->augment.contrast));
  TRY(check_range("gamma", &config->augment.gamma));
  TRY(check_range("blur", &config->augment.blur));
  TRY(check_range("low_resolution", &config->augment.low_resolution));
  return check_flips(config, dimensions);
}

static bool can(const struct real_list *range, double probability) {
  return range->count > 0 && probability > 0;
}

bool augment_deforms(const struct config *config) {
  return config->augment.elastic_deformation > 0 && config->augment.elastic_probability > 0;
}

bool augment_moves(const struct config *config) {
  return can(&config->augment.rotation, config->augment.rotation_probability) ||
         can(&config->augment.scaling, config->augment.scaling_probability) ||
         (*config->augment.flip && config->augment.flip_probability > 0) || augment_deforms(config);
}

/* --- drawing --- */

/* Both always take the same count of numbers: what one key says changes nothing about others. */
static bool happens(struct random *stream, double probability) {
  return random_uniform(stream) < probability;
}
static double draw_range(struct random *stream, const struct real_list *range, bool wanted,
                         double otherwise) {
  double place = random_uniform(stream);
  if (!wanted || range->count < 2) return otherwise;
  return range->value[0] + (range->value[1] - range->value[0]) * place;
}

/* Below and above 1 equally often where there is both, as nnU-Net has it. */
static double draw_factor(struct random *stream, const struct real_list *range,
                          double probability) {
  bool wanted = happens(stream, probability), below = happens(stream, 0.5);
  struct real_list half = *range;
  if (range->count == 2 && range->value[0] < 1 && range->value[1] > 1) half.value[below] = 1;
  return draw_range(stream, &half, wanted, 1);
}

static void draw_rotation(const struct config *config, struct random *stream, int dimensions,
                          double rotation[3]) {
  const struct real_list *range = &config->augment.rotation;
  bool wanted = happens(stream, config->augment.rotation_probability) && range->count > 0;
  for (int axis = 0; axis < 3; axis++) {
    double drawn = random_range(stream, -1, 1);
    bool turns = wanted && (dimensions == 3 || axis == 0);
    rotation[axis] = turns ? drawn * range->value[range->count == 3 ? axis : 0] : 0;
  }
}

static void draw_place(const struct config *config, struct random *stream, int dimensions,
                       struct augment_sample *sample) {
  bool flip[3];
  find_flips(config, flip);
  draw_rotation(config, stream, dimensions, sample->rotation);
  double scale = draw_factor(stream, &config->augment.scaling, config->augment.scaling_probability);
  bool bends = happens(stream, config->augment.elastic_probability);
  sample->deformation = bends ? config->augment.elastic_deformation : 0;
  for (int axis = 0; axis < 3; axis++) {
    bool flat = dimensions == 2 && axis == 0;
    sample->scale[axis] = flat ? 1 : scale;
    sample->flip[axis] = happens(stream, config->augment.flip_probability) && flip[axis] && !flat;
  }
}

static void draw_intensities(const struct config *config, struct random *stream, int dimensions,
                             struct augment_sample *sample) {
  bool noisy = happens(stream, config->augment.noise_probability);
  double noise = random_uniform(stream) * config->augment.noise;
  sample->noise = noisy ? noise : 0;
  sample->brightness =
      draw_factor(stream, &config->augment.brightness, config->augment.brightness_probability);
  sample->contrast =
      draw_factor(stream, &config->augment.contrast, config->augment.contrast_probability);
  sample->gamma_inverted =
      draw_factor(stream, &config->augment.gamma, config->augment.gamma_inverted_probability);
  sample->gamma = draw_factor(stream, &config->augment.gamma, config->augment.gamma_probability);
  bool blurs = happens(stream, config->augment.blur_probability);
  bool coarse = happens(stream, config->augment.low_resolution_probability);
  double zoom = draw_range(stream, &config->augment.low_resolution, coarse, 1);
  for (int axis = 0; axis < 3; axis++) {
    bool flat = dimensions == 2 && axis == 0;
    double blur = draw_range(stream, &config->augment.blur, blurs, 0);
    sample->blur[axis] = flat ? 0 : blur;
    sample->low_resolution[axis] = flat ? 1 : zoom;
  }
  for (int i = 0; i < 2; i++) sample->key[i] = (float)(random_bits(stream) >> 8);
}

struct augment_sample augment_nothing(void) {
  return (struct augment_sample){.scale = {1, 1, 1},
                                 .brightness = 1,
                                 .contrast = 1,
                                 .gamma = 1,
                                 .gamma_inverted = 1,
                                 .low_resolution = {1, 1, 1}};
}

void augment_draw(const struct config *config, int64_t epoch, const char *id, int64_t variant,
                  int dimensions, struct augment_sample *sample) {
  uint32_t subject = file_checksum(0, id, strlen(id));
  struct random stream =
      random_stream((uint64_t)config->root.seed, RANDOM_AUGMENT, (uint32_t)(epoch + 1), subject);
  *sample = augment_nothing();
  sample->bends = random_stream((uint64_t)config->root.seed, RANDOM_DEFORMATIONS,
                                (uint32_t)(epoch + 1), subject);
  sample->bends.index = (uint64_t)variant << BENDS_SHIFT;
  stream.index = (uint64_t)variant * NUMBERS_PER_VARIANT;
  draw_place(config, &stream, dimensions, sample);
  draw_intensities(config, &stream, dimensions, sample);
}
