/* Wire format: varints, fixed 32- and 64-bit numbers, and lengths. */
#include "store/message.h"
#include <stdlib.h>
#include <string.h>

enum wire { WIRE_VARINT = 0, WIRE_64 = 1, WIRE_LENGTH = 2, WIRE_32 = 5 };
enum { VARINT_BYTES = 10 };

void message_clear(struct message *message) {
  message->used = 0;
  message->failed = false;
}

void message_free(struct message *message) {
  free(message->data);
  *message = (struct message){0};
}

static bool make_room(struct message *message, size_t bytes) {
  if (message->failed) return false;
  if (bytes <= message->capacity - message->used) return true;
  size_t capacity = 2 * (message->used + bytes) + 64;
  unsigned char *larger = realloc(message->data, capacity);
  message->failed = !larger;
  if (!larger) return false;
  message->data = larger;
  message->capacity = capacity;
  return true;
}

void message_append(struct message *message, const void *data, size_t bytes) {
  if (!bytes || !make_room(message, bytes)) return;
  memcpy(message->data + message->used, data, bytes);
  message->used += bytes;
}

static size_t put_varint(unsigned char *to, uint64_t value) {
  size_t used = 0;
  for (; value >= 0x80; value >>= 7) to[used++] = (unsigned char)(value | 0x80);
  to[used++] = (unsigned char)value;
  return used;
}

static void append_varint(struct message *message, uint64_t value) {
  unsigned char bytes[VARINT_BYTES];
  message_append(message, bytes, put_varint(bytes, value));
}

static void append_key(struct message *message, int field, enum wire wire) {
  append_varint(message, (uint64_t)field << 3 | wire);
}

static void append_little_endian(struct message *message, uint64_t bits, int bytes) {
  unsigned char data[8];
  for (int i = 0; i < bytes; i++) data[i] = (unsigned char)(bits >> 8 * i);
  message_append(message, data, (size_t)bytes);
}

static uint64_t bits_of(double value) {
  uint64_t bits;
  memcpy(&bits, &value, sizeof bits);
  return bits;
}

void message_bytes(struct message *message, int field, const void *data, size_t bytes) {
  append_key(message, field, WIRE_LENGTH);
  append_varint(message, bytes);
  message_append(message, data, bytes);
}

void message_text(struct message *message, int field, const char *text) {
  message_bytes(message, field, text, strlen(text));
}

void message_varint(struct message *message, int field, uint64_t value) {
  append_key(message, field, WIRE_VARINT);
  append_varint(message, value);
}

void message_float(struct message *message, int field, float value) {
  uint32_t bits;
  memcpy(&bits, &value, sizeof bits);
  append_key(message, field, WIRE_32);
  append_little_endian(message, bits, 4);
}

void message_double(struct message *message, int field, double value) {
  append_key(message, field, WIRE_64);
  append_little_endian(message, bits_of(value), 8);
}

void message_packed_doubles(struct message *message, int field, const double *values,
                            size_t count) {
  append_key(message, field, WIRE_LENGTH);
  append_varint(message, 8 * count);
  for (size_t i = 0; i < count; i++) append_little_endian(message, bits_of(values[i]), 8);
}

size_t message_begin(struct message *message, int field) {
  append_key(message, field, WIRE_LENGTH);
  return message->used;
}

void message_end(struct message *message, size_t begun) {
  unsigned char length[VARINT_BYTES];
  if (message->failed) return;
  size_t bytes = message->used - begun, prefix = put_varint(length, bytes);
  if (!make_room(message, prefix)) return;
  memmove(message->data + begun + prefix, message->data + begun, bytes);
  memcpy(message->data + begun, length, prefix);
  message->used += prefix;
}
