/* The learning rate as a function of the step and (plateau) of the validations so far, so that a
 * run resumes anywhere with the same rate. */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include "base/status.h"

struct schedule;

/* One shape of the curve after the warm-up; schedules.def lists them. */
struct schedule_kind {
  const char *name;
  const char *help; /* one line, for --list */
  /* done: the share of the steps after the warm-up that is over, 0..1. */
  double (*rate)(const struct schedule *schedule, double done);
  bool by_validation; /* the rate is also bounded by that of a plateau (plateau.h) */
};

/* All kinds, NULL-terminated. */
extern const struct schedule_kind *const schedules[];

struct schedule_options {
  const char *kind; /* "constant", "cosine", ...: a name of schedules.def */
  double rate;      /* the highest learning rate */
  double minimum;   /* cosine: where it ends */
  double power;     /* poly: (1 - t/T)^power */
  int64_t steps;    /* of the whole run, warm-up included; above 0 */
  int64_t warmup;   /* steps in which the rate rises linearly to its highest; less than `steps` */
};

struct schedule {
  const struct schedule_kind *kind;
  struct schedule_options options;
};

/* STATUS_USAGE for an unknown kind (with the nearest right name) or options out of range. */
CHECKED enum status schedule_make(struct schedule *schedule,
                                  const struct schedule_options *options);

/* The learning rate of step `step` (0: the first). In the warm-up rate*(step+1)/warmup, so that its
 * last step has the full rate. After it, with t the steps since and T their number: cosine is
 * minimum + (rate-minimum)*(1+cos(pi t/T))/2, the closed form of PyTorch's CosineAnnealingLR
 * (Loshchilov & Hutter, arXiv:1608.03983); poly is rate*(1-t/T)^power. From the last step on the
 * value of t = T. */
double schedule_rate(const struct schedule *schedule, int64_t step);
