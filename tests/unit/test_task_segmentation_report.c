/* What evaluation of a segmentation writes: JSON, a table of cases and structures, charts,
 * pictures, colour tables. */
#include <jansson.h>
#include "base/file.h"
#include "base/log.h"
#include "task/segmentation_colours.h"
#include "task/segmentation_picture.h"
#include "task/segmentation_scores.h"
#include "test_segmentation.h"

static char *folder;

static void use_folder(struct known_case *known) {
  char *text = file_format("output.dir=%s", folder);
  known_override(known, text);
  free(text);
}

static char *read_text(const char *name, size_t *bytes) {
  char *path = file_join(folder, name), *text = NULL;
  CHECK_OK(file_read(path, (size_t)1 << 24, &text, bytes));
  free(path);
  return text ? text : strdup("");
}

/* --- the report --- */

enum { CASES = 3 };

static struct task_columns columns;
static double rows[CASES][TASK_MAX_COLUMNS];
static char labels[CASES][TASK_LABEL_BYTES];

static double *cell(int sample, const char *name) {
  for (int i = 0; i < columns.count; i++)
    if (strcmp(columns.name[i], name) == 0) return &((double *)rows)[sample * columns.count + i];
  CHECK_SAY(false, ": there is no column %s", name);
  return &rows[0][0];
}

/* Counts of a class in a case; what follows from them is as the strict rule has it. */
static void put_class(int sample, const char *class, int tp, int fp, int fn, double hd95,
                      double nsd) {
  static const char *const kinds[] = {"tp", "fp", "fn", "dice", "iou", "hd95", "nsd"};
  const struct metrics_counts counts = {tp, fp, fn};
  const double values[] = {tp,
                           fp,
                           fn,
                           metrics_counts_dice(&counts, METRICS_EMPTY_STRICT),
                           metrics_counts_iou(&counts, METRICS_EMPTY_STRICT),
                           hd95,
                           nsd};
  for (int i = 0; i < 7; i++) {
    char name[64];
    snprintf(name, sizeof name, "%s_%s", kinds[i], class);
    *cell(sample, name) = values[i];
  }
}

/* Class 1: Dice 0.8, 0.5, 0 (missed); class 2: 1, neither, spurious. */
static void fill_scores(struct known_case *known, struct task_scores *scores) {
  known_open(known, (int[]){4, 4, 4}, 3, false);
  use_folder(known);
  CHECK_OK(segmentation_columns(&known->run, true, &columns));
  for (int i = 0; i < CASES; i++) {
    snprintf(labels[i], TASK_LABEL_BYTES, "case \"%d\"", i);
    put_class(i, "background", 50, 10, 10, NAN, NAN);
    *cell(i, "voxel_ml") = 0.5;
    *cell(i, "structures") = i == 0 ? 2 : 1;
    *cell(i, "missed") = i == 2;
    *cell(i, "spurious") = i == 2;
    *cell(i, "iou") = 0.25 * i;
    *cell(i, "iou_with_background") = 0.5;
    *cell(i, "hd95") = *cell(i, "nsd") = NAN;
  }
  put_class(0, "1", 4, 1, 1, 1.5, 0.9);
  put_class(1, "1", 1, 1, 1, 2.5, 0.7);
  put_class(2, "1", 0, 0, 6, 20, 0);
  put_class(0, "2", 8, 0, 0, 0, 1);
  put_class(1, "2", 0, 0, 0, NAN, NAN);
  put_class(2, "2", 0, 3, 0, 20, 0);
  *cell(0, "dice") = 0.9;
  *cell(1, "dice") = 0.5;
  *cell(2, "dice") = 0;
  *scores = (struct task_scores){.split = "test",
                                 .checkpoint = "best",
                                 .name = "test",
                                 .columns = &columns,
                                 .count = CASES,
                                 .rows = &rows[0][0],
                                 .labels = &labels[0][0]};
}

/* A number by its path in the JSON. */
static double number_at(json_t *json, const char *a, const char *b, const char *c, const char *d) {
  const char *const path[] = {a, b, c, d};
  for (int i = 0; i < 4 && path[i]; i++) json = json_object_get(json, path[i]);
  CHECK_SAY(json_is_number(json) || json_is_null(json), ": %s", a);
  return json_is_number(json) ? json_number_value(json) : NAN;
}

