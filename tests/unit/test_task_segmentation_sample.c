/* Which samples segmentation trains on, and what is read of them. */
#include "task/segmentation_sample.h"
#include "test_data_masks.h"

/* --- boxes --- */

enum { CROP_D = 4, CROP_H = 5, CROP_W = 6 };

static const int crop_extent[3] = {CROP_D, CROP_H, CROP_W};

static const struct segmentation_box crop_boxes[] = {
    {{0, 0, 0}, {4, 5, 6}},     /* all */
    {{1, 2, 3}, {2, 2, 3}},     /* inside */
    {{-1, -2, -3}, {3, 4, 5}},  /* over the beginnings */
    {{2, 3, 4}, {5, 4, 7}},     /* over the ends */
    {{-2, -1, -4}, {9, 8, 13}}, /* all around */
    {{4, 0, 0}, {2, 2, 2}},     /* behind */
    {{0, 0, -9}, {2, 2, 2}},    /* before */
    {{0, 7, 0}, {1, 3, 6}},
};
enum { CROP_BOXES = sizeof crop_boxes / sizeof *crop_boxes, CROP_MOST = 1024 };

/* What array number `array` has there; 0 outside. */
static int stored_at(int array, int d, int h, int w) {
  bool inside = d >= 0 && d < CROP_D && h >= 0 && h < CROP_H && w >= 0 && w < CROP_W;
  return inside ? 1 + (array * 83 + (d * CROP_H + h) * CROP_W + w) % 250 : 0;
}

/* Voxel `voxel` of array `array` of a crop of the box. */
static int cropped_at(const struct segmentation_box *box, int array, int voxel) {
  int w = voxel % box->extent[2], h = voxel / box->extent[2] % box->extent[1];
  int d = voxel / box->extent[2] / box->extent[1];
  return stored_at(array, box->first[0] + d, box->first[1] + h, box->first[2] + w);
}

TEST(boxes_are_cut_out) {
  float image[2 * CROP_D * CROP_H * CROP_W], image_crop[2 * CROP_MOST];
  uint8_t labels[CROP_D * CROP_H * CROP_W], masks[2 * CROP_D * CROP_H * CROP_W];
  uint8_t label_crop[CROP_MOST], mask_crop[2 * CROP_MOST];
  const int area = CROP_H * CROP_W, voxels = CROP_D * area;
  for (int i = 0; i < voxels; i++) {
    int d = i / area, h = i / CROP_W % CROP_H, w = i % CROP_W;
    labels[i] = (uint8_t)stored_at(0, d, h, w);
    for (int array = 0; array < 2; array++) {
      image[array * voxels + i] = (float)stored_at(array, d, h, w);
      masks[(2 * d + array) * area + i % area] = (uint8_t)stored_at(array, d, h, w);
    }
  }
  for (int b = 0; b < CROP_BOXES; b++) {
    const struct segmentation_box *box = &crop_boxes[b];
    int count = box->extent[0] * box->extent[1] * box->extent[2], wrong = 0;
    memset(label_crop, 77, sizeof label_crop);
    memset(mask_crop, 77, sizeof mask_crop);
    for (int i = 0; i < 2 * CROP_MOST; i++) image_crop[i] = 77;
    segmentation_crop_image(image, 2, crop_extent, box, image_crop);
    segmentation_crop_labels(labels, crop_extent, box, label_crop);
    segmentation_crop_masks(masks, 2, crop_extent, box, mask_crop);
    for (int i = 0; i < count; i++) wrong += label_crop[i] != cropped_at(box, 0, i);
    for (int i = 0; i < 2 * count; i++)
      wrong += mask_crop[i] != cropped_at(box, i / count, i % count) ||
               image_crop[i] != (float)cropped_at(box, i / count, i % count);
    CHECK_SAY(wrong == 0, ": box %d: %d voxels", b, wrong);
    CHECK(label_crop[count] == 77 && mask_crop[2 * count] == 77 && image_crop[2 * count] == 77);
  }
}

/* --- left for right --- */

TEST(labels_are_mirrored) {
  static const int mirror[4] = {0, 2, 1, 3};
  uint8_t labels[8] = {0, 1, 2, 3, 255, 2, 4, 1};
  segmentation_mirror_labels(mirror, 4, 8, labels);
  CHECK(memcmp(labels, (uint8_t[]){0, 2, 1, 3, 255, 1, 4, 2}, 8) == 0);
  segmentation_mirror_labels(mirror, 4, 8, labels);
  CHECK(memcmp(labels, (uint8_t[]){0, 1, 2, 3, 255, 2, 4, 1}, 8) == 0);
}

