/* Scores of segmentations whose truth and prediction are known in every voxel: numbers counted by
 * hand, on the prepared grid and on that of the source files. */
#include "base/file.h"
#include "task/segmentation_truth.h"
#include "test_segmentation.h"
#include "volume/volume.h"

static double row[TASK_MAX_COLUMNS];
static struct task_columns columns;

static void score(struct known_case *known, bool detailed) {
  char label[TASK_LABEL_BYTES];
  CHECK_OK(segmentation_columns(&known->run, detailed, &columns));
  for (int i = 0; i < TASK_MAX_COLUMNS; i++) row[i] = -1;
  CHECK_OK(
      segmentation_score(&known->run, SPLIT_TEST, 0, detailed, &known->network, NULL, row, label));
  CHECK(strcmp(label, "case") == 0 && row[columns.count] == -1);
}

static double value_of(const char *name) {
  for (int i = 0; i < columns.count; i++)
    if (strcmp(columns.name[i], name) == 0) return row[i];
  CHECK_SAY(false, ": there is no column %s", name);
  return NAN;
}

static bool has_column(const char *name) {
  for (int i = 0; i < columns.count; i++)
    if (strcmp(columns.name[i], name) == 0) return true;
  return false;
}

static void check_counts(const char *name, double tp, double fp, double fn) {
  static const char *const kinds[] = {"tp", "fp", "fn"};
  const double expected[] = {tp, fp, fn};
  for (int i = 0; i < 3; i++) {
    char column[64];
    snprintf(column, sizeof column, "%s_%s", kinds[i], name);
    double own = value_of(column);
    CHECK_SAY(own == expected[i], ": %s: %g, %g", column, own, expected[i]);
  }
}

/* --- on the prepared grid --- */

/* Voxels of 1 x 2 x 3 mm, the last column padding where the network sees class 1. Class 1: 24
 * voxels, found a column further on; class 2: 4 voxels, missed; class 3: nowhere. */
static void open_labels(struct known_case *known) {
  known_open(known, (int[]){4, 6, 8}, 4, false);
  known->subject.affine = affine_scaling((double[]){1, 2, 3}, (double[]){5, -4, 9});
  known->subject.box_count[2] = 7;
  known_override(known, "segmentation.geometry=stored");
  known_set_truth(known, 1, (struct known_box){{0, 0, 0}, {2, 3, 4}});
  known_set_truth(known, 2, (struct known_box){{3, 4, 0}, {4, 6, 2}});
  known_predict(known, 1, (struct known_box){{0, 0, 1}, {2, 3, 5}}, 0.9f);
  known_predict(known, 1, (struct known_box){{0, 0, 7}, {4, 6, 8}}, 0.9f);
}

TEST(label_maps_are_scored_while_training) {
  struct known_case known;
  open_labels(&known);
  score(&known, false);
  CHECK(columns.count == 5);
  CHECK_NEAR(value_of("dice_1"), 0.75, 1e-12);
  CHECK(value_of("dice_2") == 0 && isnan(value_of("dice_3")));
  CHECK_NEAR(value_of("dice"), 0.375, 1e-12);
  CHECK_NEAR(value_of("iou"), 0.3, 1e-12);
  known_close(&known);
}

TEST(label_maps_are_scored_in_detail) {
  struct known_case known;
  open_labels(&known);
  score(&known, true);
  check_counts("1", 18, 6, 6);
  check_counts("2", 0, 0, 4);
  check_counts("3", 0, 0, 0);
  check_counts("background", 134, 10, 6);
  CHECK_NEAR(value_of("dice"), 0.375, 1e-12);
  CHECK_NEAR(value_of("iou_with_background"), (134 / 150.0 + 0.6) / 3, 1e-12);
  CHECK_NEAR(value_of("hd95_1"), 3, 1e-12);
  CHECK_NEAR(value_of("hd95_2"), sqrt(16 + 144 + 441), 1e-12);
  CHECK(isnan(value_of("hd95_3")) && isnan(value_of("hd95_background")));
  CHECK(value_of("nsd_1") == 1 && value_of("nsd_2") == 0 && value_of("nsd") == 0.5);
  CHECK(value_of("structures") == 2 && value_of("missed") == 1 && value_of("spurious") == 0);
  CHECK_NEAR(value_of("voxel_ml"), 0.006, 1e-15);
  known_override(&known, "segmentation.tolerance=2.9");
  score(&known, true);
  CHECK(value_of("nsd_1") < 1 && value_of("nsd_1") > 0);
  known_close(&known);
}

