/* Epochs, steps and slots: how many there are, and which slots have samples. */
#include "train/trainer.h"

static int64_t divide_up(int64_t a, int64_t b) {
  return (a + b - 1) / b;
}

enum status timetable_make(struct timetable *time, const struct trainer *trainer) {
  const struct config *config = trainer->config;
  *time = (struct timetable){.slots = (int)config->train.slots,
                             .slot_samples = (int)config->train.slot_samples};
  time->samples_per_epoch = trainer->task->count(&trainer->task_run, PURPOSE_TRAINING, SPLIT_TRAIN);
  REQUIRE(time->samples_per_epoch > 0, STATUS_USAGE, "%s: expected training samples, found none",
          config->data.shards);
  time->steps_per_epoch =
      divide_up(time->samples_per_epoch, (int64_t)time->slots * time->slot_samples);
  time->steps =
      config->train.steps > 0 ? config->train.steps : config->train.epochs * time->steps_per_epoch;
  return STATUS_OK;
}

bool timetable_filled(const struct timetable *time, int64_t step, int slot) {
  int64_t position = step % time->steps_per_epoch;
  return (position * time->slots + slot) * time->slot_samples < time->samples_per_epoch;
}

int timetable_filled_slots(const struct timetable *time, int64_t step) {
  int filled = 0;
  while (filled < time->slots && timetable_filled(time, step, filled)) filled++;
  return filled;
}
