/* Displacements: a shift of one voxel along each axis, in memory and in the bytes of the file, for
 * grids of several orientations; and a linear image through any displacement, between any grids. */
#include "base/file.h"
#include "check.h"
#include "volume/resample.h"

enum { D = 5, H = 6, W = 7, VOXELS = D * H * W };

/* A grid of spacing 2 3 4 mm, and where a step along each of its axes leads in LPS mm: axes to the
 * Left, Posterior and Superior are positive there. */
static const struct {
  const char *code;
  double lps[3][3]; /* [axis] */
} orientations[] = {
    {"RAS", {{-2, 0, 0}, {0, -3, 0}, {0, 0, 4}}}, {"LPS", {{2, 0, 0}, {0, 3, 0}, {0, 0, 4}}},
    {"LAS", {{2, 0, 0}, {0, -3, 0}, {0, 0, 4}}},  {"RAI", {{-2, 0, 0}, {0, -3, 0}, {0, 0, -4}}},
    {"PIR", {{0, 2, 0}, {0, 0, -3}, {-4, 0, 0}}}, {"SLA", {{0, 0, 2}, {3, 0, 0}, {0, -4, 0}}},
};
enum { ORIENTATIONS = sizeof orientations / sizeof *orientations };

/* What the table says, as an affine to RAS mm. */
static struct grid grid_of(int orientation) {
  static const double to_ras[3] = {-1, -1, 1}, origin[3] = {-11, 23, 5};
  struct grid grid = {.extent = {D, H, W}};
  for (int a = 0; a < 3; a++) {
    for (int b = 0; b < 3; b++)
      grid.affine.m[a][b] = to_ras[a] * orientations[orientation].lps[b][a];
    grid.affine.m[a][3] = origin[a];
  }
  return grid;
}

static struct grid oblique_grid(void) {
  return (struct grid){{D, H, W},
                       {{{1.8, 0.4, -0.3, 4}, {-0.5, 1.3, 0.6, 5}, {0.2, -0.4, 2.4, 6}}}};
}

static size_t number_of(int i, int j, int k) {
  return ((size_t)i * H + (size_t)j) * W + (size_t)k;
}

static void fill_shift(float *displacement, int axis, float shift) {
  for (size_t n = 0; n < 3 * VOXELS; n++) displacement[n] = n / VOXELS == (size_t)axis ? shift : 0;
}

static struct volume make_source(const struct grid *grid) {
  struct volume volume;
  if (volume_create(&volume, grid, 1)) abort();
  for (size_t n = 0; n < VOXELS; n++) volume.values[n] = (float)((n * 2654435761u) % 1009 + 1);
  return volume;
}

/* The value one voxel further along `axis`, 0 outside. */
static float neighbour(const struct volume *source, const int voxel[3], int axis, int shift) {
  int at[3] = {voxel[0], voxel[1], voxel[2]};
  at[axis] += shift;
  bool inside = at[axis] >= 0 && at[axis] < source->extent[axis];
  return inside ? source->values[number_of(at[0], at[1], at[2])] : 0;
}

static double shift_error(const struct volume *source, const struct volume *result, int axis,
                          int shift) {
  double most = 0;
  for (int i = 0; i < D; i++)
    for (int j = 0; j < H; j++)
      for (int k = 0; k < W; k++) {
        float expected = neighbour(source, (const int[]){i, j, k}, axis, shift);
        most = fmax(most, fabs((double)result->values[number_of(i, j, k)] - (double)expected));
      }
  return most;
}

static void check_shift(const struct grid *grid, int axis, int shift) {
  static float displacement[3 * VOXELS];
  struct volume source = make_source(grid);
  fill_shift(displacement, axis, (float)shift);
  for (int method = RESAMPLE_LINEAR; method <= RESAMPLE_NEAREST; method++) {
    const struct resample_options options = {.method = (enum resample_method)method};
    struct volume result;
    CHECK_OK(volume_deform(&source, grid, displacement, &options, &result));
    CHECK_NEAR(shift_error(&source, &result, axis, shift), 0,
               method == RESAMPLE_NEAREST ? 0 : 1e-3);
    volume_close(&result);
  }
  volume_close(&source);
}