/* Structures 1 and 2 share a byte, 3 and 9 do not. */
TEST(masks_are_mirrored) {
  static const int mirror[10] = {0, 2, 1, 9, 4, 5, 6, 7, 8, 3};
  enum { VOXELS = 300 };
  uint8_t masks[2 * VOXELS], before[2 * VOXELS];
  int wrong = 0;
  for (int i = 0; i < 2 * VOXELS; i++)
    before[i] = (uint8_t)((i * 37 + i / 7) % (i < VOXELS ? 256 : 4));
  memcpy(masks, before, sizeof masks);
  segmentation_mirror_masks(mirror, 10, VOXELS, masks);
  for (int c = 0; c < 10; c++)
    for (int i = 0; i < VOXELS; i++)
      wrong += (masks[c / 8 * VOXELS + i] >> c % 8 & 1) !=
               (before[mirror[c] / 8 * VOXELS + i] >> mirror[c] % 8 & 1);
  CHECK(wrong == 0 && memcmp(masks, before, sizeof masks) != 0);
  segmentation_mirror_masks(mirror, 10, VOXELS, masks);
  CHECK(memcmp(masks, before, sizeof masks) == 0);
}

/* --- an opened task --- */

enum { MOST_INPUTS = 12, INPUT_BYTES = 1 << 16 };

struct opened {
  const struct task *task;
  struct task_run run;
  struct segmentation_view view;
  struct segmentation_inputs place;
  int source[3]; /* extent of what is read */
  void *inputs[MOST_INPUTS];
};

static enum status try_open(const struct config *config, struct opened *opened) {
  *opened = (struct opened){0};
  CHECK_OK(task_find("segmentation", &opened->task));
  enum status status = opened->task->open(&opened->run, config);
  if (status) task_close(&opened->run);
  return status;
}

static void open_task(const struct config *config, struct opened *opened) {
  CHECK_OK(try_open(config, opened));
  CHECK_OK(segmentation_look(config, opened->run.dataset.extent, &opened->view));
  opened->place = segmentation_inputs_of(&opened->view, PURPOSE_TRAINING);
  segmentation_find_source(&opened->run, &opened->view, opened->source);
  CHECK(opened->place.count <= MOST_INPUTS);
  for (int i = 0; i < MOST_INPUTS; i++) opened->inputs[i] = malloc(INPUT_BYTES);
}

static void close_task(struct opened *opened) {
  for (int i = 0; i < MOST_INPUTS; i++) free(opened->inputs[i]);
  task_close(&opened->run);
}

static void fill(struct opened *opened, int64_t epoch, int64_t index) {
  memset(opened->inputs[opened->place.truth], 77, INPUT_BYTES);
  CHECK_OK(opened->task->fill(&opened->run, PURPOSE_TRAINING, SPLIT_TRAIN, epoch, index,
                              opened->inputs));
}

static int64_t samples_of(const struct opened *opened) {
  return opened->task->count(&opened->run, PURPOSE_TRAINING, SPLIT_TRAIN);
}

static int source_voxels(const struct opened *opened) {
  return opened->source[0] * opened->source[1] * opened->source[2];
}

static const float *image_of(const struct opened *opened) {
  return opened->inputs[opened->place.image];
}

static const uint8_t *truth_of(const struct opened *opened) {
  return opened->inputs[opened->place.truth];
}

/* --- slices --- */

enum { SLICE_SUBJECTS = 9 };

static struct data_place open_slices(const char *structures) {
  struct data_place place = mask_open_place(SLICE_SUBJECTS, NULL);
  data_override(&place, structures);
  data_override(&place, "data.validation=1.0");
  data_override(&place, "data.test=1.0");
  CHECK_OK(data_prepare(&place));
  data_override(&place, "task=segmentation");
  data_override(&place, "segmentation.sample=slice");
  data_override(&place, "model.dimensions=2");
  data_override(&place, "model.name=unet");
  data_override(&place, "model.features=[4]");
  return place;
}

static struct data_place open_all_slices(void) {
  struct data_place place = open_slices("data.structures=\"\"");
  data_override(&place, "model.classes=11");
  return place;
}

