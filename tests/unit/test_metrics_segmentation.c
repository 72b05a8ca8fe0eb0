/* Segmentation metrics against MONAI (tests/golden/make_segmentation_metrics.py), and the rules for
 * empty structures. */
#include "check.h"
#include "golden.h"
#include "metrics/segmentation.h"

enum { CLASSES = 7, STRUCTURES = 11, TOLERANCES = 2, BOXES = 3 };

static struct golden golden;
static int extent[3];
static int64_t voxels, area;

static void open_all(void) {
  golden_open(&golden, "segmentation_metrics");
  const struct golden_tensor *tensor = golden_get(&golden, "labels_truth");
  memcpy(extent, tensor->extent, sizeof extent);
  voxels = tensor->count;
  area = voxels / extent[0];
}

static bool same(double a, double b, double tolerance) {
  return isnan(a) || isnan(b) ? isnan(a) && isnan(b) : fabs(a - b) <= tolerance;
}

/* A structure of packed masks, one byte a voxel. */
static uint8_t *unpack(const uint8_t *bits, int c) {
  uint8_t *mask = malloc((size_t)voxels);
  for (int64_t p = 0; p < voxels; p++)
    mask[p] = bits[(p / area * ((STRUCTURES + 7) / 8) + c / 8) * area + p % area] >> c % 8 & 1;
  return mask;
}

static void check_counts(const struct metrics_counts *own, const char *name, int classes) {
  int32_t *expected = golden_copy(&golden, name, "I32", 4);
  for (int c = 0; c < classes; c++) {
    const int32_t *row = expected + 3 * c;
    CHECK_SAY(own[c].tp == row[0] && own[c].fp == row[1] && own[c].fn == row[2], ": %s %d", name,
              c);
  }
  free(expected);
}

static void check_overlaps(const struct metrics_counts *counts, const char *kind,
                           const char *metric,
                           double (*measure)(const struct metrics_counts *, enum metrics_empty),
                           enum metrics_empty rule, int classes) {
  char name[64];
  snprintf(name, sizeof name, "%s_%s_%s", kind, metric, metrics_empty_name(rule));
  double *expected = golden_doubles(&golden, name);
  for (int c = 0; c < classes; c++) {
    double own = measure(&counts[c], rule);
    CHECK_SAY(same(own, expected[c], 1e-6), ": %s %d: %g, %g", name, c, own, expected[c]);
  }
  free(expected);
}

static void check_both(const struct metrics_counts *counts, const char *kind, int classes) {
  for (int rule = METRICS_EMPTY_MONAI; rule <= METRICS_EMPTY_MONAI_ALL; rule++) {
    check_overlaps(counts, kind, "dice", metrics_counts_dice, (enum metrics_empty)rule, classes);
    check_overlaps(counts, kind, "iou", metrics_counts_iou, (enum metrics_empty)rule, classes);
  }
}

TEST(label_maps_are_counted_and_scored_as_monai_does) {
  uint8_t *truth = golden_bytes(&golden, "labels_truth"),
          *predicted = golden_bytes(&golden, "labels_predicted");
  struct metrics_counts counts[CLASSES] = {{0}};
  metrics_count_labels(truth, predicted, voxels, CLASSES, counts);
  check_counts(counts, "labels_counts", CLASSES);
  check_both(counts, "labels", CLASSES);
  free(truth);
  free(predicted);
}

TEST(packed_masks_are_counted_and_scored_as_monai_does) {
  uint8_t *truth = golden_bytes(&golden, "bits_truth"),
          *predicted = golden_bytes(&golden, "bits_predicted");
  struct metrics_counts counts[STRUCTURES] = {{0}}, alone[STRUCTURES] = {{0}};
  metrics_count_bits(truth, predicted, STRUCTURES, extent[0], area, counts);
  check_counts(counts, "bits_counts", STRUCTURES);
  check_both(counts, "bits", STRUCTURES);
  for (int c = 0; c < STRUCTURES; c++) {
    uint8_t *a = unpack(truth, c), *b = unpack(predicted, c);
    metrics_count_mask(a, b, voxels, &alone[c]);
    free(a);
    free(b);
  }
  check_counts(alone, "bits_counts", STRUCTURES);
  free(truth);
  free(predicted);
}

