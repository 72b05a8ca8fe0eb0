/* The training loop. */
#include "train/train.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "base/log.h"
#include "base/text.h"
#include "train/journal.h"
#include "train/signals.h"
#include "train/trainer.h"

static enum status plan_networks(struct trainer *trainer, struct network *training,
                                 struct network *evaluation, struct sums *sums) {
  const struct config *config = trainer->config;
  const int *extent = trainer->task_run.dataset.extent;
  enum device_kind device = trainer->device->ops->kind;
  struct kernel_choices *choices =
      trainer->choices.text || trainer->choices.device ? &trainer->choices : NULL;
  TRY(network_plan(training, trainer->task, &trainer->task_run, config, device, PURPOSE_TRAINING,
                   (int)config->train.slot_samples, extent, choices));
  TRY(sums_plan(sums, training, trainer->task, &trainer->task_run, config, choices));
  return network_plan(evaluation, trainer->task, &trainer->task_run, config, device,
                      PURPOSE_PREDICTION, 1, extent, choices);
}

/* Rank 0 plans once only to see which kernels are wanted, and measures those it does not know. */
static enum status measure_kernels(struct trainer *trainer) {
  struct network training = {0}, evaluation = {0};
  struct sums sums = {0};
  TRY(choices_read(&trainer->choices, trainer->config->output.dir));
  trainer->choices.device = trainer->device;
  enum status status = plan_networks(trainer, &training, &evaluation, &sums);
  sums_close(&sums);
  network_close(&training);
  network_close(&evaluation);
  return status;
}

/* Collective. */
static enum status choose_kernels(struct trainer *trainer) {
  if (!trainer->config->kernels.measure || trainer->device->ops->host_memory) return STATUS_OK;
  enum status mine = trainer->comm->rank == 0 ? measure_kernels(trainer) : STATUS_OK;
  TRY(comm_agree(trainer->comm, mine));
  return choices_share(&trainer->choices, trainer->comm);
}

static enum status open_networks(struct trainer *trainer) {
  TRY(plan_networks(trainer, &trainer->training, &trainer->evaluation, &trainer->sums));
  size_t needed[] = {trainer->training.plan.arena_bytes, trainer->evaluation.plan.arena_bytes,
                     trainer->sums.network.plan.arena_bytes};
  for (int i = 0; i < 3; i++)
    if (needed[i] > trainer->arena_bytes) trainer->arena_bytes = needed[i];
  return trainer->device->ops->allocate(trainer->device, trainer->arena_bytes, &trainer->arena);
}

static enum status open_runs(struct trainer *trainer) {
  struct state_blocks *blocks = &trainer->blocks;
  const float *judged = blocks->average ? blocks->average : blocks->weights;
  TRY(network_open(&trainer->training, trainer->device, trainer->arena, blocks->weights,
                   blocks->gradients));
  TRY(sums_open(&trainer->sums, &trainer->training, trainer->device, trainer->arena,
                blocks->weights));
  return network_open(&trainer->evaluation, trainer->device, trainer->arena, judged, NULL);
}

static enum status open_optimizer(struct trainer *trainer) {
  const struct config *config = trainer->config;
  const struct optimizer_options options = {
      .kind = config->train.optimizer,
      .beta1 = config->train.beta1,
      .beta2 = config->train.beta2,
      .epsilon = config->train.epsilon,
      .weight_decay = config->train.weight_decay,
      .momentum = config->train.momentum,
  };
  TRY(optimizer_open(&trainer->optimizer, trainer->device, &options, trainer->blocks.trained));
  TRY(grad_norm_open(&trainer->norm, trainer->device, trainer->blocks.count));
  const struct schedule_options curve = {
      .kind = config->train.schedule,
      .rate = config->train.learning_rate,
      .minimum = config->train.minimum_rate,
      .power = config->train.power,
      .steps = trainer->time.steps,
      .warmup = config->train.warmup_steps,
  };
  trainer->plateau = (struct plateau_options){
      .rate = config->train.learning_rate,
      .factor = config->train.plateau_factor,
      .threshold = config->train.plateau_threshold,
      .minimum = config->train.minimum_rate,
      .patience = config->train.plateau_patience,
  };
  TRY(plateau_start(&trainer->state.plateau, &trainer->plateau));
  return schedule_make(&trainer->schedule, &curve);
}

static enum status open_task(struct trainer *trainer) {
  const struct config *config = trainer->config;
  TRY(task_find(config->root.task, &trainer->task));
  TRY(comm_slots((int)config->train.slots, trainer->comm->rank, trainer->comm->size,
                 &trainer->own));
  TRY(trainer->task->open(&trainer->task_run, config));
  return timetable_make(&trainer->time, trainer);
}

