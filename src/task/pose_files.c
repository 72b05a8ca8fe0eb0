/* An estimated pose as files. */
#include "task/pose_files.h"
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "base/file.h"
#include "base/text.h"
#include "base/log.h"
#include "volume/resample.h"

void pose_judge(const struct config *config, struct pose_finding *finding) {
  static const double identity[9] = {1, 0, 0, 0, 1, 0, 0, 0, 1};
  const double *t = finding->pose.translation;
  double matrix[9];
  rigid_matrix(&finding->pose, matrix);
  finding->angle = rigid_between(identity, matrix);
  finding->distance = sqrt(t[0] * t[0] + t[1] * t[1] + t[2] * t[2]);
  finding->flagged =
      finding->angle > config->pose.qc_rotation || finding->distance > config->pose.qc_translation;
  if (finding->flagged)
    log_warning("%s: misaligned: turned by %.1f degrees, shifted by %.1f mm (limits %g and %g)",
                finding->path, finding->angle, finding->distance, config->pose.qc_rotation,
                config->pose.qc_translation);
}

/* directory/name + suffix; NULL when out of memory. */
static char *path_of(const struct pose_finding *finding, const char *suffix) {
  return file_format("%s/%s%s", finding->directory, finding->name, suffix);
}

static json_t *three(const double values[3]) {
  return json_pack("[f, f, f]", values[0], values[1], values[2]);
}

static json_t *rows_of(const struct affine *affine) {
  json_t *rows = json_array();
  for (int i = 0; i < 3; i++) {
    const double *row = affine->m[i];
    json_array_append_new(rows, json_pack("[f, f, f, f]", row[0], row[1], row[2], row[3]));
  }
  json_array_append_new(rows, json_pack("[f, f, f, f]", 0.0, 0.0, 0.0, 1.0));
  return rows;
}

static json_t *describe(const struct pose_finding *finding) {
  struct affine forward = rigid_affine(&finding->pose, finding->centre);
  struct pose back = rigid_inverse(&finding->pose);
  struct affine inverse = rigid_affine(&back, finding->centre);
  return json_pack("{s:s, s:o, s:o, s:o, s:f, s:f, s:b, s:o, s:o, s:s}", "volume", finding->path,
                   "rotation_deg", three(finding->pose.rotation), "translation_mm",
                   three(finding->pose.translation), "centre_mm", three(finding->centre),
                   "angle_deg", finding->angle, "distance_mm", finding->distance, "misaligned",
                   finding->flagged, "matrix_ras", rows_of(&forward), "inverse_matrix_ras",
                   rows_of(&inverse), "convention", RIGID_CONVENTION);
}

static enum status write_json(const struct pose_finding *finding, const char *path) {
  json_t *described = describe(finding);
  char *text =
      described
          ? json_dumps(described, JSON_INDENT(2) | JSON_PRESERVE_ORDER | JSON_REAL_PRECISION(15))
          : NULL;
  json_decref(described);
  REQUIRE(text, STATUS_FAILED, "%s: out of memory", path);
  enum status status = file_replace(path, text, strlen(text));
  free(text);
  return status;
}

static enum status write_forward(const struct pose_finding *finding, const char *path) {
  return rigid_write_itk(path, &finding->pose, finding->centre, RIGID_FORWARD);
}

static enum status write_inverse(const struct pose_finding *finding, const char *path) {
  return rigid_write_itk(path, &finding->pose, finding->centre, RIGID_INVERSE);
}

static enum status write_matrix(const struct pose_finding *finding, const char *path) {
  return rigid_write_matrix(path, &finding->pose, finding->centre, RIGID_FORWARD);
}

/* A resampler that is given the forward transform puts the volume back. */
static const struct {
  const char *suffix;
  enum status (*write)(const struct pose_finding *finding, const char *path);
} files[] = {
    {"_pose.json", write_json},
    {"_forward.tfm", write_forward},
    {"_inverse.tfm", write_inverse},
    {"_forward.txt", write_matrix},
};

static enum status write_file(const struct pose_finding *finding, size_t i) {
  char *path = path_of(finding, files[i].suffix);
  REQUIRE(path, STATUS_FAILED, "%s: out of memory", finding->directory);
  enum status status = files[i].write(finding, path);
  free(path);
  return status;
}

/* restored(x) = moved(T x): the file's own voxels seen from a grid that has moved with the anatomy.
 */
static enum status move_back(const struct config *config, const struct pose_finding *finding,
                             struct volume *restored) {
  struct volume_policy policy = subject_policy(config, false);
  struct affine forward = rigid_affine(&finding->pose, finding->centre);
  struct volume source;
  TRY(volume_read(&source, finding->path, &policy));
  struct grid grid = volume_get_grid(&source);
  struct affine own = grid.affine;
  const struct resample_options options = {.method = RESAMPLE_LINEAR};
  grid.affine = affine_compose(&forward, &own);
  enum status status = volume_resample(&source, &grid, &options, restored);
  volume_close(&source);
  if (!status) restored->affine = own;
  return status;
}

static enum status write_moved_back(const struct config *config,
                                    const struct pose_finding *finding) {
  const struct volume_format format = {.type = VOLUME_FLOAT32, .description = "medtrain-dist"};
  struct volume restored;
  char *path = path_of(finding, "_moved_back.nii.gz");
  REQUIRE(path, STATUS_FAILED, "%s: out of memory", finding->directory);
  enum status status = move_back(config, finding, &restored);
  if (!status) {
    status = volume_write(&restored, path, &format);
    volume_close(&restored);
  }
  free(path);
  return status;
}

enum status pose_write_files(const struct config *config, const struct pose_finding *finding,
                             const struct subject_volumes *volumes) {
  for (size_t i = 0; i < sizeof files / sizeof *files; i++) TRY(write_file(finding, i));
  TRY(pose_write_figure(config, finding, &volumes->image));
  return config->pose.move_back ? write_moved_back(config, finding) : STATUS_OK;
}

/* --- the table --- */

static void print_row(FILE *out, const struct pose_finding *finding) {
  text_print_quoted(out, finding->path);
  for (int i = 0; i < 3; i++) fprintf(out, ",%.9g", finding->pose.rotation[i]);
  for (int i = 0; i < 3; i++) fprintf(out, ",%.9g", finding->pose.translation[i]);
  for (int i = 0; i < 3; i++) fprintf(out, ",%.9g", finding->centre[i]);
  fprintf(out, ",%.9g,%.9g,%d\n", finding->angle, finding->distance, finding->flagged);
}

enum status pose_write_table(const struct pose_finding *findings, int count,
                             const char *directory) {
  size_t bytes;
  char *text = NULL, *path = file_join(directory, "predictions.csv");
  FILE *out = path ? open_memstream(&text, &bytes) : NULL;
  enum status status = STATUS_OK;
  if (out) {
    fputs("volume,rx,ry,rz,tx,ty,tz,cx,cy,cz,angle_deg,distance_mm,misaligned\n", out);
    for (int i = 0; i < count; i++) print_row(out, &findings[i]);
  }
  if (!out || fclose(out) != 0)
    status = status_fail(STATUS_FAILED, __FILE__, __LINE__, "%s: out of memory", directory);
  if (!status) status = file_replace(path, text, bytes);
  if (!status) log_info("wrote %s and the files of %d volumes beside it", path, count);
  free(text);
  free(path);
  return status;
}
