/* Estimating the poses of files: every volume goes through the graph of evaluation with no motion
 * added. Of each volume NAME: NAME_pose.json, ITK transforms and a matrix, a figure, and with
 * pose.move_back the volume put back; of all of them predictions.csv. */
#include <stdlib.h>
#include <string.h>
#include "base/file.h"
#include "base/log.h"
#include "task/pose_files.h"

static const char *const suffixes[] = {".nii.gz", ".nii", ".hdr.gz", ".hdr"};
enum { SUFFIXES = sizeof suffixes / sizeof *suffixes };

/* The bytes of a name before its suffix; 0 if it is no volume's. */
static size_t stem_bytes(const char *name) {
  size_t bytes = strlen(name);
  for (int i = 0; i < SUFFIXES; i++) {
    size_t suffix = strlen(suffixes[i]);
    if (bytes > suffix && strcmp(name + bytes - suffix, suffixes[i]) == 0) return bytes - suffix;
  }
  return 0;
}

/* --- which files --- */

struct paths {
  char **path;
  int count;
};

static void close_paths(struct paths *paths) {
  for (int i = 0; i < paths->count; i++) free(paths->path[i]);
  free(paths->path);
}

/* Takes the path over. */
static enum status add_path(struct paths *paths, char *path) {
  REQUIRE(path, STATUS_FAILED, "predict: out of memory");
  char **longer = realloc(paths->path, sizeof(char *) * (size_t)(paths->count + 1));
  if (!longer) free(path);
  REQUIRE(longer, STATUS_FAILED, "predict: out of memory");
  paths->path = longer;
  paths->path[paths->count++] = path;
  return STATUS_OK;
}

static bool is_image(const char *name) {
  static const char label[] = "_label";
  size_t stem = stem_bytes(name), bytes = sizeof label - 1;
  if (stem == 0 || name[0] == '.') return false;
  return stem < bytes || strncmp(name + stem - bytes, label, bytes) != 0;
}

static enum status add_folder(struct paths *paths, const char *folder) {
  char **names;
  int count, before = paths->count;
  TRY(file_list(folder, "", &names, &count));
  enum status status = STATUS_OK;
  for (int i = 0; i < count && !status; i++)
    if (is_image(names[i])) status = add_path(paths, file_join(folder, names[i]));
  file_list_free(names, count);
  REQUIRE(status || paths->count > before, STATUS_USAGE,
          "%s: expected volumes (.nii.gz, .nii, .hdr) in the folder, found none", folder);
  return status;
}

static enum status find_paths(const char *const *words, int count, struct paths *paths) {
  for (int i = 0; i < count; i++) {
    if (file_is_directory(words[i]))
      TRY(add_folder(paths, words[i]));
    else
      TRY(add_path(paths, strdup(words[i])));
  }
  REQUIRE(paths->count > 0, STATUS_USAGE, "predict: expected volumes or folders, found none");
  return STATUS_OK;
}

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

static enum status read_side(const struct config *config, const char *path, struct side *side) {
  char *image = strdup(path);
  REQUIRE(image, STATUS_FAILED, "%s: out of memory", path);
  const struct subject_source source = {.id = image, .image = image, .split = -1};
  enum status status = subject_read(config, &source, &side->volumes);
  free(image);
  memcpy(side->box, side->volumes.target.extent, sizeof side->box);
  return status;
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
                                 const char *path, const char *reference_path, struct side *moved,
                                 struct side *reference, struct pose_finding *finding) {
  TRY(read_side(config, path, moved));
  if (reference_path) TRY(read_side(config, reference_path, reference));
  TRY(run_network(config, network, moved, reference_path ? reference : NULL, finding));
  pose_judge(config, finding);
  return pose_write_files(config, finding, &moved->volumes);
}

static enum status estimate_one(const struct config *config, const struct task_network *network,
                                const char *path, const char *reference_path,
                                struct pose_finding *finding) {
  struct side moved = {0}, reference = {0};
  enum status status =
      estimate_both(config, network, path, reference_path, &moved, &reference, finding);
  close_side(&moved);
  close_side(&reference);
  return status;
}

/* --- all --- */

/* The file's name without folders and suffix. */
static enum status name_finding(const char *path, const char *directory,
                                struct pose_finding *finding) {
  const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
  size_t stem = stem_bytes(name);
  finding->path = path;
  finding->directory = directory;
  finding->name = strndup(name, stem ? stem : strlen(name));
  REQUIRE(finding->name, STATUS_FAILED, "%s: out of memory", path);
  return STATUS_OK;
}

static enum status estimate_all(const struct config *config, const struct task_network *network,
                                const struct paths *paths, const char *directory,
                                struct pose_finding *findings, int count) {
  int step = pose_is_pair(config) ? 2 : 1;
  TRY(file_make_directory(directory));
  for (int i = 0; i < count; i++) {
    const char *const *path = (const char *const *)paths->path + (size_t)i * (size_t)step;
    TRY(name_finding(path[0], directory, &findings[i]));
    TRY(estimate_one(config, network, path[0], step == 2 ? path[1] : NULL, &findings[i]));
  }
  return pose_write_table(findings, count, directory);
}

static enum status predict(const struct config *config, const struct task_network *network,
                           const struct paths *paths, const char *directory) {
  bool pair = pose_is_pair(config);
  REQUIRE(!pair || paths->count % 2 == 0, STATUS_USAGE,
          "predict: expected pairs MOVED REFERENCE (pose.mode = \"pair\"), found %d volumes",
          paths->count);
  if (strcmp(config->pose.canonical, "centroid") == 0)
    log_warning(
        "pose.canonical = \"centroid\": without labels poses turn about the middle of the "
        "field of view, and translations are those of the labelled anatomy from there");
  int count = pair ? paths->count / 2 : paths->count;
  struct pose_finding *findings = calloc((size_t)count, sizeof *findings);
  REQUIRE(findings, STATUS_FAILED, "predict: out of memory");
  enum status status = estimate_all(config, network, paths, directory, findings, count);
  for (int i = 0; i < count; i++) free(findings[i].name);
  free(findings);
  return status;
}

enum status pose_predict(const struct config *config, const struct task_network *network,
                         const char *const *files, int count, const char *directory) {
  struct paths paths = {0};
  enum status status = find_paths(files, count, &paths);
  if (!status) status = predict(config, network, &paths, directory);
  close_paths(&paths);
  return status;
}