/* What each rank opens by itself. */
static enum status open_own(struct trainer *trainer) {
  scale_start(trainer);
  TRY(open_networks(trainer));
  TRY(blocks_open(trainer));
  TRY(open_runs(trainer));
  TRY(open_optimizer(trainer));
  TRY(blocks_start(trainer));
  trainer->rows = calloc((size_t)trainer->own.count * STEP_ROW, sizeof(double));
  trainer->present = calloc((size_t)trainer->own.count, sizeof(bool));
  size_t sums = (size_t)trainer->sums.count + 1;
  trainer->summands = calloc((size_t)trainer->own.count * sums, sizeof(double));
  trainer->totals = calloc(sums, sizeof(double));
  REQUIRE(trainer->rows && trainer->present && trainer->summands && trainer->totals, STATUS_FAILED,
          "train: out of memory");
  if (trainer->comm->rank > 0) return STATUS_OK;
  TRY(journal_open(&trainer->journal, trainer->config));
  return choices_write(&trainer->choices, trainer->config->output.dir);
}

/* Ranks that were started with other programs, kernels or data must not train together. */
static enum status check_alike(struct trainer *trainer) {
  uint64_t plan[] = {plan_hash(&trainer->training.plan), 0};
  if (trainer->sums.count > 0) plan[1] = plan_hash(&trainer->sums.network.plan);
  uint64_t data = dataset_manifest(&trainer->task_run.dataset);
  TRY(comm_same(trainer->comm, "the plan (kernels, shapes)", plan, sizeof plan));
  return comm_same(trainer->comm, "the data", &data, sizeof data);
}

static enum status open_together(struct trainer *trainer) {
  const struct config *config = trainer->config;
  const struct tree_options reduction = {
      .mode = strcmp(config->comm.reduce, "fast") == 0 ? TREE_FAST : TREE_EXACT,
      .transport = config->comm.transport,
      .slots = trainer->time.slots,
      .count = trainer->blocks.count,
      .bucket_elements = (size_t)config->comm.bucket_kib * 1024 / sizeof(float),
  };
  TRY(check_alike(trainer));
  TRY(comm_agree(trainer->comm,
                 tree_open(&trainer->tree, trainer->comm, trainer->device, &reduction)));
  bool resumed = false;
  TRY(trainer_resume(trainer, &resumed));
  enum status mine = feed_open(trainer);
  if (!mine) mine = journal_start(trainer->journal, trainer);
  return comm_agree(trainer->comm, mine);
}

static void announce(const struct trainer *trainer) {
  char memory[32], way[128];
  const struct timetable *time = &trainer->time;
  int ranks = trainer->comm->size, threads = trainer->device->threads;
  log_info("%s: %lld parameters, activations in %s, arena %s per rank on the device %s",
           trainer->config->model.name, (long long)plan_trainable_count(&trainer->training.plan),
           dtype_name(trainer->training.graph.activation),
           text_bytes((double)trainer->arena_bytes, memory), trainer->device->ops->name);
  tree_describe(&trainer->tree, way, sizeof way);
  log_info(
      "%lld samples per epoch, %lld steps of %d slots of %d samples; %d rank%s of %d thread%s%s%s",
      (long long)time->samples_per_epoch, (long long)time->steps, time->slots, time->slot_samples,
      ranks, ranks == 1 ? "" : "s", threads, threads == 1 ? "" : "s",
      ranks == 1 ? "" : "; gradients travel by ", ranks == 1 ? "" : way);
}

static bool is_due(int64_t every, int64_t done) {
  return every > 0 && done % every == 0;
}

static bool at_epoch_end(const struct trainer *trainer, int64_t every_epochs) {
  int64_t step = trainer->state.step, per_epoch = trainer->time.steps_per_epoch;
  return step % per_epoch == 0 && is_due(every_epochs, step / per_epoch);
}

static bool is_last(const struct trainer *trainer) {
  return trainer->state.step >= trainer->time.steps;
}

static bool validation_due(const struct trainer *trainer) {
  int64_t every = trainer->config->train.validate_every;
  return trainer->task->count(&trainer->task_run, PURPOSE_PREDICTION, SPLIT_VALIDATION) > 0 &&
         every > 0 && (at_epoch_end(trainer, every) || is_last(trainer));
}

/* Remembers whether this validation is the best so far. */
static bool judge(struct trainer *trainer, const struct evaluation *validation) {
  struct progress_state *state = &trainer->state;
  double score = NAN, deviation;
  int column = evaluation_column(validation, trainer->task->best(&trainer->task_run));
  if (column >= 0) evaluation_mean(validation, column, &score, &deviation);
  plateau_judge(&state->plateau, &trainer->plateau, score);
  bool better = score > state->best; /* false for NaN */
  state->validations_without_better = better ? 0 : state->validations_without_better + 1;
  if (better) {
    state->best = score;
    state->best_step = state->step;
  }
  return better;
}

