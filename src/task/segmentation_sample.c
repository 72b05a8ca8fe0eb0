/* Which part of which subject is trained on, and reading it. */
#include "task/segmentation_sample.h"
#include <stdlib.h>
#include <string.h>
#include "base/random.h"
#include "data/structures.h"
#include "kernels/common/logits.h"
#include "task/augment.h"
#include "task/common.h"

/* --- opening --- */

static void close_samples(void *own) {
  struct segmentation_samples *samples = own;
  free(samples->list);
  free(samples->order);
  free(samples->voxels);
  free(samples->mirror);
  free(samples);
}

/* Whether slice k has any structure. Label maps are looked through, where it matters. */
static bool has_structures(const struct task_run *run, int subject, int k) {
  const struct dataset *dataset = &run->dataset;
  const uint16_t *structures = dataset_slice_structures(dataset, subject);
  size_t area = (size_t)dataset->extent[1] * (size_t)dataset->extent[2];
  if (structures) return structures[k] > 0;
  if (run->config->segmentation.drop_empty == 0) return true;
  const uint8_t *labels = dataset_label(dataset, subject) + (size_t)k * area;
  for (size_t i = 0; i < area; i++)
    if (labels[i]) return true;
  return false;
}

/* Own slices of training subjects: with structures in front, without behind. */
static void list_slices(const struct task_run *run, struct segmentation_samples *samples) {
  const struct dataset *dataset = &run->dataset;
  samples->with = samples->without = 0;
  int all = samples->slices;
  for (int i = 0; i < run->subject_count[SPLIT_TRAIN]; i++) {
    int subject = run->subjects[SPLIT_TRAIN][i];
    const struct dataset_subject *found = &dataset->subjects[subject];
    for (int k = found->box_first[0]; k < found->box_first[0] + found->box_count[0]; k++) {
      int place = has_structures(run, subject, k) ? samples->with++ : all - ++samples->without;
      samples->list[place] = (struct segmentation_slice){subject, k};
    }
    dataset_release_pages(dataset, subject);
  }
}

static enum status open_slices(struct task_run *run, struct segmentation_samples *samples) {
  for (int i = 0; i < run->subject_count[SPLIT_TRAIN]; i++)
    samples->slices += run->dataset.subjects[run->subjects[SPLIT_TRAIN][i]].box_count[0];
  samples->list = malloc(sizeof *samples->list * (size_t)(samples->slices + 1));
  samples->order = malloc(sizeof(int) * (size_t)(samples->slices + 1));
  REQUIRE(samples->list && samples->order, STATUS_FAILED, "%s: out of memory for %d slices",
          run->config->data.shards, samples->slices);
  list_slices(run, samples);
  double kept = 1 - run->config->segmentation.drop_empty;
  samples->without_kept = (int)(samples->without * kept + 0.5);
  REQUIRE(samples->with + samples->without_kept > 0, STATUS_USAGE,
          "segmentation.drop_empty: expected slices to train on, found %d without structures only",
          samples->without);
  return STATUS_OK;
}

/* The axis of the arrays that goes from left to right, when flips go along it; -1. */
static int find_side(const struct config *config) {
  const char *side = strpbrk(config->data.orientation, "LR");
  return side && strpbrk(config->augment.flip, "LR") ? (int)(side - config->data.orientation) : -1;
}

/* Which class a class becomes when left and right are swapped. */
static enum status open_mirror(const struct task_run *run, const struct segmentation_view *view,
                               struct segmentation_samples *samples) {
  const struct dataset *dataset = &run->dataset;
  const char *const *names = (const char *const *)dataset->structures;
  int first = view->overlapping ? 0 : 1, count = view->classes - first;
  if (!view->overlapping) names = (const char *const *)dataset->label_names;
  REQUIRE(names, STATUS_USAGE,
          "augment.flip: expected data.label_names, which say what left and right are, found none");
  samples->mirror = calloc((size_t)view->classes, sizeof(int));
  REQUIRE(samples->mirror, STATUS_FAILED, "out of memory");
  for (int c = 0; c < count; c++) {
    int other = structures_mirror(names, count, c);
    REQUIRE(other >= 0, STATUS_USAGE,
            "augment.flip: a flip from left to right has nothing to make of \"%s\": expected its "
            "other side among the classes, found none",
            names[c]);
    samples->mirror[c + first] = other + first;
  }
  return STATUS_OK;
}

