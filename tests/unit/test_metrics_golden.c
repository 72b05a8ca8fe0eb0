/* Metrics against scipy, numpy and DeepMind's surface-distance (tests/golden/make_metrics.py). */
#include "check.h"
#include "golden.h"
#include "metrics/metrics.h"
#include "metrics/surfel.h"

enum { CLASSES = 9 };

static struct golden golden;
static int extent[3];
static int64_t voxels;
static uint8_t *fixed, *moving, *warped;
static float *displacement;

static void open_all(void) {
  golden_open(&golden, "metrics");
  const struct golden_tensor *tensor = golden_get(&golden, "fixed");
  memcpy(extent, tensor->extent, sizeof extent);
  voxels = tensor->count;
  fixed = golden_bytes(&golden, "fixed");
  moving = golden_bytes(&golden, "moving");
  warped = golden_bytes(&golden, "warped");
  displacement = golden_floats(&golden, "displacement");
}

static void close_all(void) {
  free(fixed);
  free(moving);
  free(warped);
  free(displacement);
  golden_close(&golden);
}

/* Equal, both NaN, or both infinite. */
static bool same(double a, double b, double tolerance) {
  if (isnan(a) || isnan(b)) return isnan(a) && isnan(b);
  return a == b || fabs(a - b) <= tolerance;
}

TEST(labels_are_warped_as_map_coordinates_does) {
  uint8_t *own = malloc((size_t)voxels);
  metrics_warp_labels(moving, displacement, extent, own);
  CHECK(!memcmp(own, warped, (size_t)voxels));
  free(own);
}

TEST(dice_agrees) {
  double own[CLASSES], *expected = golden_doubles(&golden, "dice");
  metrics_dice(fixed, moving, warped, voxels, CLASSES, own);
  for (int c = 0; c < CLASSES; c++)
    CHECK_SAY(same(own[c], expected[c], 1e-15), ": label %d: %g, %g", c, own[c], expected[c]);
  CHECK(isnan(own[5]) && isnan(own[6]) && own[7] == 0);
  free(expected);
}

static void check_surfaces(const char *spacing_name, const char *name) {
  double *spacing = golden_doubles(&golden, spacing_name),
         *expected = golden_doubles(&golden, name);
  for (int c = 0; c < CLASSES; c++) {
    struct metrics_surface own;
    CHECK_OK(metrics_surface_distance(fixed, warped, c, extent, spacing, &own));
    const double *row = expected + 3 * c;
    CHECK_SAY(same(own.hausdorff_95, row[0], 1e-12), ": label %d: %g, %g", c, own.hausdorff_95,
              row[0]);
    CHECK_SAY(same(own.hausdorff, row[1], 1e-12), ": label %d: %g, %g", c, own.hausdorff, row[1]);
    CHECK_SAY(same(own.average, row[2], 1e-12), ": label %d: %g, %g", c, own.average, row[2]);
  }
  free(spacing);
  free(expected);
}

TEST(surface_distances_agree) {
  check_surfaces("spacing_0", "surface_0");
  check_surfaces("spacing_1", "surface_1");
}

static void check_areas(const char *spacing_name, const char *name) {
  double *spacing = golden_doubles(&golden, spacing_name),
         *expected = golden_doubles(&golden, name);
  double own[256];
  metrics_surfel_areas(spacing, own);
  for (int code = 0; code < 256; code++)
    CHECK_SAY(same(own[code], expected[code], 1e-12), ": code %d: %g, %g", code, own[code],
              expected[code]);
  free(spacing);
  free(expected);
}

TEST(surfel_areas_agree) {
  check_areas("spacing_0", "surfel_areas_0");
  check_areas("spacing_1", "surfel_areas_1");
}

TEST(jacobian_map_agrees) {
  float *own = malloc((size_t)voxels * sizeof(float)),
        *expected = golden_floats(&golden, "jacobian");
  metrics_jacobian(displacement, extent, own);
  CHECK(golden_distance(own, expected, voxels) < 1e-7);
  free(own);
  free(expected);
}

TEST(regularity_agrees) {
  double *expected = golden_doubles(&golden, "regularity");
  CHECK_NEAR(metrics_fold_percent(displacement, extent), expected[0], 1e-12);
  CHECK_NEAR(metrics_deviation_log_jacobian_l2r(displacement, extent), expected[1], 1e-12);
  struct metrics_diffeomorphism all = metrics_digital_diffeomorphism(displacement, extent, NULL);
  struct metrics_diffeomorphism masked =
      metrics_digital_diffeomorphism(displacement, extent, moving);
  CHECK_NEAR(all.volume_percent, expected[2], 1e-11);
  CHECK_NEAR(all.point_percent, expected[3], 1e-11);
  CHECK_NEAR(masked.volume_percent, expected[4], 1e-11);
  CHECK_NEAR(masked.point_percent, expected[5], 1e-11);
  CHECK(expected[0] > 0 && expected[2] > 0);
  free(expected);
}

int main(void) {
  open_all();
  RUN(labels_are_warped_as_map_coordinates_does);
  RUN(dice_agrees);
  RUN(surface_distances_agree);
  RUN(surfel_areas_agree);
  RUN(jacobian_map_agrees);
  RUN(regularity_agrees);
  close_all();
  return check_result();
}