TEST(rules_for_what_is_empty_change_the_means) {
  struct known_case known;
  open_labels(&known);
  known_override(&known, "segmentation.empty=monai");
  score(&known, true);
  CHECK(isnan(value_of("hd95_2")) && value_of("hd95") == 3);
  CHECK(value_of("dice_2") == 0 && isnan(value_of("dice_3")));
  known_override(&known, "segmentation.empty=monai_all");
  score(&known, true);
  CHECK(value_of("dice_3") == 1);
  CHECK_NEAR(value_of("dice"), (0.75 + 0 + 1) / 3, 1e-12);
  known_predict(&known, 3, (struct known_box){{3, 0, 0}, {4, 1, 1}}, 0.8f);
  known_override(&known, "segmentation.empty=totalsegmentator");
  score(&known, true);
  CHECK(isnan(value_of("dice_3")) && value_of("spurious") == 1);
  known_override(&known, "segmentation.empty=strict");
  score(&known, true);
  CHECK(value_of("dice_3") == 0 && value_of("hd95_3") == value_of("hd95_2"));
  known_close(&known);
}

TEST(distances_can_be_left_out) {
  struct known_case known;
  open_labels(&known);
  known_override(&known, "segmentation.distances=false");
  score(&known, true);
  CHECK(!has_column("hd95_1") && isnan(value_of("hd95")) && isnan(value_of("nsd")));
  check_counts("1", 18, 6, 6);
  known_close(&known);
}

TEST(classes_have_the_names_of_the_data) {
  struct known_case known;
  open_labels(&known);
  int64_t values[3] = {500, 600, 205};
  char *names[3] = {(char *)(uintptr_t) "left, ventricle", (char *)(uintptr_t) "aorta",
                    (char *)(uintptr_t) "wall"};
  known.run.dataset.label_value_count = 3;
  known.run.dataset.label_values = values;
  score(&known, false);
  CHECK_NEAR(value_of("dice_500"), 0.75, 1e-12);
  known.run.dataset.label_name_count = 3;
  known.run.dataset.label_names = names;
  score(&known, true);
  CHECK_NEAR(value_of("dice_left_ ventricle"), 0.75, 1e-12);
  CHECK(value_of("fn_aorta") == 4);
  known_close(&known);
}

static char *structure_names[9] = {
    (char *)(uintptr_t) "s0", (char *)(uintptr_t) "s1", (char *)(uintptr_t) "s2",
    (char *)(uintptr_t) "s3", (char *)(uintptr_t) "s4", (char *)(uintptr_t) "s5",
    (char *)(uintptr_t) "s6", (char *)(uintptr_t) "s7", (char *)(uintptr_t) "s8"};

/* Nine structures, so that bits are in two planes; 0 and 8 overlap, 3 is spurious, 4 missed. */
static void open_masks(struct known_case *known) {
  known_open(known, (int[]){4, 6, 8}, 9, true);
  known->run.dataset.structures = structure_names;
  known->subject.box_count[0] = 3;
  known_override(known, "segmentation.geometry=stored");
  known_override(known, "segmentation.threshold=0.3");
  known_set_truth(known, 0, (struct known_box){{0, 0, 0}, {2, 4, 4}});
  known_predict(known, 0, (struct known_box){{0, 0, 0}, {2, 4, 3}}, 0.31f);
  known_predict(known, 0, (struct known_box){{0, 4, 0}, {2, 6, 3}}, 0.29f);
  known_set_truth(known, 8, (struct known_box){{0, 0, 0}, {2, 2, 2}});
  known_predict(known, 8, (struct known_box){{0, 0, 0}, {4, 2, 2}}, 0.9f);
  known_predict(known, 3, (struct known_box){{2, 5, 7}, {3, 6, 8}}, 0.5f);
  known_set_truth(known, 4, (struct known_box){{1, 1, 1}, {2, 2, 2}});
}

