/* pick_labels LABELS MASK VALUE...: a mask that is 1 where the label map has one of these values.
 * For tests that need masks of structures. */
#include <stdio.h>
#include <stdlib.h>
#include "volume/volume.h"

static float is_picked(float label, int count, char **values) {
  for (int i = 0; i < count; i++)
    if (label == strtof(values[i], NULL)) return 1;
  return 0;
}

static enum status pick(const char *from, const char *to, int count, char **values) {
  const struct volume_policy policy = {.labels = true};
  const struct volume_format format = {.type = VOLUME_UINT8};
  struct volume volume;
  TRY(volume_read(&volume, from, &policy));
  size_t voxels = volume_count(&volume);
  for (size_t i = 0; i < voxels; i++) volume.values[i] = is_picked(volume.values[i], count, values);
  enum status status = volume_write(&volume, to, &format);
  volume_close(&volume);
  return status;
}

int main(int count, char **words) {
  if (count < 4) return EXIT_FAILURE;
  if (!pick(words[1], words[2], count - 3, words + 3)) return EXIT_SUCCESS;
  fprintf(stderr, "%s\n", status_message());
  return EXIT_FAILURE;
}