static enum status validate(struct trainer *trainer, struct evaluation *validation, bool *best) {
  const struct evaluation_visitor visitor = {journal_draw, trainer};
  struct stream stream = trainer->training.run.stream;
  trainer->comm->phase = "validation";
  /* the networks have streams of their own */
  TRY(trainer_alone(trainer, trainer->device->ops->synchronize(&stream)));
  TRY(evaluate_split(validation, trainer->comm, trainer->task, &trainer->task_run,
                     &trainer->evaluation, NULL, SPLIT_VALIDATION, false, &visitor));
  trainer->comm->phase = "training";
  *best = judge(trainer, validation);
  return STATUS_OK;
}

/* What overflowed in the last update would show in the next step only. */
static enum status check_weights(struct trainer *trainer) {
  const struct state_blocks *blocks = &trainer->blocks;
  double squared;
  TRY(trainer_alone(trainer, grad_norm_squared(&trainer->norm, &trainer->training.run.stream,
                                               blocks->weights, blocks->count, &squared)));
  REQUIRE(isfinite(squared), STATUS_FAILED,
          "step %lld: the weights are not finite; the last checkpoint is kept",
          (long long)trainer->state.step);
  return STATUS_OK;
}

static bool save_due(const struct trainer *trainer, bool best, bool stop) {
  const struct config *config = trainer->config;
  return best || stop || is_last(trainer) ||
         is_due(config->checkpoint.every_steps, trainer->state.step) ||
         at_epoch_end(trainer, config->checkpoint.every_epochs);
}

/* What follows a step: validation, records, checkpoint. */
static enum status conclude(struct trainer *trainer, const struct step_result *result, bool stop) {
  struct evaluation validation = {0};
  bool due = validation_due(trainer), best = false;
  enum status status = due ? validate(trainer, &validation, &best) : STATUS_OK;
  if (!status) {
    journal_step(trainer->journal, trainer, result, due ? &validation : NULL);
    if (save_due(trainer, best, stop)) status = check_weights(trainer);
    if (save_due(trainer, best, stop) && !status)
      trainer->local = journal_save(trainer->journal, trainer, best);
  }
  evaluation_close(&validation);
  return status;
}

static bool has_converged(const struct trainer *trainer) {
  int64_t patience = trainer->config->train.early_stopping;
  return patience > 0 && trainer->state.validations_without_better >= patience;
}

static enum status loop(struct trainer *trainer) {
  int64_t stop_at = trainer->config->train.stop_at;
  bool stop = false;
  trainer->comm->phase = "training";
  while (!is_last(trainer) && !stop && !has_converged(trainer)) {
    struct step_result result;
    TRY(trainer_step(trainer, &result));
    stop = result.stop || trainer->state.step == stop_at;
    TRY(conclude(trainer, &result, stop));
  }
  if (has_converged(trainer) && !is_last(trainer))
    log_info("stopping early: no better validation for %lld in a row",
             (long long)trainer->state.validations_without_better);
  enum status mine = trainer->local;
  if (!mine) mine = journal_finish(trainer->journal, "");
  TRY(comm_agree(trainer->comm, mine));
  REQUIRE(!stop || is_last(trainer), STATUS_STOPPED,
          "stopped after step %lld of %lld; the same command continues",
          (long long)trainer->state.step, (long long)trainer->time.steps);
  return STATUS_OK;
}

static enum status open_and_loop(struct trainer *trainer) {
  signals_install();
  trainer->comm->phase = "opening";
  TRY(comm_agree(trainer->comm, open_task(trainer)));
  TRY(choose_kernels(trainer));
  TRY(comm_agree(trainer->comm, open_own(trainer)));
  TRY(open_together(trainer));
  announce(trainer);
  return loop(trainer);
}

static void close_trainer(struct trainer *trainer) {
  struct device *device = trainer->device;
  feed_close(trainer);
  journal_close(trainer->journal);
  tree_close(&trainer->tree);
  grad_norm_close(&trainer->norm);
  optimizer_close(&trainer->optimizer);
  sums_close(&trainer->sums);
  network_close(&trainer->training);
  network_close(&trainer->evaluation);
  choices_close(&trainer->choices);
  device->ops->release(device, trainer->arena, trainer->arena_bytes);
  blocks_close(trainer);
  free(trainer->rows);
  free(trainer->summands);
  free(trainer->totals);
  free(trainer->present);
  task_close(&trainer->task_run);
}

enum status train_run(const struct config *config, struct comm *comm, struct device *device) {
  struct trainer *trainer = calloc(1, sizeof *trainer);
  REQUIRE(trainer, STATUS_FAILED, "train: out of memory");
  *trainer = (struct trainer){
      .config = config, .comm = comm, .device = device, .state = {.best = -INFINITY}};
  enum status status = open_and_loop(trainer);
  close_trainer(trainer);
  free(trainer);
  return status;
}
