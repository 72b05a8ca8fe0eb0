/* Phantoms: labels, determinism, overlap between subjects, one-to-one deformation, contrast. */
#include <omp.h>
#include "check.h"
#include "volume/phantom.h"
#include "volume/phantom_parts.h"

static struct phantom_options small(int extent, uint32_t subject) {
  struct phantom_options options = phantom_defaults();
  for (int a = 0; a < 3; a++) options.extent[a] = extent;
  options.subject = subject;
  return options;
}

static void count_labels(const struct volume *labels, size_t counts[PHANTOM_LABELS + 1]) {
  memset(counts, 0, (PHANTOM_LABELS + 1) * sizeof *counts);
  for (size_t n = 0; n < volume_count(labels); n++) {
    int label = (int)labels->values[n];
    CHECK(label == labels->values[n] && label >= 0 && label <= PHANTOM_LABELS);
    counts[label]++;
  }
}

TEST(every_label_is_there_at_every_size) {
  for (int extent = 24; extent <= 48; extent += 8) {
    struct phantom_options options = small(extent, 3);
    struct volume labels;
    size_t counts[PHANTOM_LABELS + 1];
    CHECK_OK(phantom_make(&options, NULL, &labels));
    count_labels(&labels, counts);
    for (int l = 0; l <= PHANTOM_LABELS; l++)
      CHECK_SAY(counts[l] >= 3, ": %zu of %s", counts[l], phantom_label_name(l));
    CHECK(counts[0] > counts[1] && counts[1] > counts[3] && counts[2] > counts[5]);
    volume_close(&labels);
  }
  CHECK(!phantom_label_name(-1) && !phantom_label_name(PHANTOM_LABELS + 1));
}

TEST(fewer_labels_join_what_is_around_them) {
  struct phantom_options options = small(32, 0);
  options.labels = 6;
  struct volume labels;
  size_t counts[PHANTOM_LABELS + 1], all[PHANTOM_LABELS + 1];
  CHECK_OK(phantom_make(&options, NULL, &labels));
  count_labels(&labels, counts);
  volume_close(&labels);
  options.labels = PHANTOM_LABELS;
  CHECK_OK(phantom_make(&options, NULL, &labels));
  count_labels(&labels, all);
  for (int l = 7; l <= PHANTOM_LABELS; l++) CHECK(counts[l] == 0);
  for (int l = 3; l <= 6; l++) CHECK(counts[l] >= all[l]);
  CHECK(counts[2] > all[2]);
  volume_close(&labels);
}

TEST(a_subject_is_a_function_of_its_numbers) {
  struct phantom_options options = small(24, 5);
  struct volume first, again, labels, other;
  omp_set_num_threads(1);
  CHECK_OK(phantom_make(&options, &first, &labels));
  omp_set_num_threads(3);
  CHECK_OK(phantom_make(&options, &again, NULL));
  CHECK(!memcmp(first.values, again.values, volume_count(&first) * sizeof(float)));
  options.seed = 1;
  CHECK_OK(phantom_make(&options, NULL, &other));
  CHECK(memcmp(labels.values, other.values, volume_count(&labels) * sizeof(float)));
  volume_close(&other);
  options.seed = 0;
  options.subject = 6;
  CHECK_OK(phantom_make(&options, NULL, &other));
  CHECK(memcmp(labels.values, other.values, volume_count(&labels) * sizeof(float)));
  volume_close(&other);
  volume_close(&first);
  volume_close(&again);
  volume_close(&labels);
}

static double mean_dice(const struct volume *a, const struct volume *b) {
  size_t each[2][PHANTOM_LABELS + 1] = {{0}}, both[PHANTOM_LABELS + 1] = {0};
  for (size_t n = 0; n < volume_count(a); n++) {
    int first = (int)a->values[n], second = (int)b->values[n];
    each[0][first]++;
    each[1][second]++;
    if (first == second) both[first]++;
  }
  double sum = 0;
  for (int l = 1; l <= PHANTOM_LABELS; l++)
    sum += 2.0 * (double)both[l] / (double)(each[0][l] + each[1][l]);
  return sum / PHANTOM_LABELS;
}

TEST(subjects_overlap_as_patients_do) {
  enum { SUBJECTS = 5 };
  struct volume labels[SUBJECTS];
  for (uint32_t s = 0; s < SUBJECTS; s++) {
    struct phantom_options options = small(40, s);
    CHECK_OK(phantom_make(&options, NULL, &labels[s]));
  }
  double sum = 0;
  int pairs = 0;
  for (int a = 0; a < SUBJECTS; a++)
    for (int b = 0; b < a; b++, pairs++) {
      double dice = mean_dice(&labels[a], &labels[b]);
      CHECK_SAY(dice > 0.4 && dice < 0.85, ": %g", dice);
      sum += dice;
    }
  printf("mean Dice between subjects: %.3f\n", sum / pairs);
  CHECK_SAY(sum / pairs > 0.58 && sum / pairs < 0.72, ": %g", sum / pairs);
  for (int s = 0; s < SUBJECTS; s++) volume_close(&labels[s]);
}

