/* Subjects on their own grids: turned and padded, never interpolated; boxes, centroids, and shards
 * of earlier versions that have neither. */
#include <hdf5.h>
#include "data/shard.h"
#include "test_data.h"

/* HDF5 1.10 itself forgets some memory when it refuses a file. */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void) {
  return "leak:libhdf5_openmpi";
}

enum { SUBJECT_COUNT = 4 };

/* Subjects differ in extent, orientation, spacing and place; the last is oblique. */
static void make_odd_subject(int number, struct volume *image, struct volume *label) {
  static const int extents[SUBJECT_COUNT][3] = {
      {12, 18, 9}, {16, 10, 11}, {11, 12, 17}, {13, 14, 10}};
  static const char *const orientations[SUBJECT_COUNT] = {"RAS", "LPS", "AIR", "SPL"};
  data_make_subject(number, extents[number], image, label);
  struct affine scaling = affine_scaling((double[]){1 + number, 2, 3}, (double[]){-40, 10, number});
  if (number == 3) {
    scaling.m[1][0] = 0.31;
    scaling.m[2][1] = -0.27;
  }
  image->affine = label->affine = scaling;
  CHECK_OK(volume_reorient(image, orientations[number]));
  CHECK_OK(volume_reorient(label, orientations[number]));
}

static struct data_place make_place(void) {
  struct data_place place = data_open_place(0, NULL);
  for (int i = 0; i < SUBJECT_COUNT; i++) {
    struct volume image, label;
    char id[32];
    snprintf(id, sizeof id, "odd_%d", i);
    make_odd_subject(i, &image, &label);
    data_write_pair(&place, id, &image, &label);
    volume_close(&image);
    volume_close(&label);
  }
  data_override(&place, "data.intensity=none");
  data_override(&place, "data.grid=own");
  data_override(&place, "data.test=0");
  return place;
}

static float lowest_of(const struct volume *image) {
  float lowest = image->values[0];
  for (size_t i = 0; i < volume_count(image); i++) lowest = fminf(lowest, image->values[i]);
  return lowest;
}

static void check_voxels(const struct dataset *dataset, int subject, const struct volume *image,
                         const struct volume *label) {
  const int *extent = dataset->extent, *own = image->extent;
  float lowest = lowest_of(image);
  int wrong = 0;
  for (int i = 0; i < extent[0]; i++)
    for (int j = 0; j < extent[1]; j++)
      for (int k = 0; k < extent[2]; k++) {
        bool inside = i < own[0] && j < own[1] && k < own[2];
        size_t at = (size_t)((i * extent[1] + j) * extent[2] + k);
        size_t from = inside ? (size_t)((i * own[1] + j) * own[2] + k) : 0;
        wrong += dataset_image(dataset, subject)[at] != (inside ? image->values[from] : lowest);
        wrong += dataset_label(dataset, subject)[at] != (inside ? label->values[from] : 0);
      }
  CHECK_SAY(wrong == 0, ": %d voxels of subject %d", wrong, subject);
}

static void find_centroid(const struct volume *label, double centroid[3]) {
  double sum[3] = {0}, count = 0, voxel[3];
  for (int i = 0; i < label->extent[0]; i++)
    for (int j = 0; j < label->extent[1]; j++)
      for (int k = 0; k < label->extent[2]; k++) {
        if (label->values[(i * label->extent[1] + j) * label->extent[2] + k] == 0) continue;
        double place[3];
        affine_apply(&label->affine, (double[]){i, j, k}, place);
        for (int a = 0; a < 3; a++) sum[a] += place[a];
        count++;
      }
  for (int a = 0; a < 3; a++) voxel[a] = sum[a] / count;
  memcpy(centroid, voxel, sizeof voxel);
}

static void check_subject(const struct dataset *dataset, int subject) {
  const struct dataset_subject *entry = &dataset->subjects[subject];
  struct volume image, label;
  make_odd_subject(subject, &image, &label);
  CHECK_OK(volume_reorient(&image, "RAS"));
  CHECK_OK(volume_reorient(&label, "RAS"));
  double centroid[3];
  find_centroid(&label, centroid);
  for (int a = 0; a < 3; a++) {
    CHECK(entry->box_first[a] == 0 && entry->box_count[a] == image.extent[a]);
    CHECK_NEAR(entry->centroid[a], centroid[a], 1e-4);
    for (int b = 0; b < 4; b++) /* files keep affines in float */
      CHECK_NEAR(entry->affine.m[a][b], image.affine.m[a][b], 1e-5);
  }
  check_voxels(dataset, subject, &image, &label);
  volume_close(&image);
  volume_close(&label);
}

