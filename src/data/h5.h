/* HDF5 at arm's length: small arrays, strings and attributes written and read with every type and
 * shape checked, and HDF5's error stack translated into our messages. The library is not
 * thread-safe: one thread at a time may call this. In a file opened for several ranks all of them
 * make the same calls with the same values; rank 0's values are written. */
#pragma once
#include <hdf5.h>
#include <mpi.h>
#include <stdbool.h>
#include <stdint.h>
#include "base/status.h"

struct h5_file {
  hid_t id;         /* < 0 when closed */
  const char *path; /* borrowed; for messages */
  bool writes;      /* this rank writes the values of small arrays */
  uint64_t bytes;   /* of the file, when it was opened for reading */
};

/* What HDF5 last complained about, for messages: " (HDF5: ...)" or "". Valid until the next call.
 */
const char *h5_reason(void);

/* Read-only and without file locks (shards are never changed in place). */
CHECKED enum status h5_open(struct h5_file *file, const char *path);

/* Creates a file, replacing what is there. communicator NULL: by this process alone; else
 * Collective, through MPI-IO. Large arrays are aligned to 4096 bytes. */
CHECKED enum status h5_create(struct h5_file *file, const char *path, const MPI_Comm *communicator);

/* Flushes and closes a written file. Collective where h5_create was. */
CHECKED enum status h5_finish(struct h5_file *file);

/* Closes without complaint. Accepts a closed one. */
void h5_close(struct h5_file *file);

/* A whole array of a native type: rank extents in shape. */
CHECKED enum status h5_write_array(struct h5_file *file, const char *name, hid_t type, int rank,
                                   const hsize_t *shape, const void *values);

/* Reads a whole array of that shape; numbers are converted to `type` (of the same class). Arrays
 * that claim more bytes than the file has are refused. */
CHECKED enum status h5_read_array(struct h5_file *file, const char *name, hid_t type, int rank,
                                  const hsize_t *shape, void *values);

/* The type of UTF-8 strings of at most `bytes` (>= 1) bytes; H5Tclose it. */
hid_t h5_string_type(size_t bytes);

/* Fixed-length UTF-8 strings, as wide as the longest. */
CHECKED enum status h5_write_strings(struct h5_file *file, const char *name,
                                     const char *const *texts, int count);

/* texts[0..count), each a new string (caller frees each, also after a failure: unread ones are
 * NULL). */
CHECKED enum status h5_read_strings(struct h5_file *file, const char *name, char **texts,
                                    int count);

CHECKED enum status h5_write_numbers(struct h5_file *file, const char *attribute,
                                     const int64_t *values, int count);
/* A new array of 1..limit numbers (caller frees). */
CHECKED enum status h5_read_numbers(struct h5_file *file, const char *attribute, int limit,
                                    int64_t **values, int *count);
/* One number in [low, high]. */
CHECKED enum status h5_read_number(struct h5_file *file, const char *attribute, int64_t low,
                                   int64_t high, int64_t *value);
CHECKED enum status h5_write_text(struct h5_file *file, const char *attribute, const char *text);
/* A new string (caller frees). */
CHECKED enum status h5_read_text(struct h5_file *file, const char *attribute, char **text);

bool h5_has_attribute(struct h5_file *file, const char *attribute);
bool h5_has_field(struct h5_file *file, const char *name);

/* Opens a data set and its space's shape, checking the number of axes; `type` is its native type
 * unless H5I_INVALID_HID. Close *dataset with H5Dclose. */
CHECKED enum status h5_open_field(struct h5_file *file, const char *name, hid_t type, int rank,
                                  hsize_t *shape, hid_t *dataset);
