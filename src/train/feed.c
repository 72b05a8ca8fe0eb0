/* Inputs ahead of their use. A ticket counts slots, the passes over them of a step, and steps;
 * tickets of empty slots are skipped.
 * Where the host reads the device's memory, a batch is used where the loading thread has put it.
 * Elsewhere the thread fills memory that copies fast, and batches travel to two buffers on the
 * device in turn, one while the other is computed on. */
#include "train/trainer.h"

/* Batches on the host: one in use or travelling, one being filled; and one that is waiting. */
enum { DEPTH = 2, DEPTH_WITH_COPIES = 3 };

/* Behind a batch on the host, where the device keeps volumes: for each sample and input the subject
 * whose volume it is; -1: the input itself is in the batch. */
static int *kept_in(const struct trainer *trainer, void *memory, int sample) {
  return (int *)((char *)memory + trainer->training.batch.bytes) + sample * NETWORK_MAX_INPUTS;
}

static size_t host_batch_bytes(const struct trainer *trainer) {
  const struct batch_layout *batch = &trainer->training.batch;
  size_t kept = sizeof(int) * NETWORK_MAX_INPUTS * (size_t)batch->samples;
  return batch->bytes + (trainer->feed.resident.memory ? kept : 0);
}

static enum status fill_sample(struct trainer *trainer, int64_t step, int64_t index, int sample,
                               void *memory) {
  void *inputs[NETWORK_MAX_INPUTS];
  if (trainer->feed.resident.memory) {
    trainer->task_run.kept = kept_in(trainer, memory, sample);
    for (int i = 0; i < NETWORK_MAX_INPUTS; i++) trainer->task_run.kept[i] = -1;
  }
  batch_pointers(&trainer->training.batch, memory, sample, inputs);
  return trainer->task->fill(&trainer->task_run, PURPOSE_TRAINING, SPLIT_TRAIN,
                             step / trainer->time.steps_per_epoch, index, inputs);
}

static int64_t ticket_of(const struct trainer *trainer, int64_t step, enum pass pass, int slot) {
  int passes = trainer->feed.passes;
  return (step * passes + (passes > 1 ? (int)pass : 0)) * trainer->time.slots + slot;
}

static int64_t step_of(const struct trainer *trainer, int64_t ticket) {
  return ticket / trainer->time.slots / trainer->feed.passes;
}

static enum status fill_slot(void *context, int64_t ticket, void *memory) {
  struct trainer *trainer = context;
  const struct timetable *time = &trainer->time;
  int64_t step = step_of(trainer, ticket), slot = ticket % time->slots;
  int64_t first = (step % time->steps_per_epoch * time->slots + slot) * time->slot_samples;
  for (int i = 0; i < time->slot_samples; i++)
    TRY(fill_sample(trainer, step, first + i, i, memory));
  return STATUS_OK;
}

/* Moves next_ticket to the next own slot that has samples. */
static void skip_to_own(struct trainer *trainer) {
  const struct timetable *time = &trainer->time;
  int64_t end = ticket_of(trainer, time->steps, PASS_SUMS, 0), *next = &trainer->feed.next_ticket;
  for (; *next < end; ++*next) {
    int slot = (int)(*next % time->slots);
    bool own = slot >= trainer->own.first && slot < trainer->own.first + trainer->own.count;
    if (own && timetable_filled(time, step_of(trainer, *next), slot)) return;
  }
}

static enum status request_next(struct trainer *trainer) {
  skip_to_own(trainer);
  if (step_of(trainer, trainer->feed.next_ticket) >= trainer->time.steps) return STATUS_OK;
  return prefetch_request(&trainer->feed.prefetch, trainer->feed.next_ticket++);
}

static enum status open_buffer(struct trainer *trainer, struct feed_buffer *buffer) {
  struct device *device = trainer->device;
  TRY(device->ops->allocate(device, trainer->training.batch.bytes, &buffer->memory));
  TRY(device->ops->event_open(device, &buffer->copied));
  return device->ops->event_open(device, &buffer->used);
}

static enum status open_copies(struct trainer *trainer) {
  struct feed *feed = &trainer->feed;
  struct device *device = trainer->device;
  TRY(resident_open(trainer));
  feed->host_bytes = DEPTH_WITH_COPIES * prefetch_stride(host_batch_bytes(trainer));
  TRY(device->ops->allocate_host(device, feed->host_bytes, &feed->host));
  TRY(device->ops->stream_open(device, &feed->stream));
  TRY(device->ops->event_open(device, &feed->idle));
  for (int i = 0; i < FEED_BUFFERS; i++) TRY(open_buffer(trainer, &feed->buffer[i]));
  return STATUS_OK;
}

enum status feed_open(struct trainer *trainer) {
  struct feed *feed = &trainer->feed;
  bool copies = !trainer->device->ops->host_memory;
  int depth = copies ? DEPTH_WITH_COPIES : DEPTH;
  feed->keeps = trainer->sums.count > 0 && trainer->own.count == 1;
  feed->passes = trainer->sums.count > 0 && !feed->keeps ? 2 : 1;
  if (copies) TRY(open_copies(trainer));
  TRY(prefetch_open_in(&feed->prefetch, feed->host, depth, host_batch_bytes(trainer), fill_slot,
                       trainer));
  feed->next_ticket = ticket_of(trainer, trainer->state.step, PASS_SUMS, 0);
  for (int i = 0; i < depth; i++) TRY(request_next(trainer));
  return STATUS_OK;
}

