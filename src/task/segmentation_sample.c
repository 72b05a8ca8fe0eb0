/* Which part of which subject is trained on, and reading it. */
#include "task/segmentation_sample.h"
#include <stdlib.h>
#include <string.h>
#include "base/random.h"
#include "data/structures.h"
#include "task/common.h"

/* --- opening --- */

static void close_samples(void *own) {
  struct segmentation_samples *samples = own;
  free(samples->list);
  free(samples->order);
  free(samples->voxels);
  free(samples);
}

/* Own slices of training subjects: with structures in front, without behind. */
static void list_slices(const struct task_run *run, struct segmentation_samples *samples) {
  const struct dataset *dataset = &run->dataset;
  samples->with = samples->without = 0;
  int all = samples->slices;
  for (int i = 0; i < run->subject_count[SPLIT_TRAIN]; i++) {
    int subject = run->subjects[SPLIT_TRAIN][i];
    const uint16_t *structures = dataset_slice_structures(dataset, subject);
    const struct dataset_subject *found = &dataset->subjects[subject];
    for (int k = found->box_first[0]; k < found->box_first[0] + found->box_count[0]; k++) {
      bool some = !structures || structures[k] > 0;
      int place = some ? samples->with++ : all - ++samples->without;
      samples->list[place] = (struct segmentation_slice){subject, k};
    }
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
  return STATUS_OK;
}

enum status segmentation_open_samples(struct task_run *run, const struct segmentation_view *view) {
  struct segmentation_samples *samples = calloc(1, sizeof *samples);
  REQUIRE(samples, STATUS_FAILED, "out of memory");
  run->own = samples;
  run->close_own = close_samples;
  run->pieces = !segmentation_samples(run->config, "volume");
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

/* --- reading it --- */

static void read_truth(const struct task_run *run, const struct segmentation_view *view,
                       const struct segmentation_box *box, int subject, uint8_t *truth) {
  const struct dataset *dataset = &run->dataset;
  if (view->overlapping)
    segmentation_crop_masks(dataset_mask(dataset, subject), dataset->mask_planes, dataset->extent,
                            box, truth);
  else
    segmentation_crop_labels(dataset_label(dataset, subject), dataset->extent, box, truth);
}

static enum status put_voxels(struct task_run *run, const struct segmentation_view *view,
                              const struct sample *sample, const struct segmentation_box *box,
                              void *const *inputs) {
  const struct segmentation_inputs place = segmentation_inputs_of(view, PURPOSE_TRAINING);
  struct dataset *dataset = &run->dataset;
  bool plain = !run->pieces && !view->overlapping;
  if (plain) {
    TRY(task_put_image(run, PURPOSE_TRAINING, sample->subject, inputs, place.image));
    return task_put_labels(run, PURPOSE_TRAINING, sample->subject, inputs, place.truth);
  }
  TRY(sample->slice >= 0 && dataset->has_masks
          ? dataset_verify_slice(dataset, sample->subject, sample->slice)
          : dataset_verify(dataset, sample->subject));
  segmentation_crop_image(dataset_image(dataset, sample->subject), view->stored, dataset->extent,
                          box, inputs[place.image]);
  read_truth(run, view, box, sample->subject, inputs[place.truth]);
  return STATUS_OK;
}

static enum status fill_training(struct task_run *run, const struct segmentation_view *view,
                                 const struct sample *sample, void *const *inputs) {
  struct segmentation_box box;
  place_window(run, view, sample, box.first);
  memcpy(box.extent, view->window, sizeof box.extent);
  TRY(put_voxels(run, view, sample, &box, inputs));
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
