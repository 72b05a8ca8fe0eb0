/* Writing the stale shards. With as many shards as ranks or more, each rank writes whole shards;
 * otherwise the ranks are divided into one group per shard, and a group's ranks write their
 * subjects of it together, round by round: every rank of a group makes the same collective calls
 * whatever happens to its own subject. */
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include "base/file.h"
#include "base/log.h"
#include "base/text.h"
#include "data/prepare_parts.h"
#include "data/shard_write.h"
#include "data/subject_masks.h"

/* What a rank found out about a subject while processing it, as it travels in its group. */
struct outcome {
  double affine[4][4], spacing[3], centroid[3];
  int box_count[3];
  uint32_t checksum_image, checksum_label, checksum_mask, checksum_voxels;
  uint64_t overlap_voxels;
  uint8_t largest_label;
  char history[SUBJECT_HISTORY_BYTES];
};

/* Ranks that write one shard together. */
struct group {
  int rank, size;
  MPI_Comm communicator;    /* when size > 1 */
  struct outcome *outcomes; /* size of them */
};

/* One subject ready to be written. */
struct voxels {
  float *image;
  uint8_t *label;
  struct subject_masks masks;
  uint32_t *slice_checksum; /* [d], with masks */
  uint32_t *slice_voxels;   /* [d][class], with labels */
};

/* Of labels or masks; NULL without. */
static const uint32_t *counts_of(const struct voxels *voxels) {
  return voxels->label ? voxels->slice_voxels : voxels->masks.slice_voxels;
}

static void free_voxels(struct voxels *voxels) {
  free(voxels->image);
  free(voxels->label);
  free(voxels->slice_checksum);
  free(voxels->slice_voxels);
  subject_free_masks(&voxels->masks);
  *voxels = (struct voxels){0};
}

static void fill_outcome(const struct subject_volumes *volumes, const struct shard *shard,
                         const struct voxels *voxels, struct outcome *outcome) {
  const int *extent = shard->extent;
  memcpy(outcome->affine, volumes->target.affine.m, sizeof volumes->target.affine.m);
  outcome->affine[3][3] = 1;
  affine_get_spacing(&volumes->target.affine, outcome->spacing);
  memcpy(outcome->box_count, volumes->target.extent, sizeof outcome->box_count);
  subject_find_centroid(&volumes->target.affine, extent, voxels->label, outcome->centroid);
  outcome->checksum_image = file_checksum(0, voxels->image, shard_array_bytes(shard, SHARD_IMAGE));
  if (voxels->label)
    outcome->checksum_label =
        file_checksum(0, voxels->label, shard_array_bytes(shard, SHARD_LABEL));
  outcome->largest_label = (uint8_t)volumes->largest_label;
}

static enum status process_masks(const struct preparation *preparation, const struct shard *shard,
                                 const struct subject_source *source,
                                 struct subject_volumes *volumes, struct voxels *voxels,
                                 struct outcome *outcome) {
  const int *extent = shard->extent;
  if (!shard->structure_count) return STATUS_OK;
  TRY(subject_read_masks(preparation->config, source, &preparation->structures, volumes, extent,
                         &voxels->masks));
  voxels->slice_checksum = malloc(shard_array_bytes(shard, SHARD_SLICE_CHECKSUM));
  REQUIRE(voxels->slice_checksum, STATUS_FAILED, "%s: out of memory", source->image);
  size_t plane = (size_t)extent[1] * (size_t)extent[2];
  size_t mask = plane * structures_planes(shard->structure_count);
  for (size_t d = 0; d < (size_t)extent[0]; d++) {
    uint32_t image = 0;
    for (size_t c = 0; c < (size_t)shard->channels; c++)
      image = file_checksum(image, voxels->image + (c * (size_t)extent[0] + d) * plane,
                            plane * sizeof *voxels->image);
    voxels->slice_checksum[d] = file_checksum(image, voxels->masks.bits + d * mask, mask);
  }
  outcome->checksum_mask = file_checksum(0, voxels->masks.bits, (size_t)extent[0] * mask);
  outcome->overlap_voxels = voxels->masks.overlap;
  return STATUS_OK;
}

