/* Recorded steps: a device of this test's own, whose work is a list of calls that can be kept and
 * done again, trains a chain of two layers with alternating inputs. What it computes must be what
 * steps one by one compute, and kernels must be called no more than it takes to record them. */
#include "check.h"
#include "graph/run.h"

enum { COUNT = 5, MOST_CALLS = 64, MOST_LISTS = 32, INPUT_SETS = 3, ROUNDS = 12 };

/* --- a device that records --- */

struct call {
  void (*work)(const struct io *io);
  struct io io;
  void *to; /* copies: work is NULL */
  const void *from;
  size_t bytes;
};
struct list {
  struct call calls[MOST_CALLS];
  int count;
};
static struct list lists[MOST_LISTS];
static struct list *recording;
static int list_count, launches, kernel_calls, fail_after;

static void perform(const struct call *call) {
  if (call->work)
    call->work(&call->io);
  else
    memcpy(call->to, call->from, call->bytes);
}

static void emit(const struct call *call) {
  if (!recording)
    perform(call);
  else if (recording->count < MOST_CALLS)
    recording->calls[recording->count++] = *call;
}

static enum status record_copy(struct stream *stream, void *to, const void *from, size_t bytes) {
  (void)stream;
  emit(&(struct call){.to = to, .from = from, .bytes = bytes});
  return STATUS_OK;
}

static enum status capture_begin(struct stream *stream) {
  (void)stream;
  CHECK(!recording && list_count < MOST_LISTS);
  recording = &lists[list_count++];
  recording->count = 0;
  return STATUS_OK;
}

static enum status capture_end(struct stream *stream, struct capture *capture) {
  struct list *list = recording;
  recording = NULL;
  REQUIRE(list_count < fail_after, STATUS_FAILED, "this device has had enough");
  *capture = (struct capture){stream->device, list};
  return STATUS_OK;
}

static enum status capture_launch(const struct capture *capture, struct stream *stream) {
  const struct list *list = capture->handle;
  (void)stream;
  CHECK(!recording);
  launches++;
  for (int i = 0; i < list->count; i++) perform(&list->calls[i]);
  return STATUS_OK;
}

static void capture_close(struct capture *capture) {
  *capture = (struct capture){0};
}

static struct device_ops recorder;

static void open_recorder(struct device *device) {
  CHECK_OK(device_open(device, "cpu", 0, 1, false, 1));
  recorder = *device->ops;
  recorder.copy = record_copy;
  recorder.capture_begin = capture_begin;
  recorder.capture_end = capture_end;
  recorder.capture_launch = capture_launch;
  recorder.capture_close = capture_close;
  device->ops = &recorder;
  list_count = launches = kernel_calls = 0;
  fail_after = MOST_LISTS;
}

/* --- operators: y = w*x, and a sum as loss --- */

static void scale_up(const struct io *io) {
  for (int i = 0; i < COUNT; i++)
    ((float *)io->y)[i] = *(const float *)io->w[0] * ((const float *)io->x[0])[i];
}

static void scale_down(const struct io *io) {
  const float *dy = io->dy, *x = io->x[0];
  float sum = 0;
  for (int i = 0; i < COUNT; i++) sum += dy[i] * x[i];
  *(float *)io->dw[0] = sum;
  for (int i = 0; i < COUNT && io->dx[0]; i++)
    ((float *)io->dx[0])[i] = *(const float *)io->w[0] * dy[i];
}

static void sum_up(const struct io *io) {
  *(double *)io->y = 0;
  for (int i = 0; i < COUNT; i++) *(double *)io->y += ((const float *)io->x[0])[i];
}

static void sum_down(const struct io *io) {
  for (int i = 0; i < COUNT; i++) ((float *)io->dx[0])[i] = (float)*(const double *)io->dy;
}