static double determinant_at(const struct deformation *deformation, const double point[3]) {
  const double step = 0.02;
  struct affine jacobian = {0};
  for (int b = 0; b < 3; b++) {
    double low[3], high[3];
    memcpy(low, point, sizeof low);
    memcpy(high, point, sizeof high);
    low[b] -= step;
    high[b] += step;
    deformation_apply(deformation, low, low);
    deformation_apply(deformation, high, high);
    for (int a = 0; a < 3; a++) jacobian.m[a][b] = (high[a] - low[a]) / (2 * step);
  }
  return affine_determinant(&jacobian);
}

TEST(deformations_never_fold) {
  double smallest = 10, largest = 0;
  for (uint32_t subject = 0; subject < 8; subject++) {
    struct deformation deformation;
    CHECK_OK(deformation_make(&deformation, 0, subject, phantom_defaults().deformation / 50));
    for (int n = 0; n < 20 * 20 * 20; n++) {
      const double point[3] = {-0.95 + 0.1 * (n / 400), -0.95 + 0.1 * (n / 20 % 20),
                               -0.95 + 0.1 * (n % 20)};
      double determinant = determinant_at(&deformation, point);
      smallest = fmin(smallest, determinant);
      largest = fmax(largest, determinant);
    }
    double corner[3] = {1, -1, 0.3}; /* the border stays where it is */
    deformation_apply(&deformation, corner, corner);
    CHECK_NEAR(corner[0], 1, 1e-12);
    CHECK_NEAR(corner[2], 0.3, 1e-12);
    deformation_close(&deformation);
  }
  printf("Jacobian determinants from %.3f to %.3f\n", smallest, largest);
  CHECK(smallest > 0.05 && largest > 1.3);
}

/* Without contrast, bias and noise, every tissue has its own brightness where it fills a voxel. */
TEST(images_show_the_labels) {
  struct phantom_options options = small(48, 2);
  options.contrast = options.bias = options.noise = 0;
  struct volume image, labels, noisy;
  CHECK_OK(phantom_make(&options, &image, &labels));
  double sums[PHANTOM_LABELS + 1] = {0};
  size_t counts[PHANTOM_LABELS + 1];
  count_labels(&labels, counts);
  for (size_t n = 0; n < volume_count(&image); n++) sums[(int)labels.values[n]] += image.values[n];
  for (int l = 1; l <= PHANTOM_LABELS; l++) sums[l] /= (double)counts[l];
  CHECK(sums[2] > 0.85 && sums[1] > 0.5 && sums[1] < 0.75 && sums[3] < 0.45 && sums[11] < 0.45);
  CHECK(sums[5] > sums[1] && sums[5] < sums[2]);
  options.noise = 0.05;
  CHECK_OK(phantom_make(&options, &noisy, NULL));
  double squares = 0;
  size_t bright = 0;
  for (size_t n = 0; n < volume_count(&image); n++) {
    CHECK(noisy.values[n] >= 0);
    if (image.values[n] < 0.9) continue;
    double change = noisy.values[n] - image.values[n];
    squares += change * change;
    bright++;
  }
  CHECK_NEAR(sqrt(squares / (double)bright), 0.05, 0.003);
  volume_close(&image);
  volume_close(&labels);
  volume_close(&noisy);
}

TEST(the_grid_is_ras_and_centred) {
  struct phantom_options options = small(32, 0);
  options.extent[1] = 40;
  struct volume labels;
  CHECK_OK(phantom_make(&options, NULL, &labels));
  char code[4];
  double centre[3], spacing[3];
  struct grid grid = volume_get_grid(&labels);
  affine_get_orientation(&labels.affine, code);
  affine_get_spacing(&labels.affine, spacing);
  grid_get_centre(&grid, centre);
  CHECK(!strcmp(code, "RAS") && labels.is_integer);
  CHECK_NEAR(spacing[0], 4.8, 1e-12);
  for (int a = 0; a < 3; a++) CHECK_NEAR(centre[a], 0, 1e-9);
  double left = 0, right = 0;
  size_t counts[PHANTOM_LABELS + 1];
  count_labels(&labels, counts);
  for (size_t n = 0; n < volume_count(&labels); n++) {
    double x = (double)(n / (40 * 32)) - 15.5;
    if (labels.values[n] == 7) left += x;
    if (labels.values[n] == 8) right += x;
  }
  CHECK(left < 0 && right > 0); /* the patient's left is at smaller x */
  volume_close(&labels);
}

TEST(options_are_checked) {
  struct volume image;
  struct phantom_options options = small(7, 0);
  CHECK_FAILS(phantom_make(&options, &image, NULL), "extent");
  options = small(32, 0);
  options.labels = 13;
  CHECK_FAILS(phantom_make(&options, &image, NULL), "labels: expected 1 to 12, found 13");
  options.labels = 1;
  options.deformation = NAN;
  CHECK_FAILS(phantom_make(&options, &image, NULL), "deformation");
  CHECK(!image.values);
}

int main(void) {
  RUN(every_label_is_there_at_every_size);
  RUN(fewer_labels_join_what_is_around_them);
  RUN(a_subject_is_a_function_of_its_numbers);
  RUN(subjects_overlap_as_patients_do);
  RUN(deformations_never_fold);
  RUN(images_show_the_labels);
  RUN(the_grid_is_ras_and_centred);
  RUN(options_are_checked);
  return check_result();
}
