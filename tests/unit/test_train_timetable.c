/* How epochs are cut into steps and slots: for many sizes, against walking through the samples one
 * by one. */
#include "check.h"
#include "train/trainer.h"

static int64_t given_samples;

static int64_t count_samples(const struct task_run *run, enum purpose purpose, enum split split) {
  (void)run;
  CHECK(purpose == PURPOSE_TRAINING && split == SPLIT_TRAIN);
  return given_samples;
}

static const struct task fake_task = {.name = "fake", .count = count_samples};

struct cut {
  int samples, slots, slot_samples, epochs, steps;
};

static enum status make(const struct cut *cut, struct timetable *time) {
  struct config config = {0};
  config.train.slots = cut->slots;
  config.train.slot_samples = cut->slot_samples;
  config.train.epochs = cut->epochs;
  config.train.steps = cut->steps;
  config.data.shards = "some.h5";
  struct trainer *trainer = calloc(1, sizeof *trainer);
  if (!trainer) abort();
  trainer->config = &config;
  trainer->task = &fake_task;
  given_samples = cut->samples;
  enum status status = timetable_make(time, trainer);
  free(trainer);
  return status;
}

/* Hands out the samples of an epoch slot by slot; `slot` of `step` gets some if any are left when
 * its turn comes. */
static int walk_epoch(const struct cut *cut, const struct timetable *time, int64_t first_step) {
  int left = cut->samples, wrong = 0;
  for (int64_t step = first_step; step < first_step + time->steps_per_epoch; step++) {
    int filled = 0;
    for (int slot = 0; slot < cut->slots; slot++) {
      bool expected = left > 0;
      wrong += timetable_filled(time, step, slot) != expected;
      filled += expected;
      left -= left < cut->slot_samples ? left : cut->slot_samples;
    }
    wrong += timetable_filled_slots(time, step) != filled;
    wrong += filled == 0; /* no step without samples */
  }
  return wrong + left; /* none is left over */
}

static void check_cut(const struct cut *cut) {
  struct timetable time;
  CHECK_OK(make(cut, &time));
  CHECK(time.samples_per_epoch == cut->samples);
  CHECK(time.slots == cut->slots && time.slot_samples == cut->slot_samples);
  CHECK(time.steps == (cut->steps ? cut->steps : cut->epochs * time.steps_per_epoch));
  for (int epoch = 0; epoch < 3; epoch++)
    CHECK_SAY(walk_epoch(cut, &time, epoch * time.steps_per_epoch) == 0,
              ": %d samples, %d slots of %d", cut->samples, cut->slots, cut->slot_samples);
}

TEST(every_sample_has_its_slot) {
  for (int samples = 1; samples <= 25; samples++)
    for (int slots = 1; slots <= 9; slots++)
      for (int slot_samples = 1; slot_samples <= 5; slot_samples++)
        check_cut(&(struct cut){samples, slots, slot_samples, 4, 0});
}

TEST(steps_may_be_given_instead_of_epochs) {
  check_cut(&(struct cut){10, 4, 1, 50, 7});
  check_cut(&(struct cut){10, 4, 3, 50, 1});
}

TEST(known_tables) {
  struct timetable time;
  CHECK_OK(make(&(struct cut){1576, 8, 1, 50, 0}, &time));
  CHECK(time.steps_per_epoch == 197 && time.steps == 9850);
  CHECK(timetable_filled_slots(&time, 196) == 8);
  CHECK_OK(make(&(struct cut){45, 8, 2, 1, 0}, &time)); /* 16 + 16 + 13: seven slots in the last */
  CHECK(time.steps_per_epoch == 3);
  CHECK(timetable_filled_slots(&time, 2) == 7 && timetable_filled_slots(&time, 5) == 7);
  CHECK(timetable_filled(&time, 2, 6) && !timetable_filled(&time, 2, 7));
  CHECK(timetable_filled_slots(&time, 3) == 8);
}

TEST(no_samples_is_an_error) {
  struct timetable time;
  CHECK_FAILS(make(&(struct cut){0, 1, 1, 1, 0}, &time), "some.h5: expected training samples");
}

int main(void) {
  RUN(every_sample_has_its_slot);
  RUN(steps_may_be_given_instead_of_epochs);
  RUN(known_tables);
  RUN(no_samples_is_an_error);
  return check_result();
}
