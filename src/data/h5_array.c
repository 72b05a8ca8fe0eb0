/* Small arrays and lists of strings: a value or a few per subject. */
#include <stdlib.h>
#include <string.h>
#include "data/h5.h"

enum { RANK_LIMIT = 8, STRING_LIMIT = 65536 };

static uint64_t count_of(int rank, const hsize_t *shape) {
  uint64_t count = 1;
  for (int i = 0; i < rank; i++) count *= shape[i];
  return count;
}

enum status h5_write_array(struct h5_file *file, const char *name, hid_t type, int rank,
                           const hsize_t *shape, const void *values) {
  hid_t space = H5Screate_simple(rank, shape, NULL);
  hid_t dataset = H5Dcreate2(file->id, name, type, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
  herr_t written = dataset >= 0 ? 0 : -1;
  if (written >= 0 && file->writes)
    written = H5Dwrite(dataset, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, values);
  if (dataset >= 0) H5Dclose(dataset);
  if (space >= 0) H5Sclose(space);
  REQUIRE(written >= 0, STATUS_FAILED, "%s: field %s: cannot write%s", file->path, name,
          h5_reason());
  return STATUS_OK;
}

static int shape_of(hid_t dataset, hsize_t *shape) {
  hid_t space = H5Dget_space(dataset);
  int rank = space >= 0 ? H5Sget_simple_extent_ndims(space) : -1;
  if (rank >= 0 && rank <= RANK_LIMIT) H5Sget_simple_extent_dims(space, shape, NULL);
  if (space >= 0) H5Sclose(space);
  return rank;
}

static bool type_is(hid_t dataset, hid_t wanted) {
  hid_t type = H5Dget_type(dataset);
  bool same = type >= 0 && H5Tequal(type, wanted) > 0;
  if (type >= 0) H5Tclose(type);
  return same;
}

static bool class_is(hid_t dataset, hid_t wanted) {
  hid_t type = H5Dget_type(dataset);
  bool same = type >= 0 && H5Tget_class(type) == H5Tget_class(wanted);
  if (type >= 0) H5Tclose(type);
  return same;
}

enum status h5_open_field(struct h5_file *file, const char *name, hid_t type, int rank,
                          hsize_t *shape, hid_t *dataset) {
  hid_t opened = h5_has_field(file, name) ? H5Dopen2(file->id, name, H5P_DEFAULT) : -1;
  REQUIRE(opened >= 0, STATUS_FAILED, "%s: field %s: expected an array, found none%s", file->path,
          name, h5_reason());
  hsize_t found[RANK_LIMIT] = {0};
  int axes = shape_of(opened, found);
  bool typed = type < 0 || type_is(opened, type);
  if (axes != rank || !typed) H5Dclose(opened);
  REQUIRE(axes == rank, STATUS_FAILED, "%s: field %s: expected %d axes, found %d", file->path, name,
          rank, axes);
  REQUIRE(typed, STATUS_FAILED, "%s: field %s: expected another element type than it has",
          file->path, name);
  memcpy(shape, found, sizeof *shape * (size_t)rank);
  *dataset = opened;
  return STATUS_OK;
}

/* Opens an array of exactly that shape. */
static enum status open_shaped(struct h5_file *file, const char *name, int rank,
                               const hsize_t *shape, hid_t *dataset) {
  hsize_t found[RANK_LIMIT];
  TRY(h5_open_field(file, name, H5I_INVALID_HID, rank, found, dataset));
  for (int i = 0; i < rank; i++) {
    if (found[i] == shape[i]) continue;
    H5Dclose(*dataset);
    FAIL(STATUS_FAILED, "%s: field %s: expected %llu along axis %d, found %llu", file->path, name,
         (unsigned long long)shape[i], i, (unsigned long long)found[i]);
  }
  return STATUS_OK;
}

enum status h5_read_array(struct h5_file *file, const char *name, hid_t type, int rank,
                          const hsize_t *shape, void *values) {
  hid_t dataset;
  TRY(open_shaped(file, name, rank, shape, &dataset));
  bool good = class_is(dataset, type) && H5Dget_storage_size(dataset) <= file->bytes &&
              count_of(rank, shape) <= file->bytes;
  herr_t read = good ? H5Dread(dataset, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, values) : -1;
  H5Dclose(dataset);
  REQUIRE(good, STATUS_FAILED,
          "%s: field %s: expected numbers of its kind that fit in the file's %llu bytes, found "
          "others",
          file->path, name, (unsigned long long)file->bytes);
  REQUIRE(read >= 0, STATUS_FAILED, "%s: field %s: cannot read%s", file->path, name, h5_reason());
  return STATUS_OK;
}

hid_t h5_string_type(size_t bytes) {
  hid_t type = H5Tcopy(H5T_C_S1);
  H5Tset_size(type, bytes);
  H5Tset_strpad(type, H5T_STR_NULLPAD);
  H5Tset_cset(type, H5T_CSET_UTF8);
  return type;
}

enum status h5_write_strings(struct h5_file *file, const char *name, const char *const *texts,
                             int count) {
  size_t width = 1;
  for (int i = 0; i < count; i++)
    if (strlen(texts[i]) > width) width = strlen(texts[i]);
  REQUIRE(count >= 1 && width <= STRING_LIMIT, STATUS_FAILED,
          "%s: field %s: expected texts of at most %d bytes, "
          "found %zu",
          file->path, name, STRING_LIMIT, width);
  char *packed = calloc((size_t)count, width);
  REQUIRE(packed, STATUS_FAILED, "%s: field %s: out of memory", file->path, name);
  for (int i = 0; i < count; i++) memcpy(packed + (size_t)i * width, texts[i], strlen(texts[i]));
  hid_t type = h5_string_type(width);
  enum status status = h5_write_array(file, name, type, 1, (hsize_t[]){(hsize_t)count}, packed);
  H5Tclose(type);
  free(packed);
  return status;
}

/* The width of a field of fixed-length strings, 0 if it is anything else. */
static size_t string_width(hid_t dataset) {
  hid_t type = H5Dget_type(dataset);
  if (type < 0) return 0;
  bool fixed = H5Tget_class(type) == H5T_STRING && H5Tis_variable_str(type) == 0;
  size_t width = fixed ? H5Tget_size(type) : 0;
  H5Tclose(type);
  return width <= STRING_LIMIT ? width : 0;
}

static enum status unpack(struct h5_file *file, const char *name, const char *packed, size_t width,
                          char **texts, int count) {
  for (int i = 0; i < count; i++)
    REQUIRE((texts[i] = strndup(packed + (size_t)i * width, width)), STATUS_FAILED,
            "%s: field %s: out of memory", file->path, name);
  return STATUS_OK;
}

enum status h5_read_strings(struct h5_file *file, const char *name, char **texts, int count) {
  hsize_t shape[1] = {(hsize_t)count};
  hid_t dataset;
  for (int i = 0; i < count; i++) texts[i] = NULL;
  TRY(open_shaped(file, name, 1, shape, &dataset));
  size_t width = string_width(dataset);
  H5Dclose(dataset);
  REQUIRE(width > 0 && (uint64_t)count <= file->bytes / width, STATUS_FAILED,
          "%s: field %s: expected texts of fixed length inside the file, found something else",
          file->path, name);
  char *packed = malloc(width * (size_t)count);
  REQUIRE(packed, STATUS_FAILED, "%s: field %s: out of memory", file->path, name);
  hid_t type = h5_string_type(width);
  enum status status = h5_read_array(file, name, type, 1, shape, packed);
  H5Tclose(type);
  if (!status) status = unpack(file, name, packed, width, texts, count);
  free(packed);
  return status;
}
