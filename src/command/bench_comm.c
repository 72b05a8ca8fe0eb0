/* bench comm: messages between two ranks, and the reduction of gradients over all of them, by size;
 * with the straight line through the points, and what the model of `plan` says of each. */
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/text.h"
#include "base/timer.h"
#include "command/bench.h"
#include "command/forecast.h"
#include "command/machine.h"
#include "command/reduction.h"
#include "command/sketch.h"
#include "comm/transport.h"

enum { MOST_POINTS = 16, LATENCY_ROUNDS = 500, STREAM_MESSAGES = 200, STREAM_ROUNDS = 20 };
static const size_t SMALLEST = 1 << 10, STREAM_BYTES = 4 << 20;

struct point {
  const char *what; /* "" or "gradient": the network's own */
  int64_t count;    /* floats */
  int slots;
  double exact, fast; /* seconds */
};

struct line { /* seconds = fixed + bytes / speed */
  double fixed, speed;
};

struct trial {
  const struct config *config;
  struct comm *comm;
  struct device device;
  struct stream stream;
  struct sketch sketch;
  float *block;
  size_t bytes; /* of the block: the largest point */
  struct point points[MOST_POINTS];
  int count;
  double message; /* seconds from sending a short one to its arrival */
  struct forecast_link link;
  struct line exact, fast;
};

/* --- two ranks, the first and the last ------------------------------------------------------- */

/* What one of the two does in a round: give or take `count` messages; the others look on. */
static enum status pass_messages(struct comm *comm, bool give, char *memory, size_t bytes,
                                 int count) {
  struct comm_request requests[STREAM_MESSAGES];
  int peer = comm->rank == 0 ? comm->size - 1 : 0;
  for (int i = 0; i < count; i++)
    TRY(give ? comm->ops->send(comm, memory, bytes, peer, TAG_GATHER, &requests[i])
             : comm->ops->receive(comm, memory + (size_t)i * bytes, bytes, peer, TAG_GATHER,
                                  &requests[i]));
  for (int pending = count; pending > 0;) TRY(comm_test_all(comm, requests, count, &pending));
  return STATUS_OK;
}

/* `count` messages of `bytes` bytes there, and a short one back: seconds of the best round, on
 * rank 0. memory: for all of them. */
static enum status time_messages(struct comm *comm, char *memory, size_t bytes, int count,
                                 int rounds, double *best) {
  char answer = 0;
  *best = INFINITY;
  TRY(comm_barrier(comm));
  for (int i = 0; i < rounds && (comm->rank == 0 || comm->rank == comm->size - 1); i++) {
    bool first = comm->rank == 0;
    double started = timer_now();
    TRY(pass_messages(comm, first, memory, bytes, count));
    TRY(pass_messages(comm, !first, &answer, 1, 1));
    *best = fmin(*best, timer_now() - started);
  }
  return comm_barrier(comm);
}

/* A short message's way is half of there and back; what more of them cost at once is a rank's work
 * with each. */
static enum status measure_link(struct trial *trial) {
  char *memory = calloc(STREAM_MESSAGES, 8), *large = calloc(1, STREAM_BYTES);
  double short_way = 0, many = 0, long_way = 0;
  enum status status = memory && large
                           ? STATUS_OK
                           : status_fail(STATUS_FAILED, __FILE__, __LINE__, "bench: out of memory");
  status = comm_agree(trial->comm, status);
  if (!status) status = time_messages(trial->comm, memory, 8, 1, LATENCY_ROUNDS, &short_way);
  if (!status)
    status = time_messages(trial->comm, memory, 8, STREAM_MESSAGES, STREAM_ROUNDS, &many);
  if (!status)
    status = time_messages(trial->comm, large, STREAM_BYTES, 1, STREAM_ROUNDS, &long_way);
  free(memory);
  free(large);
  trial->message = short_way / 2;
  trial->link = (struct forecast_link){
      .latency = short_way / 2,
      .overhead = fmax(many - short_way, 0) / (STREAM_MESSAGES - 1),
      .bandwidth = (double)STREAM_BYTES / fmax(long_way - short_way / 2, 1e-9),
  };
  return status;
}

