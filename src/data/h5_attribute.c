/* Attributes of a file's root: numbers and texts. */
#include <stdlib.h>
#include <string.h>
#include "data/h5.h"

enum { TEXT_LIMIT = 1 << 20 };

/* Takes over space and type. */
static enum status write_attribute(struct h5_file *file, const char *name, hid_t type, hid_t space,
                                   const void *values) {
  hid_t attribute = H5Acreate2(file->id, name, type, space, H5P_DEFAULT, H5P_DEFAULT);
  herr_t written = attribute >= 0 ? H5Awrite(attribute, type, values) : -1;
  if (attribute >= 0) H5Aclose(attribute);
  H5Sclose(space);
  H5Tclose(type);
  REQUIRE(written >= 0, STATUS_FAILED, "%s: attribute %s: cannot write%s", file->path, name,
          h5_reason());
  return STATUS_OK;
}

enum status h5_write_numbers(struct h5_file *file, const char *attribute, const int64_t *values,
                             int count) {
  hsize_t length = (hsize_t)count;
  hid_t space = count == 1 ? H5Screate(H5S_SCALAR) : H5Screate_simple(1, &length, NULL);
  return write_attribute(file, attribute, H5Tcopy(H5T_NATIVE_INT64), space, values);
}

enum status h5_write_text(struct h5_file *file, const char *attribute, const char *text) {
  size_t length = strlen(text);
  return write_attribute(file, attribute, h5_string_type(length ? length : 1),
                         H5Screate(H5S_SCALAR), text);
}

struct opened {
  hid_t attribute, type;
  hssize_t count;
};

static void close_attribute(struct opened *opened) {
  if (opened->type >= 0) H5Tclose(opened->type);
  if (opened->attribute >= 0) H5Aclose(opened->attribute);
}

static enum status open_attribute(struct h5_file *file, const char *name, H5T_class_t class,
                                  struct opened *opened) {
  *opened = (struct opened){.attribute = H5I_INVALID_HID, .type = H5I_INVALID_HID, .count = -1};
  if (H5Aexists(file->id, name) > 0) opened->attribute = H5Aopen(file->id, name, H5P_DEFAULT);
  if (opened->attribute >= 0) {
    hid_t space = H5Aget_space(opened->attribute);
    opened->type = H5Aget_type(opened->attribute);
    opened->count = space >= 0 ? H5Sget_simple_extent_npoints(space) : -1;
    if (space >= 0) H5Sclose(space);
  }
  bool good = opened->type >= 0 && opened->count >= 1 && H5Tget_class(opened->type) == class;
  if (good) return STATUS_OK;
  bool found = opened->attribute >= 0;
  close_attribute(opened);
  FAIL(STATUS_FAILED, "%s: attribute %s: expected %s, found %s", file->path, name,
       class == H5T_STRING ? "a text" : "whole numbers", found ? "something else" : "none");
}

enum status h5_read_numbers(struct h5_file *file, const char *attribute, int limit,
                            int64_t **values, int *count) {
  struct opened opened;
  TRY(open_attribute(file, attribute, H5T_INTEGER, &opened));
  bool fits = opened.count <= limit;
  int64_t *numbers = fits ? calloc((size_t)opened.count, sizeof *numbers) : NULL;
  herr_t read = numbers ? H5Aread(opened.attribute, H5T_NATIVE_INT64, numbers) : -1;
  close_attribute(&opened);
  if (read < 0) free(numbers);
  REQUIRE(fits, STATUS_FAILED, "%s: attribute %s: expected at most %d numbers, found %lld",
          file->path, attribute, limit, (long long)opened.count);
  REQUIRE(read >= 0, STATUS_FAILED, "%s: attribute %s: cannot read%s", file->path, attribute,
          h5_reason());
  *values = numbers;
  *count = (int)opened.count;
  return STATUS_OK;
}

enum status h5_read_number(struct h5_file *file, const char *attribute, int64_t low, int64_t high,
                           int64_t *value) {
  int64_t *values;
  int count;
  TRY(h5_read_numbers(file, attribute, 1, &values, &count));
  *value = values[0];
  free(values);
  REQUIRE(*value >= low && *value <= high, STATUS_FAILED,
          "%s: attribute %s: expected %lld to %lld, found %lld", file->path, attribute,
          (long long)low, (long long)high, (long long)*value);
  return STATUS_OK;
}

enum status h5_read_text(struct h5_file *file, const char *attribute, char **text) {
  struct opened opened;
  TRY(open_attribute(file, attribute, H5T_STRING, &opened));
  size_t bytes = H5Tget_size(opened.type);
  bool good = opened.count == 1 && bytes >= 1 && bytes <= TEXT_LIMIT &&
              H5Tis_variable_str(opened.type) == 0;
  char *read = good ? calloc(bytes + 1, 1) : NULL;
  hid_t type = h5_string_type(good ? bytes : 1);
  good = read && H5Aread(opened.attribute, type, read) >= 0;
  H5Tclose(type);
  close_attribute(&opened);
  if (!good) free(read);
  REQUIRE(good, STATUS_FAILED, "%s: attribute %s: expected a text of at most %d bytes%s",
          file->path, attribute, TEXT_LIMIT, h5_reason());
  *text = read;
  return STATUS_OK;
}