/* Whose slice the image shows, and which: 10 * subject + slice. */
static int slice_of(const struct opened *opened) {
  int value = (int)image_of(opened)[0];
  return 10 * (value / 1000) + value % 10;
}

static bool has_structure(int slice) {
  for (int c = 0; c < MASK_STRUCTURES; c++)
    for (int i = 0; i < MASK_ROWS; i++)
      for (int j = 0; j < MASK_COLUMNS; j++)
        if (mask_is_set(slice / 10, c, i, j, slice % 10)) return true;
  return false;
}

/* The image's values say which voxel each is, and so what the truth has to be. other[c]: whose
 * voxels structure c has to have; NULL: its own. */
static int wrong_slice_voxels(const struct opened *opened, const int *structures, int count) {
  int wrong = 0, voxels = source_voxels(opened);
  for (int at = 0; at < voxels; at++) {
    int value = (int)image_of(opened)[at], i = value / 100 % 10, j = value / 10 % 10;
    for (int c = 0; c < count; c++)
      wrong += (truth_of(opened)[c / 8 * voxels + at] >> c % 8 & 1) !=
               mask_is_set(value / 1000, structures[c], i, j, value % 10);
  }
  return wrong;
}

/* How often each slice is in an epoch. */
static void count_epoch(struct opened *opened, int64_t epoch, int times[100]) {
  static const int all[MASK_STRUCTURES] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10};
  memset(times, 0, sizeof(int) * 100);
  for (int64_t i = 0; i < samples_of(opened); i++) {
    fill(opened, epoch, i);
    times[slice_of(opened)]++;
    CHECK(wrong_slice_voxels(opened, all, MASK_STRUCTURES) == 0);
  }
}

/* Slices of training subjects, with structures or without. */
static int count_slices(const struct opened *opened, bool with) {
  int count = 0;
  for (int n = 0; n < opened->run.subject_count[SPLIT_TRAIN]; n++) {
    const char *id = opened->run.dataset.subjects[opened->run.subjects[SPLIT_TRAIN][n]].id;
    int subject = (int)strtol(id + 1, NULL, 10);
    for (int k = 0; k < mask_slices(subject); k++) count += has_structure(10 * subject + k) == with;
  }
  return count;
}

static int count_times(const int times[100], bool with, int *most) {
  int count = 0;
  for (int i = 0; i < 100; i++) {
    if (times[i] == 0 || has_structure(i) != with) continue;
    count++;
    *most = times[i] > *most ? times[i] : *most;
  }
  return count;
}

TEST(every_slice_once_in_an_epoch) {
  struct data_place place = open_all_slices();
  struct opened opened;
  int times[100], most = 0;
  open_task(&place.config, &opened);
  CHECK(opened.run.subject_count[SPLIT_TRAIN] == SLICE_SUBJECTS - 2);
  CHECK(samples_of(&opened) == count_slices(&opened, true) + count_slices(&opened, false));
  count_epoch(&opened, 3, times);
  CHECK(count_times(times, true, &most) == count_slices(&opened, true));
  CHECK(count_times(times, false, &most) == count_slices(&opened, false) && most == 1);
  CHECK(opened.task->count(&opened.run, PURPOSE_PREDICTION, SPLIT_TEST) == 1);
  close_task(&opened);
  data_close_place(&place);
}

TEST(empty_slices_are_left_out_in_turn) {
  struct data_place place = open_all_slices();
  struct opened opened;
  int first[100], times[100], ever[100] = {0}, with, without, most = 0, differ = 0;
  data_override(&place, "segmentation.drop_empty=0.6");
  open_task(&place.config, &opened);
  with = count_slices(&opened, true);
  without = count_slices(&opened, false);
  CHECK(without >= 7 && samples_of(&opened) == with + (int)lround(without * 0.4));
  count_epoch(&opened, 0, first);
  for (int64_t epoch = 0; epoch < 8; epoch++) {
    count_epoch(&opened, epoch, times);
    CHECK(count_times(times, true, &most) == with && most == 1);
    CHECK(count_times(times, false, &most) == (int)lround(without * 0.4) && most == 1);
    differ += memcmp(times, first, sizeof times) != 0;
    for (int i = 0; i < 100; i++) ever[i] += times[i];
  }
  CHECK(differ >= 5);
  CHECK(count_times(ever, false, &most) > (int)lround(without * 0.7));
  count_epoch(&opened, 0, times);
  CHECK(memcmp(times, first, sizeof times) == 0);
  close_task(&opened);
  data_override(&place, "segmentation.drop_empty=1.0");
  open_task(&place.config, &opened);
  CHECK(samples_of(&opened) == with);
  close_task(&opened);
  data_close_place(&place);
}

