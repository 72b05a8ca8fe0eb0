/* Masks of structures that overlap: every bit of every voxel, what is refused, what is kept. */
#include "test_data_masks.h"
#include <sys/stat.h>
#include "data/shard.h"
#include "data/structures.h"
#include "volume/resample.h"

static bool stored_bit(const struct dataset *dataset, int subject, int structure, int d, int h,
                       int w) {
  const int *extent = dataset->extent;
  const uint8_t *mask = dataset_mask(dataset, subject);
  size_t plane = (size_t)d * (size_t)dataset->mask_planes + (size_t)structure / 8;
  size_t at = (plane * (size_t)extent[1] + (size_t)h) * (size_t)extent[2] + (size_t)w;
  return mask[at] >> structure % 8 & 1;
}

/* Axes after turning to SRA: d is k, h is i (reversed for odd subjects), w is j. */
static void compare_subject(const struct dataset *dataset, int s) {
  int slices = mask_slices(s), wrong = 0;
  uint64_t voxels[MASK_STRUCTURES] = {0}, overlap = 0;
  const float *image = dataset_image(dataset, s);
  for (int d = 0; d < dataset->extent[0]; d++) {
    bool occurs[MASK_STRUCTURES] = {false};
    for (int h = 0; h < MASK_ROWS; h++)
      for (int w = 0; w < MASK_COLUMNS; w++) {
        int i = s % 2 ? MASK_ROWS - 1 - h : h, of_voxel = 0;
        for (int c = 0; c < MASK_STRUCTURES; c++) {
          bool set = d < slices && mask_is_set(s, c, i, w, d);
          wrong += stored_bit(dataset, s, c, d, h, w) != set;
          voxels[c] += set;
          of_voxel += set;
          occurs[c] = occurs[c] || set;
        }
        overlap += of_voxel > 1;
        float expected = d < slices ? mask_image(s, i, w, d) : mask_image(s, 0, 0, 0);
        wrong += image[(d * MASK_ROWS + h) * MASK_COLUMNS + w] != expected;
      }
    int structures = 0;
    for (int c = 0; c < MASK_STRUCTURES; c++) structures += occurs[c];
    wrong += dataset_slice_structures(dataset, s)[d] != structures;
    CHECK(d != 1 + s % 2 || structures == 0);
  }
  CHECK_SAY(wrong == 0, ": %d of subject %d", wrong, s);
  CHECK(overlap > 0 && dataset->subjects[s].overlap_voxels == overlap);
  for (int c = 0; c < MASK_STRUCTURES; c++)
    CHECK(dataset_structure_voxels(dataset, s)[c] == voxels[c]);
}

TEST(keeps_every_bit) {
  struct data_place place = mask_open_place(4, NULL);
  CHECK_OK(data_prepare(&place));
  struct dataset dataset;
  CHECK_OK(dataset_open(&dataset, place.master, NULL));
  CHECK(dataset.subject_count == 4 && dataset.has_masks && !dataset.has_labels);
  CHECK(dataset.structure_count == MASK_STRUCTURES && dataset.mask_planes == 2);
  CHECK(dataset.extent[0] == 8 && dataset.extent[1] == MASK_ROWS);
  CHECK(dataset.extent[2] == MASK_COLUMNS && dataset.classes == 1);
  for (int c = 0; c < MASK_STRUCTURES; c++)
    CHECK(strcmp(dataset.structures[c], mask_names[c]) == 0);
  for (int s = 0; s < 4; s++) {
    CHECK(dataset.subjects[s].box_first[0] == 0);
    CHECK(dataset.subjects[s].box_count[0] == mask_slices(s));
    for (int d = 0; d < 8; d++) CHECK_OK(dataset_verify_slice(&dataset, s, d));
    CHECK_OK(dataset_verify(&dataset, s));
    compare_subject(&dataset, s);
    dataset_release_pages(&dataset, s);
  }
  dataset_close(&dataset);
  data_close_place(&place);
}

