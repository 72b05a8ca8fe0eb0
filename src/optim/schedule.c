/* The curves of the learning rate. */
#include "optim/schedule.h"
#include <math.h>
#include <string.h>
#include "base/text.h"

static double constant_rate(const struct schedule *schedule, double done) {
  (void)done;
  return schedule->options.rate;
}

static double cosine_rate(const struct schedule *schedule, double done) {
  const struct schedule_options *options = &schedule->options;
  return options->minimum + (options->rate - options->minimum) * (1 + cos(M_PI * done)) / 2;
}

static double poly_rate(const struct schedule *schedule, double done) {
  return schedule->options.rate * pow(1 - done, schedule->options.power);
}

static const struct schedule_kind
    schedule_constant = {"constant", "the same rate in all steps", constant_rate, false},
    schedule_cosine = {"cosine", "half a cosine from the rate to the minimum", cosine_rate, false},
    schedule_poly = {"poly", "a power of the share of steps left", poly_rate, false},
    schedule_plateau = {"plateau", "lowered when validation stops getting better", constant_rate,
                        true};

const struct schedule_kind *const schedules[] = {
#define SCHEDULE(name) &schedule_##name,
#include "optim/schedules.def"
#undef SCHEDULE
    NULL};

enum { MOST_KINDS = 16 };

static enum status find_kind(const char *name, const struct schedule_kind **kind) {
  const char *names[MOST_KINDS];
  int count = 0;
  for (; schedules[count] && count < MOST_KINDS; count++) {
    names[count] = schedules[count]->name;
    if (strcmp(name, names[count]) != 0) continue;
    *kind = schedules[count];
    return STATUS_OK;
  }
  const char *nearest = text_nearest(name, names, count);
  FAIL(STATUS_USAGE, "unknown schedule \"%s\"%s%s%s", name, nearest ? "; did you mean \"" : "",
       nearest ? nearest : "", nearest ? "\"?" : "");
}

enum status schedule_make(struct schedule *schedule, const struct schedule_options *options) {
  *schedule = (struct schedule){.options = *options};
  TRY(find_kind(options->kind, &schedule->kind));
  schedule->options.kind = schedule->kind->name;
  REQUIRE(options->steps > 0, STATUS_USAGE, "schedule: expected at least 1 step, found %lld",
          (long long)options->steps);
  REQUIRE(options->warmup >= 0 && options->warmup < options->steps, STATUS_USAGE,
          "schedule: expected a warm-up of 0 to %lld steps (the run has %lld), found %lld",
          (long long)options->steps - 1, (long long)options->steps, (long long)options->warmup);
  return STATUS_OK;
}

double schedule_rate(const struct schedule *schedule, int64_t step) {
  const struct schedule_options *options = &schedule->options;
  if (step < options->warmup) return options->rate * (double)(step + 1) / (double)options->warmup;
  double done = (double)(step - options->warmup) / (double)(options->steps - options->warmup);
  return schedule->kind->rate(schedule, done < 1 ? done : 1);
}
