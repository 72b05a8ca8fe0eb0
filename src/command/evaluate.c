/* evaluate: scores a split with a checkpoint's weights; a table for people, CSV and JSON for
 * programs. */
#include "train/evaluate.h"
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "base/file.h"
#include "base/log.h"
#include "command/judge.h"
#include "command/machine.h"
#include "command/options.h"

static enum status write_csv(const struct evaluation *evaluation, const char *path) {
  size_t bytes;
  char *text = NULL;
  FILE *out = open_memstream(&text, &bytes);
  REQUIRE(out, STATUS_FAILED, "%s: out of memory", path);
  fprintf(out, "sample");
  for (int c = 0; c < evaluation->columns.count; c++)
    fprintf(out, ",%s", evaluation->columns.name[c]);
  for (int i = 0; i < evaluation->count; i++) {
    fprintf(out, "\n\"%s\"", evaluation->labels + (size_t)i * TASK_LABEL_BYTES);
    for (int c = 0; c < evaluation->columns.count; c++) {
      double value = evaluation->rows[(size_t)i * (size_t)evaluation->columns.count + (size_t)c];
      fprintf(out, isnan(value) ? "," : ",%.9g", value);
    }
  }
  fprintf(out, "\n");
  bool failed = fclose(out) != 0;
  enum status status =
      failed ? status_fail(STATUS_FAILED, __FILE__, __LINE__, "%s: out of memory", path)
             : file_replace(path, text, bytes);
  free(text);
  return status;
}

static json_t *number(double value) {
  return isfinite(value) ? json_real(value) : json_null();
}

static json_t *summary_of(const struct evaluation *evaluation) {
  json_t *summary = json_object();
  for (int c = 0; c < evaluation->columns.count; c++) {
    double mean, deviation;
    int count = evaluation_mean(evaluation, c, &mean, &deviation);
    json_object_set_new(summary, evaluation->columns.name[c],
                        json_pack("{s:o, s:o, s:i}", "mean", number(mean), "deviation",
                                  number(deviation), "count", count));
  }
  return summary;
}

static enum status write_json(const struct evaluation *evaluation, const char *checkpoint,
                              const char *split, const char *path) {
  json_t *report = json_pack("{s:s, s:s, s:i, s:o}", "checkpoint", checkpoint, "split", split,
                             "samples", evaluation->count, "scores", summary_of(evaluation));
  char *text = report ? json_dumps(report, JSON_INDENT(2) | JSON_PRESERVE_ORDER) : NULL;
  json_decref(report);
  REQUIRE(text, STATUS_FAILED, "%s: out of memory", path);
  enum status status = file_replace(path, text, strlen(text));
  free(text);
  return status;
}

static void print_table(const struct evaluation *evaluation, const char *split) {
  printf("%d samples of the %s split\n%-24s %12s %12s\n", evaluation->count, split, "", "mean",
         "deviation");
  for (int c = 0; c < evaluation->columns.count; c++) {
    double mean, deviation;
    if (evaluation_mean(evaluation, c, &mean, &deviation))
      printf("%-24s %12.4f %12.4f\n", evaluation->columns.name[c], mean, deviation);
  }
}

static enum status write_results(const struct config *config, const struct evaluation *evaluation,
                                 const char *checkpoint, const char *split) {
  TRY(file_make_directory(config->output.dir));
  char *csv = file_format("%s/evaluation_%s.csv", config->output.dir, split);
  char *json = file_format("%s/evaluation_%s.json", config->output.dir, split);
  enum status status = csv && json ? write_csv(evaluation, csv)
                                   : status_fail(STATUS_FAILED, __FILE__, __LINE__,
                                                 "%s: out of memory", config->output.dir);
  if (!status) status = write_json(evaluation, checkpoint, split, json);
  if (!status) print_table(evaluation, split);
  if (!status) printf("wrote %s and %s\n", csv, json);
  free(csv);
  free(json);
  return status;
}

static enum status score_and_write(struct judge *judge, const char *checkpoint, const char *name) {
  int split = split_find(name);
  REQUIRE(split >= 0, STATUS_USAGE, "--split: expected train, validation or test, found \"%s\"",
          name);
  REQUIRE(judge->task->count(&judge->task_run, PURPOSE_PREDICTION, (enum split)split) > 0,
          STATUS_USAGE, "%s: expected samples in the %s split, found none",
          judge->config->data.shards, name);
  struct evaluation evaluation = {0};
  enum status status = evaluate_split(&evaluation, judge->comm, judge->task, &judge->task_run,
                                      &judge->network, (enum split)split, true, NULL);
  enum status mine = status;
  if (!status && judge->comm->rank == 0)
    mine = write_results(judge->config, &evaluation, checkpoint, name);
  if (!status) status = comm_agree(judge->comm, mine);
  evaluation_close(&evaluation);
  return status;
}

static enum status evaluate_with(const struct config *config, struct comm *comm,
                                 const char *checkpoint, const char *split) {
  struct judge judge = {0};
  enum status status = comm_agree(comm, judge_open(&judge, config, comm, checkpoint));
  if (!status) status = score_and_write(&judge, judge.checkpoint, split);
  judge_close(&judge);
  return status;
}

static enum status evaluate_command(const struct invocation *invocation) {
  const char *checkpoint = NULL, *split = "test";
  const struct option options[] = {{"--checkpoint", &checkpoint}, {"--split", &split}, {0}};
  struct config config;
  struct words words;
  enum status status = options_open_config(invocation, options, &words, &config);
  if (!status) status = evaluate_with(&config, invocation->comm, checkpoint, split);
  config_close(&config);
  return status;
}

extern const struct command command_evaluate;
const struct command command_evaluate = {
    .name = "evaluate",
    .usage = "CONFIG [--checkpoint FILE] [--split test] [key=value ...]",
    .help = "scores a split with the best checkpoint (or FILE): table, CSV and JSON in output.dir",
    .run = evaluate_command,
    .parallel = true,
};
