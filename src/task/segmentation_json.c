/* metrics.json: a split's scores by class, over cases and over their pooled voxels. */
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "base/file.h"
#include "base/log.h"
#include "task/segmentation_report.h"

static const char words[] =
    "mean, median, deviation: over the cases where the number exists. pooled: of the voxels of all "
    "cases together. classes_mean: the mean of the classes' means. success: share of the cases, or "
    "of the pairs of case and structure, where the truth has the structure and its Dice is at "
    "least that. missed: in the truth, but not in the prediction; spurious: the other way round.";

static json_t *number(double value) {
  return isfinite(value) ? json_real(value) : json_null();
}

static void put(json_t *object, const char *name, json_t *value) {
  json_object_set_new(object, name,
                      value); /* what memory does not suffice for is missed by dumps */
}

/* Mean, median and deviation of `count` values, which are sorted on the way. */
static json_t *summary_of(double *values, int count) {
  int numbers = metrics_sort(values, count);
  double mean = metrics_mean(values, numbers), squares = 0;
  for (int i = 0; i < numbers; i++) squares += (values[i] - mean) * (values[i] - mean);
  return json_pack("{s:o, s:o, s:o, s:i}", "mean", number(mean), "median",
                   number(metrics_quantile(values, numbers, 0.5)), "deviation",
                   number(numbers ? sqrt(squares / numbers) : NAN), "count", numbers);
}

struct writer {
  const struct segmentation_results *results;
  double *values;                /* [cases] */
  double *dice;                  /* [cases][classes], of the success rates */
  uint8_t *present;              /* [cases][classes] */
  struct metrics_counts *pooled; /* [classes] */
  double *class_mean[2];         /* Dice, IoU: [classes] */
};

static void pool(struct writer *writer) {
  const struct segmentation_results *results = writer->results;
  int classes = results->table.classes;
  for (int i = 0; i < results->scores->count; i++)
    for (int c = 0; c < classes; c++) {
      const struct metrics_counts counts = segmentation_result_counts(results, i, c);
      int64_t at = (int64_t)c * results->scores->count + i;
      writer->pooled[c].tp += counts.tp;
      writer->pooled[c].fp += counts.fp;
      writer->pooled[c].fn += counts.fn;
      writer->present[at] = counts.tp + counts.fn > 0;
      writer->dice[at] = segmentation_result(results, i, SEGMENTATION_CLASS_DICE, c);
    }
}

/* Rates over classes `first` up to `end`. */
static json_t *success_of(const struct writer *writer, int first, int end) {
  const struct real_list *thresholds = &writer->results->run->config->segmentation.success;
  int64_t cases = writer->results->scores->count;
  json_t *rates = json_object();
  for (int i = 0; i < thresholds->count; i++) {
    char name[32];
    snprintf(name, sizeof name, "%g", thresholds->value[i]);
    put(rates, name,
        number(metrics_success_rate(writer->dice + first * cases, writer->present + first * cases,
                                    (end - first) * cases, thresholds->value[i])));
  }
  return rates;
}

static json_t *class_summary(struct writer *writer, enum segmentation_kind kind, int c) {
  const struct segmentation_results *results = writer->results;
  for (int i = 0; i < results->scores->count; i++)
    writer->values[i] = segmentation_result(results, i, kind, c);
  if (kind <= SEGMENTATION_CLASS_IOU)
    writer->class_mean[kind][c] = metrics_mean(writer->values, results->scores->count);
  return summary_of(writer->values, results->scores->count);
}

static void count_cases(const struct writer *writer, int c, json_t *object) {
  int present = 0, missed = 0, spurious = 0;
  for (int i = 0; i < writer->results->scores->count; i++) {
    const struct metrics_counts counts = segmentation_result_counts(writer->results, i, c);
    bool truth = counts.tp + counts.fn > 0, predicted = counts.tp + counts.fp > 0;
    present += truth;
    missed += truth && !predicted;
    spurious += !truth && predicted;
  }
  put(object, "present", json_integer(present));
  put(object, "missed", json_integer(missed));
  put(object, "spurious", json_integer(spurious));
}