/* Each structure as resampling it alone would give it. */
static void compare_resampled(const struct dataset *dataset, int s) {
  const struct resample_options options = {.method = RESAMPLE_NEAREST};
  struct grid grid = {.affine = dataset->subjects[s].affine};
  memcpy(grid.extent, dataset->extent, sizeof grid.extent);
  int wrong = 0, set = 0;
  for (int c = 0; c < MASK_STRUCTURES; c++) {
    struct volume mask, result;
    mask_make(s, c, &mask);
    CHECK_OK(volume_resample(&mask, &grid, &options, &result));
    const float *at = result.values;
    for (int d = 0; d < grid.extent[0]; d++)
      for (int h = 0; h < grid.extent[1]; h++)
        for (int w = 0; w < grid.extent[2]; w++, at++) {
          wrong += stored_bit(dataset, s, c, d, h, w) != (*at != 0);
          set += *at != 0;
        }
    volume_close(&mask);
    volume_close(&result);
  }
  CHECK_SAY(wrong == 0 && set > 100, ": %d of %d of subject %d", wrong, set, s);
}

static void check_resampled(struct data_place *place, const int extent[3]) {
  CHECK_OK(data_prepare(place));
  struct dataset dataset;
  CHECK_OK(dataset_open(&dataset, place->master, NULL));
  for (int i = 0; i < 3; i++) CHECK(dataset.extent[i] == extent[i]);
  for (int s = 0; s < 3; s++) compare_resampled(&dataset, s);
  dataset_close(&dataset);
}

TEST(resamples_in_plane) {
  struct data_place place = mask_open_place(3, NULL);
  data_override(&place, "data.resample=[0, 16, 10]");
  check_resampled(&place, (int[]){7, 16, 10});
  data_override(&place, "data.resample=[]");
  data_override(&place, "data.spacing=[0, 1, 1]");
  data_override(&place, "data.size=[0, 10, 10]");
  check_resampled(&place, (int[]){7, 10, 10});
  data_override(&place, "data.spacing=[1.5, 1, 1]");
  check_resampled(&place, (int[]){14, 10, 10});
  data_override(&place, "data.grid=common");
  data_override(&place, "data.size=[6, 10, 10]");
  check_resampled(&place, (int[]){6, 10, 10});
  data_close_place(&place);
}

static void check_structures(struct data_place *place, int count, const char *const *names) {
  CHECK_OK(data_prepare(place));
  struct dataset dataset;
  CHECK_OK(dataset_open(&dataset, place->master, NULL));
  CHECK(dataset.structure_count == count);
  for (int c = 0; c < count && c < dataset.structure_count; c++)
    CHECK(strcmp(dataset.structures[c], names[c]) == 0);
  for (int c = 0; c < MASK_STRUCTURES; c++)
    for (int n = 0; n < count; n++)
      if (strcmp(names[n], mask_names[c]) == 0)
        CHECK(stored_bit(&dataset, 1, n, 0, 5, 3) == mask_is_set(1, c, 0, 3, 0));
  dataset_close(&dataset);
}

TEST(the_config_says_which_structures) {
  struct data_place place = mask_open_place(3, NULL);
  check_structures(&place, MASK_STRUCTURES, mask_names);
  data_override(&place, "data.structures=\"zeta, liver,aorta\"");
  check_structures(&place, 3, (const char *const[]){"zeta", "liver", "aorta"});
  char *path = file_join(place.folder, "out/label_map.json"), *text;
  size_t bytes;
  CHECK_OK(file_read(path, 1 << 20, &text, &bytes));
  CHECK(strcmp(text, "{\n  \"zeta\": 0,\n  \"liver\": 1,\n  \"aorta\": 2\n}") == 0);
  free(text);
  free(path);
  data_override(&place, "data.structures=\"liver,livre\"");
  CHECK_FAILS(data_prepare(&place), "some subject has a mask of, found \"livre\"");
  data_override(&place, "data.structures=\"liver,aorta,liver\"");
  CHECK_FAILS(data_prepare(&place), "expected each structure once, found \"liver\" twice");
  data_override(&place, "data.structures=\" , \"");
  CHECK_FAILS(data_prepare(&place), "expected names separated by commas");
  data_close_place(&place);
}

/* Replaces a mask by one that is wrong in some way. */
static void spoil(const struct data_place *place, int subject, int shift, double move,
                  float value) {
  struct grid grid = mask_grid(subject);
  grid.extent[1] += shift;
  grid.affine.m[2][3] += move;
  struct volume volume;
  CHECK_OK(volume_create(&volume, &grid, 1));
  volume.values[3] = 1;
  volume.values[4] = value;
  mask_write(&volume, mask_path(place, subject, "liver"), VOLUME_UINT8);
  volume_close(&volume);
}