static void check_masks(void) {
  CHECK_NEAR(value_of("dice_s0"), 48 / 56.0, 1e-12);
  CHECK_NEAR(value_of("dice_s8"), 16 / 20.0, 1e-12);
  CHECK(value_of("dice_s3") == 0 && value_of("dice_s4") == 0 && isnan(value_of("dice_s5")));
  CHECK_NEAR(value_of("dice"), (48 / 56.0 + 0.8) / 4, 1e-12);
}

TEST(structures_that_overlap_are_scored_each_by_itself) {
  struct known_case known;
  open_masks(&known);
  score(&known, false);
  CHECK(columns.count == 2 + 9);
  check_masks();
  score(&known, true);
  check_masks();
  check_counts("s0", 24, 0, 8);
  check_counts("s8", 8, 4, 0);
  check_counts("s3", 0, 1, 0);
  check_counts("s4", 0, 0, 1);
  CHECK(value_of("structures") == 3 && value_of("missed") == 1 && value_of("spurious") == 1);
  CHECK(isnan(value_of("iou_with_background")));
  known_close(&known);
}

TEST(slices_are_scored_as_the_volume_they_make) {
  struct known_case known;
  open_masks(&known);
  known_override(&known, "segmentation.sample=slice");
  known_override(&known, "model.dimensions=2");
  score(&known, false);
  check_masks();
  CHECK(known.slice == 2); /* the padded slice is not run */
  score(&known, true);
  check_counts("s8", 8, 4, 0);
  known_close(&known);
}

/* --- on the grid of the source files --- */

struct sources {
  char *folder, *image, *label;
};

static struct sources make_sources(struct known_case *known, bool masks) {
  struct sources sources = {.folder = check_make_folder()};
  sources.image = file_join(sources.folder, "image.nii.gz");
  sources.label = file_join(sources.folder, masks ? "segmentations" : "label.nii.gz");
  if (masks) CHECK_OK(file_make_directory(sources.label));
  known->subject.source = sources.image;
  known->subject.label_source = sources.label;
  return sources;
}

static void free_sources(struct sources *sources) {
  check_remove_folder(sources->folder);
  free(sources->image);
  free(sources->label);
}

/* A file that is `value` in the box and in one voxel more, else 0. */
static void write_file(const char *path, const struct grid *grid, const struct known_box *box,
                       const int extra[3], int value) {
  struct volume volume;
  CHECK_OK(volume_create(&volume, grid, 1));
  float *at = volume.values;
  for (int i = 0; i < grid->extent[0]; i++)
    for (int j = 0; j < grid->extent[1]; j++)
      for (int k = 0; k < grid->extent[2]; k++, at++) {
        const int voxel[3] = {i, j, k};
        bool is_extra = extra && !memcmp(voxel, extra, sizeof voxel);
        if (known_is_inside(box, voxel) || is_extra) *at = (float)value;
      }
  const struct volume_format format = {.type = VOLUME_INT16};
  CHECK_OK(volume_write(&volume, path, &format));
  volume_close(&volume);
}

/* The file is LPS with 8 x 6 x 5 voxels of 2 mm; prepared are its voxels 1 to 6 along i, turned to
 * RAS and padded along k. Truth has a voxel that was not prepared: it can only be missed. */
