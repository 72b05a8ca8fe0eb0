/* The training volumes in the memory of the device, so that they travel once. */
#include <stdlib.h>
#include <string.h>
#include "base/log.h"
#include "base/text.h"
#include "train/trainer.h"

enum { ALIGNMENT = 256 };

static size_t round_up(size_t bytes) {
  return (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
}

/* Every subject that training reads gets a place. */
static enum status give_places(struct resident *resident, const struct task_run *run) {
  const struct dataset *dataset = &run->dataset;
  resident->place = malloc(sizeof(int) * (size_t)dataset->subject_count);
  REQUIRE(resident->place, STATUS_FAILED, "out of memory for %d subjects", dataset->subject_count);
  for (int i = 0; i < dataset->subject_count; i++) resident->place[i] = -1;
  for (int i = 0; i < run->subject_count[SPLIT_TRAIN]; i++)
    resident->place[run->subjects[SPLIT_TRAIN][i]] = resident->count++;
  if (run->atlas >= 0 && resident->place[run->atlas] < 0)
    resident->place[run->atlas] = resident->count++;
  return STATUS_OK;
}

static void measure(struct resident *resident, const struct dataset *dataset) {
  size_t voxels =
      (size_t)dataset->extent[0] * (size_t)dataset->extent[1] * (size_t)dataset->extent[2];
  resident->image_bytes = voxels * (size_t)dataset->channels * sizeof(float);
  resident->label_offset = round_up(resident->image_bytes);
  resident->label_bytes = dataset->has_labels ? voxels : 0;
  resident->subject_bytes = resident->label_offset + round_up(resident->label_bytes);
  resident->bytes = resident->subject_bytes * (size_t)resident->count;
}

static unsigned char *place_of(const struct resident *resident, int subject) {
  return (unsigned char *)resident->memory +
         resident->subject_bytes * (size_t)resident->place[subject];
}

static enum status load_subject(struct trainer *trainer, int subject) {
  struct resident *resident = &trainer->feed.resident;
  struct dataset *dataset = &trainer->task_run.dataset;
  unsigned char *place = place_of(resident, subject);
  TRY(dataset_verify(dataset, subject));
  TRY(device_copy(trainer->device, place, dataset_image(dataset, subject), resident->image_bytes));
  if (resident->label_bytes > 0)
    TRY(device_copy(trainer->device, place + resident->label_offset,
                    dataset_label(dataset, subject), resident->label_bytes));
  dataset_release_pages(dataset, subject);
  return STATUS_OK;
}

static enum status is_wanted(struct trainer *trainer, bool *wanted) {
  const char *mode = trainer->config->data.resident;
  size_t available, total;
  *wanted = strcmp(mode, "on") == 0;
  if (strcmp(mode, "auto") != 0) return STATUS_OK;
  TRY(trainer->device->ops->memory(trainer->device, &available, &total));
  *wanted = trainer->feed.resident.bytes <= available / 2;
  return STATUS_OK;
}

enum status resident_open(struct trainer *trainer) {
  struct resident *resident = &trainer->feed.resident;
  const struct dataset *dataset = &trainer->task_run.dataset;
  char size[32];
  bool wanted;
  if (trainer->device->ops->host_memory || trainer->task_run.pieces) return STATUS_OK;
  TRY(give_places(resident, &trainer->task_run));
  measure(resident, dataset);
  TRY(is_wanted(trainer, &wanted));
  if (!wanted || resident->count == 0) return STATUS_OK;
  TRY(trainer->device->ops->allocate(trainer->device, resident->bytes, &resident->memory));
  for (int i = 0; i < dataset->subject_count; i++)
    if (resident->place[i] >= 0) TRY(load_subject(trainer, i));
  log_info("%d training volumes stay in the device's memory: %s", resident->count,
           text_bytes((double)resident->bytes, size));
  return STATUS_OK;
}

const void *resident_volume(const struct resident *resident, int subject, size_t bytes) {
  return place_of(resident, subject) +
         (bytes == resident->image_bytes ? 0 : resident->label_offset);
}

void resident_close(struct trainer *trainer) {
  struct resident *resident = &trainer->feed.resident;
  trainer->device->ops->release(trainer->device, resident->memory, resident->bytes);
  free(resident->place);
  *resident = (struct resident){0};
}
