/* Volumes brought to one size as published preprocessing does it: stretched in plane, padded along
 * z, intensities kept. All numbers are worked out by hand. */
#include <jansson.h>
#include "test_data.h"

enum { X = 2, Y = 4, Z = 5 };

/* f[x][y], to which each slice adds 1000. */
static const float plane[X][Y] = {{10, 30, 50, 90}, {110, 170, 210, 230}};
static const uint8_t classes[X][Y] = {{0, 1, 2, 2}, {3, 0, 0, 4}};

/* x: 2 -> 4 at 0, 1/4, 3/4, 1; y: 4 -> 2 at 1/2, 5/2. */
static const float wanted[4][2] = {{20, 70}, {50, 107.5f}, {110, 182.5f}, {140, 220}};
/* nearest: x 0, 0, 1, 1; y 1, 3, since halves go up */
static const uint8_t wanted_classes[4][2] = {{1, 2}, {1, 2}, {0, 4}, {0, 4}};

static void write_subject(const struct data_place *place, const char *id, int slices) {
  struct grid grid = {.extent = {X, Y, slices}};
  grid.affine = affine_scaling((double[]){2, 1, 3}, (double[]){10, 20, 30});
  struct volume image, label;
  CHECK_OK(volume_create(&image, &grid, 1));
  CHECK_OK(volume_create(&label, &grid, 1));
  for (int x = 0; x < X; x++)
    for (int y = 0; y < Y; y++)
      for (int z = 0; z < slices; z++) {
        image.values[(x * Y + y) * slices + z] = plane[x][y] + 1000 * (float)z;
        label.values[(x * Y + y) * slices + z] = classes[x][y];
      }
  data_write_pair(place, id, &image, &label);
  volume_close(&image);
  volume_close(&label);
}

static struct data_place open_place(void) {
  struct data_place place = data_open_place(0, NULL);
  static const char *const settings[] = {"data.orientation=\"\"",      "data.resample=[4, 2, 0]",
                                         "data.size=[0, 0, 8]",        "data.multiple=1",
                                         "data.intensity=none",        "data.padding=zero",
                                         "data.crop=refuse",           "data.test=0",
                                         "data.validation=0",          "data.shard_count=1",
                                         "data.reference_reports=true"};
  for (size_t i = 0; i < sizeof settings / sizeof *settings; i++)
    data_override(&place, settings[i]);
  write_subject(&place, "a", Z);
  return place;
}

/* `before` slices of `outside`, then the volume's. */
static void check_voxels(const struct dataset *dataset, int subject, int slices, int before,
                         float outside) {
  const float *image = dataset_image(dataset, subject);
  const uint8_t *label = dataset_label(dataset, subject);
  int wrong = 0;
  CHECK(dataset->extent[0] == 4 && dataset->extent[1] == 2 && dataset->extent[2] == 8);
  for (int x = 0; x < 4; x++)
    for (int y = 0; y < 2; y++)
      for (int z = 0; z < 8; z++, image++, label++) {
        bool inside = z >= before && z < before + slices;
        float expected = inside ? wanted[x][y] + 1000 * (float)(z - before) : outside;
        wrong += *image != expected || *label != (inside ? wanted_classes[x][y] : 0);
      }
  CHECK_SAY(wrong == 0, ": %d of subject %d", wrong, subject);
}

TEST(volumes_are_stretched_in_plane_and_padded) {
  struct data_place place = open_place();
  write_subject(&place, "b", 6);
  CHECK_OK(data_prepare(&place));
  struct dataset dataset;
  CHECK_OK(dataset_open(&dataset, place.master, NULL));
  check_voxels(&dataset, 0, 5, 1, 0); /* 3 slices of padding: 1 before, 2 after */
  check_voxels(&dataset, 1, 6, 1, 0);
  /* spacing 2*2/4, 1*4/2, 3; the middle of the field of view stays, z begins a slice earlier */
  static const double spacing[3] = {1, 2, 3}, origin[3] = {9.5, 20.5, 27};
  for (int a = 0; a < 3; a++) {
    const struct dataset_subject *subject = &dataset.subjects[0];
    CHECK(subject->spacing[a] == spacing[a] && subject->affine.m[a][3] == origin[a]);
    for (int b = 0; b < 3; b++) CHECK(subject->affine.m[a][b] == (a == b ? spacing[a] : 0));
  }
  dataset_close(&dataset);
  data_override(&place, "data.padding=lowest");
  CHECK_OK(data_prepare(&place));
  CHECK_OK(dataset_open(&dataset, place.master, NULL));
  check_voxels(&dataset, 0, 5, 1, 10);
  dataset_close(&dataset);
  data_close_place(&place);
}