static enum status process_counts(const struct shard *shard, const struct subject_source *source,
                                  struct voxels *voxels, struct outcome *outcome) {
  size_t plane = (size_t)shard->extent[1] * (size_t)shard->extent[2];
  if (voxels->label) {
    voxels->slice_voxels = calloc(1, shard_array_bytes(shard, SHARD_SLICE_VOXELS));
    REQUIRE(voxels->slice_voxels, STATUS_FAILED, "%s: out of memory", source->label);
    for (size_t d = 0; d < (size_t)shard->extent[0]; d++)
      for (size_t i = 0; i < plane; i++)
        voxels->slice_voxels[d * (size_t)shard->counted + voxels->label[d * plane + i]]++;
  }
  if (counts_of(voxels))
    outcome->checksum_voxels =
        file_checksum(0, counts_of(voxels), shard_array_bytes(shard, SHARD_SLICE_VOXELS));
  return STATUS_OK;
}

static const struct subject_source *find_source(const struct preparation *preparation,
                                                const char *id) {
  int low = 0, high = preparation->source_count - 1;
  while (low < high) {
    int middle = low + (high - low) / 2;
    if (strcmp(preparation->sources[middle].id, id) < 0)
      low = middle + 1;
    else
      high = middle;
  }
  return &preparation->sources[low];
}

static enum status process(const struct preparation *preparation, const struct shard *shard,
                           int row, struct voxels *voxels, struct outcome *outcome) {
  const struct subject_source *source = find_source(preparation, shard->subjects[row].id);
  int number = (int)(source - preparation->sources);
  const int *extent = preparation->records[number].extent;
  struct subject_volumes volumes;
  TRY(prepare_take(preparation, number, &volumes));
  enum status status = STATUS_OK;
  if (memcmp(volumes.target.extent, extent, sizeof volumes.target.extent) != 0 ||
      (volumes.label.values && volumes.largest_label >= shard->counted))
    status = status_fail(STATUS_FAILED, __FILE__, __LINE__, "%s: changed while it was prepared",
                         source->image);
  if (!status) status = subject_resample(&volumes, shard->extent, &voxels->image, &voxels->label);
  if (!status) fill_outcome(&volumes, shard, voxels, outcome);
  if (!status) status = process_masks(preparation, shard, source, &volumes, voxels, outcome);
  if (!status) status = process_counts(shard, source, voxels, outcome);
  if (!status) status = subject_describe(preparation->config, &volumes, outcome->history);
  subject_close(&volumes);
  return status;
}

/* Whether all ranks of the group are fine. */
static bool agree(const struct group *group, enum status mine) {
  int failed = mine != STATUS_OK, any = failed;
  if (group->size > 1) MPI_Allreduce(&failed, &any, 1, MPI_INT, MPI_MAX, group->communicator);
  return !any;
}

static enum status keep_outcome(struct shard_subject *subject, const struct outcome *outcome) {
  memcpy(subject->affine, outcome->affine, sizeof subject->affine);
  memcpy(subject->spacing, outcome->spacing, sizeof subject->spacing);
  memcpy(subject->centroid, outcome->centroid, sizeof subject->centroid);
  memcpy(subject->box_count, outcome->box_count, sizeof subject->box_count);
  subject->checksum_image = outcome->checksum_image;
  subject->checksum_label = outcome->checksum_label;
  subject->checksum_mask = outcome->checksum_mask;
  subject->checksum_voxels = outcome->checksum_voxels;
  subject->overlap_voxels = outcome->overlap_voxels;
  subject->largest_label = outcome->largest_label;
  free(subject->history);
  subject->history = strdup(outcome->history);
  REQUIRE(subject->history, STATUS_FAILED, "out of memory");
  return STATUS_OK;
}

/* Every rank of the group learns what the others found out in this round. */
static enum status share_outcomes(const struct group *group, struct shard *shard, int first) {
  if (group->size > 1)
    MPI_Allgather(MPI_IN_PLACE, 0, MPI_BYTE, group->outcomes, sizeof *group->outcomes, MPI_BYTE,
                  group->communicator);
  for (int i = 0; i < group->size && first + i < shard->subject_count; i++)
    TRY(keep_outcome(&shard->subjects[first + i], &group->outcomes[i]));
  return STATUS_OK;
}

