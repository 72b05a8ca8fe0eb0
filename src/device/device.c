/* The table of devices and the choice among them. */
#include "device/device.h"
#include <stdio.h>
#include <string.h>

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

enum status device_open(struct device *device, const char *name, int local_rank, int threads) {
  *device = (struct device){.threads = threads};
  for (int i = 0; devices[i]; i++) {
    if (strcmp(name, "auto") != 0 && strcmp(name, devices[i]->name) != 0) continue;
    device->ops = devices[i];
    TRY(device->ops->open(device, local_rank));
    return STATUS_OK;
  }
  char known[128] = "";
  list_names(known, sizeof known);
  FAIL(STATUS_USAGE, "device: expected \"auto\" or one of this build (%s), found \"%s\"", known,
       name);
}

void device_close(struct device *device) {
  if (device->ops) device->ops->close(device);
  *device = (struct device){0};
}
