/* Estimating the poses of files: every volume goes through the graph of evaluation with no motion
 * added. Of each volume NAME: NAME_pose.json, ITK transforms and a matrix, a figure, and with
 * pose.move_back the volume put back; of all of them predictions.csv. */
#include <stdlib.h>
#include <string.h>
#include "base/file.h"
#include "base/log.h"
#include "task/pose_files.h"
#include "task/volume_list.h"

/* --- one volume --- */

/* A volume as the network takes it. */
struct side {
  struct subject_volumes volumes;
  float *image;
  int box[3]; /* its own voxels, before padding */
};

static void close_side(struct side *side) {
  subject_close(&side->volumes);
  free(side->image);
  *side = (struct side){0};
}

static enum status read_side(const struct config *config, const struct subject_source *source,
                             struct side *side) {
  TRY(subject_read(config, source, &side->volumes));
  memcpy(side->box, side->volumes.target.extent, sizeof side->box);
  return STATUS_OK;
}

static enum status resample_side(struct side *side, const int extent[3]) {
  uint8_t *label;
  return subject_resample(&side->volumes, extent, &side->image, &label);
}

static enum status find_motion(const struct config *config, const struct side *side,
                               const double centre[3], const int extent[3],
                               struct affine_motion *motion) {
  static const struct pose still;
  static const int first[3];
  TRY(pose_affine_motion(config, &still, centre, &side->volumes.target.affine, first, side->box,
                         motion));
  pose_find_noise(side->image, extent, first, side->box, motion);
  motion->key[0] = motion->key[1] = 1;
  return STATUS_OK;
}

static enum status run_network(const struct config *config, const struct task_network *network,
                               struct side *moved, struct side *reference,
                               struct pose_finding *finding) {
  struct affine_motion motions[2];
  int extent[3];
  memcpy(extent, moved->box, sizeof extent);
  for (int axis = 0; axis < 3 && reference; axis++)
    if (reference->box[axis] > extent[axis]) extent[axis] = reference->box[axis];
  struct grid own = reference ? reference->volumes.target : moved->volumes.target;
  grid_get_centre(&own, finding->centre);
  TRY(resample_side(moved, extent));
  TRY(find_motion(config, moved, finding->centre, extent, &motions[0]));
  if (reference) TRY(resample_side(reference, extent));
  if (reference) TRY(find_motion(config, reference, finding->centre, extent, &motions[1]));
  const void *const inputs[] = {[POSE_SOURCE] = moved->image,
                                [POSE_MOTION] = &motions[0],
                                [POSE_REFERENCE] = reference ? reference->image : NULL,
                                [POSE_REFERENCE_MOTION] = &motions[1]};
  const void *estimate;
  TRY(network->run(network->context, extent, inputs));
  TRY(network->output(network->context, "estimate", &estimate));
  pose_read_estimate(config, estimate, &finding->pose);
  return STATUS_OK;
}

static enum status estimate_both(const struct config *config, const struct task_network *network,
                                 const struct subject_source *pair, struct side *moved,
                                 struct side *reference, struct pose_finding *finding) {
  bool both = pose_is_pair(config);
  TRY(read_side(config, &pair[0], moved));
  if (both) TRY(read_side(config, &pair[1], reference));
  TRY(run_network(config, network, moved, both ? reference : NULL, finding));
  pose_judge(config, finding);
  return pose_write_files(config, finding, &moved->volumes);
}

static enum status estimate_one(const struct config *config, const struct task_network *network,
                                const struct subject_source *pair, struct pose_finding *finding) {
  struct side moved = {0}, reference = {0};
  enum status status = estimate_both(config, network, pair, &moved, &reference, finding);
  close_side(&moved);
  close_side(&reference);
  return status;
}

/* --- all --- */

static enum status estimate_all(const struct config *config, const struct task_network *network,
                                const struct volume_list *list, const char *directory,
                                struct pose_finding *findings, int count) {
  int step = pose_is_pair(config) ? 2 : 1;
  TRY(file_make_directory(directory));
  for (int i = 0; i < count; i++) {
    const struct subject_source *volume = &list->volumes[i * step];
    findings[i].path = volume->image;
    findings[i].name = volume->id;
    findings[i].directory = directory;
    TRY(estimate_one(config, network, volume, &findings[i]));
  }
  return pose_write_table(findings, count, directory);
}

static enum status predict(const struct config *config, const struct task_network *network,
                           const struct volume_list *list, const char *directory) {
  bool pair = pose_is_pair(config);
  REQUIRE(!pair || list->count % 2 == 0, STATUS_USAGE,
          "predict: expected pairs MOVED REFERENCE (pose.mode = \"pair\"), found %d volumes",
          list->count);
  if (strcmp(config->pose.canonical, "centroid") == 0)
    log_warning(
        "pose.canonical = \"centroid\": without labels poses turn about the middle of the "
        "field of view, and translations are those of the labelled anatomy from there");
  int count = pair ? list->count / 2 : list->count;
  struct pose_finding *findings = calloc((size_t)count, sizeof *findings);
  REQUIRE(findings, STATUS_FAILED, "predict: out of memory");
  enum status status = estimate_all(config, network, list, directory, findings, count);
  free(findings);
  return status;
}

enum status pose_predict(const struct config *config, const struct task_network *network,
                         const char *const *files, int count, const char *directory) {
  struct volume_list list;
  TRY(volume_list_find(config, files, count, pose_is_pair(config) ? 2 : 1, &list));
  enum status status = predict(config, network, &list, directory);
  volume_list_close(&list);
  return status;
}
