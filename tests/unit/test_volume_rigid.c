/* Rigid motions: against SimpleITK, there and back, and as files. */
#include "base/file.h"
#include "base/random.h"
#include "check.h"
#include "volume/rigid.h"

/* Made with SimpleITK 2.5: Euler3DTransform, SetComputeZYX(True), in LPS; points turned to RAS. */
static const struct sample {
  struct pose pose;
  double centre[3], point[3], forward[3], inverse[3];
} samples[] = {
    {{{-31.44, 5.31, -15.61}, {5.2, 6.29, -21.72}},
     {-77.9, 54.0, -38.5},
     {-53.1, 99.1, -5.9},
     {-33.60508674154443, 106.97504323425431, -58.24402036203848},
     {-74.52943940075471, 61.771547277875094, 30.559980264655206}},
    {{{40.38, -2.84, 16.69}, {-17.47, 6.74, 18.4}},
     {3.7, 38.6, 27.4},
     {-87.2, 51.6, 18.2},
     {-105.35658755075977, 34.4409906989507, 42.7083051472279},
     {-66.12207597676948, 43.57354095452416, -8.559061398594665}},
    {{{-23.85, -56.28, 43.86}, {-1.36, 10.94, 18.94}},
     {34.3, 67.4, -16.8},
     {60.2, -11.1, 87.1},
     {-12.081488192076055, -6.233824640061659, 94.05628684146708},
     {81.47448067347861, -42.16055929063443, 24.815802540753264}},
    {{{45.46, -48.31, -43.68}, {-14.15, 23.27, -3.19}},
     {20.3, -31.8, 1.2},
     {-22.8, -29.8, 17.0},
     {-28.145063881179702, 10.588132244357375, -25.856202313587023},
     {30.325864704264156, -44.28578552530982, 38.54598635392772}},
};
enum { SAMPLE_COUNT = sizeof samples / sizeof *samples };

static struct pose draw_pose(struct random *random, double angle) {
  struct pose pose;
  for (int a = 0; a < 3; a++) {
    pose.rotation[a] = random_range(random, -angle, angle);
    pose.translation[a] = random_range(random, -25, 25);
  }
  return pose;
}

static double distance(const double a[3], const double b[3]) {
  return hypot(hypot(a[0] - b[0], a[1] - b[1]), a[2] - b[2]);
}

TEST(moves_points_as_itk_does) {
  for (int i = 0; i < SAMPLE_COUNT; i++) {
    const struct sample *sample = &samples[i];
    double moved[3];
    struct affine affine = rigid_affine(&sample->pose, sample->centre);
    affine_apply(&affine, sample->point, moved);
    CHECK(distance(moved, sample->forward) < 1e-10);
    struct pose inverse = rigid_inverse(&sample->pose);
    affine = rigid_affine(&inverse, sample->centre);
    affine_apply(&affine, sample->point, moved);
    CHECK(distance(moved, sample->inverse) < 1e-10);
  }
}

TEST(pose_comes_back_from_its_matrix) {
  struct random random = random_stream(1, RANDOM_TEST, 0, 0);
  for (int i = 0; i < 200; i++) {
    struct pose pose = draw_pose(&random, i < 100 ? 60 : 89.9), found;
    double matrix[9];
    rigid_matrix(&pose, matrix);
    rigid_pose(matrix, pose.translation, &found);
    for (int a = 0; a < 3; a++) {
      CHECK_NEAR(found.rotation[a], pose.rotation[a], i < 100 ? 1e-12 : 1e-8);
      CHECK(found.translation[a] == pose.translation[a]);
    }
  }
}

TEST(pose_at_ninety_degrees_gives_the_same_rotation) {
  static const double tilts[] = {90, -90, 89.9999999, -89.9999999999, 90.0000001};
  struct random random = random_stream(2, RANDOM_TEST, 0, 0);
  for (size_t i = 0; i < sizeof tilts / sizeof *tilts; i++)
    for (int k = 0; k < 20; k++) {
      struct pose pose = draw_pose(&random, 180), found;
      pose.rotation[1] = tilts[i];
      double matrix[9], again[9];
      rigid_matrix(&pose, matrix);
      rigid_pose(matrix, pose.translation, &found);
      rigid_matrix(&found, again);
      CHECK(fabs(found.rotation[1]) <= 90);
      CHECK(i > 1 || found.rotation[0] == 0);
      for (int n = 0; n < 9; n++) CHECK_NEAR(again[n], matrix[n], 1e-12);
    }
}

TEST(measures_the_angle_between_rotations) {
  struct pose none = {{0}, {0}};
  double a[9], b[9];
  rigid_matrix(&none, a);
  static const double angles[] = {0, 1e-9, 1e-5, 0.1, 30, 90, 179.99, 180};
  for (size_t i = 0; i < sizeof angles / sizeof *angles; i++)
    for (int axis = 0; axis < 3; axis++) {
      struct pose pose = {{0}, {0}};
      pose.rotation[axis] = angles[i];
      rigid_matrix(&pose, b);
      CHECK_NEAR(rigid_between(a, b), angles[i], angles[i] > 179 ? 1e-5 : 1e-13 * (1 + angles[i]));
    }
  /* acos((trace - 1) / 2), where that is well conditioned; and the same for any common turn */
  struct random random = random_stream(3, RANDOM_TEST, 0, 0);
  for (int i = 0; i < 50; i++) {
    struct pose p = draw_pose(&random, 60), q = draw_pose(&random, 60);
    rigid_matrix(&p, a);
    rigid_matrix(&q, b);
    double trace = 0;
    for (int n = 0; n < 9; n++) trace += a[n] * b[n];
    CHECK_NEAR(rigid_between(a, b), acos((trace - 1) / 2) * 180 / M_PI, 1e-9);
  }
}

