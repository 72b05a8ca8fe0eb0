/* A subject: the template through its deformation, then contrast, bias field and noise. */
#include "volume/phantom.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "base/random.h"
#include "volume/phantom_parts.h"

enum { BIAS_TERMS = 9, NORMALS_PER_VOXEL = 8, LEAST_EXTENT = 8, MOST_EXTENT = 2048 };

#define FIELD_OF_VIEW 192.0 /* mm, of the longest side unless a spacing is given */

struct subject {
  const struct phantom_options *options;
  struct deformation deformation;
  double levels[TISSUE_COUNT];
  double bias[BIAS_TERMS];
  double width; /* of a voxel, in coordinates of -1 to 1 */
};

struct phantom_options phantom_defaults(void) {
  return (struct phantom_options){.extent = {96, 96, 96},
                                  .labels = PHANTOM_LABELS,
                                  .deformation = 1.4,
                                  .noise = 0.03,
                                  .bias = 0.1,
                                  .contrast = 0.05};
}

const char *phantom_label_name(int label) {
  return anatomy_label_name(label);
}

static enum status check_options(const struct phantom_options *options) {
  for (int a = 0; a < 3; a++)
    REQUIRE(options->extent[a] >= LEAST_EXTENT && options->extent[a] <= MOST_EXTENT, STATUS_USAGE,
            "phantom: extent: expected %d to %d voxels, found %d", LEAST_EXTENT, MOST_EXTENT,
            options->extent[a]);
  REQUIRE(options->labels >= 1 && options->labels <= PHANTOM_LABELS, STATUS_USAGE,
          "phantom: labels: expected 1 to %d, found %d", PHANTOM_LABELS, options->labels);
  const struct {
    const char *name;
    double value, most;
  } numbers[] = {{"spacing", options->spacing, 1000},
                 {"deformation", options->deformation, 5},
                 {"noise", options->noise, 10},
                 {"bias", options->bias, 2},
                 {"contrast", options->contrast, 0.3}};
  for (size_t n = 0; n < sizeof numbers / sizeof *numbers; n++)
    REQUIRE(numbers[n].value >= 0 && numbers[n].value <= numbers[n].most, STATUS_USAGE,
            "phantom: %s: expected 0 to %g, found %g", numbers[n].name, numbers[n].most,
            numbers[n].value);
  return STATUS_OK;
}

static enum status subject_make(struct subject *subject, const struct phantom_options *options) {
  *subject = (struct subject){.options = options};
  struct random random =
      random_stream(options->seed, RANDOM_PHANTOM, options->subject, PHANTOM_CONTRAST);
  for (int t = 0; t < TISSUE_COUNT; t++)
    subject->levels[t] = tissue_levels[t] * (1 + options->contrast * random_normal(&random));
  random = random_stream(options->seed, RANDOM_PHANTOM, options->subject, PHANTOM_BIAS);
  for (int t = 0; t < BIAS_TERMS; t++) subject->bias[t] = options->bias * random_normal(&random);
  for (int a = 0; a < 3; a++) subject->width = fmax(subject->width, 2.0 / options->extent[a]);
  TRY(deformation_make(&subject->deformation, options->seed, options->subject,
                       options->deformation / 100 * 2));
  return STATUS_OK;
}

/* Second-order polynomials without their means, scaled so that the deviation over the head is near
 * the option's. */
static double bias_at(const struct subject *subject, const double point[3]) {
  const double x = point[0], y = point[1], z = point[2], *b = subject->bias;
  double sum = b[0] * x + b[1] * y + b[2] * z + b[3] * x * y + b[4] * y * z + b[5] * z * x +
               b[6] * (x * x - 0.2) + b[7] * (y * y - 0.2) + b[8] * (z * z - 0.2);
  return exp(0.9 * sum);
}

/* Magnitude of a complex signal with normal noise in both parts (Rice). */
static double add_noise(const struct subject *subject, double signal, size_t voxel) {
  const struct phantom_options *options = subject->options;
  if (options->noise == 0) return signal;
  struct random random =
      random_stream(options->seed, RANDOM_PHANTOM, options->subject, PHANTOM_NOISE);
  random.index = (uint64_t)voxel * NORMALS_PER_VOXEL;
  double real = signal + options->noise * random_normal(&random);
  return hypot(real, options->noise * random_normal(&random));
}

static void make_voxel(const struct subject *subject, const int voxel[3], size_t index,
                       float *image, float *labels) {
  const struct phantom_options *options = subject->options;
  double point[3], source[3];
  for (int a = 0; a < 3; a++) point[a] = 2 * (voxel[a] + 0.5) / options->extent[a] - 1;
  deformation_apply(&subject->deformation, point, source);
  struct anatomy anatomy = anatomy_at(source, subject->width, subject->levels, options->labels);
  if (labels) labels[index] = (float)anatomy.label;
  if (image)
    image[index] = (float)add_noise(subject, anatomy.intensity * bias_at(subject, point), index);
}

static void make_voxels(const struct subject *subject, float *image, float *labels) {
  const int *extent = subject->options->extent;
#pragma omp parallel for schedule(static)
  for (int i = 0; i < extent[0]; i++)
    for (int j = 0; j < extent[1]; j++)
      for (int k = 0; k < extent[2]; k++) {
        size_t index = ((size_t)i * (size_t)extent[1] + (size_t)j) * (size_t)extent[2] + (size_t)k;
        make_voxel(subject, (const int[]){i, j, k}, index, image, labels);
      }
}

static struct grid make_grid(const struct phantom_options *options) {
  struct grid grid = {0};
  int longest = 0;
  for (int a = 0; a < 3; a++) {
    grid.extent[a] = options->extent[a];
    if (options->extent[a] > longest) longest = options->extent[a];
  }
  double step = options->spacing > 0 ? options->spacing : FIELD_OF_VIEW / longest;
  double spacing[3] = {step, step, step}, origin[3];
  for (int a = 0; a < 3; a++) origin[a] = -0.5 * step * (options->extent[a] - 1);
  grid.affine = affine_scaling(spacing, origin);
  return grid;
}

static enum status create_outputs(const struct phantom_options *options, struct volume *image,
                                  struct volume *labels) {
  struct grid grid = make_grid(options);
  if (image) TRY(volume_create(image, &grid, 1));
  if (labels) TRY(volume_create(labels, &grid, 1));
  if (labels) labels->is_integer = true;
  return STATUS_OK;
}

enum status phantom_make(const struct phantom_options *options, struct volume *image,
                         struct volume *labels) {
  if (image) *image = (struct volume){0};
  if (labels) *labels = (struct volume){0};
  TRY(check_options(options));
  struct subject subject = {0};
  enum status status = create_outputs(options, image, labels);
  if (!status) status = subject_make(&subject, options);
  if (!status) make_voxels(&subject, image ? image->values : NULL, labels ? labels->values : NULL);
  deformation_close(&subject.deformation);
  if (status && image) volume_close(image);
  if (status && labels) volume_close(labels);
  if (status) return status_pass(status, __func__, __FILE__, __LINE__);
  return STATUS_OK;
}
