/* One optimiser step: what losses read of the whole batch, summed; every own slot forward and
 * backward, gradients and losses added over all slots by the fixed tree; one update that every rank
 * makes alike. */
#include <math.h>
#include <string.h>
#include "kernels/ema/ema.h"
#include "optim/statistics.h"
#include "train/signals.h"
#include "train/trainer.h"

/* --- sums of the batch --- */

static enum status sum_slot(struct trainer *trainer, int slot, double *row) {
  void *memory;
  TRY(feed_take(trainer, trainer->state.step, PASS_SUMS, slot, &memory));
  TRY(feed_ahead(trainer));
  TRY(sums_of_slot(&trainer->sums, memory, row));
  return feed_release(trainer, PASS_SUMS, memory);
}

/* The networks have streams of their own: weights and totals of the last step must be done with. */
static enum status sum_own_slots(struct trainer *trainer) {
  int count = trainer->sums.count;
  TRY(trainer->local);
  TRY(trainer->device->ops->synchronize(&trainer->training.run.stream));
  for (int i = 0; i < trainer->own.count; i++)
    if (trainer->present[i])
      TRY(sum_slot(trainer, trainer->own.first + i, trainer->summands + (size_t)i * count));
  return STATUS_OK;
}

/* Collective. What a rank that fails has of the sums is worthless, but the others get them, and the
 * agreement at the end of the step tells them. */
static enum status sum_batch(struct trainer *trainer, int filled) {
  struct sums *sums = &trainer->sums;
  if (sums->count == 0) return STATUS_OK;
  memset(trainer->summands, 0, sizeof(double) * (size_t)trainer->own.count * (size_t)sums->count);
  enum status mine = sum_own_slots(trainer);
  TRY(comm_tree_sum(trainer->comm, trainer->time.slots, sums->count, trainer->summands,
                    trainer->present, trainer->totals));
  if (!mine) mine = sums_give(sums, &trainer->training.run.stream, trainer->totals, filled);
  trainer->local = mine;
  return STATUS_OK;
}

/* --- training --- */

struct slot_work {
  struct trainer *trainer;
  int slot;
};

static enum status push_bucket(void *context, const struct plan_bucket *bucket) {
  struct slot_work *work = context;
  return tree_push(&work->trainer->tree, work->slot,
                   work->trainer->blocks.gradients + bucket->first, bucket->first, bucket->count);
}

static enum status move_messages(void *context) {
  struct slot_work *work = context;
  return tree_progress(&work->trainer->tree);
}

/* Waits for the device, and so meets what has gone wrong there. */
static enum status record_losses(struct trainer *trainer, double *row) {
  struct run_loss losses[TRAINER_MAX_LOSSES];
  TRY(trainer->device->ops->synchronize(&trainer->training.run.stream));
  int count = run_losses(&trainer->training.run, losses, TRAINER_MAX_LOSSES);
  row[0] = 0;
  for (int i = 0; i < count; i++) {
    row[1 + i] = losses[i].value;
    row[0] += losses[i].weight * losses[i].value;
  }
  return STATUS_OK;
}

static enum status compute_slot(struct trainer *trainer, int slot, const void *memory,
                                double *row) {
  struct slot_work work = {trainer, slot};
  const struct run_hooks hooks = {push_bucket, move_messages, &work};
  TRY(network_bind(&trainer->training, memory));
  TRY(feed_ahead(trainer));
  TRY(run_forward(&trainer->training.run));
  TRY(run_backward(&trainer->training.run, trainer->state.loss_scale, &hooks));
  TRY(feed_ahead(trainer));
  return record_losses(trainer, row);
}

static enum status train_slot(struct trainer *trainer, int slot, double *row) {
  void *memory;
  TRY(feed_take(trainer, trainer->state.step, PASS_TRAINING, slot, &memory));
  TRY(compute_slot(trainer, slot, memory, row));
  return feed_release(trainer, PASS_TRAINING, memory);
}

/* Goes through own slots. After a failure (also one since the last step) the rest is
 * skipped, so that no rank waits in vain. */
static enum status train_own_slots(struct trainer *trainer) {
  enum status status = trainer->local;
  for (int i = 0; i < trainer->own.count; i++) {
    int slot = trainer->own.first + i;
    if (!status && trainer->present[i])
      status = train_slot(trainer, slot, trainer->rows + (size_t)i * STEP_ROW);
    if (status || !trainer->present[i]) TRY(tree_skip(&trainer->tree, slot));
  }
  return status;
}

