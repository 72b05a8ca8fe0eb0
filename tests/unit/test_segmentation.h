/* A segmentation data set in memory, and a network whose answer is known. */
#pragma once
#include "check.h"
#include "data/dataset_parts.h"
#include "metrics/segmentation.h"
#include "task/segmentation.h"

/* One subject in every split, stored on `extent`; image values are the number of the slice. */
struct known_case {
  struct config config;
  struct task_run run;
  struct dataset_subject subject;
  struct dataset_map map;
  int extent[3], classes;
  bool overlapping;
  float *image, *probability; /* [classes][d][h][w]: what the network says */
  uint8_t *truth;             /* [d][h][w], or [d][ceil(classes / 8)][h][w] */
  float *logits;
  int slice;         /* that the network was run on last */
  float category[4]; /* its logits of the whole */
  struct task_network network;
};

static inline size_t known_voxels(const struct known_case *known) {
  return (size_t)known->extent[0] * (size_t)known->extent[1] * (size_t)known->extent[2];
}

static inline size_t known_voxel(const struct known_case *known, int d, int h, int w) {
  return ((size_t)d * (size_t)known->extent[1] + (size_t)h) * (size_t)known->extent[2] + (size_t)w;
}

static inline void known_override(struct known_case *known, const char *assignment) {
  CHECK_OK(config_override(&known->config, assignment));
}

static inline bool known_is_sliced(const struct known_case *known) {
  return strcmp(known->config.segmentation.sample, "slice") == 0;
}

static enum status known_run(void *context, const int extent[3], const void *const *inputs) {
  struct known_case *known = context;
  (void)extent;
  known->slice = (int)((const float *)inputs[0])[0];
  return STATUS_OK;
}

/* Softmax of the logarithms, or the sigmoid of these logits, gives the probabilities back. */
static enum status known_output(void *context, const char *name, const void **memory) {
  struct known_case *known = context;
  *memory = known->category;
  if (strcmp(name, "category") == 0) return STATUS_OK;
  CHECK(strcmp(name, "logits") == 0);
  size_t area = (size_t)known->extent[1] * (size_t)known->extent[2], voxels = known_voxels(known);
  size_t first = known_is_sliced(known) ? (size_t)known->slice * area : 0;
  size_t count = known_is_sliced(known) ? area : voxels;
  for (int c = 0; c < known->classes; c++)
    for (size_t i = 0; i < count; i++) {
      double p = known->probability[(size_t)c * voxels + first + i];
      p = fmin(fmax(p, 1e-9), 1 - 1e-9);
      known->logits[(size_t)c * count + i] =
          (float)(known->overlapping ? log(p / (1 - p)) : log(p));
    }
  *memory = known->logits;
  return STATUS_OK;
}

/* Nothing is true and nothing is predicted; the box is the whole volume; voxels of 1 mm. */
static inline void known_open(struct known_case *known, const int extent[3], int classes,
                              bool overlapping) {
  *known = (struct known_case){.classes = classes, .overlapping = overlapping};
  memcpy(known->extent, extent, sizeof known->extent);
  size_t voxels = known_voxels(known);
  int planes = overlapping ? (classes + 7) / 8 : 1;
  char text[64];
  CHECK_OK(config_defaults(&known->config));
  snprintf(text, sizeof text, "model.classes=%d", classes);
  known_override(known, text);
  known_override(known, "model.name=unet");
  known_override(known, "model.features=[4]");
  known_override(known, "output.images=false");
  if (overlapping) known_override(known, "data.layout=totalsegmentator");
  known->image = calloc(voxels, sizeof(float));
  known->probability = calloc(voxels * (size_t)classes, sizeof(float));
  known->logits = calloc(voxels * (size_t)classes, sizeof(float));
  known->truth = calloc(voxels, (size_t)planes);
  for (size_t i = 0; i < voxels; i++)
    known->image[i] = (float)(i / ((size_t)extent[1] * (size_t)extent[2]));
  for (size_t i = 0; !overlapping && i < voxels; i++) known->probability[i] = 1;
  known->subject = (struct dataset_subject){.id = (char *)(uintptr_t) "case",
                                            .affine = affine_identity(),
                                            .spacing = {1, 1, 1},
                                            .category = -1,
                                            .box_count = {extent[0], extent[1], extent[2]}};
  known->map.array[SHARD_IMAGE] = (const unsigned char *)known->image;
  known->map.array[overlapping ? SHARD_MASK : SHARD_LABEL] = known->truth;
  struct dataset *dataset = &known->run.dataset;
  *dataset = (struct dataset){.subject_count = 1,
                              .channels = 1,
                              .classes = overlapping ? 1 : classes,
                              .has_labels = !overlapping,
                              .has_masks = overlapping,
                              .structure_count = overlapping ? classes : 0,
                              .mask_planes = overlapping ? planes : 0,
                              .subjects = &known->subject,
                              .map_count = 1,
                              .maps = &known->map,
                              .verified = calloc(1, 1)};
  memcpy(dataset->extent, extent, sizeof dataset->extent);
  dataset->verified[0] = 1;
  known->run.config = &known->config;
  for (int split = 0; split < SPLIT_COUNT; split++) {
    known->run.subjects[split] = calloc(1, sizeof(int));
    known->run.subject_count[split] = 1;
  }
  known->network =
      (struct task_network){.context = known, .run = known_run, .output = known_output};
}

static inline void known_close(struct known_case *known) {
  for (int split = 0; split < SPLIT_COUNT; split++) free(known->run.subjects[split]);
  free((void *)(uintptr_t)known->run.dataset.verified);
  free(known->image);
  free(known->probability);
  free(known->logits);
  free(known->truth);
  config_close(&known->config);
}

/* A box of voxels, end excluded. */
struct known_box {
  int first[3], end[3];
};

static inline bool known_is_inside(const struct known_box *box, const int voxel[3]) {
  for (int axis = 0; axis < 3; axis++)
    if (voxel[axis] < box->first[axis] || voxel[axis] >= box->end[axis]) return false;
  return true;
}

/* Of structures that overlap, or classes that take each other's place. */
static inline void known_set_truth(struct known_case *known, int c, struct known_box box) {
  for (int d = box.first[0]; d < box.end[0]; d++)
    for (int h = box.first[1]; h < box.end[1]; h++)
      for (int w = box.first[2]; w < box.end[2]; w++) {
        int planes = known->run.dataset.mask_planes;
        size_t area = (size_t)known->extent[1] * (size_t)known->extent[2];
        size_t in_plane = known_voxel(known, 0, h, w);
        if (known->overlapping)
          known->truth[((size_t)d * (size_t)planes + (size_t)c / 8) * area + in_plane] |=
              (uint8_t)(1 << c % 8);
        else
          known->truth[known_voxel(known, d, h, w)] = (uint8_t)c;
      }
}

static inline void known_predict(struct known_case *known, int c, struct known_box box,
                                 float probability) {
  size_t voxels = known_voxels(known);
  for (int d = box.first[0]; d < box.end[0]; d++)
    for (int h = box.first[1]; h < box.end[1]; h++)
      for (int w = box.first[2]; w < box.end[2]; w++) {
        size_t voxel = known_voxel(known, d, h, w);
        known->probability[(size_t)c * voxels + voxel] = probability;
        if (!known->overlapping) known->probability[voxel] = 1 - probability;
      }
}