/* Another process asks for other samples in between: nothing may depend on that. */
TEST(samples_do_not_depend_on_what_was_asked_before) {
  struct data_place place = open_all_slices();
  struct opened opened, again;
  data_override(&place, "segmentation.drop_empty=0.6");
  open_task(&place.config, &opened);
  open_task(&place.config, &again);
  int64_t count = samples_of(&opened);
  for (int64_t i = 0; i < 2 * count; i++) {
    fill(&opened, 2, i);
    fill(&again, 5, 7 * i); /* in between */
    fill(&again, 2 + i / count, i % count);
    CHECK(slice_of(&opened) == slice_of(&again));
  }
  close_task(&again);
  close_task(&opened);
  data_close_place(&place);
}

TEST(flipped_masks_swap_left_and_right) {
  static const int own[4] = {3, 1, 2, 5}, swapped[4] = {3, 2, 1, 5};
  struct data_place place = open_slices("data.structures=\"liver,kidney_right,kidney_left,aorta\"");
  struct opened opened;
  data_override(&place, "model.classes=4");
  data_override(&place, "augment.flip=LR");
  for (int flipped = 0; flipped < 2; flipped++) {
    data_override(&place,
                  flipped ? "augment.flip_probability=1.0" : "augment.flip_probability=0.0");
    int wrong = 0;
    open_task(&place.config, &opened);
    for (int64_t i = 0; i < samples_of(&opened); i++) {
      fill(&opened, 0, i);
      wrong += wrong_slice_voxels(&opened, flipped ? swapped : own, 4);
    }
    CHECK_SAY(wrong == 0, ": %d voxels, flipped %d", wrong, flipped);
    close_task(&opened);
  }
  data_close_place(&place);
}

TEST(flips_need_both_sides) {
  struct data_place place = open_all_slices();
  struct opened opened;
  data_override(&place, "augment.flip=LR");
  CHECK_FAILS(try_open(&place.config, &opened),
              "augment.flip: a flip from left to right has nothing to make of \"rib_left_1\": "
              "expected its other side among the classes, found none");
  data_override(&place, "augment.flip=AP"); /* has no sides */
  open_task(&place.config, &opened);
  close_task(&opened);
  data_override(&place, "model.classes=10");
  CHECK_FAILS(try_open(&place.config, &opened), "model.classes: expected 11, as many as ");
  data_override(&place, "model.dimensions=3");
  CHECK_FAILS(try_open(&place.config, &opened), "model.dimensions: expected 2 for slices");
  data_override(&place, "data.grid=common");
  CHECK_FAILS(try_open(&place.config, &opened), "expected \"slice\" and \"slices\" together");
  data_close_place(&place);
}

/* --- patches --- */

/* Classes 1 and 2 are blocks, class 3 is one voxel; a voxel's value is 4000 * subject + its number
 * + 1. */
static const int patch_extent[3] = {12, 16, 20};

static int patch_class(int d, int h, int w) {
  if (d < 4 && h < 4 && w < 4) return 1;
  if (d >= 8 && h >= 12 && w >= 14) return 2;
  return d == 11 && h == 1 && w == 18 ? 3 : 0;
}

static void add_block_subject(const struct data_place *place, int subject) {
  struct volume image, label;
  char id[16];
  struct grid grid = {.extent = {patch_extent[0], patch_extent[1], patch_extent[2]}};
  grid.affine = affine_identity();
  CHECK_OK(volume_create(&image, &grid, 1));
  CHECK_OK(volume_create(&label, &grid, 1));
  size_t count = volume_count(&image);
  for (size_t i = 0; i < count; i++) {
    int w = (int)i % patch_extent[2], h = (int)i / patch_extent[2] % patch_extent[1];
    int d = (int)i / patch_extent[2] / patch_extent[1];
    image.values[i] = (float)(4000 * subject + (int)i + 1);
    label.values[i] = (float)patch_class(d, h, w);
  }
  snprintf(id, sizeof id, "p%d", subject);
  data_write_pair(place, id, &image, &label);
  volume_close(&image);
  volume_close(&label);
}

