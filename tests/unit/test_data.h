/* Small subjects on disk for the tests of the data room. */
#pragma once
#include <sys/stat.h>
#include <unistd.h>
#include "base/file.h"
#include "base/log.h"
#include "check.h"
#include "config/config.h"
#include "data/dataset.h"
#include "data/prepare.h"
#include "volume/phantom.h"

struct data_place {
  char *folder, *source, *master;
  struct config config;
};

static inline void data_override(struct data_place *place, const char *assignment) {
  CHECK_OK(config_override(&place->config, assignment));
}

/* A subject of the phantom, its values made a function of `number` too so that all differ. */
static inline void data_make_subject(int number, const int extent[3], struct volume *image,
                                     struct volume *label) {
  struct phantom_options options = phantom_defaults();
  memcpy(options.extent, extent, sizeof options.extent);
  options.subject = (uint32_t)number;
  CHECK_OK(phantom_make(&options, image, label));
}

/* images/ID.nii.gz and, unless NULL, labels/ID.nii.gz. */
static inline void data_write_pair(const struct data_place *place, const char *id,
                                   const struct volume *image, const struct volume *label) {
  const struct volume_format classes = {.type = VOLUME_UINT8};
  const struct volume_format values = {0};
  char *path = file_format("%s/images/%s.nii.gz", place->source, id);
  CHECK_OK(volume_write(image, path, &values));
  free(path);
  if (!label) return;
  path = file_format("%s/labels/%s.nii.gz", place->source, id);
  CHECK_OK(volume_write(label, path, &classes));
  free(path);
}

static inline void data_add_subject(const struct data_place *place, int number, bool labelled) {
  struct volume image, label;
  char id[32];
  snprintf(id, sizeof id, "subject_%02d", number);
  data_make_subject(number, (int[]){17, 18, 19}, &image, &label);
  data_write_pair(place, id, &image, labelled ? &label : NULL);
  volume_close(&image);
  volume_close(&label);
}

/* A folder with `subjects` labelled subjects (layout folders) and a config for them. */
static inline struct data_place data_open_place(int subjects, const char *folder) {
  struct data_place place = {.folder = folder ? strdup(folder) : check_make_folder()};
  log_setup(0, 1, LOG_ERROR);
  place.source = file_join(place.folder, "source");
  place.master = file_join(place.folder, "out/data.h5");
  CHECK_OK(config_defaults(&place.config));
  char *source = file_format("data.source=%s", place.source);
  char *master = file_format("data.shards=%s", place.master);
  data_override(&place, source);
  data_override(&place, master);
  data_override(&place, "data.shard_count=2");
  data_override(&place, "data.multiple=4");
  free(source);
  free(master);
  char *images = file_join(place.source, "images"), *labels = file_join(place.source, "labels");
  CHECK_OK(file_make_directory(images));
  CHECK_OK(file_make_directory(labels));
  free(images);
  free(labels);
  for (int i = 0; i < subjects; i++) data_add_subject(&place, i, true);
  return place;
}

static inline void data_free_place(struct data_place *place) {
  free(place->source);
  free(place->master);
  config_close(&place->config);
}

static inline void data_close_place(struct data_place *place) {
  check_remove_folder(place->folder);
  data_free_place(place);
}

static inline enum status data_prepare(struct data_place *place) {
  struct prepare_team team = prepare_team_alone();
  return prepare_run(&place->config, &team);
}

/* The text of prepare.json (caller frees). */
static inline char *data_read_report(const struct data_place *place) {
  char *path = file_join(place->folder, "out/prepare.json"), *text = NULL;
  size_t bytes;
  CHECK_OK(file_read(path, (size_t)1 << 24, &text, &bytes));
  free(path);
  return text ? text : strdup("");
}

/* A hash of every subject's stored bytes, in order. */
static inline uint64_t data_hash(struct dataset *dataset) {
  size_t voxels =
      (size_t)dataset->extent[0] * (size_t)dataset->extent[1] * (size_t)dataset->extent[2];
  uint64_t hash = 0;
  for (int i = 0; i < dataset->subject_count; i++) {
    CHECK_OK(dataset_verify(dataset, i));
    hash = hash * 31 + file_checksum(0, dataset_image(dataset, i), voxels * sizeof(float));
    if (dataset->has_labels) hash = hash * 31 + file_checksum(0, dataset_label(dataset, i), voxels);
    if (dataset->has_masks)
      hash = hash * 31 +
             file_checksum(0, dataset_mask(dataset, i), voxels * (size_t)dataset->mask_planes);
  }
  return hash;
}

/* When a file was last written. */
static inline struct timespec data_modified(const char *path) {
  struct stat information = {0};
  CHECK(stat(path, &information) == 0);
  return information.st_mtim;
}

static inline bool data_same_time(struct timespec a, struct timespec b) {
  return a.tv_sec == b.tv_sec && a.tv_nsec == b.tv_nsec;
}
