/* safetensors: round trip, the layout other programs expect, and files that break the format's
 * rules. */
#include "check.h"
#include <fcntl.h>
#include <stdint.h>
#include <unistd.h>
#include "base/file.h"
#include "store/bytes.h"
#include "store/safetensors.h"

static char *folder, *path;
static float weights[6] = {1, 2, 3, -0.0f, 5, 6};
static float bias[2] = {7, 8};
static unsigned char labels[3] = {1, 2, 3};

static const struct stored_tensor tensors[] = {
    {"unet.weight", "F32", 3, {1, 2, 3}, weights, sizeof weights},
    {"labels", "U8", 1, {3}, labels, sizeof labels},
    {"unet.bias", "F32", 1, {2}, bias, sizeof bias},
    {"scalar", "F32", 0, {0}, bias, 4},
    {"none", "F32", 1, {0}, bias, 0},
};
enum { TENSORS = sizeof tensors / sizeof *tensors };

TEST(comes_back_as_it_was) {
  struct safetensors file;
  json_t *metadata = json_pack("{s:s}", "format", "pt");
  CHECK_OK(safetensors_write(path, metadata, tensors, TENSORS));
  CHECK_OK(safetensors_read(path, &file));
  CHECK(file.count == TENSORS && json_equal(file.metadata, metadata));
  for (int i = 0; i < TENSORS; i++) {
    const struct stored_tensor *found = safetensors_find(&file, tensors[i].name);
    CHECK(found && found->bytes == tensors[i].bytes && found->rank == tensors[i].rank &&
          strcmp(found->dtype, tensors[i].dtype) == 0 &&
          memcmp(found->data, tensors[i].data, found->bytes) == 0);
  }
  CHECK(!safetensors_find(&file, "unet"));
  safetensors_close(&file);
  safetensors_close(&file);
  json_decref(metadata);
}

TEST(the_layout_is_the_formats) {
  char *data;
  size_t bytes;
  CHECK_OK(safetensors_write(path, NULL, tensors, 1));
  CHECK_OK(file_read(path, 1 << 20, &data, &bytes));
  uint64_t header = get_u64((unsigned char *)data);
  CHECK(header % 8 == 0 && bytes == 8 + header + sizeof weights);
  const char *expected =
      "{\"unet.weight\":{\"dtype\":\"F32\",\"shape\":[1,2,3],\"data_offsets\":[0,24]}}";
  CHECK(strncmp(data + 8, expected, strlen(expected)) == 0);
  CHECK(memcmp(data + 8 + header, weights, sizeof weights) == 0);
  free(data);
}

/* A file of this header and so many bytes of data. */
static void put_file(const char *header, size_t data_bytes) {
  static const char zeros[256];
  unsigned char length[8];
  FILE *file = fopen(path, "wb");
  if (!file || data_bytes > sizeof zeros) abort();
  put_u64(length, strlen(header));
  fwrite(length, 1, 8, file);
  fwrite(header, 1, strlen(header), file);
  fwrite(zeros, 1, data_bytes, file);
  fclose(file);
}

static const struct {
  const char *header;
  size_t data_bytes;
  const char *message;
} malformed[] = {
    {"", 0, "begin with {"},
    {"[1]", 0, "begin with {"},
    {"{\"a\":", 0, "no JSON"},
    {"{\"a\":1}", 0, "tensor a: expected dtype"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1]}}", 4, "tensor a: expected dtype"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0]}}", 4, "tensor a: expected"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4,8]}}", 4, "tensor a: expected"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4],\"x\":1}}", 4, "tensor a"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,8]}}", 4, "within 4 bytes"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[-4,0]}}", 4, "within 4 bytes"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,0]}}", 4, "within 4 bytes"},
    {"{\"a\":{\"dtype\":\"F7\",\"shape\":[1],\"data_offsets\":[0,4]}}", 4, "unknown dtype \"F7\""},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,4]}}", 4, "expected 8 bytes"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[-1],\"data_offsets\":[0,4]}}", 4, "negative"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1.0],\"data_offsets\":[0,4]}}", 4, "whole number"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":4,\"data_offsets\":[0,4]}}", 4, "expected a shape"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1,1,1,1,1,1,1,1,1],\"data_offsets\":[0,4]}}", 4,
     "at most 8"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[4611686018427387904,4],\"data_offsets\":[0,0]}}", 0,
     "large"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[9223372036854775808],\"data_offsets\":[0,4]}}", 4,
     "JSON"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", 5,
     "expected 4 bytes of data"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]}}", 8,
     "its data at 0, found 4"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]},"
     "\"b\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]}}",
     8, "its data at 8, found 4"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},"
     "\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}",
     4, "duplicate"},
    {"{\"__metadata__\":{\"a\":1}}", 0, "metadata a is no string"},
    {"{\"__metadata__\":[]}", 0, "the metadata is no object"},
};