static enum status put(struct shard_writer *writer, int row, const struct voxels *voxels) {
  const void *const values[SHARD_ARRAY_COUNT] = {[SHARD_IMAGE] = voxels->image,
                                                 [SHARD_LABEL] = voxels->label,
                                                 [SHARD_MASK] = voxels->masks.bits,
                                                 [SHARD_SLICE_VOXELS] = counts_of(voxels),
                                                 [SHARD_SLICE_STRUCTURES] = voxels->masks.slices,
                                                 [SHARD_SLICE_CHECKSUM] = voxels->slice_checksum,
                                                 [SHARD_STRUCTURE_VOXELS] = voxels->masks.voxels};
  return shard_writer_put(writer, row, values);
}

/* Subjects first .. first + size - 1, one per rank. *stop: some rank of the group failed. */
static enum status write_round(const struct preparation *preparation, const struct group *group,
                               struct shard_writer *writer, struct shard *shard, int first,
                               bool *stop) {
  int row = first + group->rank;
  if (row >= shard->subject_count) row = -1;
  struct voxels voxels = {0};
  struct outcome *outcome = &group->outcomes[group->rank];
  *outcome = (struct outcome){0};
  enum status status = row < 0 ? STATUS_OK : process(preparation, shard, row, &voxels, outcome);
  *stop = !agree(group, status);
  if (!*stop) {
    status = put(writer, row, &voxels);
    *stop = !agree(group, status);
  }
  free_voxels(&voxels);
  if (*stop) return status;
  status = share_outcomes(group, shard, first);
  *stop = !agree(group, status);
  return status;
}

/* Round by round, the ranks of a group in step. */
static enum status write_together(const struct preparation *preparation, const struct group *group,
                                  struct shard_writer *writer, struct shard *shard,
                                  struct progress *progress) {
  enum status status = STATUS_OK;
  bool stop = false;
  for (int first = 0; first < shard->subject_count && !stop; first += group->size) {
    status = write_round(preparation, group, writer, shard, first, &stop);
    progress_update(progress, progress->done + group->size, shard->subjects[first].id);
  }
  return status;
}

/* The first failure of several threads, with its trace. */
struct failure {
  enum status status;
  char *trace;
};

static void keep_failure(struct failure *failure, enum status status) {
  if (!status || failure->status) return;
  failure->status = status;
  failure->trace = strdup(status_trace());
}

static void write_row(const struct preparation *preparation, struct shard_writer *writer,
                      struct shard *shard, int row, struct progress *progress,
                      struct failure *failure) {
  struct voxels voxels = {0};
  struct outcome outcome = {0};
  enum status status = process(preparation, shard, row, &voxels, &outcome);
#pragma omp critical(prepare_writer)
  {
    if (!status && !failure->status) status = put(writer, row, &voxels);
    if (!status) status = keep_outcome(&shard->subjects[row], &outcome);
    keep_failure(failure, status);
    progress_update(progress, progress->done + 1, shard->subjects[row].id);
  }
  free_voxels(&voxels);
}

/* By this rank alone: one subject per thread, of which one at a time writes. */
static enum status write_by_threads(const struct preparation *preparation,
                                    struct shard_writer *writer, struct shard *shard,
                                    struct progress *progress) {
  struct failure failure = {STATUS_OK, NULL};
#pragma omp parallel for schedule(dynamic, 1) if (shard->subject_count > 1)
  for (int row = 0; row < shard->subject_count; row++) {
    enum status before;
#pragma omp critical(prepare_writer)
    before = failure.status;
    if (!before) write_row(preparation, writer, shard, row, progress, &failure);
  }
  if (!failure.status) return STATUS_OK;
  status_restore(failure.trace ? failure.trace : "out of memory");
  free(failure.trace);
  return failure.status;
}

static enum status write_rows(const struct preparation *preparation, const struct group *group,
                              struct shard_writer *writer, struct shard *shard,
                              struct progress *progress) {
  enum status status = group->size > 1 ? write_together(preparation, group, writer, shard, progress)
                                       : write_by_threads(preparation, writer, shard, progress);
  if (agree(group, status)) return shard_writer_finish(writer);
  shard_writer_abandon(writer);
  return status;
}

