/* The pose task's parts: poses as functions of their keys, with the statistics of a hundred
 * thousand draws in numpy; samples that never mix subjects; the map that moves a volume; estimates;
 * scores of made-up networks. */
#include "base/random.h"
#include "check.h"
#include "metrics/pose.h"
#include "task/common.h"
#include "task/pose.h"

enum { SUBJECTS = 6, DRAWS = 20000 };

static const char *const names[SUBJECTS] = {"a", "b", "c", "d", "e", "f"};

/* A run without volumes: four subjects train, one validates, one tests. */
static void open_run(struct task_run *run, struct config *config,
                     struct dataset_subject subjects[SUBJECTS]) {
  CHECK_OK(config_defaults(config));
  *run = (struct task_run){.config = config, .atlas = -1};
  run->dataset.subjects = subjects;
  run->dataset.subject_count = SUBJECTS;
  for (int split = 0; split < SPLIT_COUNT; split++)
    run->subjects[split] = calloc(SUBJECTS, sizeof(int));
  for (int i = 0; i < SUBJECTS; i++) {
    enum split split = i < 4 ? SPLIT_TRAIN : i == 4 ? SPLIT_VALIDATION : SPLIT_TEST;
    subjects[i] = (struct dataset_subject){.id = (char *)(uintptr_t)names[i], .split = split};
    run->subjects[split][run->subject_count[split]++] = i;
  }
}

static void close_run(struct task_run *run, struct config *config) {
  for (int split = 0; split < SPLIT_COUNT; split++) free(run->subjects[split]);
  free(run->order);
  config_close(config);
}

static bool same_pose(const struct pose *a, const struct pose *b) {
  return memcmp(a, b, sizeof *a) == 0;
}

static double whole_angle(const struct pose *pose) {
  static const struct pose still;
  static const double half[3] = {1, 1, 1};
  return metrics_pose_compare(pose, &still, half).geodesic;
}

static double whole_distance(const struct pose *pose) {
  const double *t = pose->translation;
  return sqrt(t[0] * t[0] + t[1] * t[1] + t[2] * t[2]);
}

TEST(poses_are_functions_of_seed_subject_variant_and_epoch) {
  struct config config;
  struct task_run run;
  struct dataset_subject subjects[SUBJECTS];
  open_run(&run, &config, subjects);
  const struct pose fixed = pose_motion(&run, -1, 0, 3), again = pose_motion(&run, -1, 0, 3);
  const struct pose others[] = {pose_motion(&run, 0, 0, 3), pose_motion(&run, 1, 0, 3),
                                pose_motion(&run, -1, 1, 3), pose_motion(&run, -1, 0, 4)};
  CHECK(same_pose(&fixed, &again));
  for (int i = 0; i < 4; i++) CHECK(!same_pose(&fixed, &others[i]));
  CHECK_OK(config_override(&config, "pose.variants=fixed"));
  const struct pose in_epoch = pose_motion(&run, 7, 0, 3);
  CHECK(same_pose(&fixed, &in_epoch));
  CHECK_OK(config_override(&config, "seed=2"));
  const struct pose other_seed = pose_motion(&run, -1, 0, 3);
  CHECK(!same_pose(&fixed, &other_seed));
  close_run(&run, &config);
}

/* numpy, 100,000 draws from -60..60 degrees and -25..25 mm: 56.8 degrees, 24.0 mm; angles have
 * variance 1200, translations 208.3. */
TEST(uniform_poses_have_the_spread_of_numpys) {
  struct config config;
  CHECK_OK(config_defaults(&config));
  double angle = 0, distance = 0, rotation = 0, translation = 0, highest = 0;
  for (int i = 0; i < DRAWS; i++) {
    struct pose pose = pose_draw_motion(&config, "subject", -1, i);
    angle += whole_angle(&pose) / DRAWS;
    distance += whole_distance(&pose) / DRAWS;
    rotation += pose.rotation[1] * pose.rotation[1] / DRAWS;
    translation += pose.translation[2] * pose.translation[2] / DRAWS;
    for (int k = 0; k < 3; k++) highest = fmax(highest, fabs(pose.rotation[k]));
  }
  CHECK_NEAR(angle, 56.8, 0.5);
  CHECK_NEAR(distance, 24.0, 0.2);
  CHECK_NEAR(rotation, 1200, 25);
  CHECK_NEAR(translation, 208.3, 4.5);
  CHECK(highest <= 60 && highest > 59.9);
  config_close(&config);
}

