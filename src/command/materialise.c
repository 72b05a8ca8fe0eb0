/* materialise: the samples of the pose task as files, for other programs. Every sample is made by
 * the operators that make it in training, on the same device, so that the voxels are those the
 * network sees. */
#include <stdlib.h>
#include <string.h>
#include "base/file.h"
#include "base/log.h"
#include "command/machine.h"
#include "command/materialise.h"
#include "command/options.h"
#include "command/preparation.h"
#include "comm/tree.h"
#include "train/network.h"
#include "volume/volume.h"

struct work {
  struct comm *comm;
  struct materialised done; /* by this rank */
  const struct task *task;
  struct task_run run;
  struct device device;
  struct network network;
  void *inputs[NETWORK_MAX_INPUTS]; /* what the task fills for a sample */
};

static enum purpose purpose_of(const struct work *work) {
  return work->done.split == SPLIT_TRAIN ? PURPOSE_TRAINING : PURPOSE_PREDICTION;
}

/* --- one sample --- */

static enum status write_image(const struct work *work, const struct materialised_row *row,
                               const void *voxels) {
  const struct grid grid = pose_grid(work->done.config, row->centre);
  const struct volume_format format = {.description = "moved by a known pose", .compression = 1};
  struct volume volume = {
      .channels = 1, .affine = grid.affine, .values = (float *)(uintptr_t)voxels /* only read */};
  memcpy(volume.extent, grid.extent, sizeof volume.extent);
  char *name = materialised_name(&work->done, row);
  char *path = name ? file_join(work->done.directory, name) : NULL;
  free(name);
  REQUIRE(path, STATUS_FAILED, "%s: out of memory", work->done.directory);
  enum status status = volume_write(&volume, path, &format);
  free(path);
  return status;
}

static enum status write_sample(struct work *work, int64_t index) {
  enum purpose purpose = purpose_of(work);
  const struct pose_sample sample =
      pose_sample_of(&work->run, purpose, work->done.split, work->done.epoch, index);
  struct materialised_row *row = &work->done.rows[work->done.count];
  *row = (struct materialised_row){
      .variant = sample.variant,
      .subject = sample.subject,
      .pose = pose_motion(&work->run, sample.epoch, sample.subject, sample.variant)};
  pose_centre(&work->run, sample.subject, row->centre);
  TRY(work->task->fill(&work->run, purpose, work->done.split, work->done.epoch, index,
                       work->inputs));
  struct task_network network = network_for_task(&work->network);
  const void *voxels;
  TRY(network.run(network.context, work->run.dataset.extent, (const void *const *)work->inputs));
  TRY(network.output(network.context, "image", &voxels));
  TRY(write_image(work, row, voxels));
  work->done.count++;
  return STATUS_OK;
}

static enum status write_share(struct work *work) {
  int64_t count = work->task->count(&work->run, purpose_of(work), work->done.split);
  REQUIRE(count > 0, STATUS_USAGE, "materialise: expected subjects in the %s split, found none",
          split_name(work->done.split));
  REQUIRE(count <= INT32_MAX, STATUS_USAGE, "materialise: expected at most %d samples, found %lld",
          INT32_MAX, (long long)count);
  struct slot_range share = comm_share((int)count, work->comm->rank, work->comm->size);
  work->done.rows = calloc((size_t)share.count + 1, sizeof *work->done.rows);
  REQUIRE(work->done.rows, STATUS_FAILED, "out of memory for %d samples", share.count);
  TRY(file_make_directory(work->done.directory));
  struct progress progress;
  progress_start(&progress, "materialise", share.count);
  for (int i = 0; i < share.count; i++) {
    TRY(write_sample(work, share.first + i));
    progress_update(&progress, i + 1, "");
  }
  progress_finish(&progress, work->done.directory);
  return STATUS_OK;
}

static int compare_rows(const void *a, const void *b) {
  const struct materialised_row *x = a, *y = b;
  if (x->subject != y->subject) return x->subject < y->subject ? -1 : 1;
  return (x->variant > y->variant) - (x->variant < y->variant);
}

/* Rank 0, with the rows of all ranks. */
static enum status write_metadata(const struct work *work, const struct comm_parts *parts) {
  struct materialised all = work->done;
  size_t bytes = parts->offset[work->comm->size];
  all.count = (int)(bytes / sizeof *all.rows);
  all.rows = malloc(bytes);
  REQUIRE(all.rows, STATUS_FAILED, "out of memory for %d samples", all.count);
  memcpy(all.rows, parts->data, bytes);
  qsort(all.rows, (size_t)all.count, sizeof *all.rows, compare_rows);
  enum status status = materialised_describe(&all);
  free(all.rows);
  if (!status) log_info("%s: %d volumes, metadata.csv and metadata.json", all.directory, all.count);
  return status;
}

