/* Event files, read back by a small reader of records and protocol buffers; pictures by libpng. */
#include "check.h"
#include <png.h>
#include <stdbool.h>
#include <stdint.h>
#include <unistd.h>
#include "base/file.h"
#include "store/bytes.h"
#include "store/event.h"
#include "store/picture.h"

static char *folder;

/* --- the reader
 * ------------------------------------------------------------------------------------ */

struct slice {
  const unsigned char *at;
  size_t bytes;
};

struct field {
  int number, wire;
  uint64_t varint;
  double real; /* fixed32 and fixed64 */
  struct slice slice;
};

static uint32_t mask(uint32_t crc) {
  return (crc >> 15 | crc << 17) + 0xa282ead8u;
}

static uint64_t take_varint(struct slice *from) {
  uint64_t value = 0;
  for (int shift = 0; from->bytes; shift += 7) {
    unsigned char byte = *from->at++;
    from->bytes--;
    value |= (uint64_t)(byte & 0x7f) << shift;
    if (!(byte & 0x80)) return value;
  }
  CHECK(!"a varint ends");
  return 0;
}

static struct slice take(struct slice *from, size_t bytes) {
  struct slice part = {from->at, bytes};
  CHECK(bytes <= from->bytes);
  if (bytes > from->bytes) part.bytes = from->bytes;
  from->at += part.bytes;
  from->bytes -= part.bytes;
  return part;
}

static struct field take_field(struct slice *from) {
  uint64_t key = take_varint(from);
  struct field field = {.number = (int)(key >> 3), .wire = (int)(key & 7)};
  if (field.wire == 0) field.varint = take_varint(from);
  if (field.wire == 1) {
    double value;
    uint64_t bits = get_u64(take(from, 8).at);
    memcpy(&value, &bits, sizeof value);
    field.real = value;
  }
  if (field.wire == 2) field.slice = take(from, (size_t)take_varint(from));
  if (field.wire == 5) {
    float value;
    uint32_t bits = get_u32(take(from, 4).at);
    memcpy(&value, &bits, sizeof value);
    field.real = value;
  }
  return field;
}

/* The first field of that number; number 0 when there is none. */
static struct field find(struct slice message, int number) {
  while (message.bytes) {
    struct field field = take_field(&message);
    if (field.number == number) return field;
  }
  return (struct field){0};
}

static struct slice path_to(struct slice message, int a, int b) {
  return find(find(message, a).slice, b).slice;
}

static bool is_text(struct slice slice, const char *text) {
  return slice.bytes == strlen(text) && memcmp(slice.at, text, slice.bytes) == 0;
}

/* The file's events; checks every checksum. */
static int read_events(const char *path, char **memory, struct slice *events, int most) {
  size_t bytes;
  int count = 0;
  CHECK_OK(file_read(path, 1 << 26, memory, &bytes));
  struct slice rest = {(unsigned char *)*memory, bytes};
  while (rest.bytes && count < most) {
    struct slice length = take(&rest, 8);
    CHECK(get_u32(take(&rest, 4).at) == mask(file_checksum(0, length.at, 8)));
    events[count] = take(&rest, (size_t)get_u64(length.at));
    CHECK(get_u32(take(&rest, 4).at) ==
          mask(file_checksum(0, events[count].at, events[count].bytes)));
    count++;
  }
  return count;
}

/* --- tests
 * ------------------------------------------------------------------------------------------ */

TEST(checksums_are_those_of_the_format) {
  static const unsigned char zeros[32];
  const char *text =
      "\x1a\x11"
      "CRC test, one two";
  CHECK(file_checksum(0, zeros, 32) == 0x8a9136aa);
  CHECK(mask(file_checksum(0, text, strlen(text))) == 0x5794d08a);
}

TEST(an_empty_session_has_a_version_and_two_marks) {
  struct event_file file;
  struct slice events[9];
  char *memory;
  CHECK_OK(event_open(&file, folder, 81));
  char *path = strdup(file.path);
  CHECK(strstr(path, "/events.out.tfevents."));
  event_close(&file);
  event_close(&file);
  CHECK(read_events(path, &memory, events, 9) == 3);
  CHECK(is_text(find(events[0], 3).slice, "brain.Event:2"));
  CHECK(find(events[0], 1).real > 1.6e9);
  CHECK(find(events[0], 2).number == 0);
  CHECK(find(events[1], 2).varint == 81 && find(find(events[1], 7).slice, 1).varint == 1);
  CHECK(find(find(events[2], 7).slice, 1).varint == 2);
  free(memory);
  free(path);
}

