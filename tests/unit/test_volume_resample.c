/* Resampling: identity, known shifts, flips and crops exactly, borders, labels, linear functions.
 */
#include "check.h"
#include "volume/resample.h"

static struct volume make_volume(int d, int h, int w, struct affine affine) {
  struct grid grid = {.extent = {d, h, w}, .affine = affine};
  struct volume volume;
  if (volume_create(&volume, &grid, 1)) abort();
  for (size_t n = 0; n < volume_count(&volume); n++)
    volume.values[n] = (float)((n * 2654435761u) % 1009);
  return volume;
}

static float at(const struct volume *volume, int i, int j, int k) {
  return volume
      ->values[((size_t)i * (size_t)volume->extent[1] + (size_t)j) * (size_t)volume->extent[2] +
               (size_t)k];
}

/* A slightly oblique affine of uneven spacing. */
static struct affine oblique(void) {
  return (struct affine){{{1.9, 0.2, 0.1, 4}, {-0.1, 1.4, 0.3, 5}, {0.05, -0.2, 2.5, -6}}};
}

TEST(the_same_grid_is_a_copy) {
  struct volume source = make_volume(5, 6, 7, oblique()), result;
  source.is_integer = true;
  struct grid grid = volume_get_grid(&source);
  CHECK_OK(volume_resample(&source, &grid, &(struct resample_options){0}, &result));
  CHECK(!memcmp(source.values, result.values, volume_count(&source) * sizeof(float)));
  CHECK(result.is_integer);
  volume_close(&result);
  volume_close(&source);
}

TEST(flips_permutations_and_back_are_exact) {
  static const char *const codes[] = {"LPS", "SAR", "AIL", "RAS"};
  struct volume source = make_volume(5, 6, 7, oblique()), turned, back;
  struct grid first = volume_get_grid(&source);
  for (int c = 0; c < 4; c++) {
    struct grid grid;
    CHECK_OK(grid_plan(&first, &(struct grid_request){.orientation = codes[c]}, &grid));
    CHECK_OK(volume_resample(&source, &grid, &(struct resample_options){0}, &turned));
    CHECK_OK(volume_resample(&turned, &first, &(struct resample_options){0}, &back));
    CHECK(!memcmp(source.values, back.values, volume_count(&source) * sizeof(float)));
    CHECK_OK(volume_reorient(&source, codes[c]));
    CHECK(!memcmp(source.values, turned.values, volume_count(&source) * sizeof(float)));
    volume_close(&turned);
    volume_close(&back);
    volume_close(&source);
    source = make_volume(5, 6, 7, oblique());
  }
  volume_close(&source);
}

TEST(padding_fills_and_cropping_undoes_it) {
  struct volume source = make_volume(5, 6, 7, oblique()), padded, back;
  struct grid first = volume_get_grid(&source), grid;
  CHECK_OK(grid_plan(&first, &(struct grid_request){.extent = {8, 8, 8}}, &grid));
  CHECK_OK(volume_resample(&source, &grid, &(struct resample_options){.fill = -3}, &padded));
  CHECK(at(&padded, 0, 3, 3) == -3 && at(&padded, 7, 3, 3) == -3);
  CHECK(at(&padded, 1, 1, 0) == at(&source, 0, 0, 0) && at(&padded, 1, 1, 7) == -3);
  CHECK_OK(volume_resample(&padded, &first, &(struct resample_options){0}, &back));
  CHECK(!memcmp(source.values, back.values, volume_count(&source) * sizeof(float)));
  volume_close(&padded);
  CHECK_OK(volume_resample(&source, &grid, &(struct resample_options){.border = RESAMPLE_CLAMP},
                           &padded));
  CHECK(at(&padded, 0, 3, 3) == at(&source, 0, 2, 3) &&
        at(&padded, 1, 1, 7) == at(&source, 0, 0, 6));
  volume_close(&padded);
  volume_close(&back);
  volume_close(&source);
}

TEST(half_a_voxel_is_a_mean) {
  struct volume source = make_volume(5, 6, 7, affine_identity()), result;
  for (int axis = 0; axis < 3; axis++) {
    struct grid grid = volume_get_grid(&source);
    grid.affine.m[axis][3] = 0.5;
    CHECK_OK(volume_resample(&source, &grid, &(struct resample_options){0}, &result));
    float first = at(&source, 1, 2, 3),
          next = at(&source, 1 + (axis == 0), 2 + (axis == 1), 3 + (axis == 2));
    CHECK_NEAR(at(&result, 1, 2, 3), 0.5 * (first + next), 1e-4);
    volume_close(&result);
    grid.affine.m[axis][3] = 0.25;
    CHECK_OK(volume_resample(&source, &grid, &(struct resample_options){0}, &result));
    CHECK_NEAR(at(&result, 1, 2, 3), 0.75 * first + 0.25 * next, 1e-4);
    volume_close(&result);
  }
  volume_close(&source);
}

