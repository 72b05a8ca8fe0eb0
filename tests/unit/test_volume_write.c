/* Writing NIfTI: what is written is read back, byte for byte where the format fixes the bytes. */
#include "check.h"
#include "unit/volume_bytes.h"
#include "volume/volume.h"

static char *folder;
static const struct volume_policy strict;

static struct volume make_volume(int channels) {
  struct grid grid = {.extent = {4, 3, 5},
                      .affine = {{{-2, 0.1, 0, 12}, {0.13333333, 1.5, 0, -7}, {0, 0, 3, 0.5}}}};
  struct volume volume;
  if (volume_create(&volume, &grid, channels)) abort();
  for (size_t n = 0; n < volume_count(&volume) * (size_t)channels; n++) volume.values[n] = (float)n;
  return volume;
}

static void check_same(const struct volume *a, const struct volume *b) {
  struct grid first = volume_get_grid(a), second = volume_get_grid(b);
  CHECK(grid_is_same(&first, &second, 1e-4));
  CHECK(a->channels == b->channels && b->values);
  if (!b->values || a->channels != b->channels) return;
  CHECK(!memcmp(a->values, b->values, volume_count(a) * (size_t)a->channels * sizeof *a->values));
}

TEST(every_type_and_name_round_trips) {
  static const char *const names[] = {"a.nii", "b.nii.gz", "c.NII.GZ"};
  for (int type = VOLUME_FLOAT32; type <= VOLUME_INT32; type++)
    for (int n = 0; n < 3; n++) {
      struct volume volume = make_volume(1), back;
      char *path = file_join(folder, names[n]);
      CHECK_OK(volume_write(&volume, path, &(struct volume_format){.type = type}));
      CHECK_OK(volume_read(&back, path, &strict));
      check_same(&volume, &back);
      CHECK(back.is_integer == (type != VOLUME_FLOAT32));
      CHECK(back.sform_code == 1 && back.qform_code == 1);
      CHECK_SAY(!back.warnings, ": %s", back.warnings);
      volume_close(&back);
      volume_close(&volume);
      free(path);
    }
}

TEST(channels_round_trip_in_both_dimensions) {
  for (int vector = 0; vector < 2; vector++) {
    struct volume volume = make_volume(3), back;
    char *path = file_join(folder, "channels.nii.gz");
    CHECK_OK(volume_write(&volume, path, &(struct volume_format){.vector = vector}));
    CHECK_OK(volume_read(&back, path, &(struct volume_policy){.allow_channels = true}));
    check_same(&volume, &back);
    volume_close(&back);
    volume_close(&volume);
    free(path);
  }
}

TEST(the_bytes_are_those_of_the_format) {
  struct volume volume = make_volume(1);
  char *path = file_join(folder, "bytes.nii"), *bytes = NULL;
  size_t count = 0;
  volume.sform_code = 4;
  CHECK_OK(volume_write(
      &volume, path,
      &(struct volume_format){
          .type = VOLUME_INT16, .intent_code = 1002, .intent_name = "labels", .description = "d"}));
  CHECK_OK(file_read(path, 1 << 20, &bytes, &count));
  CHECK(count == 352 + 2 * 60);
  int32_t size;
  int16_t dim[8], codes[2], intent, first[6];
  float pixdim[4];
  memcpy(&size, bytes, 4);
  memcpy(dim, bytes + 40, 16);
  memcpy(&intent, bytes + 68, 2);
  memcpy(pixdim, bytes + 76, 16);
  memcpy(codes, bytes + 252, 4);
  memcpy(first, bytes + 352, 12);
  CHECK(size == 348 && dim[0] == 3 && dim[1] == 4 && dim[2] == 3 && dim[3] == 5 && dim[4] == 1);
  CHECK(intent == 1002 && codes[0] == 4 && codes[1] == 4 && bytes[123] == 2);
  CHECK(pixdim[0] == -1 && fabsf(pixdim[1] - 2.00444f) < 1e-4 && pixdim[3] == 3);
  CHECK(!memcmp(bytes + 344, "n+1", 4) && !strcmp(bytes + 328, "labels"));
  CHECK(first[0] == 0 && first[1] == 15 && first[4] == 5 && first[5] == 20); /* i fastest */
  free(bytes);
  volume_close(&volume);
  free(path);
}