TEST(axis_angle_poses_turn_by_uniform_angles_about_any_axis) {
  struct config config;
  CHECK_OK(config_defaults(&config));
  CHECK_OK(config_override(&config, "pose.sampling=axis_angle"));
  double mean = 0, highest = 0, turned[3] = {0};
  for (int i = 0; i < DRAWS; i++) {
    struct pose pose = pose_draw_motion(&config, "subject", -1, i);
    double angle = whole_angle(&pose);
    mean += angle / DRAWS;
    highest = fmax(highest, angle);
    for (int k = 0; k < 3; k++) turned[k] += pose.rotation[k] / DRAWS;
  }
  CHECK_NEAR(mean, 30, 0.4);
  CHECK(highest <= 60 + 1e-9 && highest > 59.9);
  for (int k = 0; k < 3; k++) CHECK_NEAR(turned[k], 0, 0.6);
  config_close(&config);
}

/* scipy.stats.truncnorm(-2, 2): deviation 0.8796 of the normal's, which is half the range. */
TEST(gaussian_poses_are_cut_at_the_range) {
  struct config config;
  CHECK_OK(config_defaults(&config));
  CHECK_OK(config_override(&config, "pose.sampling=gaussian"));
  double squares = 0, highest = 0;
  for (int i = 0; i < DRAWS; i++) {
    struct pose pose = pose_draw_motion(&config, "subject", -1, i);
    squares += pose.rotation[0] * pose.rotation[0] / DRAWS;
    highest = fmax(highest, fabs(pose.translation[0]));
  }
  CHECK_NEAR(sqrt(squares), 0.8796 * 30, 0.4);
  CHECK(highest <= 25 && highest > 24.9);
  config_close(&config);
}

TEST(an_epoch_has_every_variant_once_and_no_subject_of_another_split) {
  struct config config;
  struct task_run run;
  struct dataset_subject subjects[SUBJECTS];
  open_run(&run, &config, subjects);
  CHECK_OK(config_override(&config, "pose.variants_per_image=5"));
  CHECK_OK(task_reserve_order(&run, 20));
  int seen[SUBJECTS][5] = {{0}};
  for (int64_t i = 0; i < 20; i++) {
    struct pose_sample sample = pose_sample_of(&run, PURPOSE_TRAINING, SPLIT_TRAIN, 3, i);
    CHECK(sample.epoch == 3 && subjects[sample.subject].split == SPLIT_TRAIN);
    seen[sample.subject][sample.variant]++;
  }
  for (int s = 0; s < 4; s++)
    for (int v = 0; v < 5; v++) CHECK(seen[s][v] == 1);
  struct pose_sample beyond = pose_sample_of(&run, PURPOSE_TRAINING, SPLIT_TRAIN, 3, 21);
  struct pose_sample next = pose_sample_of(&run, PURPOSE_TRAINING, SPLIT_TRAIN, 4, 1);
  CHECK(beyond.epoch == 4 && beyond.subject == next.subject && beyond.variant == next.variant);
  CHECK_OK(config_override(&config, "pose.evaluation_variants=2"));
  struct pose_sample tested = pose_sample_of(&run, PURPOSE_PREDICTION, SPLIT_TEST, 9, 1);
  CHECK(tested.subject == 5 && tested.variant == 1 && tested.epoch == -1);
  close_run(&run, &config);
}

TEST(poses_turn_about_the_middle_of_what_is_not_padding) {
  struct config config;
  struct task_run run;
  struct dataset_subject subjects[SUBJECTS];
  open_run(&run, &config, subjects);
  const double spacing[3] = {2, 3, 4}, origin[3] = {-10, 20, 5};
  subjects[0].affine = affine_scaling(spacing, origin);
  const int first[3] = {1, 0, 0}, count[3] = {9, 11, 5};
  memcpy(subjects[0].box_first, first, sizeof first);
  memcpy(subjects[0].box_count, count, sizeof count);
  const double centroid[3] = {1, 2, 3};
  memcpy(subjects[0].centroid, centroid, sizeof centroid);
  double centre[3];
  pose_centre(&run, 0, centre);
  const double expected[3] = {-10 + 2 * 5, 20 + 3 * 5, 5 + 4 * 2};
  for (int k = 0; k < 3; k++) CHECK_NEAR(centre[k], expected[k], 1e-12);
  CHECK_OK(config_override(&config, "pose.canonical=centroid"));
  pose_centre(&run, 0, centre);
  for (int k = 0; k < 3; k++) CHECK_NEAR(centre[k], centroid[k], 0);
  close_run(&run, &config);
}

