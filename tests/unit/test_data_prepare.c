/* From volumes to shards and back: what is stored, what is done again, what is refused. */
#include <sys/stat.h>
#include "data/shard.h"
#include "test_data.h"

TEST(stores_what_the_volumes_hold) {
  struct data_place place = data_open_place(6, NULL);
  data_override(&place, "data.intensity=none");
  CHECK_OK(data_prepare(&place));
  struct dataset dataset;
  CHECK_OK(dataset_open(&dataset, place.master, NULL));
  CHECK(dataset.subject_count == 6 && dataset.has_labels && dataset.map_count == 2);
  CHECK(dataset.extent[0] == 20 && dataset.extent[1] == 20 && dataset.extent[2] == 20);
  CHECK(dataset.classes > 2 && dataset.classes <= PHANTOM_LABELS + 1);
  struct volume image, label;
  data_make_subject(4, (int[]){17, 18, 19}, &image, &label);
  CHECK(strcmp(dataset.subjects[4].id, "subject_04") == 0);
  const float *stored = dataset_image(&dataset, 4);
  const uint8_t *classes = dataset_label(&dataset, 4);
  float lowest = image.values[0];
  for (size_t i = 0; i < volume_count(&image); i++)
    if (image.values[i] < lowest) lowest = image.values[i];
  int wrong = 0;
  /* 17, 18, 19 are padded to 20, centred: where the first voxel went is in the affine */
  double world[3], origin[3] = {0, 0, 0};
  struct affine inverse;
  affine_apply(&image.affine, origin, world);
  CHECK_OK(affine_invert(&dataset.subjects[4].affine, &inverse));
  affine_apply(&inverse, world, origin);
  int shift[3] = {(int)lround(origin[0]), (int)lround(origin[1]), (int)lround(origin[2])};
  CHECK(shift[0] >= 1 && shift[0] <= 2 && shift[1] == 1 && shift[2] >= 0 && shift[2] <= 1);
  for (int d = 0; d < 20; d++)
    for (int h = 0; h < 20; h++)
      for (int w = 0; w < 20; w++) {
        int i = d - shift[0], j = h - shift[1], k = w - shift[2];
        bool inside = i >= 0 && i < 17 && j >= 0 && j < 18 && k >= 0 && k < 19;
        size_t from = inside ? (size_t)((i * 18 + j) * 19 + k) : 0;
        size_t at = (size_t)((d * 20 + h) * 20 + w);
        wrong += stored[at] != (inside ? image.values[from] : lowest);
        wrong += classes[at] != (inside ? (uint8_t)label.values[from] : 0);
      }
  CHECK_SAY(wrong == 0, ": %d voxels", wrong);
  volume_close(&image);
  volume_close(&label);
  dataset_close(&dataset);
  data_close_place(&place);
}

TEST(normalises_and_remaps) {
  struct data_place place = data_open_place(4, NULL);
  data_override(&place, "data.intensity=minmax");
  data_override(&place, "data.labels=[3, 1]");
  CHECK_OK(data_prepare(&place));
  struct dataset dataset;
  CHECK_OK(dataset_open(&dataset, place.master, NULL));
  CHECK(dataset.classes == 3 && dataset.label_value_count == 2 && dataset.label_values[0] == 3);
  float low = 1e9f, high = -1e9f;
  int counts[256] = {0}, wanted[256] = {0};
  for (int i = 0; i < 20 * 20 * 20; i++) {
    low = fminf(low, dataset_image(&dataset, 1)[i]);
    high = fmaxf(high, dataset_image(&dataset, 1)[i]);
    counts[dataset_label(&dataset, 1)[i]]++;
  }
  CHECK(low == 0 && high == 1);
  struct volume label;
  struct volume image;
  data_make_subject(1, (int[]){17, 18, 19}, &image, &label);
  for (size_t i = 0; i < volume_count(&label); i++) wanted[(int)label.values[i]]++;
  CHECK(wanted[3] > 0 && counts[1] == wanted[3] && counts[2] == wanted[1] && counts[3] == 0);
  volume_close(&image);
  volume_close(&label);
  dataset_close(&dataset);
  data_close_place(&place);
}