/* One step after the other, with the inverse motion that is known from the samples. */
TEST(finds_source_voxels) {
  struct affine source = {{{0.1, -1.2, 0.02, 90}, {1.1, 0.1, 0.3, -60}, {0.2, 0.05, -2.5, 40}}};
  struct affine output = affine_scaling((double[]){1.2, 1.3, 1.5}, (double[]){-80, -70, -60});
  struct affine locate, back;
  CHECK_OK(affine_invert(&source, &locate));
  CHECK_OK(affine_invert(&output, &back));
  for (int i = 0; i < SAMPLE_COUNT; i++) {
    const struct sample *sample = &samples[i];
    float map[3][4];
    CHECK_OK(rigid_source_map(&sample->pose, sample->centre, &source, &output, map));
    double voxel[3], expected[3], found[3];
    affine_apply(&back, sample->point, voxel);
    affine_apply(&locate, sample->inverse, expected);
    for (int a = 0; a < 3; a++)
      found[a] = (double)map[a][0] * voxel[0] + (double)map[a][1] * voxel[1] +
                 (double)map[a][2] * voxel[2] + (double)map[a][3];
    CHECK_SAY(distance(expected, found) < 1e-4, ": %g voxels", distance(expected, found));
  }
  struct affine flat = affine_scaling((double[]){1, 0, 1}, (double[]){0, 0, 0});
  float map[3][4];
  CHECK_FAILS(rigid_source_map(&samples[0].pose, samples[0].centre, &flat, &output, map),
              "expected three independent voxel axes");
}

static char *write_and_read(const struct sample *sample, const char *folder, bool itk,
                            enum rigid_direction direction) {
  char *path = file_join(folder, "motion.txt"), *text = NULL;
  size_t bytes;
  CHECK_OK(
      (itk ? rigid_write_itk : rigid_write_matrix)(path, &sample->pose, sample->centre, direction));
  CHECK_OK(file_read(path, 4096, &text, &bytes));
  free(path);
  return text ? text : strdup("");
}

/* Reads the file as ITK's documentation says, ZYX order, and moves the point in LPS. */
static void apply_itk(const char *text, const double point[3], double moved[3]) {
  double p[6] = {0}, c[3] = {0}, order = 0;
  const char *body = strstr(text, "Parameters:"), *fixed = strstr(text, "FixedParameters:");
  CHECK(strncmp(text, "#Insight Transform File V1.0\n", 29) == 0);
  CHECK(strstr(text, "\nTransform: Euler3DTransform_double_3_3\n"));
  CHECK(body && sscanf(body, "Parameters: %lf %lf %lf %lf %lf %lf", &p[0], &p[1], &p[2], &p[3],
                       &p[4], &p[5]) == 6);
  CHECK(fixed &&
        sscanf(fixed, "FixedParameters: %lf %lf %lf %lf", &c[0], &c[1], &c[2], &order) == 4);
  CHECK(order == 1);
  double x = -point[0] - c[0], y = -point[1] - c[1], z = point[2] - c[2];
  double a = y * cos(p[0]) - z * sin(p[0]), b = y * sin(p[0]) + z * cos(p[0]); /* about x */
  double d = x * cos(p[1]) + b * sin(p[1]), e = b * cos(p[1]) - x * sin(p[1]); /* about y */
  moved[0] = -(d * cos(p[2]) - a * sin(p[2]) + c[0] + p[3]);
  moved[1] = -(d * sin(p[2]) + a * cos(p[2]) + c[1] + p[4]);
  moved[2] = e + c[2] + p[5];
}

TEST(writes_files_that_others_read) {
  char *folder = check_make_folder();
  for (int i = 0; i < SAMPLE_COUNT; i++)
    for (int inverse = 0; inverse < 2; inverse++) {
      const struct sample *sample = &samples[i];
      const double *expected = inverse ? sample->inverse : sample->forward;
      enum rigid_direction direction = inverse ? RIGID_INVERSE : RIGID_FORWARD;
      char *text = write_and_read(sample, folder, true, direction);
      double moved[3], m[12];
      apply_itk(text, sample->point, moved);
      CHECK(distance(moved, expected) < 1e-10);
      free(text);
      text = write_and_read(sample, folder, false, direction);
      int used = 0;
      CHECK(sscanf(text, "%lf %lf %lf %lf\n%lf %lf %lf %lf\n%lf %lf %lf %lf\n0 0 0 1%n", &m[0],
                   &m[1], &m[2], &m[3], &m[4], &m[5], &m[6], &m[7], &m[8], &m[9], &m[10], &m[11],
                   &used) == 12);
      CHECK(used && strcmp(text + used, "\n") == 0);
      struct affine affine;
      memcpy(affine.m, m, sizeof m);
      affine_apply(&affine, sample->point, moved);
      CHECK(distance(moved, expected) < 1e-10);
      free(text);
    }
  CHECK_FAILS(
      rigid_write_itk("/nowhere/at/all.tfm", &samples[0].pose, samples[0].centre, RIGID_FORWARD),
      "/nowhere/at");
  check_remove_folder(folder);
}

int main(void) {
  RUN(moves_points_as_itk_does);
  RUN(pose_comes_back_from_its_matrix);
  RUN(pose_at_ninety_degrees_gives_the_same_rotation);
  RUN(measures_the_angle_between_rotations);
  RUN(finds_source_voxels);
  RUN(writes_files_that_others_read);
  return check_result();
}