static void check_json(json_t *json) {
  const double pooled_1 = 2 * 5 / 20.0, pooled_2 = 16 / 19.0;
  CHECK_NEAR(number_at(json, "classes", "1", "dice", "mean"), 1.3 / 3, 1e-12);
  CHECK_NEAR(number_at(json, "classes", "1", "dice", "median"), 0.5, 1e-12);
  CHECK_NEAR(number_at(json, "classes", "1", "pooled", "dice"), pooled_1, 1e-12);
  CHECK(number_at(json, "classes", "1", "pooled", "fn") == 8);
  CHECK_NEAR(number_at(json, "classes", "2", "dice", "mean"), 0.5, 1e-12);
  CHECK(number_at(json, "classes", "2", "dice", "count") == 2);
  CHECK_NEAR(number_at(json, "classes", "1", "hd95_mm", "mean"), 8, 1e-12);
  CHECK(number_at(json, "classes", "1", "missed", NULL) == 1);
  CHECK(number_at(json, "classes", "2", "spurious", NULL) == 1);
  CHECK(number_at(json, "classes", "2", "present", NULL) == 1);
  CHECK_NEAR(number_at(json, "classes", "1", "success", "0.5"), 2 / 3.0, 1e-12);
  CHECK_NEAR(number_at(json, "classes", "1", "success", "0.9"), 0, 0);
  CHECK_NEAR(number_at(json, "classes", "2", "success", "0.9"), 1, 0);
  CHECK_NEAR(number_at(json, "success", "0.5", NULL, NULL), 0.75, 1e-12);
  CHECK_NEAR(number_at(json, "success", "0.8", NULL, NULL), 0.5, 1e-12);
  CHECK_NEAR(number_at(json, "pooled", "dice", NULL, NULL), (pooled_1 + pooled_2) / 2, 1e-12);
  const double iou = (5 / 15.0 + 8 / 11.0 + 150 / 210.0) / 3;
  CHECK_NEAR(number_at(json, "pooled", "iou_with_background", NULL, NULL), iou, 1e-12);
  CHECK_NEAR(number_at(json, "classes_mean", "dice", NULL, NULL), (1.3 / 3 + 0.5) / 2, 1e-12);
  CHECK_NEAR(number_at(json, "cases_mean", "dice", "mean", NULL), 1.4 / 3, 1e-12);
  CHECK(isnan(number_at(json, "cases_mean", "hd95_mm", "mean", NULL)));
  CHECK(number_at(json, "n_present", NULL, NULL, NULL) == 4);
  CHECK(number_at(json, "n_missed", NULL, NULL, NULL) == 1);
  CHECK(strcmp(json_string_value(json_object_get(json, "empty")), "strict") == 0);
}

static bool is_png(const char *name) {
  size_t bytes = 0;
  char *text = read_text(name, &bytes);
  bool is = bytes > 200 && memcmp(text, "\x89PNG", 4) == 0;
  free(text);
  return is;
}

TEST(the_report_says_what_the_counts_say) {
  struct known_case known;
  struct task_scores scores;
  size_t bytes;
  fill_scores(&known, &scores);
  CHECK_OK(segmentation_report(&known.run, &scores));
  char *text = read_text("metrics.json", &bytes);
  json_t *json = json_loads(text, 0, NULL);
  check_json(json);
  json_decref(json);
  free(text);
  text = read_text("evaluation_results_test.csv", &bytes);
  CHECK(strstr(text, "case,structure,dice,iou,hd95_mm,nsd,tp,fp,fn,truth_ml,prediction_ml\n"));
  CHECK(strstr(text, "\n\"case \"\"1\"\"\",\"1\",0.5,0.333333333,2.5,0.7,1,1,1,1,1\n"));
  CHECK(strstr(text, "\n\"case \"\"1\"\"\",\"2\",,,,,0,0,0,0,0\n"));
  CHECK(strstr(text, "\n\"case \"\"2\"\"\",\"2\",0,0,20,0,0,3,0,0,1.5\n"));
  CHECK(!strstr(text, "background"));
  free(text);
  CHECK(is_png("metrics_distribution_test.png") && is_png("structure_ranking_test.png"));
  scores.name = "again";
  CHECK_OK(segmentation_report(&known.run, &scores));
  text = read_text("metrics_again.json", &bytes);
  CHECK(bytes > 0);
  free(text);
  known_close(&known);
}

TEST(categories_are_counted_against_each_other) {
  static const double pairs[CASES][2] = {{0, 0}, {0, 1}, {NAN, 1}};
  struct known_case known;
  struct task_scores scores;
  fill_scores(&known, &scores);
  known_override(&known, "segmentation.categories=2");
  CHECK_OK(segmentation_columns(&known.run, true, &columns));
  memset(rows, 0, sizeof rows);
  for (int i = 0; i < CASES; i++) {
    *cell(i, "category") = pairs[i][0];
    *cell(i, "category_predicted") = pairs[i][1];
  }
  scores.name = "told";
  CHECK_OK(segmentation_report(&known.run, &scores));
  size_t bytes;
  char *text = read_text("metrics_told.json", &bytes);
  json_t *json = json_loads(text, 0, NULL), *told = json_object_get(json, "category");
  CHECK(number_at(told, "accuracy", NULL, NULL, NULL) == 0.5);
  CHECK(number_at(told, "count", NULL, NULL, NULL) == 2);
  json_t *line = json_array_get(json_object_get(told, "confusion"), 0);
  CHECK(json_integer_value(json_array_get(line, 1)) == 1);
  json_decref(json);
  free(text);
  known_close(&known);
}

