/* TensorBoard event files: records (length, masked CRC-32C, data, masked CRC-32C) of protocol
 * buffer messages, encoded by hand. Formats: tensorboard/compat/proto/{event,summary,tensor}.proto
 * and summary/writer/record_writer.py. One file per start of a run: TensorBoard merges them by
 * step. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/status.h"
#include "store/message.h"

struct event_file {
  char *path;
  int descriptor;        /* negative after a failed write: the file ends there */
  int64_t step;          /* the highest so far */
  struct message record; /* the one being made */
};

/* Creates events.out.tfevents.TIME.HOST.PID.N in `directory` and says that a session starts whose
 * first step is `step`: TensorBoard hides what an earlier file holds from there on. */
CHECKED enum status event_open(struct event_file *file, const char *directory, int64_t step);

/* Each of these writes one record at once. Tags with a slash are grouped by what is before it. */
CHECKED enum status event_scalar(struct event_file *file, const char *tag, int64_t step,
                                 double value);
/* 8-bit pixels, rows from the top, channels 1 (gray) or 3 (RGB) fastest. */
CHECKED enum status event_image(struct event_file *file, const char *tag, int64_t step, int width,
                                int height, int channels, const uint8_t *pixels);
/* Finite values only; writes nothing when there is none. */
CHECKED enum status event_histogram(struct event_file *file, const char *tag, int64_t step,
                                    const float *values, int64_t count);
/* Markdown. */
CHECKED enum status event_text(struct event_file *file, const char *tag, int64_t step,
                               const char *text);

/* Says that the session ends and closes the file. Accepts a zeroed one. */
void event_close(struct event_file *file);