TEST(shear_has_an_sform_only) {
  struct volume volume = make_volume(1), back;
  volume.affine.m[0][2] = 0.5;
  char *path = file_join(folder, "shear.nii");
  CHECK_OK(volume_write(&volume, path, &(struct volume_format){0}));
  CHECK_OK(volume_read(&back, path, &strict));
  CHECK(back.sform_code == 1 && back.qform_code == 0);
  check_same(&volume, &back);
  volume_close(&back);
  volume_close(&volume);
  free(path);
}

TEST(long_axes_need_nifti_2) {
  struct grid grid = {.extent = {2, 40000, 1}, .affine = affine_identity()};
  struct volume volume, back;
  CHECK_OK(volume_create(&volume, &grid, 1));
  volume.values[79999] = 5;
  char *path = file_join(folder, "long.nii.gz");
  CHECK_OK(volume_write(&volume, path, &(struct volume_format){0}));
  CHECK_OK(volume_read(&back, path, &strict));
  check_same(&volume, &back);
  volume_close(&back);
  volume_close(&volume);
  free(path);
}

TEST(what_cannot_be_written_is_refused_and_leaves_the_old_file) {
  struct volume volume = make_volume(1);
  char *path = file_join(folder, "kept.nii.gz"), *bytes = NULL;
  size_t count = 0;
  bytes_save(path, "old", 3);
  volume.values[3] = 256;
  CHECK_FAILS(volume_write(&volume, path, &(struct volume_format){.type = VOLUME_UINT8}),
              "expected values from 0 to 255 to write as uint8, found 256");
  volume.values[3] = NAN;
  CHECK_FAILS(volume_write(&volume, path, &(struct volume_format){.type = VOLUME_INT16}),
              "found nan");
  CHECK_FAILS(volume_write(&volume, "/nowhere/x.nii", &(struct volume_format){0}), "cannot create");
  CHECK_FAILS(volume_write(&volume, "/tmp/x.txt", &(struct volume_format){0}), ".nii or .nii.gz");
  volume.affine.m[2][2] = 0;
  CHECK_FAILS(volume_write(&volume, path, &(struct volume_format){0}), "affine");
  CHECK_OK(file_read(path, 100, &bytes, &count));
  CHECK(count == 3 && !memcmp(bytes, "old", 3));
  free(bytes);
  volume_close(&volume);
  free(path);
}

/* One voxel along axis i of a grid whose i axis points to the left and to the front. */
TEST(displacements_are_millimetres_in_lps) {
  struct volume like = make_volume(1), file;
  struct grid grid = volume_get_grid(&like), back_grid;
  size_t count = volume_count(&like);
  float *field = calloc(3 * count, sizeof *field), *back = NULL;
  for (size_t n = 0; n < count; n++) field[n] = 1;
  field[2 * count + 7] = -2;
  char *path = file_join(folder, "warp.nii.gz");
  const struct volume_policy channels = {.allow_channels = true};
  for (int frame = DISPLACEMENT_LPS; frame <= DISPLACEMENT_RAS; frame++) {
    double sign = frame == DISPLACEMENT_LPS ? -1 : 1;
    CHECK_OK(volume_write_displacement(path, field, &grid, frame));
    CHECK_OK(volume_read(&file, path, &channels));
    CHECK(file.intent_code == (frame == DISPLACEMENT_LPS ? 1007 : 1006) && file.channels == 3);
    CHECK_NEAR(file.values[0], sign * -2, 1e-6);
    CHECK_NEAR(file.values[count], sign * 0.13333333, 1e-6);
    CHECK_NEAR(file.values[2 * count + 7], -6, 1e-6);
    volume_close(&file);
    CHECK_OK(volume_read_displacement(path, &back, &back_grid));
    CHECK(grid_is_same(&grid, &back_grid, 1e-4));
    for (size_t n = 0; n < 3 * count; n++) CHECK_NEAR(back[n], field[n], 1e-5);
    free(back);
  }
  CHECK_OK(volume_write(&like, path, &(struct volume_format){0}));
  CHECK_FAILS(volume_read_displacement(path, &back, &back_grid), "3 components");
  CHECK(!back);
  free(field);
  free(path);
  volume_close(&like);
}

int main(void) {
  folder = check_make_folder();
  RUN(every_type_and_name_round_trips);
  RUN(channels_round_trip_in_both_dimensions);
  RUN(the_bytes_are_those_of_the_format);
  RUN(shear_has_an_sform_only);
  RUN(long_axes_need_nifti_2);
  RUN(what_cannot_be_written_is_refused_and_leaves_the_old_file);
  RUN(displacements_are_millimetres_in_lps);
  check_remove_folder(folder);
  return check_result();
}
