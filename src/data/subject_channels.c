/* An image's channels, from one file or from one each. */
#include <stdlib.h>
#include <string.h>
#include "data/subject.h"

/* Channel `channel` of the image from its own file. */
static enum status add_channel(const char *path, int channel, const struct volume_policy *policy,
                               struct volume *image) {
  struct volume one;
  TRY(volume_read(&one, path, policy));
  enum status status = subject_check_grid(image, &one, "channel");
  size_t count = volume_count(image);
  if (!status) {
    memcpy(image->values + (size_t)channel * count, one.values, count * sizeof *one.values);
    image->is_integer = image->is_integer && one.is_integer;
    if (one.warnings) volume_warn(image, "channel %d: %s", channel, one.warnings);
  }
  volume_close(&one);
  return status;
}

static enum status add_channels(const struct subject_source *source,
                                const struct volume_policy *policy, struct volume *image) {
  int channels = 1 + source->channel_file_count;
  size_t bytes = volume_count(image) * sizeof *image->values;
  float *longer = realloc(image->values, bytes * (size_t)channels);
  REQUIRE(longer, STATUS_FAILED, "%s: out of memory for %d channels of %zu bytes", source->image,
          channels, bytes);
  image->values = longer;
  for (int c = 1; c < channels; c++)
    TRY(add_channel(source->channel_files[c - 1], c, policy, image));
  image->channels = channels;
  return STATUS_OK;
}

enum status subject_read_image(const struct config *config, const struct subject_source *source,
                               struct volume *image) {
  struct volume_policy policy = subject_policy(config, false);
  int wanted = (int)config->data.channels;
  policy.allow_channels = wanted > 1 && !source->channel_file_count;
  TRY(volume_read(image, source->image, &policy));
  enum status status =
      source->channel_file_count ? add_channels(source, &policy, image) : STATUS_OK;
  if (!status && image->channels != wanted)
    status = status_fail(STATUS_FAILED, __FILE__, __LINE__,
                         "%s: expected %d channels (data.channels), found %d", source->image,
                         wanted, image->channels);
  if (status) volume_close(image);
  return status;
}
