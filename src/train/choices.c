/* Measuring kernels on buffers of a node's own sizes, and remembering the answers. */
#include "train/choices.h"
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/file.h"
#include "base/log.h"

enum {
  WARM = 2,
  ROUNDS = 5,
  LINE_BYTES = 512,
  MOST_BYTES = 1 << 22,
  FILL = 0x3c, /* 0.0115 in float32, 0.0115 in bfloat16, 1.06 in float16 */
};

/* --- lines --- */

static size_t append_tensor(char line[LINE_BYTES], size_t used, const struct tensor *tensor) {
  const struct shape *s = &tensor->shape;
  int length = snprintf(line + used, LINE_BYTES - used, " %s:%dx%dx%dx%dx%d",
                        dtype_name(tensor->dtype), s->n, s->c, s->d, s->h, s->w);
  return used + (size_t)length < LINE_BYTES ? used + (size_t)length : LINE_BYTES - 1;
}

static bool trains(const struct node *node) {
  bool trained = node->parameter_count > 0;
  for (int i = 0; i < node->input_count; i++) trained = trained || node->wants_dx[i];
  return trained;
}

/* What tells kinds of nodes apart, up to and including " = ". */
static void describe(const struct node *node, char line[LINE_BYTES]) {
  size_t used = (size_t)snprintf(line, LINE_BYTES, "%s", node->op->name);
  for (int i = 0; i < node->input_count; i++) used = append_tensor(line, used, &node->x[i]);
  used += (size_t)snprintf(line + used, LINE_BYTES - used, " ->");
  used = append_tensor(line, used, &node->y);
  snprintf(line + used, LINE_BYTES - used,
           " %016" PRIx64 "%s = ", hash(node->arguments, sizeof node->arguments),
           trains(node) ? "" : " forward");
}

static bool look_up(const struct kernel_choices *choices, const char *description,
                    char name[OP_NAME_BYTES]) {
  const char *found = choices->text ? strstr(choices->text, description) : NULL;
  if (!found) return false;
  found += strlen(description);
  size_t length = strcspn(found, " \n");
  if (length == 0 || length >= OP_NAME_BYTES) return false;
  memcpy(name, found, length);
  name[length] = 0;
  return true;
}

static enum status append(struct kernel_choices *choices, const char *line) {
  size_t length = strlen(line);
  if (choices->bytes + length + 1 > choices->capacity) {
    size_t capacity = 2 * (choices->bytes + length + 1);
    char *larger = realloc(choices->text, capacity);
    REQUIRE(larger, STATUS_FAILED, "out of memory");
    choices->text = larger;
    choices->capacity = capacity;
  }
  memcpy(choices->text + choices->bytes, line, length + 1);
  choices->bytes += length;
  choices->measured++;
  return STATUS_OK;
}

/* --- measuring --- */

/* A node with memory of its own. */
struct bench {
  struct device *device;
  struct stream stream;
  struct event start, end;
  struct node node;
  struct io io;
  void *memory;
  size_t bytes;
};

static void *take(struct bench *bench, size_t *end, size_t bytes) {
  void *place = bench->memory ? (char *)bench->memory + *end : NULL;
  *end += (bytes + 255) / 256 * 256;
  return place;
}

/* Gives every tensor its place; without memory, only counts. */
static size_t lay_out(struct bench *bench) {
  struct node *node = &bench->node;
  struct io *io = &bench->io;
  size_t end = 0, forward = node->forward_workspace, backward = node->backward_workspace;
  for (int i = 0; i < node->input_count; i++) {
    io->x[i] = take(bench, &end, tensor_bytes(&node->x[i]));
    io->dx[i] = node->wants_dx[i] ? take(bench, &end, tensor_bytes(&node->x[i])) : NULL;
  }
  io->y = take(bench, &end, tensor_bytes(&node->y));
  io->dy = take(bench, &end, tensor_bytes(&node->y));
  for (int i = 0; i < node->parameter_count; i++) {
    size_t bytes = (size_t)parameter_count(&node->parameter[i]) * sizeof(float);
    io->w[i] = take(bench, &end, bytes);
    io->dw[i] = take(bench, &end, bytes);
  }
  for (int i = 0; i < node->saved_count; i++)
    io->saved[i] = take(bench, &end, tensor_bytes(&node->saved[i]));
  io->workspace = take(bench, &end, forward > backward ? forward : backward);
  return end;
}