/* --- the reduction --------------------------------------------------------------------------- */

static enum status measure_tree(struct trial *trial, const struct point *point, const char *mode,
                                double *seconds) {
  struct config config = *trial->config;
  struct tree tree = {0};
  config.comm.reduce = (char *)(uintptr_t)mode;
  enum status status =
      reduction_open(&tree, trial->comm, &trial->device, &config, point->slots, point->count);
  if (!status) status = reduction_alone(&tree, &trial->stream, trial->block, seconds);
  tree_close(&tree);
  return status;
}

/* The line that is nearest to the points in proportion to each. */
static struct line fit_line(const struct trial *trial, bool fast) {
  double w = 0, x = 0, y = 0, xx = 0, xy = 0;
  for (int i = 0; i < trial->count; i++) {
    const struct point *point = &trial->points[i];
    double bytes = sizeof(float) * (double)point->count, t = fast ? point->fast : point->exact;
    if (point->what[0]) continue; /* has more slots */
    w += 1 / (t * t);
    x += bytes / (t * t);
    y += 1 / t;
    xx += bytes * bytes / (t * t);
    xy += bytes / t;
  }
  double slope = (w * xy - x * y) / (w * xx - x * x);
  return (struct line){fmax((y - slope * x) / w, 0), 1 / slope};
}

static enum status measure_points(struct trial *trial) {
  for (int i = 0; i < trial->count; i++) {
    TRY(measure_tree(trial, &trial->points[i], "exact", &trial->points[i].exact));
    TRY(measure_tree(trial, &trial->points[i], "fast", &trial->points[i].fast));
  }
  trial->exact = fit_line(trial, false);
  trial->fast = fit_line(trial, true);
  /* The tree's own line in the model's terms: there is more to it than messages. */
  struct forecast_link *link = &trial->link;
  double n = trial->comm->size, fixed = trial->exact.fixed - 4 * (n - 1) * link->overhead;
  link->latency = fmax(link->latency, fixed / 2);
  if (trial->exact.speed > 0 && isfinite(trial->exact.speed))
    link->bandwidth = trial->exact.speed * 2 * (n - 1) / n;
  return STATUS_OK;
}

/* --- what there is to say -------------------------------------------------------------------- */

static double model_of(const struct trial *trial, const struct point *point) {
  double bytes = sizeof(float) * (double)point->count, seconds = 0;
  double bucket = 1024.0 * (double)trial->config->comm.bucket_kib;
  for (double done = 0; done < bytes; done += bucket)
    seconds += forecast_reduction(&trial->link, point->slots, trial->comm->size,
                                  fmin(bucket, bytes - done));
  return seconds;
}

static void print_point(const struct trial *trial, const struct point *point) {
  char size[32];
  double bytes = sizeof(float) * (double)point->count;
  printf("%-10s %12s %6d %12.3f ms %8.2f GB/s %12.3f ms %8.2f GB/s %12.3f ms\n", point->what,
         text_bytes(bytes, size), point->slots, 1e3 * point->exact, 1e-9 * bytes / point->exact,
         1e3 * point->fast, 1e-9 * bytes / point->fast, 1e3 * model_of(trial, point));
}

static void print_table(const struct trial *trial) {
  printf("%d ranks; first to last: a short message %.2f us, %.2f us for each of many\n",
         trial->comm->size, 1e6 * trial->message, 1e6 * trial->link.overhead);
  printf("%-10s %12s %6s %15s %13s %15s %13s %15s\n", "", "bytes", "slots", "exact", "", "fast", "",
         "model of exact");
  for (int i = 0; i < trial->count; i++) print_point(trial, &trial->points[i]);
  printf("exact: %.2f us + bytes / (%.2f GB/s); fast: %.2f us + bytes / (%.2f GB/s)\n",
         1e6 * trial->exact.fixed, 1e-9 * trial->exact.speed, 1e6 * trial->fast.fixed,
         1e-9 * trial->fast.speed);
}