static void open_flipped(struct known_case *known, struct grid *file, int classes,
                         bool overlapping) {
  known_open(known, (int[]){6, 6, 6}, classes, overlapping);
  known->subject.box_count[2] = 5;
  *file = (struct grid){{8, 6, 5}, {{{-2, 0, 0, 30}, {0, -2, 0, 12}, {0, 0, 2, -7}}}};
  /* prepared voxel (a, b, c) is the file's (6 - a, 5 - b, c) */
  known->subject.affine = (struct affine){{{2, 0, 0, 30 - 12}, {0, 2, 0, 12 - 10}, {0, 0, 2, -7}}};
}

TEST(label_maps_are_scored_where_the_file_has_them) {
  struct known_case known;
  struct grid file;
  open_flipped(&known, &file, 3, false);
  struct sources sources = make_sources(&known, false);
  known_override(&known, "data.labels=[7,9]");
  const struct known_box box = {{2, 1, 0}, {5, 3, 4}}; /* 24 voxels */
  write_file(sources.label, &file, &box, (int[]){0, 0, 0}, 9);
  /* the file's i 2..4, j 1..2 are prepared a 2..4, b 3..4; one row more is predicted */
  known_predict(&known, 2, (struct known_box){{2, 3, 0}, {5, 6, 4}}, 0.6f);
  known_predict(&known, 1, (struct known_box){{0, 0, 5}, {6, 6, 6}}, 1); /* padding */
  score(&known, true);
  check_counts("1", 0, 0, 0);
  check_counts("2", 24, 12, 1);
  check_counts("background", 8 * 6 * 5 - 37, 1, 12);
  CHECK_NEAR(value_of("voxel_ml"), 0.008, 1e-15);
  CHECK_NEAR(value_of("dice"), 48 / 61.0, 1e-12);
  known_override(&known, "data.labels=[7]");
  known.classes = 2;
  known_override(&known, "model.classes=2");
  char label[TASK_LABEL_BYTES];
  known.subject.label_source = (char *)(uintptr_t) "";
  CHECK_FAILS(segmentation_score(&known.run, SPLIT_TEST, 0, true, &known.network, NULL, row, label),
              "segmentation.geometry=stored");
  free_sources(&sources);
  known_close(&known);
}

static void write_mask(const struct sources *sources, const char *name, const struct grid *file,
                       const struct known_box *box, const int extra[3]) {
  char *path = file_format("%s/%s.nii.gz", sources->label, name);
  write_file(path, file, box, extra, 1);
  free(path);
}

TEST(masks_are_scored_where_the_files_have_them) {
  struct known_case known;
  struct grid file;
  open_flipped(&known, &file, 9, true);
  known.run.dataset.structures = structure_names;
  struct sources sources = make_sources(&known, true);
  const struct known_box box = {{2, 1, 0}, {5, 3, 4}}, all = {{0, 0, 0}, {8, 6, 5}};
  write_file(sources.image, &file, &all, NULL, 1);
  write_mask(&sources, "s1", &file, &box, (int[]){7, 5, 4});
  write_mask(&sources, "s8", &file, &all, NULL);
  known_predict(&known, 1, (struct known_box){{2, 3, 0}, {5, 6, 4}}, 0.6f);
  known_predict(&known, 8, (struct known_box){{0, 0, 0}, {6, 6, 6}}, 1);
  known_predict(&known, 3, (struct known_box){{5, 5, 4}, {6, 6, 6}}, 1);
  score(&known, true);
  check_counts("s1", 24, 12, 1);
  check_counts("s8", 180, 0, 60);
  check_counts("s3", 0, 1, 0);
  check_counts("s0", 0, 0, 0);
  CHECK(value_of("structures") == 2 && value_of("spurious") == 1);
  free_sources(&sources);
  known_close(&known);
}

/* Voxels of the file are half as wide along k. Its voxel k is at (k - 1/2) / 2 of what the network
 * says, 0 1 1 0 there: 0 1/4 3/4 1 1 3/4 1/4 0. */