#define KERNEL_FUNCTION(name)                                                  \
  static enum status call_##name(const struct node *node, const struct io *io, \
                                 struct stream *stream) {                      \
    (void)node, (void)stream;                                                  \
    kernel_calls++;                                                            \
    emit(&(struct call){.work = name, .io = *io});                             \
    return STATUS_OK;                                                          \
  }
KERNEL_FUNCTION(scale_up)
KERNEL_FUNCTION(scale_down)
KERNEL_FUNCTION(sum_up)
KERNEL_FUNCTION(sum_down)

static enum status scale_infer(struct node *node) {
  node->y = node->x[0];
  node->backward_reads = READS_X;
  node->parameter_count = 1;
  node->parameter[0] = (struct parameter){
      .suffix = "weight", .extent = {1}, .rank = 1, .initial = INITIAL_CONSTANT, .scale = 0.5};
  return STATUS_OK;
}

static enum status sum_infer(struct node *node) {
  node->y = op_scalar();
  return STATUS_OK;
}

static const struct kernel scale_kernel = {.name = "plain",
                                           .dtype = DTYPE_F32,
                                           .training = true,
                                           .forward = call_scale_up,
                                           .backward = call_scale_down};
static const struct kernel sum_kernel = {.name = "plain",
                                         .dtype = DTYPE_F32,
                                         .training = true,
                                         .forward = call_sum_up,
                                         .backward = call_sum_down};
static const struct kernel *const scale_kernels[] = {&scale_kernel, NULL};
static const struct kernel *const sum_kernels[] = {&sum_kernel, NULL};
static const struct op scale = {.name = "scale", .infer = scale_infer, .kernels = scale_kernels};
static const struct op sum = {
    .name = "sum", .infer = sum_infer, .kernels = sum_kernels, .is_loss = true};

/* --- training --- */

struct trial {
  struct graph graph;
  struct plan plan;
  struct device device;
  struct run run;
  float weights[32], gradients[32], images[INPUT_SETS][COUNT];
  int buckets, between;
};

static int add(struct graph *graph, const struct op *op, const char *name, int x) {
  int y = 0;
  CHECK_OK(graph_add_op(graph, op, name, NULL, 0, &x, 1, &y));
  return y;
}

static void open_trial(struct trial *trial, bool capture) {
  const struct plan_options options = {.training = true, .bucket_bytes = 1, .capture = capture};
  const struct shape shape = {1, 1, 1, 1, COUNT};
  int image;
  *trial = (struct trial){0};
  graph_open(&trial->graph, DEVICE_CPU, DTYPE_F32);
  CHECK_OK(graph_input(&trial->graph, "image", shape, DTYPE_F32, false, &image));
  int first = add(&trial->graph, &scale, "first", image);
  int loss = add(&trial->graph, &sum, "sum", add(&trial->graph, &scale, "second", first));
  CHECK_OK(graph_loss(&trial->graph, loss, 1));
  CHECK_OK(plan_make(&trial->plan, &trial->graph, &options));
  plan_initialize(&trial->plan, 1, trial->weights);
  for (int i = 0; i < INPUT_SETS * COUNT; i++) trial->images[i / COUNT][i % COUNT] = (float)(i + 1);
  open_recorder(&trial->device);
  CHECK_OK(
      run_open(&trial->run, &trial->plan, &trial->device, NULL, trial->weights, trial->gradients));
}

static void close_trial(struct trial *trial) {
  run_close(&trial->run);
  device_close(&trial->device);
  plan_close(&trial->plan);
  graph_close(&trial->graph);
}

static enum status bucket_ready(void *context, const struct plan_bucket *bucket) {
  struct trial *trial = context;
  CHECK(bucket == &trial->plan.buckets[trial->buckets % trial->plan.bucket_count]);
  CHECK(!recording && trial->gradients[bucket->first] != 0);
  trial->buckets++;
  return STATUS_OK;
}

static enum status between_steps(void *context) {
  ((struct trial *)context)->between++;
  return STATUS_OK;
}

