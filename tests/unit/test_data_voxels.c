/* Counting and drawing the voxels of a class or structure. */
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

TEST(every_voxel_of_a_structure_is_drawn) {
  struct data_place place = mask_open_place(3, NULL);
  CHECK_OK(data_prepare(&place));
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
  RUN(every_voxel_of_a_structure_is_drawn);
  RUN(without_labels_there_is_nothing_to_draw);
  RUN(a_subject_knows_where_its_labels_came_from);
  return check_result();
}
