/* MODEL_PERFORMANCE_REPORT.md: what evaluation found, in tables for people, with the settings and
 * what each number means; the figures are in pose_figures.c. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "base/file.h"
#include "base/log.h"
#include "task/pose_report.h"

static const struct {
  const char *prefix, *title;
} predictors[] = {
    {"", "network"},
    {"mean_", "always the mean pose of training"},
    {"identity_", "always no motion"},
};
enum { PREDICTORS = sizeof predictors / sizeof *predictors };

struct measure {
  const char *column, *title;
};

static const struct measure whole[] = {
    {"distance_mm", "translation, Euclidean, mm"},
    {"geodesic_deg", "rotation, geodesic, degrees"},
    {"corner_mm", "corners of the field of view, mm"},
    {"structure_mm", "centroids of the labels, mm"},
};
static const struct measure axes[] = {
    {"error_tx", "Tx mm"},
    {"error_ty", "Ty mm"},
    {"error_tz", "Tz mm"},
    {"error_rx", "Rx deg"},
    {"error_ry", "Ry deg"},
    {"error_rz", "Rz deg"},
    {"translation_mae_mm", "mean of Tx Ty Tz, mm"},
    {"rotation_mae_deg", "mean of Rx Ry Rz, deg"},
};
static const struct measure successes[] = {
    {"within_2", "2 mm and 2 deg"},
    {"within_5", "5 mm and 5 deg"},
    {"within_10", "10 mm and 10 deg"},
    {"corner_within_10", "corners below 10 mm"},
};
#define COUNT(table) ((int)(sizeof(table) / sizeof *(table)))

/* Of a predictor's column; NaN where there is none. */
static enum status summarize(const struct task_scores *scores, const char *prefix,
                             const char *column, struct task_summary *summary) {
  char name[2 * TASK_COLUMN_BYTES];
  *summary = (struct task_summary){0, NAN, NAN, NAN, NAN};
  snprintf(name, sizeof name, "%s%s", prefix, column);
  int found = task_scores_column(scores, name);
  return found < 0 ? STATUS_OK : task_scores_summarize(scores, found, summary);
}

static void print_number(FILE *out, double value, const char *format) {
  fputs(" | ", out);
  if (isnan(value))
    fputs("-", out);
  else
    fprintf(out, format, value);
}

static enum status print_whole(FILE *out, const struct task_scores *scores) {
  fputs(
      "\n## Errors of the whole motion\n\n| error | predictor | mean | median | 95 % |\n"
      "|---|---|---|---|---|\n",
      out);
  for (int i = 0; i < COUNT(whole); i++)
    for (int p = 0; p < PREDICTORS; p++) {
      struct task_summary summary;
      TRY(summarize(scores, predictors[p].prefix, whole[i].column, &summary));
      fprintf(out, "| %s | %s", whole[i].title, predictors[p].title);
      print_number(out, summary.mean, "%.2f");
      print_number(out, summary.median, "%.2f");
      print_number(out, summary.p95, "%.2f");
      fputs(" |\n", out);
    }
  return STATUS_OK;
}

/* A table of means: one row per measure, one column per predictor. */
static enum status print_means(FILE *out, const struct task_scores *scores, const char *heading,
                               const char *what, const struct measure *measures, int count,
                               double times, const char *format) {
  fprintf(out, "\n## %s\n\n| %s", heading, what);
  for (int p = 0; p < PREDICTORS; p++) fprintf(out, " | %s", predictors[p].title);
  fputs(" |\n|---|---|---|---|\n", out);
  for (int i = 0; i < count; i++) {
    fprintf(out, "| %s", measures[i].title);
    for (int p = 0; p < PREDICTORS; p++) {
      struct task_summary summary;
      TRY(summarize(scores, predictors[p].prefix, measures[i].column, &summary));
      print_number(out, summary.mean * times, format);
    }
    fputs(" |\n", out);
  }
  return STATUS_OK;
}

/* --- subjects --- */

/* A sample's label is "SUBJECT #VARIANT": the bytes before the number. */
static size_t subject_bytes(const char *label) {
  const char *end = strrchr(label, '#');
  return end && end > label ? (size_t)(end - label - 1) : strlen(label);
}

static double value_of(const struct task_scores *scores, int sample, int column) {
  return scores->rows[(size_t)sample * (size_t)scores->columns->count + (size_t)column];
}

static void print_subjects(FILE *out, const struct task_scores *scores) {
  static const char *const columns[] = {"translation_mae_mm", "rotation_mae_deg", "distance_mm",
                                        "geodesic_deg", "corner_mm"};
  fputs(
      "\n## Subjects\n\nMeans over the poses of each.\n\n| subject | poses | translation MAE mm | "
      "rotation MAE deg | distance mm | geodesic deg | corners mm |\n|---|---|---|---|---|---|---|"
      "\n",
      out);
  for (int first = 0, end; first < scores->count; first = end) {
    const char *label = scores->labels + (size_t)first * TASK_LABEL_BYTES;
    size_t bytes = subject_bytes(label);
    for (end = first + 1; end < scores->count; end++) {
      const char *other = scores->labels + (size_t)end * TASK_LABEL_BYTES;
      if (subject_bytes(other) != bytes || memcmp(label, other, bytes) != 0) break;
    }
    fprintf(out, "| %.*s | %d", (int)bytes, label, end - first);
    for (int c = 0; c < COUNT(columns); c++) {
      double sum = 0;
      int column = task_scores_column(scores, columns[c]);
      for (int i = first; i < end; i++) sum += value_of(scores, i, column);
      fprintf(out, " | %.2f", sum / (end - first));
    }
    fputs(" |\n", out);
  }
}