TEST(does_only_what_is_missing) {
  struct data_place place = data_open_place(6, NULL);
  CHECK_OK(data_prepare(&place));
  char *first = shard_path(place.master, 0, 2), *second = shard_path(place.master, 1, 2);
  struct timespec before[3] = {data_modified(first), data_modified(second),
                               data_modified(place.master)};
  CHECK_OK(data_prepare(&place));
  CHECK(data_same_time(before[0], data_modified(first)) &&
        data_same_time(before[1], data_modified(second)));
  CHECK(data_same_time(before[2], data_modified(place.master)));

  CHECK(unlink(second) == 0);
  CHECK_OK(data_prepare(&place));
  CHECK(data_same_time(before[0], data_modified(first)) &&
        !data_same_time(before[1], data_modified(second)));

  /* another image under the same name */
  before[1] = data_modified(second);
  struct volume image, label;
  data_make_subject(77, (int[]){17, 18, 19}, &image, &label);
  data_write_pair(&place, "subject_00", &image, &label);
  volume_close(&image);
  volume_close(&label);
  CHECK_OK(data_prepare(&place));
  CHECK(!data_same_time(before[0], data_modified(first)) &&
        data_same_time(before[1], data_modified(second)));

  before[1] = data_modified(second);
  data_override(&place, "data.intensity=zscore");
  CHECK_OK(data_prepare(&place));
  CHECK(!data_same_time(before[1], data_modified(second)));
  struct dataset dataset;
  CHECK_OK(dataset_open(&dataset, place.master, NULL));
  dataset_close(&dataset);
  free(first);
  free(second);
  data_close_place(&place);
}

TEST(recovers_from_an_interrupted_run) {
  struct data_place place = data_open_place(6, NULL);
  CHECK_OK(data_prepare(&place));
  struct dataset dataset;
  CHECK_OK(dataset_open(&dataset, place.master, NULL));
  uint64_t manifest = dataset_manifest(&dataset);
  dataset_close(&dataset);
  /* as if killed while it wrote the second shard: the first is whole, there is no master */
  char *first = shard_path(place.master, 0, 2), *second = shard_path(place.master, 1, 2);
  char *part = file_format("%s.part", second);
  CHECK(rename(second, part) == 0 && truncate(part, 5000) == 0 && unlink(place.master) == 0);
  struct timespec before = data_modified(first);
  CHECK_FAILS(dataset_open(&dataset, place.master, NULL), "found none");
  CHECK_OK(data_prepare(&place));
  CHECK(!file_exists(part) && data_same_time(before, data_modified(first)));
  CHECK_OK(dataset_open(&dataset, place.master, NULL));
  CHECK(dataset_manifest(&dataset) == manifest);
  dataset_close(&dataset);
  /* a damaged shard is made again */
  CHECK(truncate(first, 4096) == 0);
  CHECK_OK(data_prepare(&place));
  CHECK_OK(dataset_open(&dataset, place.master, NULL));
  CHECK(dataset_manifest(&dataset) == manifest);
  dataset_close(&dataset);
  free(first);
  free(second);
  free(part);
  data_close_place(&place);
}

static void break_subject(const struct data_place *place, const char *id, int extent) {
  struct volume image, label;
  data_make_subject(9, (int[]){extent, 18, 19}, &image, &label);
  data_write_pair(place, id, &image, &label);
  volume_close(&image);
  volume_close(&label);
}

TEST(refuses_a_volume_of_another_size) {
  struct data_place place = data_open_place(5, NULL);
  break_subject(&place, "subject_02", 40);
  CHECK_FAILS(data_prepare(&place),
              "subject_02.nii.gz: expected 20x20x20 voxels after preparation, as other subjects "
              "have, found 40x20x20; data.resample or data.size");
  data_override(&place, "data.size=[16, 16, 16]");
  CHECK_OK(data_prepare(&place));
  data_close_place(&place);
}