enum status segmentation_open_samples(struct task_run *run, const struct segmentation_view *view) {
  struct segmentation_samples *samples = calloc(1, sizeof *samples);
  REQUIRE(samples, STATUS_FAILED, "out of memory");
  run->own = samples;
  run->close_own = close_samples;
  run->pieces = !segmentation_samples(run->config, "volume");
  samples->side_axis = find_side(run->config);
  if (samples->side_axis >= 0) TRY(open_mirror(run, view, samples));
  samples->voxels = malloc(sizeof *samples->voxels * (size_t)view->classes);
  REQUIRE(samples->voxels, STATUS_FAILED, "out of memory");
  if (segmentation_samples(run->config, "slice")) TRY(open_slices(run, samples));
  return task_reserve_order(run, segmentation_count(run, PURPOSE_TRAINING, SPLIT_TRAIN));
}

int64_t segmentation_count(const struct task_run *run, enum purpose purpose, enum split split) {
  const struct segmentation_samples *samples = run->own;
  if (purpose == PURPOSE_PREDICTION) return run->subject_count[split];
  if (samples->list) return samples->with + samples->without_kept;
  return run->subject_count[split] * run->config->segmentation.samples_per_volume;
}

/* --- which sample --- */

struct sample {
  int subject;
  int slice; /* -1: not of slices */
  int64_t epoch;
  int64_t variant; /* which copy of the subject */
};

/* The slice without structures that comes at `place` in an epoch's order of them. */
static int slice_without(struct task_run *run, int64_t epoch, int place) {
  struct segmentation_samples *samples = run->own;
  if (samples->order_epoch != epoch + 1) {
    struct random stream = random_stream((uint64_t)run->config->root.seed, RANDOM_PATCHES,
                                         (uint32_t)epoch, UINT32_MAX);
    random_permutation(&stream, samples->order, samples->without);
    samples->order_epoch = epoch + 1;
  }
  return samples->with + samples->order[place];
}

static struct sample sample_of(struct task_run *run, int64_t epoch, int64_t index) {
  const struct segmentation_samples *samples = run->own;
  int count = (int)segmentation_count(run, PURPOSE_TRAINING, SPLIT_TRAIN);
  int place = task_shuffle(run, &epoch, index, count);
  int copies = (int)run->config->segmentation.samples_per_volume;
  if (!samples->list)
    return (struct sample){run->subjects[SPLIT_TRAIN][place / copies], -1, epoch, place % copies};
  if (place >= samples->with) place = slice_without(run, epoch, place - samples->with);
  const struct segmentation_slice *slice = &samples->list[place];
  return (struct sample){slice->subject, slice->slice, epoch, slice->slice};
}

/* --- where it lies --- */

/* A voxel of a class that the subject has, each as likely; false without any. */
static bool draw_labelled(const struct task_run *run, const struct segmentation_view *view,
                          int subject, struct random *stream, int voxel[3]) {
  uint64_t *voxels = ((struct segmentation_samples *)run->own)->voxels;
  int first = view->overlapping ? 0 : 1, present = 0, chosen = 0;
  dataset_count_voxels(&run->dataset, subject, voxels);
  for (int c = first; c < view->classes; c++) present += voxels[c] > 0;
  if (present == 0) return false;
  int left = (int)random_below(stream, (uint32_t)present);
  for (int c = first; c < view->classes; c++)
    if (voxels[c] > 0 && left-- == 0) chosen = c;
  return dataset_draw_voxel(&run->dataset, subject, chosen, random_bits(stream), voxel);
}