TEST(a_report_without_distances_has_none) {
  struct known_case known;
  struct task_scores scores;
  known_open(&known, (int[]){4, 4, 4}, 3, false);
  use_folder(&known);
  known_override(&known, "segmentation.distances=false");
  CHECK_OK(segmentation_columns(&known.run, true, &columns));
  memset(rows, 0, sizeof rows);
  scores = (struct task_scores){.split = "test",
                                .checkpoint = "best",
                                .name = "plain",
                                .columns = &columns,
                                .count = 1,
                                .rows = &rows[0][0],
                                .labels = &labels[0][0]};
  CHECK_OK(segmentation_report(&known.run, &scores));
  size_t bytes;
  char *text = read_text("metrics_plain.json", &bytes);
  json_t *json = json_loads(text, 0, NULL);
  json_t *class = json_object_get(json_object_get(json, "classes"), "1");
  CHECK(json_object_get(class, "dice") && !json_object_get(class, "hd95_mm"));
  json_decref(json);
  free(text);
  CHECK(is_png("structure_ranking_plain.png"));
  known_close(&known);
}

/* --- pictures --- */

static struct colour pixel_of(const struct task_image *image, int x, int y) {
  const unsigned char *at = image->pixels + 3 * (y * image->width + x);
  return (struct colour){at[0], at[1], at[2]};
}

static bool is_colour(struct colour a, struct colour b) {
  return a.red == b.red && a.green == b.green && a.blue == b.blue;
}

static int count_colour(const struct task_image *image, int first, int end, struct colour colour) {
  int count = 0;
  for (int y = 0; y < image->height; y++)
    for (int x = first; x < end; x++) count += is_colour(pixel_of(image, x, y), colour);
  return count;
}

static void check_drawing(struct known_case *known, struct colour truth, struct colour predicted) {
  struct task_image images[TASK_MAX_IMAGES] = {{0}};
  int count = 0;
  CHECK_OK(segmentation_draw(&known->run, &known->network, NULL, images, &count));
  CHECK(count == 1 && images[0].channels == 3);
  if (count == 1) {
    int third = images[0].width / 3;
    CHECK(count_colour(&images[0], 0, third, truth) == 0);
    CHECK(count_colour(&images[0], third, 2 * third, truth) > 0);
    CHECK(count_colour(&images[0], third, 2 * third, predicted) == 0);
    CHECK(count_colour(&images[0], 2 * third, images[0].width, predicted) > 0);
  }
  free(images[0].pixels);
}

TEST(event_pictures_show_truth_and_prediction) {
  struct known_case known;
  known_open(&known, (int[]){8, 6, 8}, 3, false);
  known_set_truth(&known, 1, (struct known_box){{5, 1, 1}, {7, 4, 4}});
  known_predict(&known, 2, (struct known_box){{5, 2, 2}, {6, 5, 5}}, 0.9f);
  check_drawing(&known, segmentation_colour(1), segmentation_colour(2));
  known_override(&known, "segmentation.sample=patch");
  known_override(&known, "segmentation.patch=[8,6,8]");
  check_drawing(&known, segmentation_colour(1), segmentation_colour(2));
  known_close(&known);
}

TEST(event_pictures_of_slices_run_one_slice) {
  struct known_case known;
  known_open(&known, (int[]){8, 6, 8}, 2, true);
  known_override(&known, "segmentation.sample=slice");
  known_override(&known, "model.dimensions=2");
  known_set_truth(&known, 0, (struct known_box){{5, 1, 1}, {6, 4, 4}});
  known_predict(&known, 1, (struct known_box){{5, 2, 2}, {6, 5, 5}}, 0.9f);
  known.slice = -1;
  check_drawing(&known, segmentation_colour(1), segmentation_colour(2));
  CHECK(known.slice == 5);
  known_close(&known);
}

TEST(evaluation_draws_its_first_cases) {
  struct known_case known;
  double row[64];
  char label[TASK_LABEL_BYTES];
  known_open(&known, (int[]){8, 6, 8}, 3, false);
  use_folder(&known);
  known_override(&known, "output.images=true");
  known_override(&known, "segmentation.geometry=stored");
  known_set_truth(&known, 1, (struct known_box){{5, 1, 1}, {7, 4, 4}});
  CHECK_OK(segmentation_score(&known.run, SPLIT_TEST, 0, true, &known.network, NULL, row, label));
  CHECK(is_png("segmentation_visualization_case.png"));
  known_close(&known);
}