TEST(values_come_back) {
  static const float values[] = {-1, 0, 0, 3, NAN, INFINITY, 1};
  struct event_file file;
  struct slice events[9];
  char *memory;
  CHECK_OK(event_open(&file, folder, 0));
  char *path = strdup(file.path);
  CHECK_OK(event_scalar(&file, "loss/total", 300, 0.1));
  CHECK_OK(event_histogram(&file, "weights", 301, values, 7));
  CHECK_OK(event_histogram(&file, "nothing", 301, values + 4, 2));
  CHECK_OK(event_text(&file, "config", (int64_t)1 << 40, "train.slots = 8"));
  event_close(&file);
  CHECK(read_events(path, &memory, events, 9) == 6);
  struct slice scalar = path_to(events[2], 5, 1);
  CHECK(find(events[2], 2).varint == 300 && is_text(find(scalar, 1).slice, "loss/total"));
  CHECK(find(scalar, 2).wire == 5 && find(scalar, 2).real == (double)0.1f);
  struct slice histogram = find(path_to(events[3], 5, 1), 5).slice;
  CHECK(find(histogram, 1).real == -1 && find(histogram, 2).real == 3);
  CHECK(find(histogram, 3).real == 5 && find(histogram, 4).real == 3);
  CHECK(find(histogram, 5).real == 11);
  struct slice limits = find(histogram, 6).slice, buckets = find(histogram, 7).slice;
  CHECK(limits.bytes == buckets.bytes && limits.bytes % 8 == 0);
  double total = 0, last = 0;
  for (size_t i = 0; i < buckets.bytes; i += 8) {
    uint64_t bits = get_u64(buckets.at + i), limit = get_u64(limits.at + i);
    double count;
    memcpy(&count, &bits, 8);
    memcpy(&last, &limit, 8);
    total += count;
  }
  CHECK(total == 5 && last == 3);
  struct slice text = path_to(events[4], 5, 1);
  CHECK(find(events[4], 2).varint == (uint64_t)1 << 40);
  CHECK(is_text(find(path_to(text, 9, 1), 1).slice, "text"));
  CHECK(find(find(text, 8).slice, 1).varint == 7);
  CHECK(find(path_to(find(text, 8).slice, 2, 2), 1).varint == 1);
  CHECK(is_text(find(find(text, 8).slice, 8).slice, "train.slots = 8"));
  CHECK(find(events[5], 2).varint == (uint64_t)1 << 40); /* the session's end */
  free(memory);
  free(path);
}

static void check_picture(const void *png, size_t bytes, int width, int height, int channels,
                          const uint8_t *pixels) {
  png_image image = {.version = PNG_IMAGE_VERSION};
  static uint8_t found[64 * 64 * 3];
  CHECK(png_image_begin_read_from_memory(&image, png, bytes));
  CHECK((int)image.width == width && (int)image.height == height);
  CHECK(image.format == (channels == 1 ? PNG_FORMAT_GRAY : PNG_FORMAT_RGB));
  CHECK(png_image_finish_read(&image, NULL, found, 0, NULL));
  CHECK(memcmp(found, pixels, (size_t)(width * height * channels)) == 0);
}

TEST(pictures_come_back) {
  static uint8_t pixels[7 * 5 * 3];
  struct event_file file;
  struct slice events[9];
  char *memory, *png_path = file_join(folder, "one.png");
  size_t bytes;
  for (size_t i = 0; i < sizeof pixels; i++) pixels[i] = (uint8_t)(i * 37);
  CHECK_OK(event_open(&file, folder, 0));
  char *path = strdup(file.path);
  CHECK_OK(event_image(&file, "warped", 4, 7, 5, 3, pixels));
  CHECK_OK(event_image(&file, "moving", 4, 7, 5, 1, pixels));
  CHECK_FAILS(event_image(&file, "moving", 4, 7, 0, 1, pixels), "found 7x0x1");
  CHECK_FAILS(event_image(&file, "moving", 4, 7, 5, 4, pixels), "1 or 3 channels");
  event_close(&file);
  CHECK(read_events(path, &memory, events, 9) == 5);
  for (int k = 0; k < 2; k++) {
    struct slice image = find(path_to(events[2 + k], 5, 1), 4).slice;
    int channels = k ? 1 : 3;
    CHECK(find(image, 1).varint == 5 && find(image, 2).varint == 7);
    CHECK((int)find(image, 3).varint == channels);
    struct slice png = find(image, 4).slice;
    check_picture(png.at, png.bytes, 7, 5, channels, pixels);
  }
  free(memory);
  CHECK_OK(picture_write(png_path, 7, 5, 3, pixels));
  CHECK_OK(file_read(png_path, 1 << 20, &memory, &bytes));
  check_picture(memory, bytes, 7, 5, 3, pixels);
  free(memory);
  free(path);
  free(png_path);
}

TEST(two_files_of_one_second_have_two_names) {
  struct event_file a, b;
  CHECK_OK(event_open(&a, folder, 0));
  CHECK_OK(event_open(&b, folder, 0));
  CHECK(strcmp(a.path, b.path) != 0);
  event_close(&a);
  event_close(&b);
  CHECK_FAILS(event_open(&a, "/no/such/folder", 0), "cannot create");
  event_close(&a);
}

TEST(a_full_disk_ends_the_file) {
  struct event_file file;
  CHECK_OK(event_open(&file, folder, 0));
  FILE *full = fopen("/dev/full", "wb");
  if (full) {
    dup2(fileno(full), file.descriptor);
    fclose(full);
    CHECK_FAILS(event_scalar(&file, "loss", 1, 1), "cannot write a record: No space left");
    CHECK_FAILS(event_scalar(&file, "loss", 2, 1), "an earlier record");
  }
  event_close(&file);
}

int main(void) {
  folder = check_make_folder();
  RUN(checksums_are_those_of_the_format);
  RUN(an_empty_session_has_a_version_and_two_marks);
  RUN(values_come_back);
  RUN(pictures_come_back);
  RUN(two_files_of_one_second_have_two_names);
  RUN(a_full_disk_ends_the_file);
  check_remove_folder(folder);
  return check_result();
}
