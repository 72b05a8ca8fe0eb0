/* PNG files of 8-bit gray (1 channel) or RGB (3 channels) pixels, rows from the top, channels
 * fastest. */
#pragma once
#include <stddef.h>
#include <stdint.h>
#include "base/status.h"

/* The file's bytes in a new buffer (caller frees). */
CHECKED enum status picture_encode(int width, int height, int channels, const uint8_t *pixels,
                                   unsigned char **png, size_t *bytes);

/* Writes (or replaces) a PNG file. */
CHECKED enum status picture_write(const char *path, int width, int height, int channels,
                                  const uint8_t *pixels);
