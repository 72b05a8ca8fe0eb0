/* Memory for volumes. Private to the volume room. */
#pragma once
#include <stddef.h>
#include "volume/volume.h"

/* As malloc, freed by free(); large pieces on huge pages where the system gives them, since a
 * volume's first touch costs as much as reading it. */
void *memory_large(size_t bytes);

/* As free, of anything malloc or memory_large gave; what is large is kept for the next memory_large
 * until volume_forget_memory. Any thread may call these. */
void memory_return(void *memory);

/* As volume_create, but the values are not set. */
CHECKED enum status volume_allocate(struct volume *volume, const struct grid *grid, int channels);