TEST(a_shift_of_one_voxel_shows_the_neighbour) {
  for (int orientation = 0; orientation <= ORIENTATIONS; orientation++) {
    struct grid grid = orientation < ORIENTATIONS ? grid_of(orientation) : oblique_grid();
    for (int axis = 0; axis < 3; axis++) {
      check_shift(&grid, axis, 1);
      check_shift(&grid, axis, -1);
    }
  }
}

static int header_int16(const char *bytes, size_t offset) {
  int16_t value;
  memcpy(&value, bytes + offset, sizeof value);
  return value;
}

static double sample_of(const char *bytes, size_t number) {
  float value;
  memcpy(&value, bytes + 352 + number * sizeof value, sizeof value);
  return (double)value;
}

/* dim, intent and samples at the offsets that nifti1.h documents; components are the slowest. */
static void check_bytes(const char *bytes, int intent, const double expected[3]) {
  static const int dim[6] = {5, D, H, W, 1, 3};
  for (int i = 0; i < 6; i++)
    CHECK_SAY(header_int16(bytes, 40 + 2 * (size_t)i) == dim[i], " dim[%d]", i);
  CHECK(header_int16(bytes, 68) == intent);
  CHECK(header_int16(bytes, 70) == 16); /* float32 */
  for (size_t c = 0; c < 3; c++) {
    CHECK_NEAR(sample_of(bytes, c * VOXELS), expected[c], 1e-6);
    CHECK_NEAR(sample_of(bytes, c * VOXELS + VOXELS - 1), expected[c], 1e-6);
  }
}

static void check_file(const char *path, int orientation, int axis) {
  static float displacement[3 * VOXELS];
  const double *lps = orientations[orientation].lps[axis];
  const double ras[3] = {-lps[0], -lps[1], lps[2]};
  struct grid grid = grid_of(orientation);
  fill_shift(displacement, axis, 1);
  for (int frame = DISPLACEMENT_LPS; frame <= DISPLACEMENT_RAS; frame++) {
    char *bytes = NULL;
    size_t count = 0;
    CHECK_OK(volume_write_displacement(path, displacement, &grid, (enum displacement_frame)frame));
    CHECK_OK(file_read(path, 1 << 20, &bytes, &count));
    CHECK(count == 352 + 3 * VOXELS * sizeof(float));
    check_bytes(bytes, frame == DISPLACEMENT_LPS ? 1007 : 1006,
                frame == DISPLACEMENT_LPS ? lps : ras);
    free(bytes);
  }
}

TEST(the_file_holds_the_shift_in_millimetres_of_its_frame) {
  char *folder = check_make_folder(), *path = file_join(folder, "displacement.nii");
  for (int orientation = 0; orientation < ORIENTATIONS; orientation++)
    for (int axis = 0; axis < 3; axis++) check_file(path, orientation, axis);
  free(path);
  check_remove_folder(folder);
}

TEST(samples_lie_in_the_file_with_the_first_axis_fastest) {
  static float displacement[3 * VOXELS];
  char *folder = check_make_folder(), *path = file_join(folder, "displacement.nii"), *bytes = NULL;
  struct grid grid = grid_of(1); /* LPS: components keep their signs */
  size_t count;
  displacement[VOXELS + number_of(1, 2, 3)] = 1;
  CHECK_OK(volume_write_displacement(path, displacement, &grid, DISPLACEMENT_LPS));
  CHECK_OK(file_read(path, 1 << 20, &bytes, &count));
  for (size_t n = 0; n < 3 * VOXELS; n++)
    CHECK_NEAR(sample_of(bytes, n), n == VOXELS + 1 + D * (2 + H * 3) ? 3 : 0, 1e-6);
  free(bytes);
  free(path);
  check_remove_folder(folder);
}

static void fill_waves(float *displacement) {
  for (size_t n = 0; n < 3 * VOXELS; n++) displacement[n] = (float)(1.7 * sin(0.37 * (double)n));
}