TEST(keeps_subjects_on_their_grids) {
  struct data_place place = make_place();
  data_override(&place, "data.spacing=[2, 2, 2]"); /* of the common grid: does not count here */
  CHECK_OK(data_prepare(&place));
  struct dataset dataset;
  CHECK_OK(dataset_open(&dataset, place.master, NULL));
  CHECK(dataset.subject_count == SUBJECT_COUNT);
  CHECK(dataset.extent[0] == 16 && dataset.extent[1] == 18 && dataset.extent[2] == 17);
  for (int i = 0; i < SUBJECT_COUNT; i++) check_subject(&dataset, i);
  char *text = data_read_report(&place);
  CHECK(strstr(text, "data.grid = own") && strstr(text, "\"box_count\": ["));
  free(text);
  dataset_close(&dataset);
  data_close_place(&place);
}

static uint64_t manifest_of(const struct data_place *place) {
  struct dataset dataset;
  CHECK_OK(dataset_open(&dataset, place->master, NULL));
  uint64_t manifest = dataset_manifest(&dataset);
  dataset_close(&dataset);
  return manifest;
}

/* The first shard holds a smaller extent when the largest subject leaves. */
TEST(pads_again_when_the_largest_changes) {
  struct data_place place = make_place();
  CHECK_OK(data_prepare(&place));
  uint64_t before = manifest_of(&place);
  CHECK_OK(data_prepare(&place));
  CHECK(manifest_of(&place) == before);
  static const char *const kinds[] = {"images", "labels"};
  for (int i = 0; i < 2; i++) {
    char *path = file_format("%s/%s/odd_2.nii.gz", place.source, kinds[i]);
    CHECK(unlink(path) == 0);
    free(path);
  }
  CHECK_OK(data_prepare(&place));
  struct dataset dataset;
  CHECK_OK(dataset_open(&dataset, place.master, NULL));
  CHECK(dataset_manifest(&dataset) != before && dataset.subject_count == 3);
  CHECK(dataset.extent[0] == 16 && dataset.extent[1] == 18 && dataset.extent[2] == 11);
  dataset_close(&dataset);
  data_close_place(&place);
}

TEST(merges_label_values) {
  struct data_place place = data_open_place(2, NULL);
  data_override(&place, "data.test=0");
  data_override(&place, "data.labels=[3, 1]");
  data_override(&place, "data.relabel=[2, 3, 4]");
  CHECK_FAILS(data_prepare(&place),
              "data.relabel: expected pairs of an old and a new value, found 3 numbers");
  data_override(&place, "data.relabel=[2, 3, 4, 1]");
  CHECK_OK(data_prepare(&place));
  struct dataset dataset;
  CHECK_OK(dataset_open(&dataset, place.master, NULL));
  CHECK(dataset.classes == 3);
  int counts[256] = {0}, wanted[256] = {0};
  for (int i = 0; i < 20 * 20 * 20; i++) counts[dataset_label(&dataset, 1)[i]]++;
  struct volume image, label;
  data_make_subject(1, (int[]){17, 18, 19}, &image, &label);
  for (size_t i = 0; i < volume_count(&label); i++) wanted[(int)label.values[i]]++;
  CHECK(wanted[2] > 0 && wanted[4] > 0);
  CHECK(counts[1] == wanted[3] + wanted[2] && counts[2] == wanted[1] + wanted[4]);
  volume_close(&image);
  volume_close(&label);
  dataset_close(&dataset);
  data_close_place(&place);
}

TEST(has_no_centroid_without_labels) {
  struct data_place place = data_open_place(0, NULL);
  for (int i = 0; i < 2; i++) data_add_subject(&place, i, false);
  char command[512];
  snprintf(command, sizeof command, "rmdir '%s/labels'", place.source);
  CHECK(system(command) == 0);
  CHECK_OK(data_prepare(&place));
  struct dataset dataset;
  CHECK_OK(dataset_open(&dataset, place.master, NULL));
  for (int a = 0; a < 3; a++) CHECK(isnan(dataset.subjects[1].centroid[a]));
  CHECK(dataset.subjects[1].box_count[2] == dataset.extent[2]);
  dataset_close(&dataset);
  char *text = data_read_report(&place);
  CHECK(strstr(text, "\"centroid\": null"));
  free(text);
  data_close_place(&place);
}

/* Takes the newer fields out of a shard, as earlier versions wrote it. */
static void make_old(const struct data_place *place, int index) {
  static const char *const newer[] = {"box_first", "box_count", "centroid"};
  char *path = shard_path(place->master, index, 2);
  hid_t file = H5Fopen(path, H5F_ACC_RDWR, H5P_DEFAULT);
  CHECK(file >= 0);
  for (int i = 0; i < 3; i++) CHECK(H5Ldelete(file, newer[i], H5P_DEFAULT) >= 0);
  CHECK(H5Fclose(file) >= 0);
  free(path);
}