static json_t *describe_class(struct writer *writer, int c) {
  static const struct {
    enum segmentation_kind kind;
    const char *name;
  } kinds[] = {{SEGMENTATION_CLASS_DICE, "dice"},
               {SEGMENTATION_CLASS_IOU, "iou"},
               {SEGMENTATION_CLASS_HD95, "hd95_mm"},
               {SEGMENTATION_CLASS_NSD, "nsd"}};
  const struct metrics_counts *pooled = &writer->pooled[c];
  json_t *object = json_object();
  for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++)
    if ((int)kinds[k].kind < writer->results->table.kinds)
      put(object, kinds[k].name, class_summary(writer, kinds[k].kind, c));
  put(object, "pooled",
      json_pack("{s:o, s:o, s:I, s:I, s:I}", "dice",
                number(metrics_counts_dice(pooled, writer->results->rule)), "iou",
                number(metrics_counts_iou(pooled, writer->results->rule)), "tp",
                (json_int_t)pooled->tp, "fp", (json_int_t)pooled->fp, "fn",
                (json_int_t)pooled->fn));
  count_cases(writer, c, object);
  put(object, "success", success_of(writer, c, c + 1));
  return object;
}

/* --- of all classes --- */

static double pooled_mean(const struct writer *writer,
                          double (*measure)(const struct metrics_counts *, enum metrics_empty),
                          int first) {
  double sum = 0;
  int count = 0;
  for (int c = first; c < writer->results->table.classes; c++) {
    double value = measure(&writer->pooled[c], writer->results->rule);
    if (isnan(value)) continue;
    sum += value;
    count++;
  }
  return count ? sum / count : NAN;
}

static double class_mean(const struct writer *writer, int kind, int first) {
  return metrics_mean(writer->class_mean[kind] + first, writer->results->table.classes - first);
}

static void put_numbers(struct writer *writer, json_t *report) {
  static const struct {
    enum segmentation_number number;
    const char *name;
  } numbers[] = {{SEGMENTATION_DICE, "dice"},
                 {SEGMENTATION_IOU, "iou"},
                 {SEGMENTATION_IOU_ALL, "iou_with_background"},
                 {SEGMENTATION_HD95, "hd95_mm"},
                 {SEGMENTATION_NSD, "nsd"}};
  const struct task_scores *scores = writer->results->scores;
  json_t *object = json_object();
  for (size_t k = 0; k < sizeof numbers / sizeof *numbers; k++) {
    for (int i = 0; i < scores->count; i++)
      writer->values[i] =
          scores->rows[(size_t)i * (size_t)scores->columns->count + numbers[k].number];
    put(object, numbers[k].name, summary_of(writer->values, scores->count));
  }
  put(report, "cases_mean", object);
}

static void put_totals(const struct writer *writer, json_t *report) {
  const struct segmentation_results *results = writer->results;
  int first = segmentation_first_class(results);
  double all = results->table.overlapping ? NAN : class_mean(writer, SEGMENTATION_CLASS_IOU, 0);
  double pooled = results->table.overlapping ? NAN : pooled_mean(writer, metrics_counts_iou, 0);
  put(report, "classes_mean",
      json_pack("{s:o, s:o, s:o}", "dice",
                number(class_mean(writer, SEGMENTATION_CLASS_DICE, first)), "iou",
                number(class_mean(writer, SEGMENTATION_CLASS_IOU, first)), "iou_with_background",
                number(all)));
  put(report, "pooled",
      json_pack("{s:o, s:o, s:o}", "dice", number(pooled_mean(writer, metrics_counts_dice, first)),
                "iou", number(pooled_mean(writer, metrics_counts_iou, first)),
                "iou_with_background", number(pooled)));
  double counted[3] = {0};
  for (int i = 0; i < results->scores->count; i++)
    for (int k = 0; k < 3; k++)
      counted[k] += results->scores->rows[(size_t)i * (size_t)results->scores->columns->count +
                                          SEGMENTATION_PRESENT + (size_t)k];
  put(report, "n_present", json_integer((json_int_t)counted[0]));
  put(report, "n_missed", json_integer((json_int_t)counted[1]));
  put(report, "n_spurious", json_integer((json_int_t)counted[2]));
  put(report, "success", success_of(writer, first, results->table.classes));
}