/* A structure's counts, its box, its distances, as evaluation goes about it. */
static void measure(const uint8_t *truth, const uint8_t *predicted, int label,
                    const double spacing[3], double tolerance, struct metrics_surface *surface) {
  struct metrics_box boxes[CLASSES];
  struct metrics_counts counts[CLASSES] = {{0}};
  for (int c = 0; c < CLASSES; c++) boxes[c] = metrics_box_empty();
  metrics_find_boxes(truth, extent, CLASSES, boxes);
  metrics_find_boxes(predicted, extent, CLASSES, boxes);
  metrics_count_labels(truth, predicted, voxels, CLASSES, counts);
  CHECK_OK(metrics_surface_within(truth, predicted, label, &boxes[label], extent, spacing,
                                  tolerance, surface));
  metrics_surface_judge(surface, &counts[label], METRICS_EMPTY_MONAI, 100);
}

static void check_surface_dice(int spacing_number) {
  char name[64];
  snprintf(name, sizeof name, "spacing_%d", spacing_number);
  double *spacing = golden_doubles(&golden, name);
  double *tolerances = golden_doubles(&golden, "tolerances");
  snprintf(name, sizeof name, "labels_surface_dice_%d", spacing_number);
  double *of_labels = golden_doubles(&golden, name);
  snprintf(name, sizeof name, "bits_surface_dice_%d", spacing_number);
  double *of_bits = golden_doubles(&golden, name);
  uint8_t *labels[2] = {golden_bytes(&golden, "labels_truth"),
                        golden_bytes(&golden, "labels_predicted")};
  uint8_t *bits[2] = {golden_bytes(&golden, "bits_truth"), golden_bytes(&golden, "bits_predicted")};
  struct metrics_surface own;
  for (int t = 0; t < TOLERANCES; t++) {
    for (int c = 0; c < CLASSES; c++) {
      measure(labels[0], labels[1], c, spacing, tolerances[t], &own);
      CHECK_SAY(same(own.surface_dice, of_labels[t * CLASSES + c], 2e-6), ": label %d: %g, %g", c,
                own.surface_dice, of_labels[t * CLASSES + c]);
    }
    for (int c = 0; c < STRUCTURES; c++) {
      uint8_t *a = unpack(bits[0], c), *b = unpack(bits[1], c);
      measure(a, b, 1, spacing, tolerances[t], &own);
      CHECK_SAY(same(own.surface_dice, of_bits[t * STRUCTURES + c], 2e-6), ": mask %d: %g, %g", c,
                own.surface_dice, of_bits[t * STRUCTURES + c]);
      free(a);
      free(b);
    }
  }
  for (int i = 0; i < 2; i++) {
    free(labels[i]);
    free(bits[i]);
  }
  free(spacing);
  free(tolerances);
  free(of_labels);
  free(of_bits);
}

TEST(surface_dice_agrees_with_monai) {
  check_surface_dice(0);
  check_surface_dice(1);
}

/* MONAI's surfaces are voxels, ours lie between them; boxes moved along an axis are as far apart
 * either way. */
TEST(hausdorff_distances_of_moved_boxes_agree_with_monai) {
  uint8_t *truth = golden_bytes(&golden, "boxes_truth"),
          *predicted = golden_bytes(&golden, "boxes_predicted");
  double *expected = golden_doubles(&golden, "boxes_hausdorff");
  for (int s = 0; s < 2; s++) {
    char name[64];
    snprintf(name, sizeof name, "spacing_%d", s);
    double *spacing = golden_doubles(&golden, name);
    for (int c = 0; c < BOXES; c++) {
      struct metrics_surface own;
      CHECK_OK(metrics_surface_distance(truth + c * voxels, predicted + c * voxels, 1, extent,
                                        spacing, &own));
      CHECK_NEAR(own.hausdorff, expected[2 * c + s], 1e-6);
      CHECK(isnan(own.surface_dice));
    }
    free(spacing);
  }
  free(truth);
  free(predicted);
  free(expected);
}

