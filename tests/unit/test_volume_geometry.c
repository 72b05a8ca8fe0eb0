/* Affines, orientation codes of all 48 axis orders, reorientation, target grids. */
#include "base/random.h"
#include "check.h"
#include "volume/resample.h"

static const int orders[6][3] = {{0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}};
static const char letters[2][4] = {"LPI", "RAS"};

/* Axis order number 0..47 as code and affine of spacing 1, 2, 3. */
static struct affine make_axes(int number, char code[4]) {
  struct affine affine = {{{0, 0, 0, 5}, {0, 0, 0, -6}, {0, 0, 0, 7}}};
  for (int b = 0; b < 3; b++) {
    int world = orders[number / 8][b], positive = number >> b & 1;
    affine.m[world][b] = (b + 1) * (positive ? 1 : -1);
    code[b] = letters[positive][world];
  }
  code[3] = 0;
  return affine;
}

static struct affine rotation(double a, double b, double c) {
  struct affine x = affine_identity(), y = x, z = x;
  x.m[1][1] = x.m[2][2] = cos(a);
  x.m[2][1] = sin(a);
  x.m[1][2] = -sin(a);
  y.m[0][0] = y.m[2][2] = cos(b);
  y.m[0][2] = sin(b);
  y.m[2][0] = -sin(b);
  z.m[0][0] = z.m[1][1] = cos(c);
  z.m[1][0] = sin(c);
  z.m[0][1] = -sin(c);
  struct affine yx = affine_compose(&y, &x);
  return affine_compose(&z, &yx);
}

TEST(all_48_orientations_have_their_codes) {
  struct affine oblique = rotation(0.3, -0.2, 0.25);
  for (int n = 0; n < 48; n++) {
    char expected[4], found[4];
    struct affine affine = make_axes(n, expected);
    affine_get_orientation(&affine, found);
    CHECK_SAY(!strcmp(expected, found), ": %s, %s", expected, found);
    struct affine turned = affine_compose(&oblique, &affine);
    affine_get_orientation(&turned, found);
    CHECK_SAY(!strcmp(expected, found), ": oblique %s, %s", expected, found);
  }
}

/* Values from nibabel.aff2axcodes for affines where the largest entries alone would mislead. */
TEST(oblique_codes_are_nibabels) {
  const struct {
    struct affine affine;
    const char *code;
  } rows[] = {
      {{{{1, 0.9, 0, 0}, {0.8, 1, 0, 0}, {0, 0, 1, 0}}}, "RAS"},
      {{{{0.6, 0.8, 0, 0}, {-0.8, 0.6, 0, 0}, {0, 0, 1, 0}}}, "PRS"},
      {{{{0.1, -3, 0, 0}, {0, 0.2, 5, 0}, {-0.7, 0, 1, 0}}}, "ILA"},
      {{{{5, 4, 0, 0}, {4.5, 0.1, 0, 0}, {0, 0, -1, 0}}}, "ARI"},
  };
  for (size_t r = 0; r < sizeof rows / sizeof *rows; r++) {
    char found[4];
    affine_get_orientation(&rows[r].affine, found);
    CHECK_SAY(!strcmp(rows[r].code, found), ": %s, %s", rows[r].code, found);
  }
}

TEST(inverses_and_compositions) {
  struct random random = random_stream(1, RANDOM_TEST, 2, 0);
  for (int n = 0; n < 100; n++) {
    struct affine affine, inverse;
    for (int e = 0; e < 12; e++) affine.m[e / 4][e % 4] = random_range(&random, -3, 3);
    CHECK_OK(affine_invert(&affine, &inverse));
    struct affine both = affine_compose(&inverse, &affine);
    for (int e = 0; e < 12; e++) CHECK_NEAR(both.m[e / 4][e % 4], e % 4 == e / 4, 1e-8);
    CHECK_NEAR(affine_determinant(&affine) * affine_determinant(&inverse), 1, 1e-8);
  }
  struct affine flat = affine_identity(), unused;
  flat.m[1][1] = 0;
  CHECK_FAILS(affine_invert(&flat, &unused), "three independent voxel axes");
  flat.m[1][1] = NAN;
  CHECK_FAILS(affine_invert(&flat, &unused), "finite");
}

TEST(orthogonality_and_spacing) {
  struct affine affine = rotation(1, 2, 3),
                scaling = affine_scaling((double[]){1, 2, 3}, (double[]){0, 0, 0});
  affine = affine_compose(&affine, &scaling);
  double spacing[3];
  affine_get_spacing(&affine, spacing);
  for (int a = 0; a < 3; a++) CHECK_NEAR(spacing[a], a + 1, 1e-12);
  CHECK(affine_is_orthogonal(&affine));
  affine.m[0][1] += 0.01;
  CHECK(!affine_is_orthogonal(&affine));
}

TEST(orientation_names_are_checked) {
  int world[3], sign[3];
  CHECK_OK(orientation_parse("lPs", world, sign));
  CHECK(world[0] == 0 && sign[0] == -1 && sign[1] == -1 && sign[2] == 1);
  static const char *const wrong[] = {"", "RA", "RAX", "RLS", "RRS", "RASA"};
  for (size_t w = 0; w < sizeof wrong / sizeof *wrong; w++)
    CHECK_FAILS(orientation_parse(wrong[w], world, sign), "orientation");
}

/* Every voxel keeps its value and its place. */
static void check_places(const struct volume *volume) {
  for (int i = 0; i < volume->extent[0]; i++)
    for (int j = 0; j < volume->extent[1]; j++)
      for (int k = 0; k < volume->extent[2]; k++) {
        double place[3] = {i, j, k};
        affine_apply(&volume->affine, place, place);
        size_t n = ((size_t)i * (size_t)volume->extent[1] + (size_t)j) * (size_t)volume->extent[2] +
                   (size_t)k;
        double expected = place[0] + 100 * place[1] + 10000 * place[2];
        if (volume->values[n] != (float)expected) CHECK_NEAR(volume->values[n], expected, 0);
      }
  CHECK(volume->values[0] != volume->values[1]);
}

