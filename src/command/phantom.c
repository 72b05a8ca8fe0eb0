/* phantom: labelled synthetic subjects for trials. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/file.h"
#include "base/log.h"
#include "command/options.h"
#include "command/phantoms.h"
#include "comm/tree.h"
#include "volume/phantom.h"

static struct phantom_options options_of(const struct config *config, int subject) {
  struct phantom_options options = phantom_defaults();
  for (int axis = 0; axis < 3; axis++) options.extent[axis] = (int)config->phantom.size.value[axis];
  options.spacing = config->phantom.spacing;
  options.seed = (uint64_t)config->root.seed;
  options.subject = (uint32_t)subject;
  options.labels = (int)config->phantom.labels;
  options.deformation = config->phantom.deformation;
  options.noise = config->phantom.noise;
  options.bias = config->phantom.bias;
  options.contrast = config->phantom.contrast;
  return options;
}

static enum status write_one(const struct volume *volume, const char *directory, const char *kind,
                             int subject, enum volume_type type) {
  char *path = file_format("%s/%s/phantom_%03d.nii.gz", directory, kind, subject);
  REQUIRE(path, STATUS_FAILED, "%s: out of memory", directory);
  const struct volume_format format = {.type = type, .description = "synthetic head"};
  enum status status = volume_write(volume, path, &format);
  free(path);
  return status;
}

static enum status write_subject(const struct config *config, const char *directory, int subject) {
  const struct phantom_options options = options_of(config, subject);
  struct volume image = {0}, labels = {0};
  enum status status = phantom_make(&options, &image, &labels);
  if (!status) status = write_one(&image, directory, "images", subject, VOLUME_FLOAT32);
  if (!status) status = write_one(&labels, directory, "labels", subject, VOLUME_UINT8);
  volume_close(&image);
  volume_close(&labels);
  return status;
}

static enum status make_folders(const char *directory) {
  static const char *const kinds[] = {"images", "labels"};
  for (int i = 0; i < 2; i++) {
    char *path = file_join(directory, kinds[i]);
    REQUIRE(path, STATUS_FAILED, "%s: out of memory", directory);
    enum status status = file_make_directory(path);
    free(path);
    if (status) return status;
  }
  return STATUS_OK;
}

static enum status write_share(const struct config *config, const struct comm *comm,
                               const char *directory) {
  REQUIRE(config->phantom.size.count == 3, STATUS_USAGE,
          "phantom.size: expected 3 extents, found %d", config->phantom.size.count);
  TRY(make_folders(directory));
  int subjects = (int)config->phantom.subjects;
  struct slot_range share = comm_share(subjects, comm->rank, comm->size);
  struct progress progress;
  progress_start(&progress, "phantom", share.count);
  for (int i = 0; i < share.count; i++) {
    TRY(write_subject(config, directory, share.first + i));
    progress_update(&progress, i + 1, "");
  }
  progress_finish(&progress, directory);
  return STATUS_OK;
}

enum status phantoms_write(const struct config *config, struct comm *comm, const char *directory) {
  return comm_agree(comm, write_share(config, comm, directory));
}

/* Collective. Under another name first: a folder that is there is whole. */
static enum status write_whole(const struct config *config, struct comm *comm) {
  const char *source = config->data.source;
  char *partial = file_format("%s.part", source);
  enum status mine =
      partial ? STATUS_OK
              : status_fail(STATUS_FAILED, __FILE__, __LINE__, "%s: out of memory", source);
  enum status status = comm_agree(comm, mine);
  if (!status) status = phantoms_write(config, comm, partial);
  if (!status && comm->rank == 0 && rename(partial, source) != 0)
    mine = status_fail(STATUS_FAILED, __FILE__, __LINE__, "%s: cannot rename %s: %s", source,
                       partial, strerror(errno));
  if (!status) status = comm_agree(comm, mine);
  free(partial);
  return status;
}

enum status phantoms_provide(const struct config *config, struct comm *comm) {
  if (!config->data.phantom) return STATUS_OK;
  int64_t there = comm->rank == 0 && file_exists(config->data.source); /* rank 0 looks for all */
  TRY(comm_reduce_int64(comm, COMM_MAX, &there, 1));
  return there ? STATUS_OK : write_whole(config, comm);
}

static enum status apply(const struct invocation *invocation, struct config *config,
                         const char **directory) {
  struct words words;
  TRY(options_sort(invocation, NULL, &words));
  REQUIRE(words.positional_count == 1, STATUS_USAGE, "phantom: expected one folder, found %d words",
          words.positional_count);
  *directory = words.positional[0];
  TRY(config_defaults(config));
  for (int i = 0; i < words.override_count; i++) TRY(config_override(config, words.override[i]));
  return STATUS_OK;
}

static enum status phantom_run(const struct invocation *invocation) {
  struct config config = {0};
  const char *directory = NULL;
  enum status status = comm_agree(invocation->comm, apply(invocation, &config, &directory));
  if (!status) status = phantoms_write(&config, invocation->comm, directory);
  config_close(&config);
  return status;
}

extern const struct command command_phantom;
const struct command command_phantom = {
    .name = "phantom",
    .usage = "OUTDIR [phantom.subjects=N phantom.size=[D,H,W] seed=S ...]",
    .help = "writes labelled synthetic heads as NIfTI: OUTDIR/images, OUTDIR/labels",
    .run = phantom_run,
    .parallel = true,
};