/* The loss, and then the gradients of both layers. */
static void train(struct trial *trial, int set, double factor, double result[3]) {
  const struct run_hooks hooks = {bucket_ready, between_steps, trial};
  struct run_loss loss;
  CHECK_OK(run_bind(&trial->run, "image", trial->images[set]));
  memset(trial->gradients, 0, sizeof trial->gradients);
  CHECK_OK(run_forward(&trial->run));
  CHECK_OK(run_backward(&trial->run, factor, &hooks));
  CHECK(run_losses(&trial->run, &loss, 1) == 1);
  result[0] = loss.value;
  for (int i = 0; i < 2; i++) result[1 + i] = trial->gradients[trial->plan.parameters[i].offset];
}

static void train_rounds(struct trial *trial, double results[ROUNDS][3], int sets) {
  for (int i = 0; i < ROUNDS; i++) {
    for (int k = 0; k < 2; k++)
      trial->weights[trial->plan.parameters[k].offset] = 0.5f + (float)i; /* read anew each time */
    train(trial, i % sets, i < 6 ? 1 : 1024, results[i]);
  }
}

static void check_same(bool capture, int fails, int sets, int expected_calls,
                       int expected_launches) {
  static struct trial plain, recorded;
  double a[ROUNDS][3], b[ROUNDS][3];
  open_trial(&plain, false);
  train_rounds(&plain, a, sets);
  CHECK(launches == 0 && kernel_calls == 6 * ROUNDS);
  open_trial(&recorded, capture);
  fail_after = fails;
  train_rounds(&recorded, b, sets);
  CHECK(memcmp(a, b, sizeof a) == 0);
  CHECK_SAY(kernel_calls == expected_calls, ": %d", kernel_calls);
  CHECK_SAY(launches == expected_launches, ": %d", launches);
  CHECK(recorded.buckets == plain.buckets && plain.buckets == 2 * ROUNDS);
  CHECK(a[0][0] == 0.25 * 15 && a[0][1] != a[1][1]);
  close_trial(&plain);
  close_trial(&recorded);
}

TEST(records_each_set_of_inputs_once) {
  /* forward, backward to the first bucket (loss and second), backward of first: 6 kernels */
  check_same(true, MOST_LISTS, 1, 6 + 6, 3 * (ROUNDS - 1));
  check_same(true, MOST_LISTS, 2, 6 + 2 * 6, 3 * (ROUNDS - 1));
}

TEST(does_without_where_there_is_no_room) {
  /* the first round goes step by step; sets 1 and 2 are recorded; set 0, met third, is not */
  check_same(true, MOST_LISTS, 3, 6 + 2 * 6 + 6 * (ROUNDS / 3 - 1), 3 * (ROUNDS - ROUNDS / 3));
}

TEST(does_without_if_recording_fails) {
  check_same(true, 0, 1, 6 + 3 + 6 * (ROUNDS - 1), 0);
  check_same(true, 3, 1, 6 + 3 + 2 + 1 + 6 * (ROUNDS - 2) + 1, 2);
}

TEST(times_step_by_step) {
  static struct trial trial;
  double result[3];
  open_trial(&trial, true);
  train(&trial, 0, 1, result);
  CHECK_OK(run_timing(&trial.run, true));
  train(&trial, 0, 1, result);
  train(&trial, 0, 1, result);
  CHECK(launches == 0 && kernel_calls == 18);
  for (int s = 0; s < trial.plan.step_count; s++)
    CHECK(trial.run.step_seconds[s] >= 0 && trial.run.step_seconds[s] < 1);
  CHECK_OK(run_timing(&trial.run, false));
  CHECK(!trial.run.step_seconds);
  train(&trial, 0, 1, result);
  CHECK(launches == 3);
  close_trial(&trial);
}

int main(void) {
  RUN(records_each_set_of_inputs_once);
  RUN(does_without_where_there_is_no_room);
  RUN(does_without_if_recording_fails);
  RUN(times_step_by_step);
  return check_result();
}
