/* Counting and drawing the voxels of a class or structure. */
#include <hdf5.h>
#include "data/shard.h"
#include "test_data_masks.h"

static bool is_of(const struct dataset *dataset, int subject, int class, size_t d, size_t at) {
  size_t plane = (size_t)dataset->extent[1] * (size_t)dataset->extent[2];
  if (!dataset->has_masks) return dataset_label(dataset, subject)[d * plane + at] == class;
  size_t row = d * (size_t)dataset->mask_planes + (size_t) class / 8;
  return dataset_mask(dataset, subject)[row * plane + at] >> class % 8 & 1;
}

/* The n-th of `total` voxels is drawn by the smallest number of its share, and by the largest. */
static void check_draw(const struct dataset *dataset, int subject, int class, uint64_t total,
                       uint64_t n, const int wanted[3]) {
  uint64_t share = (uint64_t)1 << 32;
  const uint64_t numbers[2] = {(n * share + total - 1) / total, ((n + 1) * share - 1) / total};
  for (int i = 0; i < 2; i++) {
    int voxel[3] = {-1, -1, -1};
    CHECK(dataset_draw_voxel(dataset, subject, class, (uint32_t)numbers[i], voxel));
    CHECK_SAY(memcmp(voxel, wanted, sizeof voxel) == 0, ": %d %d %d", voxel[0], voxel[1], voxel[2]);
  }
}

static void check_class(const struct dataset *dataset, int subject, int class, uint64_t total) {
  const int *extent = dataset->extent;
  uint64_t n = 0;
  int voxel[3];
  for (voxel[0] = 0; voxel[0] < extent[0]; voxel[0]++)
    for (voxel[1] = 0; voxel[1] < extent[1]; voxel[1]++)
      for (voxel[2] = 0; voxel[2] < extent[2]; voxel[2]++) {
        size_t at = (size_t)(voxel[1] * extent[2] + voxel[2]);
        if (!is_of(dataset, subject, class, (size_t)voxel[0], at)) continue;
        if (n % 7 == 0) check_draw(dataset, subject, class, total, n, voxel);
        n++;
      }
  CHECK_SAY(n == total, ": %llu of class %d", (unsigned long long)n, class);
  CHECK(dataset_draw_voxel(dataset, subject, class, 5, voxel) == (total > 0));
}

static void check_all(const struct data_place *place, int classes) {
  struct dataset dataset;
  uint64_t voxels[64];
  CHECK_OK(dataset_open(&dataset, place->master, NULL));
  CHECK((dataset.has_masks ? dataset.structure_count : dataset.classes) == classes);
  for (int s = 0; s < dataset.subject_count; s++) {
    int voxel[3];
    dataset_count_voxels(&dataset, s, voxels);
    for (int class = 0; class < classes; class ++) check_class(&dataset, s, class, voxels[class]);
    CHECK(!dataset_draw_voxel(&dataset, s, -1, 0, voxel));
    CHECK(!dataset_draw_voxel(&dataset, s, classes, 0, voxel));
  }
  dataset_close(&dataset);
}

TEST(every_voxel_of_a_class_is_drawn) {
  struct data_place place = data_open_place(2, NULL);
  data_override(&place, "data.labels=[3, 1, 77]"); /* there is no 77 */
  data_override(&place, "data.test=0");
  data_override(&place, "data.validation=0");
  CHECK_OK(data_prepare(&place));
  check_all(&place, 4);
  data_override(&place, "data.compression=1");
  CHECK_OK(data_prepare(&place));
  check_all(&place, 4);
  data_close_place(&place);
}

/* As earlier versions wrote it. */
static void remove_counts(const struct data_place *place, int index, int count) {
  char *path = shard_path(place->master, index, count);
  hid_t file = H5Fopen(path, H5F_ACC_RDWR, H5P_DEFAULT);
  CHECK(file >= 0 && H5Ldelete(file, "slice_voxels", H5P_DEFAULT) >= 0);
  CHECK(H5Ldelete(file, "checksum_voxels", H5P_DEFAULT) >= 0);
  CHECK(H5Fclose(file) >= 0);
  free(path);
}