TEST(refuses_a_label_map_on_another_grid) {
  struct data_place place = data_open_place(4, NULL);
  struct volume image, label;
  data_make_subject(1, (int[]){17, 18, 19}, &image, &label);
  label.affine.m[1][3] += 5;
  data_write_pair(&place, "subject_01", &image, &label);
  CHECK_FAILS(data_prepare(&place), "labels/subject_01.nii.gz: expected a label map at its image");
  volume_close(&label);
  volume_close(&image);
  data_make_subject(1, (int[]){17, 18, 20}, &image, &label);
  struct volume other_image, other_label;
  data_make_subject(1, (int[]){17, 18, 19}, &other_image, &other_label);
  data_write_pair(&place, "subject_01", &other_image, &label);
  CHECK_FAILS(data_prepare(&place), "expected a label map on its image's grid, 17x18x19");
  volume_close(&image);
  volume_close(&label);
  volume_close(&other_image);
  volume_close(&other_label);
  data_close_place(&place);
}

static void write_blank(const struct data_place *place, const char *id, float value) {
  struct volume image, label;
  data_make_subject(3, (int[]){17, 18, 19}, &image, &label);
  for (size_t i = 0; i < volume_count(&image); i++) image.values[i] = value;
  data_write_pair(place, id, &image, &label);
  volume_close(&image);
  volume_close(&label);
}

TEST(refuses_or_skips_bad_volumes) {
  struct data_place place = data_open_place(6, NULL);
  write_blank(&place, "subject_03", 5);
  CHECK_FAILS(data_prepare(&place), "subject subject_03: ");
  CHECK(strstr(status_message(), "found a blank volume: every voxel is 5"));
  CHECK(!file_exists(place.master));
  char *text = data_read_report(&place);
  CHECK(strstr(text, "\"status\": \"failed\"") && strstr(text, "blank volume"));
  free(text);
  char *path = file_format("%s/images/subject_05.nii.gz", place.source);
  CHECK(truncate(path, 300) == 0);
  CHECK_FAILS(data_prepare(&place), "and 1 more; prepare.json names all");
  data_override(&place, "data.bad_volume=skip");
  CHECK_OK(data_prepare(&place));
  struct dataset dataset;
  CHECK_OK(dataset_open(&dataset, place.master, NULL));
  CHECK(dataset.subject_count == 4 && dataset_find(&dataset, "subject_03") == -1);
  CHECK(dataset_find(&dataset, "subject_04") == 3);
  dataset_close(&dataset);
  text = data_read_report(&place);
  CHECK(strstr(text, "\"status\": \"skipped\"") && strstr(text, "\"bad\": 2"));
  CHECK(strstr(text, "\"good\": 4") && strstr(text, "blank volume"));
  free(text);
  free(path);
  data_close_place(&place);
}

TEST(refuses_labels_that_are_no_classes) {
  struct data_place place = data_open_place(4, NULL);
  struct volume image, label;
  data_make_subject(2, (int[]){17, 18, 19}, &image, &label);
  label.values[5000] = 300;
  char *path = file_format("%s/labels/subject_02.nii.gz", place.source);
  const struct volume_format shorts = {.type = VOLUME_INT16}, floats = {0};
  CHECK_OK(volume_write(&label, path, &shorts));
  CHECK_FAILS(data_prepare(&place),
              "subject_02.nii.gz: expected labels of 0 to 255, found 0 to 300");
  label.values[5000] = 1.5f;
  CHECK_OK(volume_write(&label, path, &floats));
  CHECK_FAILS(data_prepare(&place), "subject_02.nii.gz");
  CHECK(strstr(status_message(), "1.5"));
  free(path);
  volume_close(&image);
  volume_close(&label);
  data_close_place(&place);
}

TEST(refuses_wrong_settings) {
  struct data_place place = data_open_place(4, NULL);
  data_override(&place, "data.size=[16, 16]");
  CHECK_FAILS(data_prepare(&place),
              "data.size: expected 3 numbers, one per axis, or none, found 2");
  data_override(&place, "data.size=[16, 16, 16]");
  data_override(&place, "data.test=4");
  CHECK_FAILS(data_prepare(&place), "expected them to leave subjects to train on");
  data_close_place(&place);
}

int main(void) {
  RUN(stores_what_the_volumes_hold);
  RUN(normalises_and_remaps);
  RUN(does_only_what_is_missing);
  RUN(recovers_from_an_interrupted_run);
  RUN(refuses_a_volume_of_another_size);
  RUN(refuses_a_label_map_on_another_grid);
  RUN(refuses_or_skips_bad_volumes);
  RUN(refuses_labels_that_are_no_classes);
  RUN(refuses_wrong_settings);
  return check_result();
}
