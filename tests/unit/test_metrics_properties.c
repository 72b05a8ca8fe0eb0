/* What must hold for metrics whatever the data: known solids, brute force, symmetry, threads. */
#include <omp.h>
#include "base/random.h"
#include "check.h"
#include "metrics/distance.h"
#include "metrics/metrics.h"

enum { D = 14, H = 11, W = 13, VOXELS = D * H * W };

static const int extent[3] = {D, H, W};
static const double unit[3] = {1, 1, 1}, uneven[3] = {0.7, 1.9, 1.1};

static int at(int i, int j, int k) {
  return (i * H + j) * W + k;
}

static void fill_box(uint8_t *map, uint8_t label, const int low[3], const int high[3]) {
  for (int i = low[0]; i < high[0]; i++)
    for (int j = low[1]; j < high[1]; j++)
      for (int k = low[2]; k < high[2]; k++) map[at(i, j, k)] = label;
}

static double brute_distance(const double *before, int p, const double spacing[3]) {
  double best = INFINITY;
  for (int q = 0; q < VOXELS; q++) {
    double a = (p / (H * W) - q / (H * W)) * spacing[0];
    double b = (p / W % H - q / W % H) * spacing[1], c = (p % W - q % W) * spacing[2];
    best = fmin(best, before[q] + a * a + b * b + c * c);
  }
  return best;
}

static void check_transform(double share, const double spacing[3]) {
  static double before[VOXELS], after[VOXELS];
  struct random stream = random_stream(3, RANDOM_TEST, 0, (uint32_t)(share * 1000));
  for (int p = 0; p < VOXELS; p++)
    before[p] = after[p] = random_uniform(&stream) < share ? 0 : INFINITY;
  CHECK_OK(metrics_distance_transform(after, extent, spacing));
  for (int p = 0; p < VOXELS; p++) {
    double expected = brute_distance(before, p, spacing);
    CHECK(after[p] == expected || fabs(after[p] - expected) < 1e-9);
  }
}

TEST(distance_transform_is_exact) {
  check_transform(0.5, unit);
  check_transform(0.003, unit);
  check_transform(0.01, uneven);
  check_transform(0, uneven);
}

TEST(boxes_lie_as_far_apart_as_they_were_put) {
  uint8_t a[VOXELS] = {0}, b[VOXELS] = {0};
  struct metrics_surface found;
  fill_box(a, 3, (int[3]){2, 2, 2}, (int[3]){6, 7, 8});
  fill_box(b, 3, (int[3]){5, 2, 2}, (int[3]){9, 7, 8});
  CHECK_OK(metrics_surface_distance(a, b, 3, extent, uneven, &found));
  CHECK_NEAR(found.hausdorff, 3 * uneven[0], 1e-12);
  CHECK(found.average > 0 && found.average < found.hausdorff_95);
  CHECK_OK(metrics_surface_distance(a, a, 3, extent, uneven, &found));
  CHECK(found.hausdorff == 0 && found.hausdorff_95 == 0 && found.average == 0);
}

TEST(missing_labels_give_no_distance) {
  uint8_t a[VOXELS] = {0}, b[VOXELS] = {0};
  struct metrics_surface found;
  a[at(0, 0, 0)] = 200;
  CHECK_OK(metrics_surface_distance(a, b, 200, extent, unit, &found));
  CHECK(isinf(found.hausdorff_95) && isinf(found.average));
  CHECK_OK(metrics_surface_distance(a, b, 7, extent, unit, &found));
  CHECK(isnan(found.hausdorff_95) && isnan(found.hausdorff) && isnan(found.average));
  CHECK_OK(metrics_surface_distance(a, a, 0, extent, unit, &found));
  CHECK(found.hausdorff == 0);
}

TEST(mean_skips_labels_without_a_value) {
  CHECK_NEAR(metrics_mean((double[]){0.5, NAN, 1.0, NAN}, 4), 0.75, 0);
  CHECK(isnan(metrics_mean((double[]){NAN}, 1)) && isnan(metrics_mean(NULL, 0)));
}