static json_t *read_json(const struct data_place *place, const char *name) {
  char *path = file_format("%s/out/%s", place->folder, name);
  json_t *root = json_load_file(path, 0, NULL);
  CHECK_SAY(root, ": %s", path);
  free(path);
  return root;
}

/* A member as compact text. */
static void check_member(const json_t *object, const char *name, const char *expected) {
  char *text = json_dumps(json_object_get(object, name), JSON_COMPACT | JSON_ENCODE_ANY);
  CHECK_SAY(text && strcmp(text, expected) == 0, ": %s: %s", name, text ? text : "none");
  free(text);
}

TEST(reports_say_what_was_done) {
  struct data_place place = open_place();
  CHECK_OK(data_prepare(&place));
  json_t *report = read_json(&place, "preprocessing_report.json");
  const json_t *pair = json_array_get(json_object_get(report, "pairs"), 0);
  check_member(pair, "id", "\"a\"");
  check_member(pair, "status", "\"ok\"");
  check_member(pair, "original_shape", "[2,4,5]");
  check_member(pair, "new_shape", "[4,2,8]");
  check_member(pair, "original_spacing", "[2.0,1.0,3.0]");
  check_member(pair, "new_spacing", "[1.0,2.0,3.0]");
  check_member(pair, "padding_before", "[0,0,1]");
  check_member(pair, "padding_after", "[0,0,2]");
  check_member(pair, "range_before", "[[10.0,4230.0]]");
  check_member(pair, "range_after", "[[0.0,4220.0]]");
  check_member(pair, "labels_found", "[0,1,2,4]");
  json_decref(report);
  json_t *config = read_json(&place, "preprocessing_config.json");
  check_member(config, "target_shape", "[4,2,8]");
  check_member(config, "resample", "[4,2,0]");
  check_member(config, "padding", "\"zero\"");
  check_member(config, "classes", "5");
  json_decref(config);
  report = read_json(&place, "prepare.json");
  const json_t *subject = json_array_get(json_object_get(report, "subjects"), 0);
  check_member(subject, "class_voxels", "{\"0\":34,\"1\":10,\"2\":10,\"4\":10}");
  json_decref(report);
  data_close_place(&place);
}

TEST(what_does_not_fit_is_refused_or_cut) {
  struct data_place place = open_place();
  write_subject(&place, "b", 9);
  CHECK_FAILS(data_prepare(&place),
              "b.nii.gz: expected at most 8 voxels on axis 2 (data.size, "
              "data.crop = \"refuse\"), found 9");
  data_override(&place, "data.bad_volume=skip");
  CHECK_OK(data_prepare(&place));
  json_t *report = read_json(&place, "preprocessing_report.json");
  check_member(json_array_get(json_object_get(report, "pairs"), 1), "status", "\"skipped\"");
  json_decref(report);
  data_override(&place, "data.crop=center");
  data_override(&place, "data.bad_volume=fail");
  CHECK_OK(data_prepare(&place));
  struct dataset dataset;
  CHECK_OK(dataset_open(&dataset, place.master, NULL));
  CHECK(dataset_image(&dataset, 1)[0] == 20 && dataset_image(&dataset, 1)[7] == 7020);
  dataset_close(&dataset);
  report = read_json(&place, "preprocessing_report.json");
  check_member(json_array_get(json_object_get(report, "pairs"), 1), "padding_after", "[0,0,-1]");
  json_decref(report);
  data_override(&place, "data.crop=refuse"); /* also of what is already in the shards */
  CHECK_FAILS(data_prepare(&place), "data.crop = \"refuse\"), found 9");
  data_close_place(&place);
}

int main(void) {
  RUN(volumes_are_stretched_in_plane_and_padded);
  RUN(reports_say_what_was_done);
  RUN(what_does_not_fit_is_refused_or_cut);
  return check_result();
}
