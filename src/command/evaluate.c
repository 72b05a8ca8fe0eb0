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

static enum status write_csv(const struct task_scores *scores, const char *path) {
  size_t bytes;
  char *text = NULL;
  FILE *out = open_memstream(&text, &bytes);
  REQUIRE(out, STATUS_FAILED, "%s: out of memory", path);
  fprintf(out, "sample");
  for (int c = 0; c < scores->columns->count; c++) fprintf(out, ",%s", scores->columns->name[c]);
  for (int i = 0; i < scores->count; i++) {
    fprintf(out, "\n\"%s\"", scores->labels + (size_t)i * TASK_LABEL_BYTES);
    for (int c = 0; c < scores->columns->count; c++) {
      double value = scores->rows[(size_t)i * (size_t)scores->columns->count + (size_t)c];
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

static enum status add_summary(json_t *summaries, const struct task_scores *scores, int column) {
  struct task_summary summary;
  TRY(task_scores_summarize(scores, column, &summary));
  json_t *packed = json_pack("{s:o, s:o, s:o, s:o, s:i}", "mean", number(summary.mean), "deviation",
                             number(summary.deviation), "median", number(summary.median), "p95",
                             number(summary.p95), "count", summary.count);
  bool failed = json_object_set_new(summaries, scores->columns->name[column], packed) != 0;
  REQUIRE(!failed, STATUS_FAILED, "evaluation: out of memory");
  return STATUS_OK;
}

static enum status write_report(const struct task_scores *scores, json_t *summaries,
                                const char *path) {
  for (int c = 0; c < scores->columns->count; c++) TRY(add_summary(summaries, scores, c));
  json_t *report = json_pack("{s:s, s:s, s:i, s:O}", "checkpoint", scores->checkpoint, "split",
                             scores->split, "samples", scores->count, "scores", summaries);
  char *text = report ? json_dumps(report, JSON_INDENT(2) | JSON_PRESERVE_ORDER) : NULL;
  json_decref(report);
  REQUIRE(text, STATUS_FAILED, "%s: out of memory", path);
  enum status status = file_replace(path, text, strlen(text));
  free(text);
  return status;
}

static enum status write_json(const struct task_scores *scores, const char *path) {
  json_t *summaries = json_object();
  enum status status = write_report(scores, summaries, path);
  json_decref(summaries);
  return status;
}

static enum status print_table(const struct task_scores *scores) {
  printf("%d samples of the %s split\n%-32s %12s %12s %12s %12s\n", scores->count, scores->split,
         "", "mean", "deviation", "median", "p95");
  for (int c = 0; c < scores->columns->count; c++) {
    struct task_summary summary;
    TRY(task_scores_summarize(scores, c, &summary));
    if (summary.count)
      printf("%-32s %12.4f %12.4f %12.4f %12.4f\n", scores->columns->name[c], summary.mean,
             summary.deviation, summary.median, summary.p95);
  }
  return STATUS_OK;
}

static enum status write_results(const struct judge *judge, const struct task_scores *scores) {
  const char *directory = judge->config->output.dir;
  TRY(file_make_directory(directory));
  char *csv = file_format("%s/evaluation_%s.csv", directory, scores->name);
  char *json = file_format("%s/evaluation_%s.json", directory, scores->name);
  enum status status =
      csv && json ? write_csv(scores, csv)
                  : status_fail(STATUS_FAILED, __FILE__, __LINE__, "%s: out of memory", directory);
  if (!status) status = write_json(scores, json);
  if (!status) status = print_table(scores);
  if (!status) printf("wrote %s and %s\n", csv, json);
  free(csv);
  free(json);
  if (status || !judge->task->report) return status;
  return judge->task->report(&judge->task_run, scores);
}

/* What is asked for. */
struct request {
  const char *checkpoint, *split; /* checkpoint NULL: the best */
  const char *name;               /* of the files of results; NULL: the split's */
};

static enum status score_and_write(struct judge *judge, const struct request *request) {
  int split = split_find(request->split);
  REQUIRE(split >= 0, STATUS_USAGE, "--split: expected train, validation or test, found \"%s\"",
          request->split);
  REQUIRE(judge->task->count(&judge->task_run, PURPOSE_PREDICTION, (enum split)split) > 0,
          STATUS_USAGE, "%s: expected samples in the %s split, found none",
          judge->config->data.shards, request->split);
  struct evaluation evaluation = {0};
  struct task_network network = judge_network(judge);
  enum status status = evaluate_split(&evaluation, judge->comm, judge->task, &judge->task_run,
                                      &judge->network, &network, (enum split)split, true, NULL);
  enum status mine = status;
  const struct task_scores scores = {
      .split = split_name((enum split)split),
      .checkpoint = judge->checkpoint,
      .name = request->name ? request->name : request->split,
      .columns = &evaluation.columns,
      .count = evaluation.count,
      .rows = evaluation.rows,
      .labels = evaluation.labels,
  };
  if (!status && judge->comm->rank == 0) mine = write_results(judge, &scores);
  if (!status) status = comm_agree(judge->comm, mine);
  evaluation_close(&evaluation);
  return status;
}

static enum status evaluate_with(const struct config *config, struct comm *comm,
                                 const struct request *request) {
  struct judge judge = {0};
  enum status status = comm_agree(comm, judge_open(&judge, config, comm, request->checkpoint));
  if (!status) status = score_and_write(&judge, request);
  judge_close(&judge);
  return status;
}

static enum status evaluate_command(const struct invocation *invocation) {
  struct request request = {.split = "test"};
  const struct option options[] = {{"--checkpoint", &request.checkpoint, NULL},
                                   {"--split", &request.split, NULL},
                                   {"--name", &request.name, NULL},
                                   {0}};
  struct config config;
  struct words words;
  enum status status = options_open_config(invocation, options, &words, &config);
  if (!status) status = evaluate_with(&config, invocation->comm, &request);
  config_close(&config);
  return status;
}

extern const struct command command_evaluate;
const struct command command_evaluate = {
    .name = "evaluate",
    .usage = "CONFIG [--checkpoint FILE] [--split test] [--name NAME] [key=value ...]",
    .help =
        "scores a split with the best checkpoint (or FILE; FILE,FILE,...: an ensemble): table, CSV "
        "and JSON in output.dir",
    .run = evaluate_command,
    .parallel = true,
};