TEST(a_written_displacement_reads_back) {
  static float displacement[3 * VOXELS];
  char *folder = check_make_folder(), *path = file_join(folder, "displacement.nii.gz");
  struct grid grid = oblique_grid(), found;
  fill_waves(displacement);
  for (int frame = DISPLACEMENT_LPS; frame <= DISPLACEMENT_RAS; frame++) {
    float *back = NULL;
    CHECK_OK(volume_write_displacement(path, displacement, &grid, (enum displacement_frame)frame));
    CHECK_OK(volume_read_displacement(path, &back, &found));
    CHECK(grid_is_same(&grid, &found, 1e-4));
    for (size_t n = 0; n < 3 * VOXELS && back; n++) CHECK_NEAR(back[n], displacement[n], 1e-5);
    free(back);
  }
  free(path);
  check_remove_folder(folder);
}

static double linear(const struct affine *affine, const double voxel[3]) {
  double place[3];
  affine_apply(affine, voxel, place);
  return 100 + 1.5 * place[0] - 0.7 * place[1] + 2.2 * place[2];
}

static struct volume make_linear(const struct grid *grid) {
  struct volume volume;
  if (volume_create(&volume, grid, 1)) abort();
  for (int i = 0; i < D; i++)
    for (int j = 0; j < H; j++)
      for (int k = 0; k < W; k++)
        volume.values[number_of(i, j, k)] = (float)linear(&grid->affine, (const double[]){i, j, k});
  return volume;
}

/* Whether x + displacement(x) is between voxel centres of the source. */
static bool lands_inside(const struct grid *source, const struct grid *target,
                         const double point[3]) {
  struct affine inverse;
  double place[3];
  if (affine_invert(&source->affine, &inverse)) abort();
  affine_apply(&target->affine, point, place);
  affine_apply(&inverse, place, place);
  for (int a = 0; a < 3; a++)
    if (place[a] < 0 || place[a] > source->extent[a] - 1) return false;
  return true;
}

static int check_linear(const struct grid *source_grid, const struct grid *target) {
  static float displacement[3 * VOXELS];
  struct volume source = make_linear(source_grid), result;
  int inside = 0;
  fill_waves(displacement);
  CHECK_OK(volume_deform(&source, target, displacement, &(struct resample_options){0}, &result));
  for (int i = 0; i < D; i++)
    for (int j = 0; j < H; j++)
      for (int k = 0; k < W; k++) {
        size_t n = number_of(i, j, k);
        const double point[3] = {i + (double)displacement[n], j + (double)displacement[VOXELS + n],
                                 k + (double)displacement[2 * VOXELS + n]};
        if (!lands_inside(source_grid, target, point)) continue;
        CHECK_NEAR(result.values[n], linear(&target->affine, point), 1e-3);
        inside++;
      }
  volume_close(&source);
  volume_close(&result);
  return inside;
}

/* result(x) is the source at the world point of x + u(x), whatever the two grids are. */
TEST(a_linear_image_is_found_where_the_displacement_leads) {
  struct grid oblique = oblique_grid(), ras = grid_of(0), target = oblique;
  ras.affine.m[1][3] = -3;
  ras.affine.m[0][3] = 0;
  for (int a = 0; a < 3; a++) target.affine.m[a][0] *= -1; /* flipped, in the same place */
  for (int a = 0; a < 3; a++) target.affine.m[a][3] -= (D - 1) * target.affine.m[a][0];
  CHECK(check_linear(&oblique, &oblique) > 30);
  CHECK(check_linear(&oblique, &target) > 30);
  CHECK(check_linear(&ras, &oblique) > 30);
  CHECK(check_linear(&oblique, &ras) > 10);
}

int main(void) {
  RUN(a_shift_of_one_voxel_shows_the_neighbour);
  RUN(the_file_holds_the_shift_in_millimetres_of_its_frame);
  RUN(samples_lie_in_the_file_with_the_first_axis_fastest);
  RUN(a_written_displacement_reads_back);
  RUN(a_linear_image_is_found_where_the_displacement_leads);
  return check_result();
}