TEST(a_mask_on_another_grid_is_refused) {
  struct data_place place = mask_open_place(4, NULL);
  spoil(&place, 1, 1, 0, 1);
  CHECK_FAILS(data_prepare(&place),
              "s0001/segmentations/liver.nii.gz: expected a mask on its image's grid, 6x8x7 "
              "voxels, found 6x9x7");
  spoil(&place, 1, 0, 0.5, 1);
  CHECK_FAILS(data_prepare(&place),
              "s0001/segmentations/liver.nii.gz: expected a mask at its image's place");
  data_override(&place, "data.bad_volume=skip");
  CHECK_OK(data_prepare(&place));
  struct dataset dataset;
  CHECK_OK(dataset_open(&dataset, place.master, NULL));
  CHECK(dataset.subject_count == 3 && strcmp(dataset.subjects[1].id, "s0002") == 0);
  dataset_close(&dataset);
  data_close_place(&place);
}

static void flip(const char *path, long offset, int whence) {
  FILE *file = fopen(path, "r+b");
  CHECK(file && fseek(file, offset, whence) == 0);
  int byte = fgetc(file);
  CHECK(fseek(file, -1, SEEK_CUR) == 0 && fputc(byte ^ 0x10, file) != EOF && fclose(file) == 0);
}

TEST(a_damaged_mask_is_named) {
  struct data_place place = mask_open_place(4, NULL);
  char *path = mask_path(&place, 2, "aorta");
  flip(path, -6, SEEK_END); /* in gzip's checksum: every voxel still reads well */
  CHECK_FAILS(data_prepare(&place), "subject s0002: ");
  CHECK(strstr(status_message(), "s0002/segmentations/aorta.nii.gz: damaged gzip data"));
  data_override(&place, "data.bad_volume=skip");
  CHECK_OK(data_prepare(&place));
  char *report = data_read_report(&place);
  CHECK(strstr(report, "\"skipped\"") && strstr(report, "aorta.nii.gz: damaged gzip data"));
  free(report);
  free(path);
  struct dataset dataset;
  CHECK_OK(dataset_open(&dataset, place.master, NULL));
  CHECK(dataset.subject_count == 3);
  dataset_close(&dataset);
  data_close_place(&place);
}

TEST(a_damaged_slice_is_named_and_others_serve) {
  struct data_place place = mask_open_place(2, NULL);
  data_override(&place, "data.shard_count=1");
  CHECK_OK(data_prepare(&place));
  char *path = shard_path(place.master, 0, 1);
  struct shard shard;
  CHECK_OK(shard_read(&shard, path));
  size_t slice = 2 * MASK_ROWS * MASK_COLUMNS, subject = slice * (size_t)shard.extent[0];
  flip(path, (long)(shard.offset[SHARD_MASK] + subject + 2 * slice + 5), SEEK_SET);
  flip(path, (long)(shard.offset[SHARD_IMAGE] + 3 * MASK_ROWS * MASK_COLUMNS * 4 + 1), SEEK_SET);
  shard_close(&shard);
  struct dataset dataset;
  CHECK_OK(dataset_open(&dataset, place.master, NULL));
  for (int s = 0; s < 2; s++)
    for (int d = 0; d < dataset.extent[0]; d++)
      if (d == (s ? 2 : 3)) {
        CHECK_FAILS(dataset_verify_slice(&dataset, s, d), s ? "s0001: slice 2" : "s0000: slice 3");
      } else {
        CHECK_OK(dataset_verify_slice(&dataset, s, d));
      }
  CHECK_FAILS(dataset_verify(&dataset, 1), "s0001: field mask: expected the checksum");
  dataset_close(&dataset);
  free(path);
  data_close_place(&place);
}

TEST(the_report_counts) {
  struct data_place place = mask_open_place(2, NULL);
  spoil(&place, 1, 0, 0, 3);
  CHECK_OK(data_prepare(&place));
  char *report = data_read_report(&place);
  CHECK(strstr(report, "\"structure_voxels\": {") && strstr(report, "\"overlap_voxels\": "));
  CHECK(strstr(report, "\"liver\": 2"));
  CHECK(strstr(report, "structure liver: expected 0 and one other value, found 1 and 3"));
  CHECK(strstr(report, "/s0001/segmentations\""));
  free(report);
  char *text;
  size_t bytes;
  FILE *out = open_memstream(&text, &bytes);
  CHECK_OK(shard_inspect(place.master, out));
  fclose(out);
  CHECK(strstr(text, "with masks") && strstr(text, "0 spleen, 1 kidney_right"));
  CHECK(strstr(text, "all checksums right"));
  free(text);
  data_close_place(&place);
}

