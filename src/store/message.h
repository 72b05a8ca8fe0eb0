/* Protocol buffer messages written by hand (protobuf.dev/programming-guides/encoding): fields are
 * appended to a buffer that remembers whether memory ran out. A message within a message is begun
 * and ended; its length is put in front when it ends. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct message {
  unsigned char *data;
  size_t used, capacity;
  bool failed; /* out of memory: what was appended since is lost */
};

void message_clear(struct message *message); /* keeps the memory */
void message_free(struct message *message);

void message_bytes(struct message *message, int field, const void *data, size_t bytes);
void message_text(struct message *message, int field, const char *text);
void message_varint(struct message *message, int field, uint64_t value);
void message_float(struct message *message, int field, float value);
void message_double(struct message *message, int field, double value);
void message_packed_doubles(struct message *message, int field, const double *values, size_t count);

/* Returns what message_end needs. */
size_t message_begin(struct message *message, int field);
void message_end(struct message *message, size_t begun);

/* Plain bytes, without a field number. */
void message_append(struct message *message, const void *data, size_t bytes);
