/* The benchmarks, one file each. All print tables for people and, as the last line, one object of
 * JSON with the machine and every figure. Collective; rank 0 prints. */
#pragma once
#include <jansson.h>
#include <stdbool.h>
#include "comm/comm.h"
#include "config/config.h"
#include "device/device.h"
#include "kernels/peak/peak.h"

enum { BENCH_MOST_STEPS = 1000 };

/* Training steps on random images: seconds, the share of each operator, memory; with several ranks
 * also what the reduction costs; `whole`: also steps of all slots with all that ranks do together.
 */
CHECKED enum status bench_steps(const struct config *config, struct comm *comm, int steps,
                                bool whole);

/* One slot of training on random images. */
struct bench_slot {
  double seconds;        /* of forward and backward: the median */
  double update_seconds; /* of the optimiser's step */
  double *step_seconds;  /* of each step of the plan */
  int threads;
};
CHECKED enum status bench_slot(const struct config *config, struct comm *comm, int slots,
                               struct bench_slot *slot);
void bench_slot_close(struct bench_slot *slot);

/* The kernel that a run would choose for each kind of node of a training network (nodes that are
 * alike once), or with `all` every kernel that can compute it: seconds of forward and backward
 * (of convolutions the gradients of weights and of data by themselves), FLOP/s as the definition
 * counts them or bytes per second, as shares of what the threads used reach at most; then the sum
 * over convolutions. One process only. */
CHECKED enum status bench_operators(const struct config *config, struct comm *comm, bool all);

/* Messages between ranks, and the reduction of gradients of 1 KiB to `largest` bytes and of the
 * network's own size, exact and fast: seconds of the slowest rank, bytes per second, the straight
 * line through them. Several ranks. */
CHECKED enum status bench_comm(const struct config *config, struct comm *comm, int64_t largest);

/* Copying memory, subjects from mapped shards, loading samples, each in bytes per second; and what
 * share of its time training would wait for samples with slots of so many seconds (0: measured
 * here, too). For a config whose data have been prepared. One process only. */
CHECKED enum status bench_data(const struct config *config, struct comm *comm, double slot_seconds);

/* Reading every image that prepare would find, as prepare reads it, one file per thread: files and
 * bytes per second, packed and as float32. Nothing is written. One process only. */
CHECKED enum status bench_import(const struct config *config, struct comm *comm);

/* The machine of this rank as JSON; peak may be NULL. NULL without memory. */
json_t *bench_machine(const struct device *device, const struct peak *peak);

/* Prints `result` as one line and releases it; NULL: it could not be made for want of memory. */
CHECKED enum status bench_print(json_t *result);

/* Sorts; the middle one is the median. */
void bench_sort(double *seconds, int count);