/* Collective. */
static enum status finish(struct work *work) {
  struct comm *comm = work->comm;
  struct comm_parts parts = {0};
  TRY(comm_gather(comm, work->done.rows, sizeof *work->done.rows * (size_t)work->done.count, 0,
                  &parts));
  enum status status = comm->rank == 0 ? write_metadata(work, &parts) : STATUS_OK;
  comm_parts_free(&parts);
  return comm_agree(comm, status);
}

/* --- opening --- */

/* In the order in which the task fills them: source, motion; in mode pair both of the reference;
 * the target. Only the first two are used. */
static enum status allocate_inputs(struct work *work) {
  const int *extent = work->run.dataset.extent;
  size_t voxels = sizeof(float) * (size_t)extent[0] * (size_t)extent[1] * (size_t)extent[2];
  size_t bytes[] = {voxels, sizeof(struct affine_motion), voxels, sizeof(struct affine_motion),
                    POSE_NUMBERS * sizeof(float)};
  for (size_t i = 0; i < sizeof bytes / sizeof *bytes; i++) {
    work->inputs[i] = malloc(bytes[i]);
    REQUIRE(work->inputs[i], STATUS_FAILED, "out of memory for a volume");
  }
  return STATUS_OK;
}

static enum status open_work(struct work *work) {
  static const struct task image_alone = {.name = "materialise", .build = pose_build_image};
  TRY(task_find(work->done.config->root.task, &work->task));
  TRY(work->task->open(&work->run, work->done.config));
  work->done.dataset = &work->run.dataset;
  TRY(network_plan(&work->network, &image_alone, &work->run, work->done.config,
                   work->device.ops->kind, PURPOSE_PREDICTION, 1, work->run.dataset.extent, NULL));
  TRY(network_open(&work->network, &work->device, NULL, NULL, NULL));
  return allocate_inputs(work);
}

static void close_work(struct work *work) {
  network_close(&work->network);
  task_close(&work->run);
  device_close(&work->device);
  for (int i = 0; i < NETWORK_MAX_INPUTS; i++) free(work->inputs[i]);
  free(work->done.rows);
}

/* Collective. A rank that is done waits for the others, however long it takes. */
static enum status run_all(struct work *work) {
  struct comm *comm = work->comm;
  TRY(preparation_provide(work->done.config, comm));
  TRY(machine_open(&work->device, work->done.config, comm));
  double deadline = comm->deadline;
  comm->deadline = 0;
  enum status status = open_work(work);
  if (!status) status = write_share(work);
  status = comm_agree(comm, status);
  if (!status) status = finish(work);
  comm->deadline = deadline;
  return status;
}

static enum status read_request(struct work *work, const struct words *words, const char *split,
                                const char *epoch) {
  long number = 0;
  REQUIRE(strcmp(work->done.config->root.task, "pose") == 0, STATUS_USAGE,
          "materialise: expected a config with task = \"pose\", found \"%s\"",
          work->done.config->root.task);
  REQUIRE(words->positional_count == 1, STATUS_USAGE,
          "materialise: expected CONFIG OUTDIR, found %d words behind the config",
          words->positional_count);
  int found = split_find(split);
  REQUIRE(found >= 0, STATUS_USAGE, "--split: expected train, validation or test, found \"%s\"",
          split);
  if (epoch) TRY(options_number("--epoch", epoch, 0, INT32_MAX, &number));
  work->done.directory = words->positional[0];
  work->done.split = (enum split)found;
  work->done.epoch = number;
  return STATUS_OK;
}

static enum status materialise_command(const struct invocation *invocation) {
  const char *split = "train", *epoch = NULL;
  const struct option options[] = {{"--split", &split, NULL}, {"--epoch", &epoch, NULL}, {0}};
  struct config config;
  struct words words;
  struct work work = {.comm = invocation->comm, .done.config = &config};
  enum status status = options_open_config(invocation, options, &words, &config);
  if (!status) status = comm_agree(invocation->comm, read_request(&work, &words, split, epoch));
  if (!status) status = run_all(&work);
  close_work(&work);
  config_close(&config);
  return status;
}

extern const struct command command_materialise;
const struct command command_materialise = {
    .name = "materialise",
    .usage = "CONFIG OUTDIR [--split train|validation|test] [--epoch N] [key=value ...]",
    .help = "pose: the moved volumes of an epoch as NIfTI, with metadata.csv and metadata.json",
    .run = materialise_command,
    .parallel = true,
};
