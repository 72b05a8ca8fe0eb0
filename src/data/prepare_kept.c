/* Volumes between the survey and their way into a shard. What has been read and checked is kept, as
 * far as memory goes, so that no file is unpacked twice. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include "data/prepare_parts.h"

/* Of what is free when the survey begins, this part is kept at most. */
enum { PARTS = 3 };

/* What the kernel says can be had without swapping, in bytes; 0 when it says nothing. */
static size_t available(void) {
  FILE *in = fopen("/proc/meminfo", "re");
  unsigned long long kilobytes = 0;
  char line[256];
  while (in && fgets(line, sizeof line, in))
    if (sscanf(line, "MemAvailable: %llu kB", &kilobytes) == 1) break;
  if (in) fclose(in);
  return (size_t)kilobytes << 10;
}

/* Ranks of one node, as far as can be known here: all of them. */
void prepare_find_room(struct preparation *preparation) {
  int ranks = preparation->team->size;
  if (preparation->team->parallel) {
    MPI_Comm node;
    MPI_Comm_split_type(preparation->team->communicator, MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL,
                        &node);
    MPI_Comm_size(node, &ranks);
    MPI_Comm_free(&node);
  }
  preparation->room = available() / PARTS / (size_t)ranks;
}

static size_t size_of(const struct subject_volumes *volumes) {
  size_t image = volume_count(&volumes->image) * (size_t)volumes->image.channels;
  return (image + (volumes->label.values ? volume_count(&volumes->label) : 0)) * sizeof(float);
}

void prepare_keep(struct preparation *preparation, struct survey_record *record,
                  struct subject_volumes *volumes) {
  size_t bytes = size_of(volumes);
  bool fits = false;
#pragma omp critical(prepare_kept)
  if (bytes <= preparation->room) {
    preparation->room -= bytes;
    fits = true;
  }
  if (!fits) {
    subject_close(volumes);
    return;
  }
  record->kept = *volumes;
  *volumes = (struct subject_volumes){0};
}

enum status prepare_take(const struct preparation *preparation, int source,
                         struct subject_volumes *volumes) {
  struct subject_volumes *kept = &preparation->records[source].kept;
  if (!kept->image.values)
    return subject_read(preparation->config, &preparation->sources[source], volumes);
  *volumes = *kept;
  *kept = (struct subject_volumes){0};
  return STATUS_OK;
}

void prepare_forget(struct preparation *preparation) {
  for (int i = 0; preparation->records && i < preparation->source_count; i++)
    subject_close(&preparation->records[i].kept);
  volume_forget_memory();
}
