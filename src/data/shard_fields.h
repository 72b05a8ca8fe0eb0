/* The small fields of a shard, one line each: written, read and shown by the master through this
 * table. */
#pragma once
#include "data/h5.h"
#include "data/shard.h"

struct shard_field {
  const char *name;
  size_t offset, bytes; /* of the member of struct shard_subject */
  hid_t (*type)(void);  /* native element type; NULL: a string */
  int axes, shape[2];   /* per subject */
  bool optional;        /* shards of earlier versions have none */
};

extern const struct shard_field shard_fields[];
extern const int shard_field_count;

hid_t shard_type_float(void);
hid_t shard_type_byte(void);

/* [subjects] followed by the field's own shape; returns the number of axes. */
int shard_field_shape(const struct shard_field *field, int subjects, hsize_t shape[3]);

/* The member of subject `row`. */
void *shard_field_at(const struct shard_field *field, const struct shard *shard, int row);

/* The string member of subject `row`. */
char **shard_field_text(const struct shard_field *field, const struct shard *shard, int row);