TEST(malformed_files_are_refused) {
  struct safetensors file;
  for (size_t i = 0; i < sizeof malformed / sizeof *malformed; i++) {
    put_file(malformed[i].header, malformed[i].data_bytes);
    status_clear();
    enum status status = safetensors_read(path, &file);
    CHECK_SAY(status == STATUS_FAILED && strstr(status_message(), malformed[i].message) &&
                  strstr(status_message(), path),
              ": case %zu: expected '%s', found '%s'", i, malformed[i].message, status_message());
    CHECK(!file.memory && !file.header);
  }
}

TEST(lengths_that_lie_are_refused) {
  struct safetensors file;
  unsigned char length[9] = {0};
  static const uint64_t lies[] = {0, 2, 100000001, (uint64_t)1 << 40, UINT64_MAX, UINT64_MAX - 7};
  for (size_t i = 0; i < sizeof lies / sizeof *lies; i++) {
    put_u64(length, lies[i]);
    length[8] = '{';
    CHECK_OK(file_replace(path, length, sizeof length));
    CHECK_FAILS(safetensors_read(path, &file), "not safetensors");
  }
  CHECK_OK(file_replace(path, "1234567", 7));
  CHECK_FAILS(safetensors_read(path, &file), "only 7 bytes");
}

/* No checksum here: a flip may go unnoticed, but must not crash, nor lead outside the file. */
TEST(flips_and_cuts_do_no_harm) {
  struct safetensors file;
  char *data;
  size_t bytes, refused = 0;
  CHECK_OK(safetensors_write(path, NULL, tensors, TENSORS));
  CHECK_OK(file_read(path, 1 << 20, &data, &bytes));
  int descriptor = open(path, O_WRONLY);
  for (size_t i = 0; i < bytes; i++) {
    for (int bit = 0; bit < 8; bit++) {
      char byte = (char)(data[i] ^ 1 << bit);
      CHECK(pwrite(descriptor, &byte, 1, (off_t)i) == 1);
      refused += safetensors_read(path, &file) != STATUS_OK;
      for (int k = 0; k < file.count; k++)
        CHECK((char *)file.tensors[k].data >= file.memory &&
              (char *)file.tensors[k].data + file.tensors[k].bytes <= file.memory + bytes);
      safetensors_close(&file);
    }
    CHECK(pwrite(descriptor, &data[i], 1, (off_t)i) == 1);
  }
  CHECK(refused > bytes);
  for (size_t i = bytes; i-- > 0;) {
    CHECK(truncate(path, (off_t)i) == 0);
    CHECK_FAILS(safetensors_read(path, &file), path);
  }
  close(descriptor);
  free(data);
}

TEST(what_makes_no_sense_is_not_written) {
  struct stored_tensor twice[] = {tensors[0], tensors[0]};
  json_t *metadata = json_pack("{s:i}", "step", 3);
  unlink(path);
  CHECK_FAILS(safetensors_write(path, NULL, twice, 2), "two tensors are named unet.weight");
  twice[0].name = "__metadata__";
  CHECK_FAILS(safetensors_write(path, NULL, twice, 1), "__metadata__");
  CHECK_FAILS(safetensors_write(path, metadata, tensors, 1), "metadata step is no string");
  CHECK(!file_exists(path));
  json_decref(metadata);
}

int main(void) {
  folder = check_make_folder();
  path = file_join(folder, "weights.safetensors");
  RUN(comes_back_as_it_was);
  RUN(the_layout_is_the_formats);
  RUN(malformed_files_are_refused);
  RUN(lengths_that_lie_are_refused);
  RUN(flips_and_cuts_do_no_harm);
  RUN(what_makes_no_sense_is_not_written);
  free(path);
  check_remove_folder(folder);
  return check_result();
}
