/* Errors of rigid motions against numpy and scipy (Rotation.from_euler("xyz"), whose magnitude is
 * the geodesic angle), their symmetries, and quantiles against numpy. */
#include "check.h"
#include "metrics/metrics.h"
#include "metrics/pose.h"

static const double half[3] = {100, 90, 70};

static const struct {
  struct pose a, b;
  double distance, geodesic, corner;
} cases[] = {
    {{{36.6, 36.953, 1.839}, {-10.71, -22.303, -5.832}},
     {{-10.983, -54.567, -54.149}, {24.959, 7.618, -13.274}},
     47.147928544104666,
     115.3536478123475,
     203.8604980718294},
    {{{-7.806, 56.902, 47.721}, {17.212, -5.38, -0.349}},
     {{21.203, -52.704, 6.672}, {-11.427, 18.983, -21.789}},
     43.283041598298055,
     117.41853683201727,
     210.50919778621878},
    {{{21.502, 44.411, -32.722}, {19.772, 18.61, -24.074}},
     {{23.002, 42.411, -32.472}, {20.772, 18.11, -22.074}},
     2.29128784747792,
     2.407657967764298,
     5.134633579065851},
};
enum { CASES = sizeof cases / sizeof *cases };

TEST(errors_are_those_of_scipy) {
  for (int i = 0; i < CASES; i++) {
    struct metrics_pose error = metrics_pose_compare(&cases[i].a, &cases[i].b, half);
    CHECK_NEAR(error.distance, cases[i].distance, 1e-11);
    CHECK_NEAR(error.geodesic, cases[i].geodesic, 1e-11);
    CHECK_NEAR(error.corner, cases[i].corner, 1e-11);
    CHECK_NEAR(error.rotation[1], fabs(cases[i].a.rotation[1] - cases[i].b.rotation[1]), 1e-12);
    CHECK_NEAR(error.translation[2], fabs(cases[i].a.translation[2] - cases[i].b.translation[2]),
               1e-12);
  }
}

TEST(errors_are_symmetric_and_0_for_the_same_pose) {
  for (int i = 0; i < CASES; i++) {
    struct metrics_pose there = metrics_pose_compare(&cases[i].a, &cases[i].b, half);
    struct metrics_pose back = metrics_pose_compare(&cases[i].b, &cases[i].a, half);
    CHECK_NEAR(there.geodesic, back.geodesic, 1e-12);
    CHECK_NEAR(there.corner, back.corner, 1e-12);
    struct metrics_pose none = metrics_pose_compare(&cases[i].a, &cases[i].a, half);
    CHECK(none.geodesic == 0 && none.corner == 0 && none.distance == 0 && none.rotation[0] == 0);
  }
}

TEST(angles_are_compared_around_the_circle) {
  const struct pose a = {.rotation = {179, 0, 0}}, b = {.rotation = {-179, 0, 0}};
  struct metrics_pose error = metrics_pose_compare(&a, &b, half);
  CHECK_NEAR(error.rotation[0], 2, 1e-12);
  CHECK_NEAR(error.geodesic, 2, 1e-9);
}

TEST(a_pure_translation_moves_every_point_by_its_length) {
  const struct pose a = {.translation = {3, 0, 4}}, b = {{0}, {0}};
  const double points[2][3] = {{0, 0, 0}, {20, -30, 40}};
  CHECK_NEAR(metrics_pose_distance(&a, &b, points, 2), 5, 1e-12);
  CHECK(isnan(metrics_pose_distance(&a, &b, points, 0)));
  CHECK_NEAR(metrics_pose_compare(&a, &b, half).corner, 5, 1e-12);
}

TEST(success_needs_both_numbers_below_the_threshold) {
  struct metrics_pose error = {.distance = 4, .geodesic = 1.5, .corner = 9};
  static const bool expected[POSE_SUCCESSES] = {false, true, true, true};
  for (int i = 0; i < POSE_SUCCESSES; i++)
    CHECK(metrics_pose_succeeds(&error, (enum metrics_pose_success)i) == expected[i]);
  error.geodesic = 11;
  error.corner = 10;
  for (int i = 0; i < POSE_SUCCESSES; i++)
    CHECK(!metrics_pose_succeeds(&error, (enum metrics_pose_success)i));
}

TEST(quantiles_are_those_of_numpy) {
  double values[] = {3, 1, 4, NAN, 1, 5, 9, 2, 6};
  int count = metrics_sort(values, 9);
  CHECK(count == 8);
  CHECK_NEAR(metrics_quantile(values, count, 0), 1, 0);
  CHECK_NEAR(metrics_quantile(values, count, 0.5), 3.5, 1e-14);
  CHECK_NEAR(metrics_quantile(values, count, 0.95), 7.95, 1e-13);
  CHECK_NEAR(metrics_quantile(values, count, 1), 9, 0);
  CHECK(isnan(metrics_quantile(values, 0, 0.5)));
}

int main(void) {
  RUN(errors_are_those_of_scipy);
  RUN(errors_are_symmetric_and_0_for_the_same_pose);
  RUN(angles_are_compared_around_the_circle);
  RUN(a_pure_translation_moves_every_point_by_its_length);
  RUN(success_needs_both_numbers_below_the_threshold);
  RUN(quantiles_are_those_of_numpy);
  return check_result();
}