void feed_close(struct trainer *trainer) {
  struct feed *feed = &trainer->feed;
  const struct device_ops *device = trainer->device->ops;
  prefetch_close(&feed->prefetch);
  if (feed->stream.device && device->synchronize(&feed->stream)) status_clear();
  for (int i = 0; i < FEED_BUFFERS; i++) {
    device->release(trainer->device, feed->buffer[i].memory, trainer->training.batch.bytes);
    device->event_close(&feed->buffer[i].copied);
    device->event_close(&feed->buffer[i].used);
  }
  device->event_close(&feed->idle);
  device->stream_close(&feed->stream);
  device->release_host(trainer->device, feed->host, feed->host_bytes);
  resident_close(trainer);
  *feed = (struct feed){0};
}

static enum status check_ticket(int64_t expected, int64_t found) {
  REQUIRE(found == expected, STATUS_FAILED, "inputs out of order: expected ticket %lld, found %lld",
          (long long)expected, (long long)found);
  return STATUS_OK;
}

static enum status copy_input(struct trainer *trainer, const struct feed_buffer *buffer, int sample,
                              int input) {
  const struct batch_layout *batch = &trainer->training.batch;
  size_t bytes = batch->sample_bytes[input];
  size_t offset = batch->offset[input] + (size_t)sample * bytes;
  int subject = kept_in(trainer, buffer->host, sample)[input];
  const void *from = subject < 0 ? (char *)buffer->host + offset
                                 : resident_volume(&trainer->feed.resident, subject, bytes);
  return trainer->device->ops->copy(&trainer->feed.stream, (char *)buffer->memory + offset, from,
                                    bytes);
}

static enum status copy_batch(struct trainer *trainer, const struct feed_buffer *buffer) {
  const struct batch_layout *batch = &trainer->training.batch;
  if (!trainer->feed.resident.memory)
    return trainer->device->ops->copy(&trainer->feed.stream, buffer->memory, buffer->host,
                                      batch->bytes);
  for (int sample = 0; sample < batch->samples; sample++)
    for (int i = 0; i < batch->count; i++) TRY(copy_input(trainer, buffer, sample, i));
  return STATUS_OK;
}

/* Sends the oldest batch of the loading thread to the next buffer; waits for the batch. */
static enum status start_copy(struct trainer *trainer) {
  struct feed *feed = &trainer->feed;
  const struct device_ops *device = trainer->device->ops;
  struct feed_buffer *buffer = &feed->buffer[feed->next];
  TRY(prefetch_take(&feed->prefetch, &buffer->host, &buffer->ticket));
  if (buffer->filled_before) TRY(device->event_wait(&feed->stream, &buffer->used));
  TRY(copy_batch(trainer, buffer));
  TRY(device->event_record(&buffer->copied, &feed->stream));
  buffer->filled_before = true;
  feed->next = (feed->next + 1) % FEED_BUFFERS;
  feed->ahead++;
  return STATUS_OK;
}

enum status feed_ahead(struct trainer *trainer) {
  struct feed *feed = &trainer->feed;
  if (trainer->device->ops->host_memory || feed->ahead > 0) return STATUS_OK;
  return prefetch_ready(&feed->prefetch) ? start_copy(trainer) : STATUS_OK;
}

/* Where the batch of a pass is read. */
static struct stream *stream_of(struct trainer *trainer, enum pass pass) {
  return pass == PASS_SUMS ? &trainer->sums.network.run.stream : &trainer->training.run.stream;
}

/* The work that follows on that stream waits for the batch. */
static enum status take_copy(struct trainer *trainer, int64_t expected, struct stream *stream,
                             void **memory) {
  struct feed *feed = &trainer->feed;
  const struct device_ops *device = trainer->device->ops;
  if (feed->ahead == 0) TRY(start_copy(trainer));
  struct feed_buffer *buffer = &feed->buffer[feed->oldest];
  TRY(check_ticket(expected, buffer->ticket));
  TRY(device->event_record(&feed->idle, stream));
  TRY(device->event_wait(stream, &buffer->copied));
  *memory = buffer->memory;
  feed->ahead--;
  return STATUS_OK;
}

enum status feed_take(struct trainer *trainer, int64_t step, enum pass pass, int slot,
                      void **memory) {
  int64_t ticket = -1, expected = ticket_of(trainer, step, pass, slot);
  *memory = trainer->feed.kept;
  trainer->feed.kept = NULL;
  if (*memory) return STATUS_OK;
  if (!trainer->device->ops->host_memory)
    return take_copy(trainer, expected, stream_of(trainer, pass), memory);
  TRY(prefetch_take(&trainer->feed.prefetch, memory, &ticket));
  return check_ticket(expected, ticket);
}

/* How long the device has waited for the copy, had it nothing else to do. */
static enum status count_wait(struct trainer *trainer, const struct feed_buffer *buffer) {
  double seconds;
  TRY(trainer->device->ops->event_seconds(&trainer->feed.idle, &buffer->copied, &seconds));
  if (seconds > 0) trainer->feed.seconds_waited += seconds;
  return STATUS_OK;
}

enum status feed_release(struct trainer *trainer, enum pass pass, void *memory) {
  struct feed *feed = &trainer->feed;
  if (feed->keeps && pass == PASS_SUMS) {
    feed->kept = memory;
    return STATUS_OK;
  }
  if (!trainer->device->ops->host_memory) {
    struct feed_buffer *buffer = &feed->buffer[feed->oldest];
    TRY(count_wait(trainer, buffer));
    TRY(trainer->device->ops->event_record(&buffer->used, stream_of(trainer, pass)));
    feed->oldest = (feed->oldest + 1) % FEED_BUFFERS;
    memory = buffer->host;
  }
  prefetch_release(&feed->prefetch, memory);
  return request_next(trainer);
}

double feed_seconds_waited(const struct trainer *trainer) {
  return trainer->feed.prefetch.seconds_waited + trainer->feed.seconds_waited;
}