static json_t *describe_points(const struct trial *trial) {
  json_t *points = json_array();
  for (int i = 0; i < trial->count; i++) {
    const struct point *point = &trial->points[i];
    double bytes = sizeof(float) * (double)point->count;
    json_array_append_new(
        points,
        json_pack("{s:s, s:f, s:i, s:f, s:f, s:f, s:f, s:f}", "what", point->what, "bytes", bytes,
                  "slots", point->slots, "seconds_exact", point->exact, "seconds_fast", point->fast,
                  "bytes_per_second_exact", bytes / point->exact, "bytes_per_second_fast",
                  bytes / point->fast, "seconds_model", model_of(trial, point)));
  }
  return points;
}

static json_t *describe(const struct trial *trial) {
  return json_pack("{s:i, s:f, s:f, s:f, s:f, s:{s:f, s:f}, s:{s:f, s:f}, s:o, s:o}", "ranks",
                   trial->comm->size, "message_seconds", trial->message, "latency_seconds",
                   trial->link.latency, "overhead_seconds", trial->link.overhead,
                   "bytes_per_second", trial->link.bandwidth, "fit_exact", "seconds",
                   trial->exact.fixed, "bytes_per_second", trial->exact.speed, "fit_fast",
                   "seconds", trial->fast.fixed, "bytes_per_second", trial->fast.speed, "points",
                   describe_points(trial), "machine", bench_machine(&trial->device, NULL));
}

/* Sizes of one slot a rank, and the network's gradient with the slots of its config. */
static void choose_points(struct trial *trial, int64_t largest) {
  int64_t gradient = trial->sketch.training.plan.parameter_elements;
  int64_t most = largest / (int64_t)sizeof(float);
  for (int64_t n = (int64_t)(SMALLEST / sizeof(float)); n < most && trial->count < MOST_POINTS - 2;
       n *= 4)
    trial->points[trial->count++] = (struct point){"", n, trial->comm->size, 0, 0};
  trial->points[trial->count++] = (struct point){"", most, trial->comm->size, 0, 0};
  trial->points[trial->count++] =
      (struct point){"gradient", gradient, (int)trial->config->train.slots, 0, 0};
  trial->bytes = sizeof(float) * (size_t)(most > gradient ? most : gradient);
}

static enum status open_own(struct trial *trial, int64_t largest) {
  const struct device_ops *device = trial->device.ops;
  struct slot_range own;
  void *block;
  TRY(comm_slots((int)trial->config->train.slots, trial->comm->rank, trial->comm->size, &own));
  TRY(sketch_open(&trial->sketch, trial->config, device));
  choose_points(trial, largest);
  TRY(device->stream_open(&trial->device, &trial->stream));
  TRY(device->allocate(&trial->device, trial->bytes, &block));
  trial->block = block;
  return device->fill(&trial->stream, block, 0, trial->bytes);
}

static enum status measure(struct trial *trial, int64_t largest) {
  TRY(machine_open(&trial->device, trial->config, trial->comm));
  TRY(comm_agree(trial->comm, open_own(trial, largest)));
  TRY(measure_link(trial));
  TRY(measure_points(trial));
  if (trial->comm->rank > 0) return STATUS_OK;
  print_table(trial);
  return bench_print(describe(trial));
}

enum status bench_comm(const struct config *config, struct comm *comm, int64_t largest) {
  struct trial trial = {.config = config, .comm = comm};
  REQUIRE(comm->size > 1, STATUS_USAGE,
          "bench comm measures what passes between ranks: start it with mpirun");
  enum status status = measure(&trial, largest);
  if (trial.device.ops) {
    trial.device.ops->release(&trial.device, trial.block, trial.bytes);
    trial.device.ops->stream_close(&trial.stream);
  }
  sketch_close(&trial.sketch);
  device_close(&trial.device);
  return status;
}
