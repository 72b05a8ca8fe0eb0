/* One checkpoint file: what comes back, and that no damage of any byte gets through. */
#include "check.h"
#include <fcntl.h>
#include <jansson.h>
#include <stdint.h>
#include <unistd.h>
#include "base/file.h"
#include "store/checkpoint.h"

static char *folder, *path;

static float weights[2 * 3] = {1, -0.0f, 3e-40f, 4, 5, 6};
static int64_t counters[1] = {-5};
static unsigned char nothing[1];

static const struct stored_tensor tensors[] = {
    {"conv.weight", "F32", 2, {2, 3}, weights, sizeof weights},
    {"adam.step", "I64", 0, {0}, counters, sizeof counters},
    {"empty", "U8", 3, {4, 0, 2}, nothing, 0},
};
enum { TENSORS = sizeof tensors / sizeof *tensors };

static json_t *make_metadata(void) {
  return json_pack("{s:i, s:f, s:s, s:[i,i]}", "step", 120, "best", 0.1 + 0.2, "config",
                   "train.slots = 8\n# \xc3\xa9", "rng", 1, 2);
}

static enum status write_example(const char *to) {
  json_t *metadata = make_metadata();
  enum status status = checkpoint_write(to, metadata, tensors, TENSORS);
  json_decref(metadata);
  return status;
}

TEST(comes_back_as_it_was) {
  struct checkpoint checkpoint;
  CHECK_OK(write_example(path));
  CHECK_OK(checkpoint_read(path, &checkpoint));
  json_t *metadata = make_metadata();
  CHECK(json_equal(metadata, checkpoint.metadata));
  json_decref(metadata);
  CHECK(checkpoint.count == TENSORS);
  const struct stored_tensor *conv = checkpoint_find(&checkpoint, "conv.weight");
  CHECK(conv && conv->rank == 2 && conv->extent[0] == 2 && conv->extent[1] == 3);
  CHECK(conv && memcmp(conv->data, weights, sizeof weights) == 0);
  const struct stored_tensor *step = checkpoint_find(&checkpoint, "adam.step");
  CHECK(step && step->rank == 0 && memcmp(step->data, counters, sizeof counters) == 0);
  CHECK(checkpoint_find(&checkpoint, "empty")->bytes == 0);
  CHECK(!checkpoint_find(&checkpoint, "conv"));
  float copy[6];
  CHECK_OK(checkpoint_copy(&checkpoint, "conv.weight", "F32", sizeof copy, copy));
  CHECK(memcmp(copy, weights, sizeof copy) == 0);
  CHECK_FAILS(checkpoint_copy(&checkpoint, "conv.bias", "F32", 4, copy), "conv.bias");
  CHECK_FAILS(checkpoint_copy(&checkpoint, "conv.weight", "F32", 20, copy), "expected 20 bytes");
  CHECK_FAILS(checkpoint_copy(&checkpoint, "conv.weight", "I32", 24, copy), "of I32, found");
  checkpoint_close(&checkpoint);
  checkpoint_close(&checkpoint);
}

TEST(the_same_state_gives_the_same_bytes) {
  char *other = file_join(folder, "other.medtrain"), *a, *b;
  size_t bytes_a, bytes_b;
  CHECK_OK(write_example(path));
  CHECK_OK(write_example(other));
  CHECK_OK(file_read(path, 1 << 20, &a, &bytes_a));
  CHECK_OK(file_read(other, 1 << 20, &b, &bytes_b));
  CHECK(bytes_a == bytes_b && memcmp(a, b, bytes_a) == 0);
  CHECK(memcmp(a, "MEDTRAIN", 8) == 0 && memcmp(a + bytes_a - 8, "ENDTRAIN", 8) == 0);
  free(a);
  free(b);
  free(other);
}

/* Plain writing: the damage itself need not be safe. */
static void put_file(const char *to, const char *data, size_t bytes) {
  FILE *file = fopen(to, "wb");
  if (!file || fwrite(data, 1, bytes, file) != bytes) abort();
  fclose(file);
}

static void check_refused(const char *to, const char *what, size_t at) {
  struct checkpoint checkpoint;
  status_clear();
  enum status status = checkpoint_read(to, &checkpoint);
  CHECK_SAY(status == STATUS_FAILED && strstr(status_message(), to), ": %s at %zu: '%s'", what, at,
            status_message());
  CHECK(!checkpoint.memory && !checkpoint.metadata);
  checkpoint_close(&checkpoint);
}