static enum status print_overlaps(FILE *out, const struct task_scores *scores) {
  struct task_summary moved, restored;
  TRY(summarize(scores, "", "dice_moved", &moved));
  TRY(summarize(scores, "", "dice_restored", &restored));
  if (moved.count == 0) return STATUS_OK;
  fprintf(out,
          "\n## Round trip\n\nMean Dice of the label maps with themselves: %.3f after the motion, "
          "%.3f after moving back by the estimate (median %.3f).\n",
          moved.mean, restored.mean, restored.median);
  return STATUS_OK;
}

/* --- words --- */

static int count_subjects(const struct task_scores *scores) {
  int subjects = 0;
  for (int i = 0; i < scores->count; i++) {
    const char *label = scores->labels + (size_t)i * TASK_LABEL_BYTES, *before = label;
    if (i > 0) before -= TASK_LABEL_BYTES;
    bool same = i > 0 && subject_bytes(label) == subject_bytes(before) &&
                memcmp(label, before, subject_bytes(label)) == 0;
    subjects += !same;
  }
  return subjects;
}

static void print_settings(FILE *out, const struct task_run *run,
                           const struct task_scores *scores) {
  const struct config *config = run->config;
  const int64_t *size = config->pose.size.value;
  const double *spacing = config->pose.spacing.value;
  fprintf(out,
          "# Pose estimation: performance\n\n| setting | value |\n|---|---|\n"
          "| data | %s |\n| split | %s: %d volumes, %d poses; %d volumes in training |\n"
          "| checkpoint | %s |\n| network | %s |\n"
          "| network's grid | %lld x %lld x %lld voxels of %g x %g x %g mm |\n"
          "| motions | %s, rotation range %g degrees, translation range %g mm |\n"
          "| outside the volume | fill %s, mask %s |\n| origin | %s |\n| mode | %s |\n"
          "| estimate | %s, loss %s |\n| training | %s poses, %lld per volume and epoch |\n",
          config->data.shards, scores->split, count_subjects(scores), scores->count,
          run->subject_count[SPLIT_TRAIN], scores->checkpoint, config->model.name,
          (long long)size[0], (long long)size[1], (long long)size[2], spacing[0], spacing[1],
          spacing[2], config->pose.sampling, config->pose.rotation_range,
          config->pose.translation_range, config->pose.fill, config->pose.mask,
          config->pose.canonical, config->pose.mode, config->pose.representation, config->pose.loss,
          config->pose.variants, (long long)config->pose.variants_per_image);
}

static const char explanation[] =
    "\n## What the numbers mean\n\n"
    "* **Per-axis errors and errors of the whole motion are different things.** A mean absolute "
    "error along each axis of 2 mm and 5 degrees is, for normally distributed errors, a Euclidean "
    "distance of about 4 mm and a geodesic angle of about 10 degrees. Numbers from elsewhere that "
    "do not say which they are cannot be compared with either.\n"
    "* The split is by patient: no pose of these volumes was in training.\n"
    "* In mode absolute the network sees one image and no reference, so that how differently "
    "patients lie in their scanners counts as error.\n"
    "* With fill zero and no mask the borders of the moved volume tell its pose without any "
    "anatomy. Evaluate with other fills (pose.fill=edge, noise, crop) to see how much an estimate "
    "rests on that.\n"
    "* Corners: the 8 corners of the network's field of view, moved by the true and by the "
    "estimated pose.\n"
    "* Convention: " RIGID_CONVENTION ".\n";

static enum status print_report(FILE *out, const struct task_run *run,
                                const struct task_scores *scores) {
  print_settings(out, run, scores);
  TRY(print_whole(out, scores));
  TRY(print_means(out, scores, "Mean absolute errors along the axes", "axis", axes, COUNT(axes), 1,
                  "%.2f"));
  TRY(print_means(out, scores, "Successes", "share of poses within", successes, COUNT(successes),
                  100, "%.1f %%"));
  TRY(print_overlaps(out, scores));
  print_subjects(out, scores);
  fprintf(out,
          "\n## Figures\n\n![errors](pose_errors_%s.png)\n\n![predicted over true]"
          "(pose_scatter_%s.png)\n",
          scores->name, scores->name);
  fputs(explanation, out);
  return STATUS_OK;
}

static enum status write_text(const struct task_run *run, const struct task_scores *scores,
                              const char *path) {
  size_t bytes;
  char *text = NULL;
  FILE *out = open_memstream(&text, &bytes);
  REQUIRE(out, STATUS_FAILED, "%s: out of memory", path);
  enum status status = print_report(out, run, scores);
  if (fclose(out) != 0 && !status)
    status = status_fail(STATUS_FAILED, __FILE__, __LINE__, "%s: out of memory", path);
  if (!status) status = file_replace(path, text, bytes);
  if (!status) log_info("wrote %s", path);
  free(text);
  return status;
}

enum status pose_report(const struct task_run *run, const struct task_scores *scores) {
  bool plain = strcmp(scores->name, "test") == 0;
  char *path = file_format("%s/MODEL_PERFORMANCE_REPORT%s%s.md", run->config->output.dir,
                           plain ? "" : "_", plain ? "" : scores->name);
  REQUIRE(path, STATUS_FAILED, "%s: out of memory", run->config->output.dir);
  enum status status = pose_write_figures(run, scores);
  if (!status) status = write_text(run, scores, path);
  free(path);
  return status;
}