TEST(reorientation_moves_no_voxel) {
  for (int n = 0; n < 48; n++) {
    char code[4], found[4];
    struct grid grid = {.extent = {4, 3, 2}, .affine = make_axes(n, code)};
    struct volume volume;
    CHECK_OK(volume_create(&volume, &grid, 1));
    size_t v = 0;
    for (int i = 0; i < 4; i++)
      for (int j = 0; j < 3; j++)
        for (int k = 0; k < 2; k++, v++) {
          double place[3] = {i, j, k};
          affine_apply(&volume.affine, place, place);
          volume.values[v] = (float)(place[0] + 100 * place[1] + 10000 * place[2]);
        }
    make_axes((n * 29 + 11) % 48, code);
    CHECK_OK(volume_reorient(&volume, code));
    affine_get_orientation(&volume.affine, found);
    CHECK(!strcmp(code, found));
    check_places(&volume);
    volume_close(&volume);
  }
}

TEST(an_axis_of_one_voxel_is_flipped_too) {
  struct grid grid = {.extent = {4, 3, 1}, .affine = affine_identity()};
  struct volume volume;
  char code[4];
  CHECK_OK(volume_create(&volume, &grid, 1));
  CHECK_OK(volume_reorient(&volume, "RAI"));
  affine_get_orientation(&volume.affine, code);
  CHECK(!strcmp(code, "RAI"));
  volume_close(&volume);
}

TEST(grids_are_the_same_within_a_tolerance) {
  struct grid a = {.extent = {10, 10, 10}, .affine = affine_identity()}, b = a;
  b.affine.m[0][3] = 0.0009;
  CHECK(grid_is_same(&a, &b, GRID_TOLERANCE));
  b.affine.m[0][3] = 0.0011;
  CHECK(!grid_is_same(&a, &b, GRID_TOLERANCE));
  b = a;
  b.affine.m[0][0] = 1.0002; /* 0.0018 mm at the far side */
  CHECK(!grid_is_same(&a, &b, GRID_TOLERANCE));
  b = a;
  b.extent[2] = 11;
  CHECK(!grid_is_same(&a, &b, GRID_TOLERANCE));
}

static void check_centre(const struct grid *a, const struct grid *b) {
  double first[3], second[3];
  grid_get_centre(a, first);
  grid_get_centre(b, second);
  for (int n = 0; n < 3; n++) CHECK_NEAR(first[n], second[n], 1e-9);
}

TEST(target_grids) {
  char code[4];
  struct grid source = {.extent = {40, 30, 20}, .affine = make_axes(21, code)}, target;
  double spacing[3];
  CHECK_OK(grid_plan(&source, &(struct grid_request){0}, &target));
  CHECK(grid_is_same(&source, &target, 0));
  CHECK_OK(grid_plan(&source, &(struct grid_request){.spacing = {0.5, 0.5, 0.5}}, &target));
  CHECK(target.extent[0] == 80 && target.extent[1] == 120 && target.extent[2] == 120);
  check_centre(&source, &target);
  CHECK_OK(grid_plan(&source, &(struct grid_request){.orientation = "RAS", .resize = {16, 0, 7}},
                     &target));
  affine_get_orientation(&target.affine, code);
  CHECK(!strcmp(code, "RAS") && target.extent[0] == 16 && target.extent[2] == 7);
  check_centre(&source, &target);
  affine_get_spacing(&target.affine, spacing);
  CHECK_NEAR(spacing[0] * 16 * spacing[1] * target.extent[1] * spacing[2] * 7, 40.0 * 30 * 20 * 6,
             1e-6);
  CHECK_OK(grid_plan(
      &source, &(struct grid_request){.extent = {44, 30, 16}, .multiple = {32, 32, 32}}, &target));
  CHECK(target.extent[0] == 64 && target.extent[1] == 32 && target.extent[2] == 32);
  check_centre(&source, &target);
  CHECK_FAILS(grid_plan(&source, &(struct grid_request){.spacing = {-1, 1, 1}}, &target),
              "spacing");
  CHECK_FAILS(grid_plan(&source, &(struct grid_request){.spacing = {1e-12, 1, 1}}, &target),
              "at most");
  CHECK_FAILS(grid_plan(&source, &(struct grid_request){.extent = {0, -4, 0}}, &target),
              "found -4");
  CHECK_FAILS(grid_plan(&source, &(struct grid_request){.orientation = "XYZ"}, &target),
              "orientation");
}

TEST(a_crop_undoes_a_padding) {
  struct grid source = {.extent = {7, 8, 9}, .affine = affine_identity()}, padded, back;
  CHECK_OK(grid_plan(&source, &(struct grid_request){.extent = {8, 11, 12}}, &padded));
  CHECK_OK(grid_plan(&padded, &(struct grid_request){.extent = {7, 8, 9}}, &back));
  CHECK(grid_is_same(&source, &back, 0));
}

int main(void) {
  RUN(all_48_orientations_have_their_codes);
  RUN(oblique_codes_are_nibabels);
  RUN(inverses_and_compositions);
  RUN(orthogonality_and_spacing);
  RUN(orientation_names_are_checked);
  RUN(reorientation_moves_no_voxel);
  RUN(an_axis_of_one_voxel_is_flipped_too);
  RUN(grids_are_the_same_within_a_tolerance);
  RUN(target_grids);
  RUN(a_crop_undoes_a_padding);
  return check_result();
}
