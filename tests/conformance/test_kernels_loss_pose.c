/* loss_pose against its reference; its gradients near identity and half a turn, where distances
 * have none of their own; the values that formulas give; what predictions mean. */
#include "conformance.h"
#include "kernels/loss_pose/pose_gradient.h"

static const struct loss_pose_arguments mse = {POSE_MSE, 60, 25, 0, {0}},
                                        geodesic = {POSE_GEODESIC, 60, 25, 0.5, {0}},
                                        corner = {POSE_CORNER, 60, 25, 0, {150, 140, 90}};

/* Predictions within their ranges and targets likewise. */
static void fill(int input, const struct shape *shape, double *values) {
  for (int64_t i = 0; i < logical_count(shape); i++) {
    double wave = sin(2.3 * (double)i + 0.7 + 3.1 * input);
    values[i] = input == 0 ? wave : (i % 6 < 3 ? 60 : 25) * wave;
  }
}

/* Float32 predictions are exact for all kernels, which compute in double. */
#define POSE(text, kind, samples, values)                                       \
  {                                                                             \
    .label = text, .op = &op_loss_pose, .input_count = 2, .arguments = &(kind), \
    .argument_bytes = sizeof(kind), .no_gradient = {false, true}, .fill = fill, \
    .gradient_tolerance = 1e-5, .x = {                                          \
      {samples, values, 1, 1, 1},                                               \
      {samples, 6, 1, 1, 1}                                                     \
    }                                                                           \
  }

static const struct op_case cases[] = {
    POSE("mse of 6", mse, 3, 6),           POSE("mse of 9", mse, 3, 9),
    POSE("geodesic of 6", geodesic, 2, 6), POSE("geodesic of 9", geodesic, 1, 9),
    POSE("corner of 6", corner, 1, 6),     POSE("corner of 9, many samples", corner, 37, 9),
};

TEST(kernels_agree) {
  conformance_run(cases, sizeof cases / sizeof *cases);
}

/* --- gradients --- */

static double loss_of(const struct loss_pose_arguments *arguments, int count, const double *value,
                      const double *target, double *slope) {
  const struct pose_sample sample = pose_sample_make(arguments, count, value, target);
  return pose_loss_find(arguments, &sample, slope);
}

static void check_gradient(const struct loss_pose_arguments *arguments, int count,
                           const double *value, const double *target, const char *where) {
  const double step = arguments->kind == POSE_CORNER ? 1e-8 : 1e-6; /* well below POSE_ROUNDING */
  double slope[POSE_MATRIX], moved[POSE_MATRIX];
  CHECK(isfinite(loss_of(arguments, count, value, target, slope)));
  for (int i = 0; i < count; i++) {
    memcpy(moved, value, sizeof moved);
    double loss[4];
    for (int k = 0; k < 4; k++) {
      moved[i] = value[i] + (k < 2 ? k + 1 : 1 - k) * step;
      loss[k] = loss_of(arguments, count, moved, target, NULL);
    }
    double found = (8 * (loss[0] - loss[2]) - (loss[1] - loss[3])) / (12 * step);
    CHECK_SAY(fabs(found - slope[i]) <= 1e-6 * (1 + fabs(slope[i])) * fmax(1, loss[0]),
              " (kind %d of %d values, %s: by value %d: %.10g, differences %.10g)",
              (int)arguments->kind, count, where, i, slope[i], found);
  }
}

/* A prediction of `count` values that means the motion of a target, its columns stretched. */
static void predict(const double *target, int count, double *value) {
  const struct pose_motion motion = pose_of_euler(target);
  for (int k = 0; k < 3 && count == POSE_EULER; k++) value[k] = target[k] / 60;
  for (int i = 0; i < 6 && count == POSE_MATRIX; i++)
    value[i] = (i < 3 ? 1.3 : 0.8) * motion.r[3 * (i % 3) + i / 3] - (i == 0 || i == 4);
  for (int k = 0; k < 3; k++) value[count - 3 + k] = target[3 + k] / 25;
}

TEST(gradients_agree_with_differences) {
  static const struct loss_pose_arguments *const kinds[] = {&mse, &geodesic, &corner};
  static const double apart[] = {0, 1e-5, 1e-3, 1e-1, 1};
  struct random random = random_stream(1, RANDOM_TEST, 2, 3);
  double target[POSE_TARGET], value[POSE_MATRIX];
  for (int i = 0; i < 3 * 2 * 5 * 6; i++) {
    const int count = i % 2 ? POSE_MATRIX : POSE_EULER;
    for (int k = 0; k < 6; k++) target[k] = i % 3 ? random_range(&random, -60, 60) : 0;
    predict(target, count, value);
    for (int k = 0; k < count; k++) value[k] += apart[i / 6 % 5] * random_range(&random, -1, 1);
    check_gradient(kinds[i / 30 % 3], count, value, target, i % 3 ? "anywhere" : "at identity");
  }
  for (int count = POSE_EULER; count <= POSE_MATRIX; count += 3) /* half a turn away */
    for (int axis = 0; axis < 3; axis++) {
      double half[POSE_TARGET] = {0}, none[POSE_MATRIX] = {0};
      half[axis] = 180;
      check_gradient(&geodesic, count, none, half, "half a turn");
      half[axis] = 179.9;
      check_gradient(&geodesic, count, none, half, "almost half a turn");
    }
}

/* --- values --- */