/* Axes that point left and down are shown the other way round. */
TEST(slices_are_shown_right_on_the_right_and_up) {
  const struct grid ras = {{4, 6, 8}, affine_identity()};
  const struct grid lpi = {{4, 6, 8}, {{{-1, 0, 0, 0}, {0, -1, 0, 0}, {0, 0, -2, 0}}}};
  const struct segmentation_slice_view axial = segmentation_slice_plan(&ras, 2, 60);
  CHECK(axial.across == 0 && axial.down == 1 && !axial.flip_x && axial.flip_y);
  CHECK(axial.width == 40 && axial.height == 60);
  const struct segmentation_slice_view sagittal = segmentation_slice_plan(&lpi, 0, 80);
  CHECK(sagittal.across == 1 && sagittal.down == 2 && sagittal.flip_x && !sagittal.flip_y);
  CHECK(sagittal.width == 30 && sagittal.height == 80);
  struct canvas canvas;
  float image[24] = {0};
  uint16_t classes[24] = {0};
  classes[3 * 6 + 5] = 7; /* i 3, j 5: right and anterior */
  CHECK_OK(canvas_open(&canvas, 40, 60));
  segmentation_slice_draw(&canvas, 0, 0, &axial, image, 0, 1, classes);
  const struct task_image picture = {"", 40, 60, 3, canvas.pixels};
  CHECK(is_colour(pixel_of(&picture, 30, 5), segmentation_colour(7)));
  CHECK(is_colour(pixel_of(&picture, 5, 50), (struct colour){0, 0, 0}));
  canvas_close(&canvas);
}

/* --- colours --- */

TEST(classes_have_colours_of_their_own) {
  enum { COLOURS = 256, NEAR = 12 };
  for (int a = 1; a < COLOURS; a++)
    for (int b = a + 1; b < COLOURS; b++) {
      struct colour one = segmentation_colour(a), two = segmentation_colour(b);
      int apart = abs(one.red - two.red) + abs(one.green - two.green) + abs(one.blue - two.blue);
      CHECK_SAY(apart > (b - a < NEAR ? 88 : 0), ": %d and %d: %d", a, b, apart);
    }
  CHECK(is_colour(segmentation_colour(0), (struct colour){0, 0, 0}));
}

TEST(colour_tables_are_as_viewers_read_them) {
  static const char *const names[] = {"left ventricle", "aorta"};
  static const int64_t values[] = {500, 820};
  const struct segmentation_legend legend = {2, names, values, 2};
  char *map = file_join(folder, "a.nii_label.nii.gz"), expected[128];
  struct colour first = segmentation_colour(1), second = segmentation_colour(2);
  size_t bytes;
  CHECK_OK(segmentation_write_colours(map, &legend));
  char *slicer = read_text("a.nii_label.ctbl", &bytes);
  snprintf(expected, sizeof expected, "\n500 left_ventricle %d %d %d 255\n820 aorta %d %d %d 255\n",
           first.red, first.green, first.blue, second.red, second.green, second.blue);
  CHECK(strstr(slicer, "\n0 Background 0 0 0 0\n") && strstr(slicer, expected));
  char *snap = read_text("a.nii_label.txt", &bytes);
  int value = 0, red = 0, green, blue, opacity = 0, visible, mesh = 0;
  char name[64] = "", *line = strstr(snap, "  500 ");
  CHECK(line && sscanf(line, "%d %d %d %d %d %d %d \"%63[^\"]\"", &value, &red, &green, &blue,
                       &opacity, &visible, &mesh, name) == 8);
  CHECK(value == 500 && red == first.red && opacity == 1 && mesh == 1);
  CHECK(strcmp(name, "left ventricle") == 0);
  free(map);
  free(slicer);
  free(snap);
}

int main(void) {
  log_setup(0, 1, LOG_ERROR);
  folder = check_make_folder();
  RUN(the_report_says_what_the_counts_say);
  RUN(categories_are_counted_against_each_other);
  RUN(a_report_without_distances_has_none);
  RUN(event_pictures_show_truth_and_prediction);
  RUN(event_pictures_of_slices_run_one_slice);
  RUN(evaluation_draws_its_first_cases);
  RUN(slices_are_shown_right_on_the_right_and_up);
  RUN(classes_have_colours_of_their_own);
  RUN(colour_tables_are_as_viewers_read_them);
  check_remove_folder(folder);
  return check_result();
}