static uint64_t manifest_of(const struct data_place *place, bool counted) {
  struct dataset dataset;
  CHECK_OK(dataset_open(&dataset, place->master, NULL));
  uint64_t manifest = dataset_manifest(&dataset);
  CHECK((dataset.counted > 0) == counted);
  dataset_close(&dataset);
  return manifest;
}

TEST(older_shards_draw_the_same_and_are_made_anew) {
  struct data_place place = data_open_place(2, NULL);
  data_override(&place, "data.labels=[3, 1, 77]");
  data_override(&place, "data.test=0");
  CHECK_OK(data_prepare(&place));
  uint64_t manifest = manifest_of(&place, true);
  remove_counts(&place, 1, 2);
  struct dataset dataset;
  CHECK_FAILS(dataset_open(&dataset, place.master, NULL),
              "data-00001-of-00002.h5: field slice_voxels: expected 4 classes as in");
  remove_counts(&place, 0, 2);
  CHECK(manifest_of(&place, false) == manifest);
  check_all(&place, 4);
  CHECK_OK(data_prepare(&place));
  CHECK(manifest_of(&place, true) == manifest);
  check_all(&place, 4);
  data_close_place(&place);
}

TEST(damaged_counts_are_named) {
  struct data_place place = data_open_place(2, NULL);
  data_override(&place, "data.test=0");
  CHECK_OK(data_prepare(&place));
  struct shard shard;
  char *path = shard_path(place.master, 1, 2);
  CHECK_OK(shard_read(&shard, path));
  FILE *file = fopen(path, "r+b");
  CHECK(fseek(file, (long)shard.offset[SHARD_SLICE_VOXELS] + 3, SEEK_SET) == 0);
  CHECK(fputc(0x7f, file) != EOF && fclose(file) == 0);
  struct dataset dataset;
  int voxel[3];
  CHECK_OK(dataset_open(&dataset, place.master, NULL));
  CHECK(!dataset_draw_voxel(&dataset, 1, 0, 1u << 30, voxel)); /* and nothing worse */
  CHECK_OK(dataset_verify(&dataset, 0));
  CHECK_FAILS(dataset_verify(&dataset, 1), "field slice_voxels: expected the checksum");
  dataset_close(&dataset);
  shard_close(&shard);
  free(path);
  data_close_place(&place);
}

TEST(every_voxel_of_a_structure_is_drawn) {
  struct data_place place = mask_open_place(3, NULL);
  CHECK_OK(data_prepare(&place));
  check_all(&place, MASK_STRUCTURES);
  for (int s = 0; s < 2; s++) remove_counts(&place, s, 2);
  check_all(&place, MASK_STRUCTURES);
  data_close_place(&place);
}

TEST(without_labels_there_is_nothing_to_draw) {
  struct data_place place = data_open_place(0, NULL);
  for (int i = 0; i < 3; i++) data_add_subject(&place, i, false);
  char *labels = file_join(place.source, "labels");
  CHECK(rmdir(labels) == 0);
  free(labels);
  CHECK_OK(data_prepare(&place));
  struct dataset dataset;
  int voxel[3];
  CHECK_OK(dataset_open(&dataset, place.master, NULL));
  CHECK(!dataset_draw_voxel(&dataset, 0, 0, 0, voxel));
  CHECK(dataset.subjects[0].label_source[0] == 0);
  dataset_close(&dataset);
  data_close_place(&place);
}

TEST(a_subject_knows_where_its_labels_came_from) {
  struct data_place place = data_open_place(2, NULL);
  data_override(&place, "data.test=0");
  CHECK_OK(data_prepare(&place));
  struct dataset dataset;
  CHECK_OK(dataset_open(&dataset, place.master, NULL));
  char *path = file_join(place.source, "labels/subject_01.nii.gz");
  CHECK(strcmp(dataset.subjects[1].label_source, path) == 0);
  CHECK(dataset.subjects[1].category == -1 && dataset.categories == 0 && dataset.channels == 1);
  free(path);
  dataset_close(&dataset);
  data_close_place(&place);
}

int main(void) {
  RUN(every_voxel_of_a_class_is_drawn);
  RUN(older_shards_draw_the_same_and_are_made_anew);
  RUN(damaged_counts_are_named);
  RUN(every_voxel_of_a_structure_is_drawn);
  RUN(without_labels_there_is_nothing_to_draw);
  RUN(a_subject_knows_where_its_labels_came_from);
  return check_result();
}