/* Where a patch begins: around a labelled voxel, or anywhere; within the volume where it fits. */
static void place_patch(const struct task_run *run, const struct segmentation_view *view,
                        const struct sample *sample, int first[3]) {
  const struct config *config = run->config;
  const struct dataset_subject *subject = &run->dataset.subjects[sample->subject];
  uint32_t copies = (uint32_t)config->segmentation.samples_per_volume;
  struct random stream =
      random_stream((uint64_t)config->root.seed, RANDOM_PATCHES, (uint32_t)sample->epoch,
                    (uint32_t)sample->subject * copies + (uint32_t)sample->variant);
  int voxel[3];
  bool around = random_uniform(&stream) < config->segmentation.foreground &&
                draw_labelled(run, view, sample->subject, &stream, voxel);
  for (int axis = 0; axis < 3; axis++) {
    int low = subject->box_first[axis], slack = subject->box_count[axis] - view->window[axis];
    int offset = slack / 2;
    if (slack > 0) offset = (int)random_below(&stream, (uint32_t)slack + 1);
    if (slack > 0 && around) {
      offset = voxel[axis] - low - view->window[axis] / 2;
      offset = offset < 0 ? 0 : offset > slack ? slack : offset;
    }
    first[axis] = low + offset;
  }
}

/* The first voxel of what the network is to see. */
static void place_window(const struct task_run *run, const struct segmentation_view *view,
                         const struct sample *sample, int first[3]) {
  for (int axis = 0; axis < 3; axis++) first[axis] = 0;
  if (sample->slice >= 0)
    first[0] = sample->slice;
  else if (run->pieces)
    place_patch(run, view, sample, first);
}

/* What is read for the window that begins at `first`: more than the window where it is going to be
 * turned, within the volume where that is possible. */
static struct segmentation_box place_source(const struct task_run *run,
                                            const struct segmentation_view *view,
                                            const int first[3]) {
  struct segmentation_box box;
  segmentation_find_source(run, view, box.extent);
  for (int axis = 0; axis < 3; axis++) {
    int more = box.extent[axis] - view->window[axis];
    int last = run->dataset.extent[axis] - box.extent[axis];
    int wanted = first[axis] - more / 2;
    if (more > 0 && last >= 0) wanted = wanted < 0 ? 0 : wanted > last ? last : wanted;
    box.first[axis] = wanted;
  }
  return box;
}

/* --- reading it --- */

static void read_truth(const struct task_run *run, const struct segmentation_view *view,
                       const struct segmentation_box *box, int subject, bool mirrored,
                       uint8_t *truth) {
  const struct dataset *dataset = &run->dataset;
  const int *mirror = ((struct segmentation_samples *)run->own)->mirror;
  int64_t voxels = (int64_t)box->extent[0] * box->extent[1] * box->extent[2];
  if (view->overlapping) {
    segmentation_crop_masks(dataset_mask(dataset, subject), dataset->mask_planes, dataset->extent,
                            box, truth);
    if (mirrored) segmentation_mirror_masks(mirror, view->classes, voxels, truth);
    return;
  }
  segmentation_crop_labels(dataset_label(dataset, subject), dataset->extent, box, truth);
  if (mirrored) segmentation_mirror_labels(mirror, view->classes, voxels, truth);
}

/* Whole volumes may stay on the device, but for label maps with left and right swapped. */
static enum status put_voxels(struct task_run *run, const struct segmentation_view *view,
                              const struct sample *sample, const struct segmentation_box *box,
                              bool mirrored, void *const *inputs) {
  const struct segmentation_inputs place = segmentation_inputs_of(view, PURPOSE_TRAINING);
  struct dataset *dataset = &run->dataset;
  bool slice = sample->slice >= 0 && dataset->has_masks;
  TRY(slice ? dataset_verify_slice(dataset, sample->subject, sample->slice)
            : dataset_verify(dataset, sample->subject));
  if (run->pieces)
    segmentation_crop_image(dataset_image(dataset, sample->subject), view->stored, dataset->extent,
                            box, inputs[place.image]);
  else
    TRY(task_put_image(run, PURPOSE_TRAINING, sample->subject, inputs, place.image));
  if (!run->pieces && !mirrored && !view->overlapping)
    return task_put_labels(run, PURPOSE_TRAINING, sample->subject, inputs, place.truth);
  read_truth(run, view, box, sample->subject, mirrored, inputs[place.truth]);
  return STATUS_OK;
}