enum status trainer_alone(struct trainer *trainer, enum status status) {
  if (status && trainer->comm->size > 1) trainer->comm->broken = true;
  return status;
}

static void name_losses(const struct trainer *trainer, struct step_result *result) {
  struct run_loss losses[TRAINER_MAX_LOSSES];
  result->loss_count = run_losses(&trainer->training.run, losses, TRAINER_MAX_LOSSES);
  for (int i = 0; i < result->loss_count; i++) result->loss_name[i] = losses[i].name;
}

static enum status update(struct trainer *trainer, int filled, const struct step_result *result) {
  struct state_blocks *blocks = &trainer->blocks;
  const struct config *config = trainer->config;
  double scale = optimizer_clip_scale(result->gradient_norm, config->train.clip_norm) /
                 (filled * result->loss_scale);
  struct stream *stream = &trainer->training.run.stream;
  TRY(optimizer_step(&trainer->optimizer, stream, blocks->weights, blocks->gradients,
                     result->learning_rate, scale));
  TRY(statistics_update(stream, blocks->weights + blocks->trained,
                        blocks->gradients + blocks->trained, blocks->count - blocks->trained,
                        filled, config->model.norm_momentum));
  scale_grow(trainer);
  if (!blocks->average) return STATUS_OK;
  return ema_update(stream, blocks->average, blocks->weights, blocks->count,
                    config->train.ema_decay);
}

static enum status check_finite(const struct trainer *trainer, const struct step_result *result) {
  for (int i = 0; i < result->loss_count; i++)
    REQUIRE(isfinite(result->loss[i]), STATUS_FAILED,
            "step %lld: the loss %s is not finite (%g); the last checkpoint is kept",
            (long long)trainer->state.step + 1, result->loss_name[i], fabs(result->loss[i]));
  return STATUS_OK;
}

/* Everybody learns whether a rank failed or was asked to stop. */
static enum status agree(struct trainer *trainer, enum status mine, bool *stop) {
  if (!mine && signals_stop_requested())
    mine = status_fail(STATUS_STOPPED, __FILE__, __LINE__, "stopped on request");
  enum status all = comm_agree(trainer->comm, mine);
  *stop = all == STATUS_STOPPED;
  return *stop ? STATUS_OK : all;
}

static double learning_rate(const struct trainer *trainer) {
  double rate = schedule_rate(&trainer->schedule, trainer->state.step);
  bool bounded = trainer->schedule.kind->by_validation;
  return bounded ? fmin(rate, trainer->state.plateau.rate) : rate;
}

enum status trainer_step(struct trainer *trainer, struct step_result *result) {
  struct state_blocks *blocks = &trainer->blocks;
  double sums[STEP_ROW];
  int filled = timetable_filled_slots(&trainer->time, trainer->state.step);
  *result = (struct step_result){0};
  for (int i = 0; i < trainer->own.count; i++)
    trainer->present[i] =
        timetable_filled(&trainer->time, trainer->state.step, trainer->own.first + i);
  TRY(sum_batch(trainer, filled));
  TRY(tree_start(&trainer->tree, blocks->gradients, &trainer->training.run.stream));
  enum status mine = train_own_slots(trainer);
  TRY(tree_wait(&trainer->tree));
  TRY(agree(trainer, mine, &result->stop));
  TRY(comm_tree_sum(trainer->comm, trainer->time.slots, STEP_ROW, trainer->rows, trainer->present,
                    sums));
  name_losses(trainer, result);
  result->total = sums[0] / filled;
  for (int i = 0; i < result->loss_count; i++) result->loss[i] = sums[1 + i] / filled;
  result->learning_rate = learning_rate(trainer);
  result->loss_scale = trainer->state.loss_scale;
  double squared;
  bool good;
  TRY(trainer_alone(trainer, grad_norm_squared(&trainer->norm, &trainer->training.run.stream,
                                               blocks->gradients, blocks->trained, &squared)));
  result->gradient_norm = sqrt(squared) / (filled * result->loss_scale);
  TRY(check_finite(trainer, result));
  TRY(scale_judge(trainer, result->gradient_norm, &good));
  if (good) TRY(trainer_alone(trainer, update(trainer, filled, result)));
  trainer->state.step++;
  return STATUS_OK;
}