/* Turned by 90 degrees about z (mapping x to y), what the moved image shows at c + (0, 10, 0) comes
 * from c + (10, 0, 0). */
TEST(the_map_moves_the_anatomy_forward) {
  struct config config;
  CHECK_OK(config_defaults(&config));
  CHECK_OK(config_override(&config, "pose.size=[9,9,9]"));
  CHECK_OK(config_override(&config, "pose.spacing=[10.0,10.0,10.0]"));
  const struct pose pose = {.rotation = {0, 0, 90}, .translation = {0, 0, 5}};
  const double centre[3] = {100, 50, 20}, spacing[3] = {2, 2, 5}, origin[3] = {0, 0, 0};
  const struct affine source = affine_scaling(spacing, origin);
  const int first[3] = {0}, count[3] = {90, 90, 30};
  struct affine_motion motion;
  CHECK_OK(pose_affine_motion(&config, &pose, centre, &source, first, count, &motion));
  const double voxel[4] = {4, 5, 4, 1}; /* the middle is 4 4 4 */
  const double expected[3] = {(100 + 10) / 2.0, 50 / 2.0, (20 - 5) / 5.0};
  for (int k = 0; k < 3; k++) {
    double place = 0;
    for (int j = 0; j < 4; j++) place += motion.matrix[k][j] * voxel[j];
    CHECK_NEAR(place, expected[k], 1e-4);
  }
  CHECK(motion.count[0] == 90 && motion.count[2] == 30 && motion.first[1] == 0);
  config_close(&config);
}

TEST(noise_has_the_moments_of_the_volume_within_its_box) {
  enum { SIDE = 20 };
  float *values = malloc(sizeof(float) * SIDE * SIDE * SIDE);
  struct random stream = random_stream(1, RANDOM_TEST, 0, 0);
  for (int i = 0; i < SIDE * SIDE * SIDE; i++) {
    bool inside = i / SIDE / SIDE < 18;
    values[i] = inside ? (float)(3 + 0.5 * random_normal(&stream)) : 1e6f;
  }
  const int extent[3] = {SIDE, SIDE, SIDE}, first[3] = {0}, count[3] = {18, SIDE, SIDE};
  struct affine_motion motion = {0};
  pose_find_noise(values, extent, first, count, &motion);
  CHECK_NEAR(motion.mean, 3, 0.15);
  CHECK_NEAR(motion.deviation, 0.5, 0.12);
  free(values);
}

TEST(estimates_are_in_units_of_the_ranges) {
  struct config config;
  CHECK_OK(config_defaults(&config));
  const float estimate[9] = {0.5f, -0.25f, 0.1f, 1, -0.2f, 0.04f};
  const double expected[6] = {30, -15, 6, 25, -5, 1};
  struct pose pose;
  pose_read_estimate(&config, estimate, &pose);
  for (int k = 0; k < 3; k++) {
    CHECK_NEAR(pose.rotation[k], expected[k], 1e-5);
    CHECK_NEAR(pose.translation[k], expected[3 + k], 1e-5);
  }
  CHECK_OK(config_override(&config, "pose.representation=rotation6d"));
  /* columns (0 1 0) and (-1 0 0), less those of the identity: 90 degrees about z */
  const float turned[9] = {-1, 1, 0, -1, -1, 0, 0, 0, 0.4f};
  pose_read_estimate(&config, turned, &pose);
  CHECK_NEAR(pose.rotation[2], 90, 1e-5);
  CHECK_NEAR(pose.rotation[0], 0, 1e-5);
  CHECK_NEAR(pose.translation[2], 10, 1e-5);
  config_close(&config);
}

/* --- scores --- */

static enum status give_estimate(void *context, const char *name, const void **memory) {
  (void)name;
  *memory = context;
  return STATUS_OK;
}

static double column_of(const struct task_columns *columns, const double *row, const char *name) {
  for (int i = 0; i < columns->count; i++)
    if (strcmp(columns->name[i], name) == 0) return row[i];
  return NAN;
}