/* In place: thousands of new files would take the disk's time. */
static void put_byte(const char *to, size_t at, char byte) {
  int descriptor = open(to, O_WRONLY);
  if (descriptor < 0 || pwrite(descriptor, &byte, 1, (off_t)at) != 1) abort();
  close(descriptor);
}

TEST(every_flipped_bit_is_refused) {
  char *data;
  size_t bytes;
  struct checkpoint checkpoint;
  CHECK_OK(write_example(path));
  CHECK_OK(file_read(path, 1 << 20, &data, &bytes));
  for (size_t i = 0; i < bytes; i++) {
    for (int bit = 0; bit < 8; bit++) {
      put_byte(path, i, (char)(data[i] ^ 1 << bit));
      check_refused(path, "flip", i);
    }
    put_byte(path, i, data[i]);
  }
  CHECK_OK(checkpoint_read(path, &checkpoint));
  checkpoint_close(&checkpoint);
  free(data);
}

TEST(every_truncation_is_refused) {
  char *data;
  size_t bytes;
  CHECK_OK(write_example(path));
  CHECK_OK(file_read(path, 1 << 20, &data, &bytes));
  CHECK(truncate(path, (off_t)bytes + 1) == 0);
  check_refused(path, "one byte more", bytes);
  for (size_t i = bytes; i-- > 0;) {
    CHECK(truncate(path, (off_t)i) == 0);
    check_refused(path, "cut", i);
  }
  free(data);
}

TEST(damage_is_described) {
  char *data;
  size_t bytes;
  struct checkpoint checkpoint;
  CHECK_OK(write_example(path));
  CHECK_OK(file_read(path, 1 << 20, &data, &bytes));
  char *at = memmem(data, bytes, weights, sizeof weights);
  at[2] = (char)(at[2] ^ 4);
  put_file(path, data, bytes);
  CHECK_FAILS(checkpoint_read(path, &checkpoint), "conv.weight: expected checksum");
  put_file(path, data, bytes - 10);
  CHECK_FAILS(checkpoint_read(path, &checkpoint), "truncated: expected");
  put_file(path, "seven", 5);
  CHECK_FAILS(checkpoint_read(path, &checkpoint), "not a checkpoint");
  CHECK_FAILS(checkpoint_read("/no/such/file", &checkpoint), "cannot open");
  CHECK_FAILS(checkpoint_read(folder, &checkpoint), folder);
  free(data);
}

static enum status write_one(struct stored_tensor tensor) {
  struct stored_tensor two[2] = {tensors[0], tensor};
  json_t *metadata = json_object();
  enum status status = checkpoint_write(path, metadata, two, 2);
  json_decref(metadata);
  return status;
}

TEST(what_makes_no_sense_is_not_written) {
  int64_t huge = INT64_MAX / 2;
  json_t *list = json_array();
  unlink(path);
  CHECK_FAILS(checkpoint_write(path, list, tensors, TENSORS), "no JSON object");
  json_decref(list);
  CHECK_FAILS(write_one((struct stored_tensor){"x", "F31", 0, {0}, weights, 4}), "\"F31\"");
  CHECK_FAILS(write_one((struct stored_tensor){"x", "F32", 1, {7}, weights, 24}), "28 bytes");
  CHECK_FAILS(write_one((struct stored_tensor){"x", "F32", 1, {-1}, weights, 4}), "negative");
  CHECK_FAILS(write_one((struct stored_tensor){"x", "F32", 9, {1}, weights, 4}), "at most 8");
  CHECK_FAILS(write_one((struct stored_tensor){"x", "F32", 2, {huge, 8}, weights, 4}), "large");
  CHECK_FAILS(write_one((struct stored_tensor){"", "F32", 0, {0}, weights, 4}), "no name");
  CHECK_FAILS(write_one((struct stored_tensor){"\xff", "F32", 0, {0}, weights, 4}), "UTF-8");
  CHECK_FAILS(write_one(tensors[0]), "two tensors are named conv.weight");
  CHECK(!file_exists(path));
}

int main(void) {
  folder = check_make_folder();
  path = file_join(folder, "one.medtrain");
  RUN(comes_back_as_it_was);
  RUN(the_same_state_gives_the_same_bytes);
  RUN(every_flipped_bit_is_refused);
  RUN(every_truncation_is_refused);
  RUN(damage_is_described);
  RUN(what_makes_no_sense_is_not_written);
  free(path);
  check_remove_folder(folder);
  return check_result();
}
