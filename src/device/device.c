/* The table of devices and the choice among them. */
#include "device/device.h"
#include <stdio.h>
#include <string.h>
#include "base/log.h"

#define DEVICE(name) extern const struct device_ops device_##name;
#include "device/devices.def"
#undef DEVICE

const struct device_ops *const devices[] = {
#define DEVICE(name) &device_##name,
#include "device/devices.def"
#undef DEVICE
    NULL};

static void list_names(char *text, size_t bytes) {
  size_t used = 0;
  for (int i = 0; devices[i] && used < bytes; i++)
    used +=
        (size_t)snprintf(text + used, bytes - used, "%s\"%s\"", i ? ", " : "", devices[i]->name);
}

enum status device_find(const char *name, const struct device_ops **ops) {
  bool any = strcmp(name, "auto") == 0;
  for (int i = 0; devices[i]; i++) {
    *ops = devices[i];
    if (any ? devices[i]->count(NULL) > 0 : strcmp(name, devices[i]->name) == 0) return STATUS_OK;
  }
  char known[128] = "";
  list_names(known, sizeof known);
  FAIL(STATUS_USAGE, "device: expected \"auto\" or one of this build (%s), found \"%s\"", known,
       name);
}

/* One device of a kind for each rank of the node, in turn where they are shared. */
static enum status open_one(struct device *device, const struct device_ops *ops, int count,
                            int local_rank, int local_size, bool share) {
  REQUIRE(ops->host_memory || share || local_size <= count, STATUS_USAGE,
          "device: %d ranks on this node have %d %s device%s; start as many ranks, or set "
          "share_device = true",
          local_size, count, ops->name, count == 1 ? "" : "s");
  device->ops = ops;
  return ops->open(device, ops->host_memory ? local_rank : local_rank % count);
}

enum status device_open(struct device *device, const char *name, int local_rank, int local_size,
                        bool share, int threads) {
  bool any = strcmp(name, "auto") == 0;
  *device = (struct device){.threads = threads};
  for (int i = 0; devices[i]; i++) {
    if (!any && strcmp(name, devices[i]->name) != 0) continue;
    const char *why = "";
    int count = devices[i]->count(&why);
    if (count > 0) return open_one(device, devices[i], count, local_rank, local_size, share);
    REQUIRE(any, STATUS_USAGE, "device: there is no %s device here: %s", name, why);
    if (local_rank == 0) log_info("no %s device (%s): using the next one", devices[i]->name, why);
  }
  const struct device_ops *ops;
  return device_find(name, &ops);
}

void device_close(struct device *device) {
  if (device->ops) device->ops->close(device);
  *device = (struct device){0};
}

enum status device_copy(struct device *device, void *to, const void *from, size_t bytes) {
  struct stream stream = {.device = device};
  TRY(device->ops->copy(&stream, to, from, bytes));
  return device->ops->synchronize(&stream);
}