static struct grid open_coarse(struct known_case *known, int classes, bool overlapping) {
  known_open(known, (int[]){2, 2, 4}, classes, overlapping);
  known->subject.affine = affine_scaling((double[]){1, 1, 2}, (double[]){0, 0, 0.5});
  known_predict(known, overlapping ? 0 : 1, (struct known_box){{0, 0, 1}, {2, 2, 3}}, 1);
  return (struct grid){{2, 2, 8}, affine_identity()};
}

TEST(probabilities_are_interpolated_before_they_are_compared) {
  struct known_case known;
  struct grid file = open_coarse(&known, 2, false);
  struct sources sources = make_sources(&known, false);
  write_file(sources.label, &file, &(struct known_box){{0, 0, 2}, {2, 2, 7}}, NULL, 1);
  score(&known, true);
  check_counts("1", 16, 0, 4);
  free_sources(&sources);
  known_close(&known);
}

TEST(structures_are_interpolated_up_to_their_threshold) {
  static const struct {
    const char *threshold;
    double tp, fp, fn;
  } cases[] = {{"segmentation.threshold=0.8", 8, 0, 12},
               {"segmentation.threshold=0.5", 16, 0, 4},
               {"segmentation.threshold=0.2", 20, 4, 0}};
  struct known_case known;
  struct grid file = open_coarse(&known, 1, true);
  known.run.dataset.structures = structure_names;
  struct sources sources = make_sources(&known, true);
  const struct known_box box = {{0, 0, 2}, {2, 2, 7}};
  write_file(sources.image, &file, &box, NULL, 1);
  write_mask(&sources, "s0", &file, &box, NULL);
  for (int i = 0; i < 3; i++) {
    known_override(&known, cases[i].threshold);
    score(&known, true);
    check_counts("s0", cases[i].tp, cases[i].fp, cases[i].fn);
  }
  free_sources(&sources);
  known_close(&known);
}

/* --- predictions --- */

/* Rounded to bytes, every probability stays on its side of the threshold. */
TEST(rounding_crosses_no_threshold) {
  static const char *const thresholds[] = {"0.5", "0.3", "0.123", "0.999", "0.0012"};
  for (int t = 0; t < 5; t++) {
    struct known_case known;
    known_open(&known, (int[]){2, 2, 64}, 1, true);
    char text[64];
    snprintf(text, sizeof text, "segmentation.threshold=%s", thresholds[t]);
    known_override(&known, text);
    struct segmentation_view view;
    struct segmentation_prediction prediction;
    const struct segmentation_box box = {{0, 0, 0}, {2, 2, 64}};
    const float threshold = strtof(thresholds[t], NULL);
    float plane[128];
    uint8_t mask[256];
    CHECK_OK(segmentation_look(&known.config, known.extent, &view));
    CHECK_OK(segmentation_prediction_open(&prediction, &view, known.extent, &known.subject.affine,
                                          &box));
    for (int i = 0; i < 128; i++)
      plane[i] = fmaxf(0, threshold + (float)(i - 64) * (i & 1 ? 1e-6f : 2e-4f));
    for (int d = 0; d < 2; d++) CHECK_OK(segmentation_prediction_take(&prediction, d, plane));
    CHECK_OK(segmentation_prediction_mask(&prediction, 0, &prediction.grid, mask));
    for (int i = 0; i < 256; i++) CHECK(mask[i] == (plane[i % 128] >= threshold));
    segmentation_prediction_close(&prediction);
    known_close(&known);
  }
}