static struct data_place open_patches(const char *patch) {
  struct data_place place = data_open_place(0, NULL);
  for (int i = 0; i < 4; i++) add_block_subject(&place, i);
  data_override(&place, "data.intensity=none");
  data_override(&place, "data.label_names=\"lung_left,lung_right,heart\"");
  data_override(&place, "data.validation=1.0");
  data_override(&place, "data.test=1.0");
  CHECK_OK(data_prepare(&place));
  data_override(&place, "task=segmentation");
  data_override(&place, "segmentation.sample=patch");
  data_override(&place, "segmentation.samples_per_volume=50");
  data_override(&place, patch);
  data_override(&place, "model.name=unet");
  data_override(&place, "model.features=[4]");
  data_override(&place, "model.classes=4");
  return place;
}

/* What a patch shows. */
struct seen {
  int subject, number[4]; /* voxels of each class */
  int zeros, wrong;       /* voxels from outside; where the truth is not the voxel's */
};

static struct seen look_at_patch(const struct opened *opened, bool swapped) {
  static const int mirrored[4] = {0, 2, 1, 3};
  struct seen seen = {.subject = -1};
  for (int i = 0; i < source_voxels(opened); i++) {
    int value = (int)image_of(opened)[i] - 1, truth = truth_of(opened)[i], voxel = value % 4000;
    if (value < 0) {
      seen.zeros++;
      seen.wrong += truth != 0;
      continue;
    }
    int class = patch_class(voxel / 320, voxel / 20 % 16, voxel % 20);
    seen.number[class]++;
    seen.wrong += truth != (swapped ? mirrored[class] : class);
    seen.wrong += seen.subject >= 0 && seen.subject != value / 4000;
    seen.subject = value / 4000;
  }
  return seen;
}

/* Of an epoch's patches: how many show a labelled voxel, the single one, each subject. */
struct census {
  int labelled, single, subject[4], wrong, zeros;
};

static struct census count_patches(struct opened *opened, bool swapped) {
  struct census census = {0};
  for (int64_t i = 0; i < samples_of(opened); i++) {
    fill(opened, 1, i);
    struct seen seen = look_at_patch(opened, swapped);
    census.labelled += seen.number[1] + seen.number[2] + seen.number[3] > 0;
    census.single += seen.number[3] > 0;
    census.wrong += seen.wrong;
    census.zeros += seen.zeros;
    census.subject[seen.subject]++;
  }
  return census;
}

static struct census survey(struct data_place *place, const char *foreground) {
  struct opened opened;
  data_override(place, foreground);
  open_task(&place->config, &opened);
  CHECK(samples_of(&opened) == 100);
  struct census census = count_patches(&opened, false);
  CHECK(census.wrong == 0 && census.zeros == 0);
  for (int i = 0; i < opened.run.subject_count[SPLIT_TRAIN]; i++) {
    int subject = opened.run.dataset.subjects[opened.run.subjects[SPLIT_TRAIN][i]].id[1] - '0';
    CHECK(census.subject[subject] == 50);
  }
  close_task(&opened);
  return census;
}

TEST(patches_around_labelled_voxels) {
  struct data_place place = open_patches("segmentation.patch=[4, 4, 4]");
  struct census anywhere = survey(&place, "segmentation.foreground=0.0");
  struct census half = survey(&place, "segmentation.foreground=0.5");
  struct census all = survey(&place, "segmentation.foreground=1.0");
  CHECK_SAY(anywhere.labelled < 40, ": %d", anywhere.labelled);
  CHECK_SAY(half.labelled > 45 && half.labelled < 85, ": %d", half.labelled);
  CHECK_SAY(all.labelled == 100, ": %d", all.labelled);
  CHECK_SAY(anywhere.single < 10, ": %d", anywhere.single); /* each class is as likely */
  CHECK_SAY(all.single >= 20 && all.single < 50, ": %d", all.single);
  data_close_place(&place);
}

TEST(patches_differ_and_repeat) {
  struct data_place place = open_patches("segmentation.patch=[4, 4, 4]");
  struct opened opened;
  float first[100], second[100];
  int same_place = 0, same_epoch = 0;
  data_override(&place, "segmentation.foreground=0.0");
  open_task(&place.config, &opened);
  for (int i = 0; i < 100; i++) {
    fill(&opened, 0, i);
    first[i] = image_of(&opened)[0];
    for (int k = 0; k < i; k++) same_place += first[i] == first[k];
  }
  for (int i = 0; i < 100; i++) {
    fill(&opened, 1, i);
    second[i] = image_of(&opened)[0];
    fill(&opened, 0, 100 + i); /* beyond an epoch begins the next */
    CHECK(image_of(&opened)[0] == second[i]);
    fill(&opened, 0, i);
    CHECK(image_of(&opened)[0] == first[i]);
    same_epoch += first[i] == second[i];
  }
  CHECK_SAY(same_place < 30, ": %d", same_place); /* 9 * 13 * 17 places of 2 subjects */
  CHECK(same_epoch < 5);
  close_task(&opened);
  data_close_place(&place);
}

