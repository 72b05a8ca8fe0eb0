/* The small fields of a shard, one line each, and its arrays: written, read and shown by the master
 * through these tables. */
#pragma once
#include "data/h5.h"
#include "data/shard.h"

struct shard_field {
  const char *name;
  size_t offset, bytes;                       /* of the member of struct shard_subject */
  hid_t (*type)(void);                        /* native element type; NULL: a string */
  int axes, shape[2];                         /* per subject */
  bool optional;                              /* shards of earlier versions have none */
  bool (*present)(const struct shard *shard); /* NULL: all shards have it */
};

extern const struct shard_field shard_fields[];
extern const int shard_field_count;

enum { SHARD_AXES = 5 };

/* The native element type of an array. */
hid_t shard_array_type(enum shard_array array);

size_t shard_array_element(enum shard_array array);

/* [subjects] followed by the array's own shape; returns the number of axes, 0 when the shard has no
 * such array. */
int shard_array_shape(const struct shard *shard, enum shard_array array, int subjects,
                      hsize_t shape[SHARD_AXES]);

/* Whether the shard should have the field. */
bool shard_field_present(const struct shard_field *field, const struct shard *shard);

/* [subjects] followed by the field's own shape; returns the number of axes. */
int shard_field_shape(const struct shard_field *field, int subjects, hsize_t shape[3]);

/* The member of subject `row`. */
void *shard_field_at(const struct shard_field *field, const struct shard *shard, int row);

/* The string member of subject `row`. */
char **shard_field_text(const struct shard_field *field, const struct shard *shard, int row);