TEST(slices_of_predictions_are_the_likeliest_classes) {
  struct known_case known;
  struct segmentation_view view;
  struct segmentation_prediction prediction;
  open_labels(&known);
  const struct segmentation_box box = {{0, 0, 1}, {4, 6, 6}};
  CHECK_OK(segmentation_look(&known.config, known.extent, &view));
  CHECK_OK(
      segmentation_prediction_open(&prediction, &view, known.extent, &known.subject.affine, &box));
  const struct segmentation_planes planes = {.take = segmentation_prediction_take,
                                             .context = &prediction};
  CHECK_OK(segmentation_infer(&view, &known.network, known.image, known.extent, &planes));
  uint16_t slice[36];
  segmentation_prediction_slice(&prediction, 2, 3, slice); /* w = 4: d 0..1, h 0..2 */
  for (int i = 0; i < 24; i++) CHECK(slice[i] == (i / 6 < 2 && i % 6 < 3));
  segmentation_prediction_slice(&prediction, 2, 4, slice);
  for (int i = 0; i < 24; i++) CHECK(slice[i] == 0);
  segmentation_prediction_slice(&prediction, 0, 1, slice);
  for (int i = 0; i < 36; i++) CHECK(slice[i] == (i / 6 < 3 && i % 6 < 4));
  struct volume map;
  CHECK_OK(segmentation_prediction_map(&prediction, 1, &prediction.grid, &map));
  CHECK_NEAR(map.values[0], 0.9, 1e-5);
  CHECK_NEAR(map.affine.m[2][3], 9 + 3, 1e-12);
  volume_close(&map);
  segmentation_prediction_close(&prediction);
  known_close(&known);
}

TEST(categories_are_judged_by_the_likeliest) {
  struct known_case known;
  open_labels(&known);
  known_override(&known, "segmentation.categories=3");
  known.category[1] = 2;
  known.category[2] = 1;
  for (int detailed = 0; detailed < 2; detailed++) {
    known.subject.category = 1;
    score(&known, detailed);
    CHECK(value_of("category_correct") == 1);
    known.subject.category = 2;
    score(&known, detailed);
    CHECK(value_of("category_correct") == 0);
  }
  CHECK(value_of("category") == 2 && value_of("category_predicted") == 1);
  known.subject.category = -1;
  score(&known, true);
  CHECK(isnan(value_of("category_correct")) && isnan(value_of("category")));
  CHECK_NEAR(value_of("dice"), 0.375, 1e-12);
  known_close(&known);
}

TEST(the_fullest_planes_are_those_with_the_most_truth) {
  struct known_case known;
  struct segmentation_view view;
  int plane[3];
  open_labels(&known);
  CHECK_OK(segmentation_look(&known.config, known.extent, &view));
  known.subject.box_first[2] = 1;
  known.subject.box_count[2] = 6;
  known_set_truth(&known, 3, (struct known_box){{1, 2, 3}, {2, 3, 4}});
  known_set_truth(&known, 3, (struct known_box){{1, 5, 0}, {4, 6, 1}}); /* outside the box */
  known_set_truth(&known, 3, (struct known_box){{1, 5, 3}, {2, 6, 4}});
  CHECK_OK(segmentation_truth_fullest(&view, &known.run.dataset, 0, plane));
  CHECK(plane[0] == 1 && plane[1] == 0 && plane[2] == 0);
  memset(known.truth, 0, known_voxels(&known));
  CHECK_OK(segmentation_truth_fullest(&view, &known.run.dataset, 0, plane));
  CHECK(plane[0] == 2 && plane[1] == 3 && plane[2] == 3);
  known_close(&known);
}

int main(void) {
  RUN(label_maps_are_scored_while_training);
  RUN(label_maps_are_scored_in_detail);
  RUN(rules_for_what_is_empty_change_the_means);
  RUN(distances_can_be_left_out);
  RUN(classes_have_the_names_of_the_data);
  RUN(structures_that_overlap_are_scored_each_by_itself);
  RUN(slices_are_scored_as_the_volume_they_make);
  RUN(label_maps_are_scored_where_the_file_has_them);
  RUN(masks_are_scored_where_the_files_have_them);
  RUN(probabilities_are_interpolated_before_they_are_compared);
  RUN(structures_are_interpolated_up_to_their_threshold);
  RUN(rounding_crosses_no_threshold);
  RUN(slices_of_predictions_are_the_likeliest_classes);
  RUN(categories_are_judged_by_the_likeliest);
  RUN(the_fullest_planes_are_those_with_the_most_truth);
  return check_result();
}