TEST(scores_stand_beside_those_of_predictors_that_see_nothing) {
  struct config config;
  struct task_run run;
  struct dataset_subject subjects[SUBJECTS];
  struct task_columns *columns = calloc(1, sizeof *columns);
  double row[TASK_MAX_COLUMNS] = {0};
  char label[TASK_LABEL_BYTES];
  open_run(&run, &config, subjects);
  const double spacing[3] = {1, 1, 1}, origin[3] = {0};
  subjects[5].affine = affine_scaling(spacing, origin);
  const struct pose truth = pose_motion(&run, -1, 5, 2);
  float estimate[6];
  for (int k = 0; k < 3; k++) {
    estimate[k] = (float)((truth.rotation[k] + (k == 0 ? 2 : 0)) / 60);
    estimate[3 + k] = (float)((truth.translation[k] + (k == 1 ? -3 : 0)) / 25);
  }
  const struct task_network network = {.context = estimate, .output = give_estimate};
  CHECK_OK(pose_columns(&run, true, columns));
  CHECK_OK(pose_score(&run, SPLIT_TEST, 2, true, &network, NULL, row, label));
  CHECK(strcmp(label, "f #2") == 0);
  CHECK_NEAR(column_of(columns, row, "error_rx"), 2, 1e-4);
  CHECK_NEAR(column_of(columns, row, "error_ty"), 3, 1e-4);
  CHECK_NEAR(column_of(columns, row, "translation_mae_mm"), 1, 1e-4);
  CHECK_NEAR(column_of(columns, row, "distance_mm"), 3, 1e-4);
  CHECK_NEAR(column_of(columns, row, "geodesic_deg"), 2, 1e-4);
  CHECK(column_of(columns, row, "within_2") == 0 && column_of(columns, row, "within_5") == 1);
  CHECK_NEAR(column_of(columns, row, "identity_distance_mm"), whole_distance(&truth), 1e-9);
  CHECK_NEAR(column_of(columns, row, "identity_geodesic_deg"), whole_angle(&truth), 1e-9);
  CHECK_NEAR(column_of(columns, row, "true_tz"), truth.translation[2], 1e-12);
  CHECK_NEAR(column_of(columns, row, "predicted_tz"), truth.translation[2], 1e-4);
  CHECK(column_of(columns, row, "closeness") == -column_of(columns, row, "corner_mm"));
  CHECK(fabs(column_of(columns, row, "mean_error_rx") - fabs(truth.rotation[0])) < 10);
  free(columns);
  close_run(&run, &config);
}

TEST(summaries_leave_out_what_is_no_number) {
  struct task_columns *columns = calloc(1, sizeof *columns);
  columns->count = 2;
  strcpy(columns->name[0], "a");
  strcpy(columns->name[1], "b");
  const double rows[8] = {1, NAN, 2, 5, 6, NAN, 3, 7};
  const struct task_scores scores = {.columns = columns, .count = 4, .rows = rows};
  struct task_summary summary;
  CHECK_OK(task_scores_summarize(&scores, 0, &summary));
  CHECK(summary.count == 4 && summary.mean == 3 && summary.median == 2.5);
  CHECK_NEAR(summary.p95, 5.55, 1e-12);
  CHECK_NEAR(summary.deviation, sqrt(3.5), 1e-12);
  CHECK_OK(task_scores_summarize(&scores, 1, &summary));
  CHECK(summary.count == 2 && summary.mean == 6);
  CHECK(task_scores_column(&scores, "b") == 1 && task_scores_column(&scores, "c") == -1);
  free(columns);
}

int main(void) {
  RUN(poses_are_functions_of_seed_subject_variant_and_epoch);
  RUN(uniform_poses_have_the_spread_of_numpys);
  RUN(axis_angle_poses_turn_by_uniform_angles_about_any_axis);
  RUN(gaussian_poses_are_cut_at_the_range);
  RUN(an_epoch_has_every_variant_once_and_no_subject_of_another_split);
  RUN(poses_turn_about_the_middle_of_what_is_not_padding);
  RUN(the_map_moves_the_anatomy_forward);
  RUN(noise_has_the_moments_of_the_volume_within_its_box);
  RUN(estimates_are_in_units_of_the_ranges);
  RUN(scores_stand_beside_those_of_predictors_that_see_nothing);
  RUN(summaries_leave_out_what_is_no_number);
  return check_result();
}
