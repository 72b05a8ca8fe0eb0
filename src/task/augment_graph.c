/* What augmentation adds to a graph. */
#include <string.h>
#include "task/augment.h"

enum { NUMBERS = 16 };

/* --- which steps --- */

static bool wants(const struct real_list *range, double probability) {
  return range->count > 0 && probability > 0;
}

static enum intensity_steps find_steps(const struct config *config) {
  bool noise = config->augment.noise > 0 && config->augment.noise_probability > 0;
  bool gamma = wants(&config->augment.gamma, config->augment.gamma_probability) ||
               wants(&config->augment.gamma, config->augment.gamma_inverted_probability);
  bool factor = wants(&config->augment.brightness, config->augment.brightness_probability);
  bool contrast = wants(&config->augment.contrast, config->augment.contrast_probability);
  return (enum intensity_steps)((noise ? INTENSITY_NOISE : 0) | (factor ? INTENSITY_FACTOR : 0) |
                                (contrast ? INTENSITY_CONTRAST : 0) |
                                (gamma ? INTENSITY_GAMMA : 0));
}

static bool blurs(const struct config *config) {
  return wants(&config->augment.blur, config->augment.blur_probability);
}

static bool coarsens(const struct config *config) {
  return wants(&config->augment.low_resolution, config->augment.low_resolution_probability);
}

bool augment_contrasts(const struct config *config) {
  return find_steps(config) || blurs(config) || coarsens(config);
}

/* --- inputs --- */

int augment_input_count(const struct config *config) {
  return augment_moves(config) + augment_deforms(config) + (find_steps(config) != 0) +
         blurs(config) + coarsens(config);
}

static enum status add_input(struct graph *graph, const char *name, struct shape shape, bool wanted,
                             int *value) {
  *value = -1;
  return wanted ? graph_input(graph, name, shape, graph->dtype, false, value) : STATUS_OK;
}

enum status augment_add_inputs(struct graph *graph, const struct config *config, int samples,
                               const int window[3], int dimensions, struct augment_inputs *inputs) {
  int points[3];
  augment_control_extent(config, window, dimensions, points);
  const struct shape motion = {samples, AFFINE_MOTION, 1, 1, 1},
                     numbers = {samples, NUMBERS, 1, 1, 1};
  const struct shape control = {samples, 3, points[0], points[1], points[2]};
  TRY(add_input(graph, "motion", motion, augment_moves(config), &inputs->motion));
  TRY(add_input(graph, "control", control, augment_deforms(config), &inputs->control));
  TRY(add_input(graph, "intensity", numbers, find_steps(config) != 0, &inputs->intensity));
  TRY(add_input(graph, "blur", numbers, blurs(config), &inputs->blur));
  return add_input(graph, "low_resolution", numbers, coarsens(config), &inputs->low_resolution);
}

struct intensity_numbers augment_intensity(const struct augment_sample *sample) {
  return (struct intensity_numbers){.deviation = (float)sample->noise,
                                    .key = {sample->key[0], sample->key[1]},
                                    .factor = (float)sample->brightness,
                                    .contrast = (float)sample->contrast,
                                    .gamma = (float)sample->gamma,
                                    .gamma_inverted = (float)sample->gamma_inverted};
}

static void write_axes(const double axes[3], float numbers[NUMBERS]) {
  memset(numbers, 0, NUMBERS * sizeof *numbers);
  for (int axis = 0; axis < 3; axis++) numbers[axis] = (float)axes[axis];
}

void augment_blur(const struct augment_sample *sample, float numbers[NUMBERS]) {
  write_axes(sample->blur, numbers);
}

void augment_low_resolution(const struct augment_sample *sample, float numbers[NUMBERS]) {
  write_axes(sample->low_resolution, numbers);
}

void augment_fill(const struct config *config, const struct augment_sample *sample,
                  const int window[3], const double spacing[3], int dimensions,
                  const double centre[3], const int first[3], const int count[3], void *const *to) {
  if (augment_moves(config)) augment_motion(sample, window, spacing, centre, first, count, *to++);
  if (augment_deforms(config)) augment_control(config, sample, window, spacing, dimensions, *to++);
  if (find_steps(config)) {
    const struct intensity_numbers numbers = augment_intensity(sample);
    memcpy(*to++, &numbers, sizeof numbers);
  }
  if (blurs(config)) augment_blur(sample, *to++);
  if (coarsens(config)) augment_low_resolution(sample, *to);
}

/* --- nodes --- */

enum status augment_add_moved(struct graph *graph, const struct config *config, const int window[3],
                              const char *name, int source, const struct augment_inputs *inputs,
                              bool labels, int *moved) {
  bool edge = strcmp(config->augment.fill, "edge") == 0 && !labels;
  const int values[3] = {source, inputs->motion, inputs->control};
  struct affine_arguments arguments = {.mode = labels ? AFFINE_NEAREST : AFFINE_LINEAR,
                                       .fill = edge ? AFFINE_EDGE : AFFINE_ZERO};
  for (int axis = 0; axis < 3; axis++) arguments.size[axis] = window[axis];
  return graph_add(graph, "affine", name, &arguments, sizeof arguments, values,
                   inputs->control >= 0 ? 3 : 2, moved);
}

/* What has gathered in `steps` as one node. */
static enum status add_steps(struct graph *graph, const char *name, enum intensity_steps *steps,
                             const struct augment_inputs *inputs, int *image) {
  const struct intensity_arguments arguments = {*steps};
  const int values[2] = {*image, inputs->intensity};
  if (*steps == 0) return STATUS_OK;
  *steps = (enum intensity_steps)0;
  return graph_add(graph, "intensity", name, &arguments, sizeof arguments, values, 2, image);
}

/* An operator that takes the image between two steps. */
static enum status add_between(struct graph *graph, const char *op, int numbers, int *image) {
  const int values[2] = {*image, numbers};
  return graph_add(graph, op, op, NULL, 0, values, 2, image);
}

enum status augment_add_contrast(struct graph *graph, const struct config *config, int image,
                                 const struct augment_inputs *inputs, int *changed) {
  const unsigned wanted = find_steps(config);
  enum intensity_steps steps = (enum intensity_steps)(wanted & INTENSITY_NOISE);
  *changed = image;
  if (inputs->blur >= 0) {
    TRY(add_steps(graph, "noise", &steps, inputs, changed));
    TRY(add_between(graph, "blur", inputs->blur, changed));
  }
  steps = (enum intensity_steps)(steps | (wanted & (INTENSITY_FACTOR | INTENSITY_CONTRAST)));
  if (inputs->low_resolution >= 0) {
    TRY(add_steps(graph, "contrast", &steps, inputs, changed));
    TRY(add_between(graph, "low_resolution", inputs->low_resolution, changed));
  }
  steps = (enum intensity_steps)(steps | (wanted & INTENSITY_GAMMA));
  return add_steps(graph, "intensities", &steps, inputs, changed);
}