static void write_table(const struct data_place *place, const char *text) {
  char *path = file_join(place->source, "meta.csv");
  CHECK_OK(file_replace(path, text, strlen(text)));
  free(path);
}

TEST(the_table_says_the_splits) {
  struct data_place place = mask_open_place(3, NULL);
  write_table(&place,
              "image_id;age;split\ns0000;61;val\ns0001;\"7;0\";train\ns0002;;test\n"
              "s0009;;train\n");
  CHECK_OK(data_prepare(&place));
  struct dataset dataset;
  CHECK_OK(dataset_open(&dataset, place.master, NULL));
  CHECK(dataset.subjects[0].split == SPLIT_VALIDATION);
  CHECK(dataset.subjects[1].split == SPLIT_TRAIN && dataset.subjects[2].split == SPLIT_TEST);
  dataset_close(&dataset);
  write_table(&place, "image_id;split\ns0000;val\ns0001;train\n");
  CHECK_FAILS(data_prepare(&place), "meta.csv: image_id: expected a line for subject s0002");
  write_table(&place, "image_id;split\ns0000;val\ns0001;training\ns0002;test\n");
  CHECK_FAILS(data_prepare(&place), "meta.csv:3: split: expected train, val or test");
  write_table(&place, "image_id;split\ns0000;val\ns0001;test\ns0002;test\n");
  CHECK_FAILS(data_prepare(&place), "meta.csv: column split: expected subjects to train on");
  write_table(&place, "image_id;age\ns0000;3\n");
  CHECK_OK(data_prepare(&place));
  data_close_place(&place);
}

TEST(only_what_changed_is_made_again) {
  struct data_place place = mask_open_place(4, NULL);
  CHECK_OK(data_prepare(&place));
  char *paths[2] = {shard_path(place.master, 0, 2), shard_path(place.master, 1, 2)};
  struct timespec before[2] = {data_modified(paths[0]), data_modified(paths[1])};
  CHECK_OK(data_prepare(&place));
  CHECK(data_same_time(before[0], data_modified(paths[0])) &&
        data_same_time(before[1], data_modified(paths[1])));
  spoil(&place, 3, 0, 0, 1);
  CHECK_OK(data_prepare(&place));
  CHECK(data_same_time(before[0], data_modified(paths[0])) &&
        !data_same_time(before[1], data_modified(paths[1])));
  data_override(&place, "data.structures=\"aorta,liver\"");
  CHECK_OK(data_prepare(&place));
  CHECK(!data_same_time(before[0], data_modified(paths[0])));
  free(paths[0]);
  free(paths[1]);
  data_close_place(&place);
}

TEST(compressed_shards_hold_the_same) {
  struct data_place place = mask_open_place(4, NULL);
  uint64_t hash[2], manifest[2];
  for (int i = 0; i < 2; i++) {
    CHECK_OK(data_prepare(&place));
    struct dataset dataset;
    CHECK_OK(dataset_open(&dataset, place.master, NULL));
    hash[i] = data_hash(&dataset);
    manifest[i] = dataset_manifest(&dataset);
    for (int s = 0; s < 4; s++) compare_subject(&dataset, s);
    dataset_close(&dataset);
    data_override(&place, "data.compression=1");
  }
  CHECK(hash[0] == hash[1] && manifest[0] == manifest[1]);
  data_close_place(&place);
}

TEST(a_flip_swaps_sides) {
  static const char *const names[] = {"kidney_right", "spleen",      "kidney_left", "rib_left_1",
                                      "rib_right_12", "rib_left_12", "upright",     "left_lung",
                                      "right_lung",   "hip_left"};
  static const int mirrors[] = {2, 1, 0, -1, 5, 4, 6, 8, 7, -1};
  for (int c = 0; c < 10; c++) CHECK(structures_mirror(names, 10, c) == mirrors[c]);
}

int main(void) {
  RUN(keeps_every_bit);
  RUN(resamples_in_plane);
  RUN(the_config_says_which_structures);
  RUN(a_mask_on_another_grid_is_refused);
  RUN(a_damaged_mask_is_named);
  RUN(a_damaged_slice_is_named_and_others_serve);
  RUN(the_report_counts);
  RUN(the_table_says_the_splits);
  RUN(only_what_changed_is_made_again);
  RUN(compressed_shards_hold_the_same);
  RUN(a_flip_swaps_sides);
  return check_result();
}
