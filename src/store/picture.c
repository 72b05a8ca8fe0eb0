/* PNG through libpng's simplified interface, which reports errors without longjmp. */
#include "store/picture.h"
#include <png.h>
#include <stdlib.h>
#include "base/file.h"

enum { MOST_PIXELS_PER_SIDE = 1 << 15 };

enum status picture_encode(int width, int height, int channels, const uint8_t *pixels,
                           unsigned char **png, size_t *bytes) {
  REQUIRE(width >= 1 && height >= 1 && width <= MOST_PIXELS_PER_SIDE &&
              height <= MOST_PIXELS_PER_SIDE && (channels == 1 || channels == 3),
          STATUS_FAILED,
          "picture: expected 1 to %d pixels per side and 1 or 3 channels, found %dx%dx%d",
          MOST_PIXELS_PER_SIDE, width, height, channels);
  png_image image = {.version = PNG_IMAGE_VERSION,
                     .width = (png_uint_32)width,
                     .height = (png_uint_32)height,
                     .format = channels == 1 ? PNG_FORMAT_GRAY : PNG_FORMAT_RGB};
  *bytes = PNG_IMAGE_PNG_SIZE_MAX(image);
  *png = malloc(*bytes);
  REQUIRE(*png, STATUS_FAILED, "picture: out of memory for %dx%d pixels", width, height);
  if (png_image_write_to_memory(&image, *png, bytes, 0, pixels, 0, NULL)) return STATUS_OK;
  free(*png);
  *png = NULL;
  FAIL(STATUS_FAILED, "picture: %s", image.message);
}

enum status picture_write(const char *path, int width, int height, int channels,
                          const uint8_t *pixels) {
  unsigned char *png;
  size_t bytes;
  TRY(picture_encode(width, height, channels, pixels, &png, &bytes));
  enum status status = file_replace(path, png, bytes);
  free(png);
  return status;
}