TEST(losses_are_what_they_say) {
  const double still[POSE_MATRIX] = {0}, target[POSE_TARGET] = {0, 0, 90, 3, 4, 0};
  const double aim[POSE_TARGET] = {0};
  double turned[POSE_MATRIX] = {0, 0, 1.5, 3.0 / 25, 4.0 / 25, 0}, moved[POSE_MATRIX] = {0};
  CHECK(fabs(loss_of(&mse, 6, still, target, NULL) - (2.25 + 0.0144 + 0.0256) / 6) < 1e-15);
  CHECK(fabs(loss_of(&mse, 9, still, target, NULL) - (4 + 0.0144 + 0.0256) / 12) < 1e-15);
  CHECK(fabs(loss_of(&geodesic, 9, still, target, NULL) - (M_PI / 2 + 0.5 * 0.2)) < 3e-3);
  CHECK(loss_of(&mse, 6, turned, target, NULL) < 1e-30);
  for (int i = 0; i < 2; i++) {
    const struct loss_pose_arguments *kind = i ? &geodesic : &corner;
    CHECK(fabs(loss_of(kind, 6, turned, target, NULL)) < 1e-12);
    CHECK(loss_of(kind, 9, moved, aim, NULL) == 0);
  }
  moved[6] = 3.0 / 25;
  moved[8] = -4.0 / 25;
  CHECK(fabs(loss_of(&corner, 9, moved, aim, NULL) - 5) < 2e-3); /* all corners by 5 mm */
  double sum = 0; /* a quarter turn about z: corners of 150 and 140 */
  sum = sqrt(2 * (150.0 * 150 + 140.0 * 140));
  const double quarter[POSE_TARGET] = {0, 0, 90, 0, 0, 0};
  CHECK(fabs(loss_of(&corner, 6, still, quarter, NULL) - sum) < 2e-3);
  const double half[POSE_TARGET] = {0, 180, 0, 0, 0, 0};
  CHECK(fabs(loss_of(&geodesic, 6, still, half, NULL) - M_PI) < 5e-3);
}

/* Of numbers that never differ from 0, predictions are drawn to 0 or count nothing. */
TEST(ranges_may_be_0) {
  const double value[POSE_MATRIX] = {0.25, 0.25, 0.25, 0.5, 0.5, 0.5},
               turn[POSE_TARGET] = {15, 15, 15};
  const double shift[POSE_TARGET] = {0, 0, 0, 12.5, 12.5, 12.5};
  struct loss_pose_arguments arguments = mse;
  double slope[POSE_MATRIX];
  arguments.translation_range = 0;
  CHECK(fabs(loss_of(&arguments, 6, value, turn, NULL) - 0.125) < 1e-15);
  for (int kind = POSE_GEODESIC; kind <= POSE_CORNER; kind++) {
    arguments = kind == POSE_CORNER ? corner : geodesic;
    arguments.translation_range = 0;
    CHECK(fabs(loss_of(&arguments, 6, value, turn, slope)) < 1e-12 && slope[3] == 0);
    arguments.translation_range = 25;
    arguments.rotation_range = 0;
    CHECK(fabs(loss_of(&arguments, 6, value, shift, slope)) < 1e-12 && slope[0] == 0);
  }
}

TEST(predictions_become_motions) {
  const double target[POSE_TARGET] = {20, -35, 50, 1, 2, 3};
  const struct pose_motion expected = pose_of_euler(target);
  double value[POSE_MATRIX], point[3] = {0, 1, 0}, turned[3];
  for (int count = POSE_EULER; count <= POSE_MATRIX; count += 3) {
    predict(target, count, value);
    const struct pose_motion motion = pose_decode(value, count, 60, 25);
    for (int i = 0; i < 9; i++) CHECK(fabs(motion.r[i] - expected.r[i]) < 1e-14);
    for (int k = 0; k < 3; k++) CHECK(fabs(motion.t[k] - target[3 + k]) < 1e-13);
  }
  const double about_x[POSE_TARGET] = {90, 0, 0, 0, 0, 0}; /* y turns to z */
  for (int k = 0; k < 3; k++) turned[k] = pose_dot(pose_of_euler(about_x).r + 3 * k, point);
  CHECK(fabs(turned[0]) < 1e-15 && fabs(turned[1]) < 1e-15 && fabs(turned[2] - 1) < 1e-15);
  const double nothing[POSE_MATRIX] = {-1, 0, 0, 0, -1, 0, 0, 0, 0}; /* columns of no length */
  double slope[POSE_MATRIX];
  CHECK(isfinite(loss_of(&geodesic, POSE_MATRIX, nothing, target, slope)));
  for (int i = 0; i < POSE_MATRIX; i++) CHECK(isfinite(slope[i]));
}

/* --- refusals --- */

TEST(refuses_what_does_not_fit) {
  struct op_case bad = cases[0];
  struct loss_pose_arguments arguments = corner;
  bad.x[0].c = 7;
  conformance_refuses(&bad, "6 or 9 channels of one voxel, found 7");
  bad = cases[0];
  bad.x[1].n = 2;
  conformance_refuses(&bad, "expected a target of 3 x 6 x 1 x 1 x 1, found 2 x 6");
  bad = cases[0];
  bad.no_gradient[1] = false;
  conformance_refuses(&bad, "the target has no gradient");
  bad = cases[0];
  bad.arguments = &arguments;
  arguments.half_extent[1] = 0;
  conformance_refuses(&bad, "half of it 0 on axis 1");
  arguments.translation_range = -1;
  conformance_refuses(&bad, "at least 0 mm, found -1");
}

int main(void) {
  RUN(kernels_agree);
  RUN(gradients_agree_with_differences);
  RUN(losses_are_what_they_say);
  RUN(ranges_may_be_0);
  RUN(predictions_become_motions);
  RUN(refuses_what_does_not_fit);
  return check_result();
}