/* Interpolation of a linear function of the world is that function, whatever the two grids are. */
TEST(linear_functions_are_reproduced) {
  struct volume source = make_volume(9, 10, 11, oblique()), result;
  size_t n = 0;
  double place[3];
  for (int i = 0; i < 9; i++)
    for (int j = 0; j < 10; j++)
      for (int k = 0; k < 11; k++) {
        affine_apply(&source.affine, (double[]){i, j, k}, place);
        source.values[n++] = (float)(place[0] - 2 * place[1] + 3 * place[2]);
      }
  struct grid grid = {.extent = {8, 8, 8},
                      .affine = {{{0, 0.9, 0.1, 9}, {0.7, 0, 0.2, 9}, {0, 0.3, -0.8, 6}}}};
  CHECK_OK(volume_resample(&source, &grid, &(struct resample_options){.fill = 1e9f}, &result));
  int inside = 0;
  n = 0;
  for (int i = 0; i < 8; i++)
    for (int j = 0; j < 8; j++)
      for (int k = 0; k < 8; k++, n++) {
        affine_apply(&grid.affine, (double[]){i, j, k}, place);
        if (result.values[n] == 1e9f) continue;
        inside++;
        CHECK_NEAR(result.values[n], place[0] - 2 * place[1] + 3 * place[2], 1e-4);
      }
  CHECK_SAY(inside > 400, ": %d", inside);
  volume_close(&result);
  volume_close(&source);
}

TEST(the_field_of_view_has_an_edge) {
  struct volume source = make_volume(4, 1, 1, affine_identity()), result;
  for (int i = 0; i < 4; i++) source.values[i] = (float)(i + 1);
  struct grid grid = {.extent = {3, 1, 1},
                      .affine = affine_scaling((double[]){4.4, 1, 1}, (double[]){-0.4, 0, 0})};
  CHECK_OK(volume_resample(&source, &grid, &(struct resample_options){.fill = 9}, &result));
  CHECK(result.values[0] == 1 && result.values[1] == 9 && result.values[2] == 9);
  volume_close(&result);
  volume_close(&source);
}

TEST(labels_stay_labels) {
  struct volume source = make_volume(6, 6, 6, affine_identity()), result;
  source.is_integer = true;
  for (size_t n = 0; n < volume_count(&source); n++) source.values[n] = (float)(n % 7);
  struct grid first = volume_get_grid(&source), grid;
  CHECK_OK(grid_plan(&first, &(struct grid_request){.resize = {11, 3, 6}}, &grid));
  const struct resample_options nearest = {.method = RESAMPLE_NEAREST};
  CHECK_OK(volume_resample(&source, &grid, &nearest, &result));
  CHECK(result.is_integer && volume_count(&result) == 11 * 3 * 6);
  for (size_t n = 0; n < volume_count(&result); n++)
    CHECK(result.values[n] == rintf(result.values[n]) && result.values[n] <= 6);
  CHECK(at(&result, 0, 0, 2) == at(&source, 0, 1, 2)); /* a tie: the higher index */
  volume_close(&result);
  volume_close(&source);
}

TEST(doubling_a_voxel_doubles_it) {
  struct volume source = make_volume(3, 4, 5, oblique()), result;
  struct grid first = volume_get_grid(&source), grid;
  CHECK_OK(grid_plan(&first, &(struct grid_request){.resize = {6, 8, 10}}, &grid));
  const struct resample_options nearest = {.method = RESAMPLE_NEAREST};
  CHECK_OK(volume_resample(&source, &grid, &nearest, &result));
  int wrong = 0;
  for (int i = 0; i < 6; i++)
    for (int j = 0; j < 8; j++)
      for (int k = 0; k < 10; k++)
        wrong += at(&result, i, j, k) != at(&source, i / 2, j / 2, k / 2);
  CHECK(wrong == 0);
  volume_close(&result);
  volume_close(&source);
}

TEST(every_channel_is_resampled) {
  struct grid grid = {.extent = {2, 2, 2}, .affine = affine_identity()}, target = grid;
  struct volume source, result;
  CHECK_OK(volume_create(&source, &grid, 3));
  for (int n = 0; n < 24; n++) source.values[n] = (float)(n / 8);
  target.affine.m[0][3] = 0.5;
  CHECK_OK(volume_resample(&source, &target, &(struct resample_options){0}, &result));
  for (int c = 0; c < 3; c++) CHECK(result.values[8 * c] == (float)c);
  volume_close(&result);
  volume_close(&source);
}

TEST(what_cannot_be_resampled) {
  struct volume source = {.extent = {1, 1, 1}, .channels = 1}, result;
  struct grid grid = {.extent = {1, 1, 1}};
  CHECK_FAILS(volume_resample(&source, &grid, &(struct resample_options){0}, &result), "voxels");
  source = make_volume(2, 2, 2, affine_identity());
  source.affine.m[0][0] = 0;
  CHECK_FAILS(volume_resample(&source, &grid, &(struct resample_options){0}, &result), "affine");
  volume_close(&source);
}

int main(void) {
  RUN(the_same_grid_is_a_copy);
  RUN(flips_permutations_and_back_are_exact);
  RUN(padding_fills_and_cropping_undoes_it);
  RUN(half_a_voxel_is_a_mean);
  RUN(linear_functions_are_reproduced);
  RUN(the_field_of_view_has_an_edge);
  RUN(labels_stay_labels);
  RUN(doubling_a_voxel_doubles_it);
  RUN(every_channel_is_resampled);
  RUN(what_cannot_be_resampled);
  return check_result();
}