TEST(every_rule_does_as_its_table_says) {
  static const struct metrics_counts neither = {0}, no_truth = {.fp = 4}, missed = {.fn = 4},
                                     half = {.tp = 2, .fp = 1, .fn = 3};
  static const struct {
    const char *name;
    double overlap[2], surface[2], distance[3];
  } table[] = {
      {"strict", {NAN, 0}, {NAN, 0}, {NAN, 7, 7}},
      {"nnunet", {NAN, 0}, {NAN, 0}, {NAN, 7, 7}},
      {"totalsegmentator", {NAN, NAN}, {NAN, NAN}, {NAN, NAN, 7}},
      {"monai", {NAN, NAN}, {NAN, 0}, {NAN, NAN, NAN}},
      {"monai_all", {1, 0}, {NAN, 0}, {NAN, NAN, NAN}},
  };
  for (int i = 0; i < METRICS_EMPTY_RULES; i++) {
    int found = metrics_empty_find(table[i].name);
    CHECK(found == i);
    enum metrics_empty rule = (enum metrics_empty)i;
    const struct metrics_counts *const counts[3] = {&neither, &no_truth, &missed};
    for (int k = 0; k < 3; k++) {
      struct metrics_surface surface = {1, 2, 3, 0.5};
      double overlap = k < 2 ? table[i].overlap[k] : 0;
      CHECK(same(metrics_counts_dice(counts[k], rule), overlap, 0));
      CHECK(same(metrics_counts_iou(counts[k], rule), overlap, 0));
      metrics_surface_judge(&surface, counts[k], rule, 7);
      CHECK(same(surface.hausdorff_95, table[i].distance[k], 0));
      CHECK(same(surface.hausdorff, table[i].distance[k], 0));
      CHECK(same(surface.surface_dice, k < 2 ? table[i].surface[k] : 0, 0));
    }
    struct metrics_surface kept = {1, 2, 3, 0.5};
    metrics_surface_judge(&kept, &half, rule, 7);
    CHECK(kept.hausdorff_95 == 1 && kept.surface_dice == 0.5);
    CHECK_NEAR(metrics_counts_dice(&half, rule), 0.5, 1e-15);
    CHECK_NEAR(metrics_counts_iou(&half, rule), 1 / 3.0, 1e-15);
  }
  CHECK(metrics_empty_find("none") == -1);
}

TEST(the_diagonal_is_of_the_whole_field_of_view) {
  CHECK_NEAR(metrics_diagonal((int[]){3, 2, 3}, (double[]){1, 2, 4}), 13, 1e-12);
}

TEST(success_counts_only_what_the_truth_has) {
  const double dice[5] = {0.9, 0.7, NAN, 0, 1};
  const uint8_t present[5] = {1, 1, 1, 1, 0};
  CHECK(metrics_success_rate(dice, present, 5, 0.7) == 0.5);
  CHECK(metrics_success_rate(dice, present, 5, 0.8) == 0.25);
  CHECK(isnan(metrics_success_rate(dice, present, 0, 0.5)));
}

TEST(boxes_hold_every_voxel) {
  const uint8_t map[2 * 2 * 4] = {0, 0, 1, 1, 0, 2, 0, 0, 0, 0, 0, 1, 9, 9, 9, 9};
  struct metrics_box boxes[4];
  for (int c = 0; c < 4; c++) boxes[c] = metrics_box_empty();
  metrics_find_boxes(map, (int[]){2, 2, 4}, 4, boxes);
  const struct metrics_box one = {{0, 0, 2}, {1, 0, 3}}, two = {{0, 1, 1}, {0, 1, 1}};
  CHECK(!memcmp(&boxes[1], &one, sizeof one) && !memcmp(&boxes[2], &two, sizeof two));
  CHECK(metrics_box_is_empty(&boxes[3]) && !metrics_box_is_empty(&boxes[0]));
}

int main(void) {
  open_all();
  RUN(label_maps_are_counted_and_scored_as_monai_does);
  RUN(packed_masks_are_counted_and_scored_as_monai_does);
  RUN(surface_dice_agrees_with_monai);
  RUN(hausdorff_distances_of_moved_boxes_agree_with_monai);
  RUN(every_rule_does_as_its_table_says);
  RUN(the_diagonal_is_of_the_whole_field_of_view);
  RUN(success_counts_only_what_the_truth_has);
  RUN(boxes_hold_every_voxel);
  golden_close(&golden);
  return check_result();
}
