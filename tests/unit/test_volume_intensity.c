/* Percentiles against sorting and numpy, each normalisation against its definition, blank volumes.
 */
#include "base/random.h"
#include "check.h"
#include "volume/intensity.h"

static double percentile(const float *values, size_t count, double percent) {
  double result = NAN;
  CHECK_OK(intensity_percentile(values, count, percent, false, &result));
  return result;
}

/* numpy.percentile([3, 1, 4, 1, 5, 9, 2, 6], q) */
TEST(percentiles_are_numpys) {
  const float values[] = {3, 1, 4, 1, 5, 9, 2, 6};
  CHECK_NEAR(percentile(values, 8, 0), 1, 0);
  CHECK_NEAR(percentile(values, 8, 10), 1, 0);
  CHECK_NEAR(percentile(values, 8, 25), 1.75, 1e-12);
  CHECK_NEAR(percentile(values, 8, 50), 3.5, 1e-12);
  CHECK_NEAR(percentile(values, 8, 99.5), 8.895, 1e-12);
  CHECK_NEAR(percentile(values, 8, 100), 9, 0);
  CHECK_NEAR(percentile(values, 1, 37), 3, 0);
}

static int compare(const void *a, const void *b) {
  float x = *(const float *)a, y = *(const float *)b;
  return (x > y) - (x < y);
}

TEST(percentiles_are_those_of_the_sorted_values) {
  enum { COUNT = 2001 };
  float values[COUNT], sorted[COUNT];
  struct random random = random_stream(3, RANDOM_TEST, 0, 0);
  for (int n = 0; n < COUNT; n++) {
    double value = random_normal(&random) * pow(10, random_range(&random, -20, 20));
    values[n] = n % 5 ? (float)value : n % 2 ? -0.0f : 0.0f;
  }
  memcpy(sorted, values, sizeof values);
  qsort(sorted, COUNT, sizeof *sorted, compare);
  for (int n = 0; n < COUNT; n += 20) CHECK(percentile(values, COUNT, n / 20.0) == sorted[n]);
}

TEST(zeros_can_be_left_out) {
  const float values[] = {0, 0, 0, 0, 2, 4, 6, -0.0f};
  double result;
  CHECK_OK(intensity_percentile(values, 8, 50, true, &result));
  CHECK_NEAR(result, 4, 0);
  CHECK_FAILS(intensity_percentile(values, 4, 50, true, &result), "not 0");
  CHECK_FAILS(intensity_percentile((float[]){1, NAN}, 2, 50, false, &result), "NaN");
  CHECK_FAILS(intensity_percentile(values, 8, 101, false, &result), "0 to 100");
  CHECK_FAILS(intensity_percentile(values, 0, 50, false, &result), "voxels");
}

static enum status apply(const char *name, const struct intensity_options *options, float *values,
                         size_t count) {
  const struct intensity *intensity = intensity_find(name);
  if (!intensity) abort();
  return intensity->apply(values, count, options ? options : &intensity->defaults, "head.nii");
}

TEST(ranges_become_zero_to_one) {
  float values[] = {-2, 0, 6, 8};
  CHECK_OK(apply("minmax", NULL, values, 4));
  CHECK_NEAR(values[0], 0, 0);
  CHECK_NEAR(values[1], 0.2, 1e-7);
  CHECK_NEAR(values[3], 1, 0);
  float more[101];
  for (int n = 0; n < 101; n++) more[n] = (float)(n * 3);
  CHECK_OK(apply("percentile", &(struct intensity_options){.low = 10, .high = 90}, more, 101));
  CHECK(more[0] == 0 && more[10] == 0 && more[90] == 1 && more[100] == 1);
  CHECK_NEAR(more[50], 0.5, 1e-6);
  float houndsfield[] = {-1000, -160, 40, 240, 3000};
  struct intensity_options window = intensity_window(40, 400);
  CHECK_OK(apply("window", &window, houndsfield, 5));
  CHECK(houndsfield[0] == 0 && houndsfield[1] == 0 && houndsfield[4] == 1);
  CHECK_NEAR(houndsfield[2], 0.5, 1e-7);
}

TEST(zscore_has_mean_zero_and_deviation_one) {
  float values[] = {0, 2, 4, 4, 4, 5, 5, 7, 9, 0};
  float all[10];
  memcpy(all, values, sizeof values);
  CHECK_OK(apply("zscore", &(struct intensity_options){.nonzero = true}, values, 10));
  CHECK_NEAR(values[1], -1.5, 1e-6); /* mean 5, deviation 2 */
  CHECK_NEAR(values[8], 2, 1e-6);
  CHECK(values[0] == 0 && values[9] == 0);
  CHECK_OK(apply("zscore", NULL, all, 10));
  double sum = 0, squares = 0;
  for (int n = 0; n < 10; n++) {
    sum += all[n];
    squares += all[n] * all[n];
  }
  CHECK_NEAR(sum, 0, 1e-5);
  CHECK_NEAR(squares, 10, 1e-5);
}

TEST(blank_volumes_are_refused_by_all) {
  for (int n = 0; n < intensity_count; n++) {
    float blank[] = {7, 7, 7, 7}, bad[] = {1, 2, NAN, 3};
    CHECK_FAILS(apply(intensities[n]->name, NULL, blank, 4), "head.nii");
    CHECK_FAILS(apply(intensities[n]->name, NULL, bad, 4), "head.nii");
  }
  float values[] = {500, 600, 700};
  CHECK_FAILS(apply("window", NULL, values, 3), "between -160 and 240");
  CHECK_FAILS(apply("window", &(struct intensity_options){.low = 3, .high = 3}, values, 3),
              "below");
  CHECK(!intensity_find("median"));
}

TEST(none_changes_nothing) {
  float values[] = {-1, 5};
  CHECK_OK(apply("none", NULL, values, 2));
  CHECK(values[0] == -1 && values[1] == 5);
}

int main(void) {
  RUN(percentiles_are_numpys);
  RUN(percentiles_are_those_of_the_sorted_values);
  RUN(zeros_can_be_left_out);
  RUN(ranges_become_zero_to_one);
  RUN(zscore_has_mean_zero_and_deviation_one);
  RUN(blank_volumes_are_refused_by_all);
  RUN(none_changes_nothing);
  return check_result();
}