TEST(reads_older_shards_and_makes_them_anew) {
  struct data_place place = data_open_place(4, NULL);
  CHECK_OK(data_prepare(&place));
  uint64_t before = manifest_of(&place);
  make_old(&place, 0);
  make_old(&place, 1);
  struct dataset dataset;
  CHECK_OK(dataset_open(&dataset, place.master, NULL));
  CHECK(dataset_manifest(&dataset) == before);
  for (int i = 0; i < 4; i++)
    for (int a = 0; a < 3; a++) {
      const struct dataset_subject *subject = &dataset.subjects[i];
      CHECK(subject->box_first[a] == 0 && subject->box_count[a] == dataset.extent[a]);
      CHECK(isnan(subject->centroid[a]));
    }
  dataset_close(&dataset);
  CHECK_OK(data_prepare(&place));
  CHECK_OK(dataset_open(&dataset, place.master, NULL));
  CHECK(dataset_manifest(&dataset) == before && !isnan(dataset.subjects[3].centroid[0]));
  dataset_close(&dataset);
  data_close_place(&place);
}

/* Overwrites row 0 of a field. */
static void write_field(const char *path, const char *name, hid_t type, const void *values,
                        size_t bytes) {
  hid_t file = H5Fopen(path, H5F_ACC_RDWR, H5P_DEFAULT);
  hid_t dataset = H5Dopen2(file, name, H5P_DEFAULT), space = H5Dget_space(dataset);
  hsize_t shape[2] = {0};
  CHECK(H5Sget_simple_extent_dims(space, shape, NULL) == 2);
  unsigned char *all = malloc(shape[0] * bytes);
  CHECK(H5Dread(dataset, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, all) >= 0);
  memcpy(all, values, bytes);
  CHECK(H5Dwrite(dataset, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, all) >= 0);
  free(all);
  H5Sclose(space);
  H5Dclose(dataset);
  CHECK(H5Fclose(file) >= 0);
}

TEST(refuses_impossible_boxes) {
  struct data_place place = make_place();
  CHECK_OK(data_prepare(&place));
  char *path = shard_path(place.master, 0, 2);
  static const int32_t good_first[3] = {0, 0, 0}, good_count[3] = {12, 18, 9};
  static const int32_t bad[][2][3] = {
      {{0, -1, 0}, {12, 18, 9}},        {{0, 0, 0}, {12, 19, 9}},
      {{0, 0, 0}, {12, 18, 0}},         {{0, 1, 0}, {12, 18, 9}},
      {{17, 0, 0}, {1, 18, 9}},         {{2147483647, 0, 0}, {1, 18, 9}},
      {{0, 0, 0}, {2147483647, 18, 9}}, {{-2147483647, 0, 0}, {12, 18, 9}},
  };
  struct shard shard;
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    write_field(path, "box_first", H5T_NATIVE_INT32, bad[i][0], sizeof bad[i][0]);
    write_field(path, "box_count", H5T_NATIVE_INT32, bad[i][1], sizeof bad[i][1]);
    CHECK_FAILS(shard_read(&shard, path), "fields box_first, box_count: expected voxels from 0 to");
  }
  write_field(path, "box_first", H5T_NATIVE_INT32, good_first, sizeof good_first);
  write_field(path, "box_count", H5T_NATIVE_INT32, good_count, sizeof good_count);
  CHECK_OK(shard_read(&shard, path));
  shard_close(&shard);
  const double nowhere[3] = {1, INFINITY, 3};
  write_field(path, "centroid", H5T_NATIVE_DOUBLE, nowhere, sizeof nowhere);
  CHECK_FAILS(shard_read(&shard, path), "field centroid: expected finite mm or NaN");
  free(path);
  data_close_place(&place);
}

TEST(says_so_in_inspect) {
  struct data_place place = make_place();
  CHECK_OK(data_prepare(&place));
  char *text = NULL;
  size_t bytes;
  FILE *out = open_memstream(&text, &bytes);
  CHECK_OK(shard_inspect(place.master, out));
  fclose(out);
  CHECK(strstr(text, "own voxels 12 x 18 x 9 from 0 0 0") && strstr(text, "centroid"));
  CHECK(strstr(text, "data.grid = own") && strstr(text, "all checksums right"));
  free(text);
  data_close_place(&place);
}

int main(void) {
  RUN(keeps_subjects_on_their_grids);
  RUN(pads_again_when_the_largest_changes);
  RUN(merges_label_values);
  RUN(has_no_centroid_without_labels);
  RUN(reads_older_shards_and_makes_them_anew);
  RUN(refuses_impossible_boxes);
  RUN(says_so_in_inspect);
  return check_result();
}
