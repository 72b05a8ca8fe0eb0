/* Inputs ahead of their use. A ticket is step * slots + slot; tickets of empty slots are skipped.
 */
#include "train/trainer.h"

enum { DEPTH = 2 }; /* one batch in use, one being filled */

static enum status fill_sample(struct trainer *trainer, int64_t step, int64_t index, int sample,
                               void *memory) {
  void *inputs[NETWORK_MAX_INPUTS];
  batch_pointers(&trainer->training.batch, memory, sample, inputs);
  return trainer->task->fill(&trainer->task_run, PURPOSE_TRAINING, SPLIT_TRAIN,
                             step / trainer->time.steps_per_epoch, index, inputs);
}

static enum status fill_slot(void *context, int64_t ticket, void *memory) {
  struct trainer *trainer = context;
  const struct timetable *time = &trainer->time;
  int64_t step = ticket / time->slots, slot = ticket % time->slots;
  int64_t first = (step % time->steps_per_epoch * time->slots + slot) * time->slot_samples;
  for (int i = 0; i < time->slot_samples; i++)
    TRY(fill_sample(trainer, step, first + i, i, memory));
  return STATUS_OK;
}

/* Moves next_ticket to the next own slot that has samples. */
static void skip_to_own(struct trainer *trainer) {
  const struct timetable *time = &trainer->time;
  int64_t end = time->steps * time->slots;
  for (; trainer->next_ticket < end; trainer->next_ticket++) {
    int slot = (int)(trainer->next_ticket % time->slots);
    bool own = slot >= trainer->own.first && slot < trainer->own.first + trainer->own.count;
    if (own && timetable_filled(time, trainer->next_ticket / time->slots, slot)) return;
  }
}

static enum status request_next(struct trainer *trainer) {
  skip_to_own(trainer);
  if (trainer->next_ticket >= trainer->time.steps * trainer->time.slots) return STATUS_OK;
  return prefetch_request(&trainer->prefetch, trainer->next_ticket++);
}

enum status feed_open(struct trainer *trainer) {
  TRY(prefetch_open(&trainer->prefetch, DEPTH, trainer->training.batch.bytes, fill_slot, trainer));
  trainer->next_ticket = trainer->state.step * trainer->time.slots;
  for (int i = 0; i < DEPTH; i++) TRY(request_next(trainer));
  return STATUS_OK;
}

enum status feed_take(struct trainer *trainer, int64_t step, int slot, void **memory) {
  int64_t ticket = -1, expected = step * trainer->time.slots + slot;
  TRY(prefetch_take(&trainer->prefetch, memory, &ticket));
  REQUIRE(ticket == expected, STATUS_FAILED,
          "inputs out of order: expected ticket %lld, found %lld", (long long)expected,
          (long long)ticket);
  return STATUS_OK;
}

enum status feed_release(struct trainer *trainer, void *memory) {
  prefetch_release(&trainer->prefetch, memory);
  return request_next(trainer);
}