static enum status write_shard(const struct preparation *preparation, const struct group *group,
                               struct shard *shard, struct progress *progress) {
  struct shard_writer writer;
  enum status status = shard_writer_open(&writer, shard, (int)preparation->config->data.compression,
                                         group->size > 1 ? &group->communicator : NULL);
  bool opened = agree(group, status);
  if (!opened && !status) shard_writer_abandon(&writer);
  if (!opened) return status;
  return write_rows(preparation, group, &writer, shard, progress);
}

/* The subjects of the stale shards that this rank's group writes: every `step`th, from `first`. */
static long count_work(const struct preparation *preparation, int first, int step) {
  long subjects = 0;
  for (int s = 0, number = 0; s < preparation->shard_count; s++) {
    if (!preparation->stale[s]) continue;
    if (number++ % step == first) subjects += preparation->shards[s].subject_count;
  }
  return subjects;
}

static enum status write_share(struct preparation *preparation, const struct group *group,
                               int first, int step) {
  struct progress progress = {0};
  progress_start(&progress, "prepare", count_work(preparation, first, step));
  enum status status = STATUS_OK;
  for (int s = 0, number = 0; s < preparation->shard_count && !status; s++) {
    if (!preparation->stale[s] || number++ % step != first) continue;
    status = write_shard(preparation, group, &preparation->shards[s], &progress);
  }
  progress_finish(&progress, "");
  return status;
}

/* Rank 0: better now than after an hour. Compressed sizes are unknown, so that only plain ones are
 * judged. */
static enum status check_space(const struct preparation *preparation) {
  double needed = 0;
  for (int s = 0; s < preparation->shard_count; s++) {
    const struct shard *shard = &preparation->shards[s];
    for (int i = 0; i < SHARD_ARRAY_COUNT && preparation->stale[s] && !shard->compressed; i++)
      needed +=
          (double)shard->subject_count * (double)shard_array_bytes(shard, (enum shard_array)i);
  }
  char *folder = prepare_beside(preparation, "");
  struct statvfs space;
  int failed = folder ? statvfs(folder[0] ? folder : ".", &space) : -1;
  free(folder);
  if (failed) return STATUS_OK;
  double free_bytes = (double)space.f_bavail * (double)space.f_frsize;
  char wanted[32], found[32];
  REQUIRE(needed <= free_bytes, STATUS_FAILED,
          "%s: expected %s of free space for the shards, found %s", preparation->master,
          text_bytes(needed, wanted), text_bytes(free_bytes, found));
  return STATUS_OK;
}

/* One group per stale shard when there are more ranks than that. */
static enum status write_in_groups(struct preparation *preparation) {
  const struct prepare_team *team = preparation->team;
  int groups = preparation->stale_count, color = team->rank % groups;
  struct group group = {.size = 1};
  MPI_Comm_split(team->communicator, color, team->rank, &group.communicator);
  MPI_Comm_rank(group.communicator, &group.rank);
  MPI_Comm_size(group.communicator, &group.size);
  group.outcomes = calloc((size_t)group.size, sizeof *group.outcomes);
  enum status status =
      group.outcomes ? STATUS_OK : status_fail(STATUS_FAILED, __FILE__, __LINE__, "out of memory");
  if (agree(&group, status)) status = write_share(preparation, &group, color, groups);
  free(group.outcomes);
  MPI_Comm_free(&group.communicator);
  return status;
}

static enum status write_alone(struct preparation *preparation) {
  const struct prepare_team *team = preparation->team;
  struct group group = {.size = 1, .outcomes = calloc(1, sizeof *group.outcomes)};
  REQUIRE(group.outcomes, STATUS_FAILED, "out of memory");
  enum status status = write_share(preparation, &group, team->rank, team->size);
  free(group.outcomes);
  return status;
}

enum status prepare_write(struct preparation *preparation) {
  const struct prepare_team *team = preparation->team;
  if (!preparation->stale_count) return STATUS_OK;
  TRY(team->agree(team->context, team->rank ? STATUS_OK : check_space(preparation)));
  bool together = team->parallel && team->size > preparation->stale_count;
  return team->agree(team->context,
                     together ? write_in_groups(preparation) : write_alone(preparation));
}