TEST(patches_larger_than_the_volume) {
  struct data_place place = open_patches("segmentation.patch=[18, 8, 24]");
  struct opened opened;
  open_task(&place.config, &opened);
  for (int64_t i = 0; i < 20; i++) {
    fill(&opened, 0, i);
    struct seen seen = look_at_patch(&opened, false);
    CHECK(seen.wrong == 0 && seen.zeros == (18 * 24 - 12 * 20) * 8);
    /* the volume is in the middle: 3 planes and 2 columns of zeros in front of it */
    for (int h = 0; h < 8; h++) CHECK(image_of(&opened)[(2 * 8 + h) * 24 + 2] == 0);
    CHECK((int)(image_of(&opened)[3 * 8 * 24 + 2] - 1) % 20 == 0);
    CHECK(image_of(&opened)[3 * 8 * 24 + 1] == 0);
  }
  close_task(&opened);
  data_close_place(&place);
}

TEST(flipped_labels_swap_left_and_right) {
  struct data_place place = open_patches("segmentation.patch=[8, 8, 8]");
  struct opened opened;
  data_override(&place, "augment.flip=LR");
  for (int flipped = 0; flipped < 2; flipped++) {
    data_override(&place,
                  flipped ? "augment.flip_probability=1.0" : "augment.flip_probability=0.0");
    open_task(&place.config, &opened);
    struct census census = count_patches(&opened, flipped);
    CHECK_SAY(census.wrong == 0 && census.labelled > 0, ": %d voxels, flipped %d", census.wrong,
              flipped);
    close_task(&opened);
  }
  data_close_place(&place);
}

TEST(flips_of_labels_need_names) {
  struct data_place place = open_patches("segmentation.patch=[8, 8, 8]");
  struct opened opened;
  data_override(&place, "augment.flip=LR");
  data_override(&place, "data.label_names=\"\"");
  CHECK_OK(data_prepare(&place));
  CHECK_FAILS(try_open(&place.config, &opened), "augment.flip: expected data.label_names");
  data_override(&place, "data.label_names=\"lung_left,rib_right,heart\"");
  CHECK_OK(data_prepare(&place));
  CHECK_FAILS(try_open(&place.config, &opened), "nothing to make of \"lung_left\"");
  data_close_place(&place);
}

/* Planes 4 to 7 of each subject have no class but the background. */
TEST(empty_slices_of_label_maps_are_left_out) {
  struct data_place place = open_patches("segmentation.patch=[]");
  struct opened opened;
  data_override(&place, "data.grid=slices");
  CHECK_OK(data_prepare(&place));
  data_override(&place, "segmentation.sample=slice");
  data_override(&place, "model.dimensions=2");
  open_task(&place.config, &opened);
  CHECK(samples_of(&opened) == 2 * 12);
  close_task(&opened);
  data_override(&place, "segmentation.drop_empty=1.0");
  open_task(&place.config, &opened);
  CHECK(samples_of(&opened) == 2 * 8);
  struct census census = count_patches(&opened, false);
  CHECK(census.labelled == 16 && census.wrong == 0 && census.zeros == 0);
  close_task(&opened);
  data_close_place(&place);
}

int main(void) {
  RUN(boxes_are_cut_out);
  RUN(labels_are_mirrored);
  RUN(masks_are_mirrored);
  RUN(every_slice_once_in_an_epoch);
  RUN(empty_slices_are_left_out_in_turn);
  RUN(samples_do_not_depend_on_what_was_asked_before);
  RUN(empty_slices_of_label_maps_are_left_out);
  RUN(flipped_masks_swap_left_and_right);
  RUN(flips_need_both_sides);
  RUN(patches_around_labelled_voxels);
  RUN(patches_differ_and_repeat);
  RUN(patches_larger_than_the_volume);
  RUN(flipped_labels_swap_left_and_right);
  RUN(flips_of_labels_need_names);
  return check_result();
}