/* How often category `truth` was told to be `predicted`. */
static int count_told(const struct writer *writer, int truth, int predicted) {
  const struct task_scores *scores = writer->results->scores;
  const struct segmentation_table *table = &writer->results->table;
  int column = segmentation_table_verdict(table, SEGMENTATION_CATEGORY), count = 0;
  int told = segmentation_table_verdict(table, SEGMENTATION_CATEGORY_PREDICTED);
  for (int i = 0; i < scores->count; i++) {
    const double *row = scores->rows + (size_t)i * (size_t)scores->columns->count;
    count += row[column] == truth && row[told] == predicted; /* NaN where it is not known */
  }
  return count;
}

/* Accuracy, and confusion[truth][predicted]. */
static void put_categories(const struct writer *writer, json_t *report) {
  int categories = writer->results->table.categories, known = 0, correct = 0;
  if (categories == 0) return;
  json_t *confusion = json_array();
  for (int i = 0; i < categories; i++) {
    json_t *line = json_array();
    for (int j = 0; j < categories; j++) {
      int count = count_told(writer, i, j);
      known += count;
      if (i == j) correct += count;
      json_array_append_new(line, json_integer(count));
    }
    json_array_append_new(confusion, line);
  }
  put(report, "category",
      json_pack("{s:o, s:i, s:o}", "accuracy", number(known ? (double)correct / known : NAN),
                "count", known, "confusion", confusion));
}

static void put_settings(const struct writer *writer, json_t *report) {
  const struct segmentation_results *results = writer->results;
  const struct config *config = results->run->config;
  put(report, "checkpoint", json_string(results->scores->checkpoint));
  put(report, "split", json_string(results->scores->split));
  put(report, "cases", json_integer(results->scores->count));
  put(report, "empty", json_string(metrics_empty_name(results->rule)));
  put(report, "geometry", json_string(config->segmentation.geometry));
  put(report, "tolerance_mm", number(config->segmentation.tolerance));
  if (results->table.overlapping) put(report, "threshold", number(config->segmentation.threshold));
  put(report, "about", json_string(words));
}

static enum status write_text(json_t *report, const char *path) {
  char *text = json_dumps(report, JSON_INDENT(2) | JSON_PRESERVE_ORDER);
  REQUIRE(text, STATUS_FAILED, "%s: out of memory", path);
  enum status status = file_replace(path, text, strlen(text));
  if (!status) log_info("wrote %s", path);
  free(text);
  return status;
}

static enum status write_report(struct writer *writer, const char *path) {
  const struct segmentation_results *results = writer->results;
  json_t *report = json_object(), *classes = json_object();
  REQUIRE(report && classes, STATUS_FAILED, "%s: out of memory", path);
  pool(writer);
  for (int c = 0; c < results->table.classes; c++)
    put(classes, results->names[c], describe_class(writer, c));
  put_settings(writer, report);
  put_numbers(writer, report);
  put_totals(writer, report);
  put_categories(writer, report);
  put(report, "classes", classes);
  enum status status = write_text(report, path);
  json_decref(report);
  return status;
}

static enum status allocate(struct writer *writer) {
  size_t cases = (size_t)writer->results->scores->count;
  size_t classes = (size_t)writer->results->table.classes;
  writer->values = malloc(sizeof(double) * (cases + 1));
  writer->dice = malloc(sizeof(double) * (cases * classes + 1));
  writer->present = malloc(cases * classes + 1);
  writer->pooled = calloc(classes, sizeof *writer->pooled);
  writer->class_mean[0] = malloc(sizeof(double) * 2 * classes);
  REQUIRE(
      writer->values && writer->dice && writer->present && writer->pooled && writer->class_mean[0],
      STATUS_FAILED, "report: out of memory");
  writer->class_mean[1] = writer->class_mean[0] + classes;
  return STATUS_OK;
}

enum status segmentation_write_json(const struct segmentation_results *results) {
  const char *directory = results->run->config->output.dir, *name = results->scores->name;
  bool plain = strcmp(name, "test") == 0;
  struct writer writer = {.results = results};
  char *path = file_format("%s/metrics%s%s.json", directory, plain ? "" : "_", plain ? "" : name);
  enum status status =
      path ? allocate(&writer)
           : status_fail(STATUS_FAILED, __FILE__, __LINE__, "%s: out of memory", directory);
  if (!status) status = write_report(&writer, path);
  free(writer.values);
  free(writer.dice);
  free(writer.present);
  free(writer.pooled);
  free(writer.class_mean[0]);
  free(path);
  return status;
}
