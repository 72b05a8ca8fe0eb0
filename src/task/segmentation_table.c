/* Columns of scores. */
#include <stdio.h>
#include <string.h>
#include "task/segmentation_scores.h"

enum { SHORT_CLASSES = 16 }; /* while training: more than that, and only means are told */

static const char *const numbers[SEGMENTATION_NUMBERS] = {
    [SEGMENTATION_DICE] = "dice",
    [SEGMENTATION_IOU] = "iou",
    [SEGMENTATION_IOU_ALL] = "iou_with_background",
    [SEGMENTATION_HD95] = "hd95",
    [SEGMENTATION_NSD] = "nsd",
    [SEGMENTATION_PRESENT] = "structures",
    [SEGMENTATION_MISSED] = "missed",
    [SEGMENTATION_SPURIOUS] = "spurious",
    [SEGMENTATION_VOXEL_ML] = "voxel_ml",
};
static const char *const kinds[SEGMENTATION_KINDS] = {
    [SEGMENTATION_CLASS_DICE] = "dice", [SEGMENTATION_CLASS_IOU] = "iou",
    [SEGMENTATION_CLASS_TP] = "tp",     [SEGMENTATION_CLASS_FP] = "fp",
    [SEGMENTATION_CLASS_FN] = "fn",     [SEGMENTATION_CLASS_HD95] = "hd95",
    [SEGMENTATION_CLASS_NSD] = "nsd",
};

static const char *const verdicts[SEGMENTATION_VERDICTS] = {
    [SEGMENTATION_CATEGORY_CORRECT] = "category_correct",
    [SEGMENTATION_CATEGORY] = "category",
    [SEGMENTATION_CATEGORY_PREDICTED] = "category_predicted",
};

static void plan_short(struct segmentation_table *table) {
  table->first = table->overlapping ? 0 : 1;
  table->listed = table->classes - table->first;
  if (table->listed > SHORT_CLASSES) table->listed = 0;
  table->numbers = SEGMENTATION_IOU + 1;
  table->kinds = SEGMENTATION_CLASS_DICE + 1;
  table->verdicts = table->categories ? SEGMENTATION_CATEGORY_CORRECT + 1 : 0;
}

enum status segmentation_table_plan(const struct task_run *run, bool detailed,
                                    struct segmentation_table *table) {
  struct segmentation_view view;
  TRY(segmentation_look(run->config, run->dataset.extent, &view));
  *table = (struct segmentation_table){.detailed = detailed,
                                       .overlapping = view.overlapping,
                                       .classes = view.classes,
                                       .categories = view.categories};
  if (!detailed) {
    plan_short(table);
    return STATUS_OK;
  }
  table->listed = view.classes;
  table->numbers = SEGMENTATION_NUMBERS;
  table->kinds = run->config->segmentation.distances ? SEGMENTATION_KINDS : SEGMENTATION_CLASS_HD95;
  table->verdicts = table->categories ? SEGMENTATION_VERDICTS : 0;
  int most = (TASK_MAX_COLUMNS - table->numbers - table->verdicts) / table->kinds;
  REQUIRE(table->listed <= most, STATUS_USAGE,
          "evaluate: expected at most %d classes or structures, found %d; choose some with "
          "data.labels or data.structures",
          most, table->listed);
  return STATUS_OK;
}

int segmentation_table_column(const struct segmentation_table *table, enum segmentation_kind kind,
                              int c) {
  if ((int)kind >= table->kinds || c < table->first || c >= table->first + table->listed) return -1;
  return table->numbers + (int)kind * table->listed + c - table->first;
}

int segmentation_table_verdict(const struct segmentation_table *table,
                               enum segmentation_verdict verdict) {
  if ((int)verdict >= table->verdicts) return -1;
  return table->numbers + table->kinds * table->listed + (int)verdict;
}

/* Commas and the like would break tables. */
static void clean(char *name) {
  for (; *name; name++)
    if (*name == ',' || *name == '"' || (unsigned char)*name < ' ') *name = '_';
}

void segmentation_class_name(const struct task_run *run, bool overlapping, int c,
                             char name[SEGMENTATION_NAME_BYTES]) {
  const struct dataset *dataset = &run->dataset;
  if (overlapping)
    snprintf(name, SEGMENTATION_NAME_BYTES, "%s", dataset->structures[c]);
  else if (c == 0)
    snprintf(name, SEGMENTATION_NAME_BYTES, "background");
  else if (dataset->label_names && c <= dataset->label_name_count)
    snprintf(name, SEGMENTATION_NAME_BYTES, "%s", dataset->label_names[c - 1]);
  else if (c <= dataset->label_value_count)
    snprintf(name, SEGMENTATION_NAME_BYTES, "%lld", (long long)dataset->label_values[c - 1]);
  else
    snprintf(name, SEGMENTATION_NAME_BYTES, "%d", c);
  clean(name);
}

enum status segmentation_columns(const struct task_run *run, bool detailed,
                                 struct task_columns *columns) {
  struct segmentation_table table;
  TRY(segmentation_table_plan(run, detailed, &table));
  columns->count = 0;
  for (int i = 0; i < table.numbers; i++)
    snprintf(columns->name[columns->count++], TASK_COLUMN_BYTES, "%s", numbers[i]);
  for (int kind = 0; kind < table.kinds; kind++)
    for (int c = table.first; c < table.first + table.listed; c++) {
      char name[SEGMENTATION_NAME_BYTES];
      segmentation_class_name(run, table.overlapping, c, name);
      snprintf(columns->name[columns->count++], TASK_COLUMN_BYTES, "%s_%.33s", kinds[kind], name);
    }
  for (int i = 0; i < table.verdicts; i++)
    snprintf(columns->name[columns->count++], TASK_COLUMN_BYTES, "%s", verdicts[i]);
  return STATUS_OK;
}