static enum status bench_open(struct bench *bench, struct device *device, const struct node *node,
                              const struct kernel *kernel) {
  *bench = (struct bench){.device = device, .node = *node};
  bench->node.kernel = kernel;
  bench->node.forward_workspace = bench->node.backward_workspace = 0;
  if (kernel->prepare) kernel->prepare(&bench->node);
  bench->bytes = lay_out(bench);
  TRY(device->ops->allocate(device, bench->bytes, &bench->memory));
  lay_out(bench);
  TRY(device->ops->stream_open(device, &bench->stream));
  TRY(device->ops->event_open(device, &bench->start));
  TRY(device->ops->event_open(device, &bench->end));
  return device->ops->fill(&bench->stream, bench->memory, FILL, bench->bytes);
}

static void bench_close(struct bench *bench) {
  bench->device->ops->event_close(&bench->end);
  bench->device->ops->event_close(&bench->start);
  bench->device->ops->stream_close(&bench->stream);
  bench->device->ops->release(bench->device, bench->memory, bench->bytes);
}

static enum status run_once(struct bench *bench, double *seconds) {
  const struct device_ops *device = bench->device->ops;
  const struct kernel *kernel = bench->node.kernel;
  TRY(device->event_record(&bench->start, &bench->stream));
  TRY(kernel->forward(&bench->node, &bench->io, &bench->stream));
  if (trains(&bench->node)) TRY(kernel->backward(&bench->node, &bench->io, &bench->stream));
  TRY(device->event_record(&bench->end, &bench->stream));
  TRY(device->synchronize(&bench->stream));
  return device->event_seconds(&bench->start, &bench->end, seconds);
}

static enum status run_often(struct bench *bench, double *best) {
  *best = INFINITY;
  for (int i = 0; i < WARM + ROUNDS; i++) {
    double seconds;
    TRY(run_once(bench, &seconds));
    if (i >= WARM && seconds < *best) *best = seconds;
  }
  return STATUS_OK;
}

/* Infinite for a kernel that fails, for want of memory say. */
static double measure(struct device *device, const struct node *node, const struct kernel *kernel) {
  struct bench bench;
  double seconds = INFINITY;
  enum status status = bench_open(&bench, device, node, kernel);
  if (!status) status = run_often(&bench, &seconds);
  if (status) {
    log_warning("%s: kernel %s cannot be measured: %s", node->name, kernel->name, status_message());
    status_clear();
    seconds = INFINITY;
  }
  bench_close(&bench);
  return seconds;
}

static int measure_all(struct kernel_choices *choices, const struct node *node,
                       const struct kernel *const *candidates, int count, const char *description) {
  char line[2 * LINE_BYTES];
  double best = INFINITY;
  int choice = 0;
  for (int i = 0; i < count; i++) {
    double seconds = measure(choices->device, node, candidates[i]);
    if (seconds < best) {
      best = seconds;
      choice = i;
    }
  }
  snprintf(line, sizeof line, "%s%s %.4g ms\n", description, candidates[choice]->name, 1e3 * best);
  if (append(choices, line)) status_clear(); /* it is measured again next time */
  return choice;
}

int choices_prefer(void *context, const struct node *node, const struct kernel *const *candidates,
                   int count) {
  struct kernel_choices *choices = context;
  char description[LINE_BYTES], name[OP_NAME_BYTES];
  describe(node, description);
  if (look_up(choices, description, name))
    for (int i = 0; i < count; i++)
      if (strcmp(candidates[i]->name, name) == 0) return i;
  return choices->device ? measure_all(choices, node, candidates, count, description) : 0;
}

/* --- the file, and ranks --- */

enum status choices_read(struct kernel_choices *choices, const char *path) {
  if (!file_exists(path)) return STATUS_OK;
  TRY(file_read(path, MOST_BYTES, &choices->text, &choices->bytes));
  choices->capacity = choices->bytes + 1;
  return STATUS_OK;
}

enum status choices_write(const struct kernel_choices *choices, const char *path) {
  return choices->measured ? file_replace(path, choices->text, choices->bytes) : STATUS_OK;
}

enum status choices_share(struct kernel_choices *choices, struct comm *comm) {
  uint64_t bytes = choices->bytes;
  TRY(comm_broadcast(comm, &bytes, sizeof bytes, 0));
  char *text = comm->rank == 0 ? choices->text : calloc((size_t)bytes + 1, 1);
  TRY(comm_agree(comm, text || bytes == 0
                           ? STATUS_OK
                           : status_fail(STATUS_FAILED, __FILE__, __LINE__, "out of memory")));
  choices->text = text;
  if (bytes) TRY(comm_broadcast(comm, text, (size_t)bytes, 0));
  choices->bytes = (size_t)bytes;
  choices->device = NULL;
  return STATUS_OK;
}

void choices_close(struct kernel_choices *choices) {
  free(choices->text);
  *choices = (struct kernel_choices){0};
}