TEST(nearest_warp_moves_whole_voxels_and_drops_what_leaves) {
  uint8_t labels[VOXELS], warped[VOXELS];
  static float u[3 * VOXELS];
  for (int p = 0; p < VOXELS; p++) labels[p] = (uint8_t)(1 + p % 250);
  for (int p = 0; p < VOXELS; p++) u[p] = 2, u[VOXELS + p] = -1, u[2 * VOXELS + p] = 0.4f;
  metrics_warp_labels(labels, u, extent, warped);
  CHECK(warped[at(3, 4, 5)] == labels[at(5, 3, 5)]);
  CHECK(warped[at(D - 2, 4, 5)] == 0 && warped[at(3, 0, 5)] == 0);
  CHECK(warped[at(3, 4, W - 1)] == 0); /* 0.4 beyond the last voxel is outside, as in scipy */
  u[at(3, 4, 5)] = NAN;
  metrics_warp_labels(labels, u, extent, warped);
  CHECK(warped[at(3, 4, 5)] == 0);
}

/* u = (A - 1) x for a matrix A: every determinant is A's. */
static void linear(float *u, const double a[3][3]) {
  for (int p = 0; p < VOXELS; p++) {
    const double x[3] = {p / (H * W), p / W % H, p % W};
    for (int c = 0; c < 3; c++)
      u[c * VOXELS + p] = (float)(a[c][0] * x[0] + a[c][1] * x[1] + a[c][2] * x[2] - x[c]);
  }
}

TEST(linear_maps_have_their_own_determinant) {
  static float u[3 * VOXELS], determinant[VOXELS];
  linear(u, (double[3][3]){{1.5, 0.25, 0}, {0, 0.5, 0.125}, {0.25, 0, 2}});
  metrics_jacobian(u, extent, determinant);
  for (int p = 0; p < VOXELS; p++) CHECK_NEAR(determinant[p], 1.5078125, 1e-5);
  CHECK(metrics_fold_percent(u, extent) == 0);
  CHECK_NEAR(metrics_deviation_log_jacobian_l2r(u, extent), 0, 1e-6);
  struct metrics_diffeomorphism found = metrics_digital_diffeomorphism(u, extent, NULL);
  CHECK(found.volume_percent == 0 && found.point_percent == 0);
}

TEST(a_mirror_folds_everything_once) {
  static float u[3 * VOXELS];
  linear(u, (double[3][3]){{-1, 0, 0}, {0, 1, 0}, {0, 0, 1}});
  CHECK(metrics_fold_percent(u, extent) == 100);
  struct metrics_diffeomorphism found = metrics_digital_diffeomorphism(u, extent, NULL);
  CHECK_NEAR(found.volume_percent, 100, 1e-9);
  CHECK_NEAR(found.point_percent, 100, 0);
}

TEST(nothing_to_count_is_not_a_number) {
  float u[3 * 2 * 4 * 4] = {0};
  const uint8_t none[2 * 4 * 4] = {0};
  const int flat[3] = {2, 4, 4};
  CHECK(isnan(metrics_deviation_log_jacobian_l2r(u, flat)));
  CHECK(isnan(metrics_digital_diffeomorphism(u, flat, NULL).volume_percent));
  CHECK(isnan(metrics_digital_diffeomorphism(u, (int[3]){4, 4, 2}, none).point_percent));
}

TEST(threads_change_no_bit) {
  static float u[3 * VOXELS];
  struct random stream = random_stream(5, RANDOM_TEST, 1, 1);
  for (int p = 0; p < 3 * VOXELS; p++) u[p] = (float)random_range(&stream, -1.5, 1.5);
  double deviation[3], volume[3];
  for (int threads = 1; threads <= 3; threads++) {
    omp_set_num_threads(threads);
    deviation[threads - 1] = metrics_deviation_log_jacobian_l2r(u, extent);
    volume[threads - 1] = metrics_digital_diffeomorphism(u, extent, NULL).volume_percent;
  }
  for (int t = 1; t < 3; t++) CHECK(deviation[t] == deviation[0] && volume[t] == volume[0]);
}

int main(void) {
  RUN(distance_transform_is_exact);
  RUN(boxes_lie_as_far_apart_as_they_were_put);
  RUN(missing_labels_give_no_distance);
  RUN(mean_skips_labels_without_a_value);
  RUN(nearest_warp_moves_whole_voxels_and_drops_what_leaves);
  RUN(linear_maps_have_their_own_determinant);
  RUN(a_mirror_folds_everything_once);
  RUN(nothing_to_count_is_not_a_number);
  RUN(threads_change_no_bit);
  return check_result();
}