/* The numbers of what happens to it on its way into the window that begins at `window`. */
static void put_change(const struct task_run *run, const struct segmentation_view *view,
                       const struct sample *sample, const struct augment_sample *change,
                       const struct segmentation_box *box, const int window[3],
                       void *const *inputs) {
  const int *extent = run->dataset.extent;
  double centre[3];
  int first[3], count[3];
  for (int axis = 0; axis < 3; axis++) {
    int low = box->first[axis], high = low + box->extent[axis];
    first[axis] = low < 0 ? -low : 0;
    count[axis] = (high < extent[axis] ? high : extent[axis]) - low - first[axis];
    centre[axis] = window[axis] - low + (view->window[axis] - 1) / 2.0;
  }
  augment_fill(run->config, change, view->window, run->dataset.subjects[sample->subject].spacing,
               segmentation_dimensions(view), centre, first, count,
               inputs + segmentation_inputs_of(view, PURPOSE_TRAINING).change);
}

/* What dropout drops: the same for a sample whoever trains on it. */
static void put_key(const struct task_run *run, const struct sample *sample, float *key) {
  uint32_t place = (uint32_t)sample->subject << 16 ^ (uint32_t)sample->variant;
  struct random stream = random_stream((uint64_t)run->config->root.seed, RANDOM_DROPOUT,
                                       (uint32_t)sample->epoch, place);
  memset(key, 0, sizeof *key * DROPOUT_KEY);
  for (int i = 0; i < 2; i++) key[i] = (float)(random_bits(&stream) >> 8);
}

static enum status fill_training(struct task_run *run, const struct segmentation_view *view,
                                 const struct sample *sample, void *const *inputs) {
  const struct segmentation_inputs place = segmentation_inputs_of(view, PURPOSE_TRAINING);
  int side = ((struct segmentation_samples *)run->own)->side_axis, first[3];
  struct augment_sample change;
  augment_draw(run->config, sample->epoch, run->dataset.subjects[sample->subject].id,
               sample->variant, segmentation_dimensions(view), &change);
  place_window(run, view, sample, first);
  struct segmentation_box box = place_source(run, view, first);
  TRY(put_voxels(run, view, sample, &box, side >= 0 && change.flip[side], inputs));
  if (place.change >= 0) put_change(run, view, sample, &change, &box, first, inputs);
  if (place.dropout >= 0) put_key(run, sample, inputs[place.dropout]);
  if (place.category >= 0) {
    int category = run->dataset.subjects[sample->subject].category;
    *(uint8_t *)inputs[place.category] = (uint8_t)(category < 0 ? LOGITS_IGNORED : category);
  }
  dataset_release_pages(&run->dataset, sample->subject);
  return STATUS_OK;
}

/* The image of window 0: what is drawn. segmentation_infer reads the others. */
static enum status fill_prediction(struct task_run *run, const struct segmentation_view *view,
                                   int subject, void *const *inputs) {
  struct dataset *dataset = &run->dataset;
  struct segmentation_box box = {.first = {0}};
  memcpy(box.extent, view->window, sizeof box.extent);
  TRY(dataset_verify(dataset, subject));
  segmentation_crop_image(dataset_image(dataset, subject), view->stored, dataset->extent, &box,
                          inputs[segmentation_inputs_of(view, PURPOSE_PREDICTION).image]);
  return STATUS_OK;
}

enum status segmentation_fill(struct task_run *run, enum purpose purpose, enum split split,
                              int64_t epoch, int64_t index, void *const *inputs) {
  struct segmentation_view view;
  TRY(segmentation_look(run->config, run->dataset.extent, &view));
  if (purpose == PURPOSE_PREDICTION)
    return fill_prediction(run, &view, run->subjects[split][index], inputs);
  const struct sample sample = sample_of(run, epoch, index);
  return fill_training(run, &view, &sample, inputs);
}
