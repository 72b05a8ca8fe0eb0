/* What a system is: its data, its graph, its scores and its files. Everything else (plan, ranks,
 * optimiser, checkpoints) is the same for all and knows tasks only through this table. */
#pragma once
#include <stdint.h>
#include "base/status.h"
#include "config/config.h"
#include "data/dataset.h"
#include "data/split.h"
#include "graph/graph.h"

enum {
  TASK_MAX_COLUMNS = 1024, /* numbers in one row of scores */
  TASK_COLUMN_BYTES = 40,
  TASK_LABEL_BYTES = 160,
  TASK_MAX_IMAGES = 8,
};

/* What a graph is built for. */
enum purpose {
  PURPOSE_TRAINING,   /* losses; every input they need */
  PURPOSE_PREDICTION, /* predictions as outputs; no labels */
  PURPOSE_SUMS,       /* of losses of the whole batch: what a slot adds (TASK_SUMS) */
};

/* Losses may need sums over the whole batch, all slots of a step, before any slot can be trained
 * on. A graph for training then has the input TASK_SUMS, [1 N+1 1 1 1] float32, as
 * kernels/common/batch_sums.h describes it; it is no sample's, and fill does not write it. The task
 * builds for PURPOSE_SUMS, too: the other inputs of training in the same order, the same network
 * (or none), and an output of this name, [1 N 1 1 1], which is run on every slot first. */
#define TASK_SUMS "sums"

/* An opened task: the data set and the split. */
struct task_run {
  const struct config *config;
  struct dataset dataset;
  int *subjects[SPLIT_COUNT]; /* by enum split: subject numbers, in order of their ids */
  int subject_count[SPLIT_COUNT];
  int atlas;           /* subject number, -1: none */
  int *order;          /* scratch of task_shuffle: the order of samples in epoch order_epoch - 1 */
  int64_t order_epoch; /* 0: none yet */
  /* NULL, or the training device keeps the stored volumes: while training, fill then names in
   * kept[input] the subject whose volume an input is, instead of copying it. */
  int *kept;
  bool pieces; /* fill reads pieces of volumes: there is nothing for the device to keep */
  void *own;   /* the task's own, released by close_own; NULL: none */
  void (*close_own)(void *own);
};

/* Names of the numbers in a row of scores. */
struct task_columns {
  int count;
  char name[TASK_MAX_COLUMNS][TASK_COLUMN_BYTES];
};

/* The scores of a split, for a task's own report. */
struct task_scores {
  const char *split, *checkpoint; /* which one; the file the weights came from */
  const char *name;               /* for names of files: the split's unless told otherwise */
  const struct task_columns *columns;
  int count;          /* samples */
  const double *rows; /* [count][columns->count] */
  const char *labels; /* [count][TASK_LABEL_BYTES] */
};

/* The column of that name, or -1. */
int task_scores_column(const struct task_scores *scores, const char *name);

/* A column's values (caller frees). */
CHECKED enum status task_scores_take(const struct task_scores *scores, int column, double **values);

/* Of the values of a column that are numbers; NaN where there are none. */
struct task_summary {
  int count;
  double mean, deviation; /* of the population */
  double median, p95;     /* what half of them, and 95 %, do not exceed */
};
CHECKED enum status task_scores_summarize(const struct task_scores *scores, int column,
                                          struct task_summary *summary);

/* A grey or colour slice for the event file; pixels are rows of `width`, `channels` (1 or 3) bytes
 * each. */
struct task_image {
  const char *tag;
  int width, height, channels;
  unsigned char *pixels; /* owned by whoever asked */
};

/* How predict gets at a network: runs it once on inputs of the given extents. */
struct task_network {
  void *context;
  /* `inputs` in the order of the graph's inputs; then output `name` is at *memory until the next
   * call. */
  enum status (*run)(void *context, const int extent[3], const void *const *inputs);
  enum status (*output)(void *context, const char *name, const void **memory);
  /* Of an ensemble: how many sets of weights there are (0: one), and takes one of them for what is
   * run next. */
  int members;
  enum status (*use)(void *context, int member);
};

struct task {
  const char *name;
  const char *help; /* one line, for --list */
  /* Opens data set and split and checks them against the config. */
  enum status (*open)(struct task_run *run, const struct config *config);
  /* Adds inputs (batches of `samples`), network and losses or outputs. extent: d h w of the images.
   */
  enum status (*build)(const struct task_run *run, const struct config *config,
                       enum purpose purpose, int samples, const int extent[3], struct graph *graph);
  /* How many samples an epoch of training has (of SPLIT_TRAIN), or how many a split has for
   * evaluation. */
  int64_t (*count)(const struct task_run *run, enum purpose purpose, enum split split);
  /* Writes one sample's inputs, in the order of the graph's inputs, each a plain [c d h w] array.
   * Called from a worker thread: reads the data set only. Training: sample `index` of epoch
   * `epoch`, any index >= 0. */
  enum status (*fill)(struct task_run *run, enum purpose purpose, enum split split, int64_t epoch,
                      int64_t index, void *const *inputs);
  /* The numbers of a row of scores: a few while training, all that are known when `detailed`. */
  enum status (*columns)(const struct task_run *run, bool detailed, struct task_columns *columns);
  /* The column by which the best checkpoint is chosen; higher is better. */
  const char *(*best)(const struct task_run *run);
  /* score runs the network as often as it needs: no forward pass on the sample's inputs is made
   * before it. */
  bool runs_itself;
  /* Scores sample `index` of a split after a forward pass on its inputs; NaN where a number does
   * not exist. `label` (TASK_LABEL_BYTES) names the sample. */
  enum status (*score)(struct task_run *run, enum split split, int64_t index, bool detailed,
                       const struct task_network *network, const void *const *inputs, double *row,
                       char *label);
  /* OPTIONAL: writes what evaluation has to say beyond tables of scores, into output.dir. Called on
   * rank 0. */
  enum status (*report)(const struct task_run *run, const struct task_scores *scores);
  /* Pictures of one sample after a forward pass; *count of them, at most TASK_MAX_IMAGES. */
  enum status (*draw)(struct task_run *run, const struct task_network *network,
                      const void *const *inputs, struct task_image *images, int *count);
  /* Predicts from files given on the command line into a folder. */
  enum status (*predict)(const struct config *config, const struct task_network *network,
                         const char *const *files, int count, const char *directory);
  const char *predict_usage; /* what files predict wants: "MOVING FIXED [MOVING_LABELS]" */
};

/* Every task, NULL-terminated, from tasks.def. */
extern const struct task *const tasks[];
CHECKED enum status task_find(const char *name, const struct task **task);

/* Releases what open filled in. Accepts a zeroed run. */
void task_close(struct task_run *run);
