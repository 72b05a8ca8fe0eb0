/* Gathering sums. The list is run when it is full. */
#include "comm/sums.h"

void sums_start(struct sums *sums, enum device_kind kind, struct stream *stream, int64_t count) {
  sums->kernel = accumulate_choose(kind);
  sums->stream = stream;
  sums->count = count;
  sums->status = STATUS_OK;
  sums->list.count = 0;
}

static void run(struct sums *sums) {
  if (!sums->status && sums->list.count)
    sums->status = sums->kernel->run(&sums->list, sums->count, sums->stream);
  sums->list.count = 0;
}

static void append(struct sums *sums, struct accumulate_sum sum) {
  if (sums->list.count == ACCUMULATE_MOST) run(sums);
  sums->list.sum[sums->list.count++] = sum;
}

void sums_add(struct sums *sums, float *to, const float *from) {
  append(sums, (struct accumulate_sum){.to = to, .from = from, .add = true});
}

void sums_copy(struct sums *sums, float *to, const float *from) {
  if (to != from) append(sums, (struct accumulate_sum){.to = to, .from = from});
}

enum status sums_finish(struct sums *sums) {
  run(sums);
  return sums->status;
}
