/* Asking for the fastest kernel, and remembering the answers. */
#include "train/choices.h"
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/file.h"
#include "train/measure.h"

static const char FILE_NAME[] = "kernels.txt";

enum { LINE_BYTES = 512, MOST_BYTES = 1 << 22 };

/* --- lines --- */

static size_t append_tensor(char line[LINE_BYTES], size_t used, const struct tensor *tensor) {
  const struct shape *s = &tensor->shape;
  int length = snprintf(line + used, LINE_BYTES - used, " %s:%dx%dx%dx%dx%d",
                        dtype_name(tensor->dtype), s->n, s->c, s->d, s->h, s->w);
  return used + (size_t)length < LINE_BYTES ? used + (size_t)length : LINE_BYTES - 1;
}

/* What tells kinds of nodes apart, up to and including " = ". */
static void describe(const struct node *node, char line[LINE_BYTES]) {
  size_t used = (size_t)snprintf(line, LINE_BYTES, "%s", node->op->name);
  for (int i = 0; i < node->input_count; i++) used = append_tensor(line, used, &node->x[i]);
  used += (size_t)snprintf(line + used, LINE_BYTES - used, " ->");
  used = append_tensor(line, used, &node->y);
  snprintf(line + used, LINE_BYTES - used,
           " %08" PRIx32 "%s = ", file_checksum(0, node->arguments, sizeof node->arguments),
           measure_trains(node) ? "" : " forward");
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

static int measure_all(struct kernel_choices *choices, const struct node *node,
                       const struct kernel *const *candidates, int count, const char *description) {
  char line[2 * LINE_BYTES];
  double best = INFINITY;
  int choice = 0;
  for (int i = 0; i < count; i++) {
    struct measured measured = measure_kernel(choices->device, node, candidates[i], 0);
    double seconds = measured.forward + measured.backward;
    if (!(seconds < best)) continue;
    best = seconds;
    choice = i;
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

static enum status read_answers(struct kernel_choices *choices, const char *path) {
  REQUIRE(path, STATUS_FAILED, "out of memory");
  if (!file_exists(path)) return STATUS_OK;
  TRY(file_read(path, MOST_BYTES, &choices->text, &choices->bytes));
  choices->capacity = choices->bytes + 1;
  return STATUS_OK;
}

enum status choices_read(struct kernel_choices *choices, const char *directory) {
  char *path = file_join(directory, FILE_NAME);
  enum status status = read_answers(choices, path);
  free(path);
  return status;
}

enum status choices_write(const struct kernel_choices *choices, const char *directory) {
  if (!choices->measured) return STATUS_OK;
  char *path = file_join(directory, FILE_NAME);
  REQUIRE(path, STATUS_FAILED, "out of memory");
  enum status status = file_replace(path, choices->text, choices->bytes);
  free(path);
  return status;
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
