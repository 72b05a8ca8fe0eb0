/* Drawing into pixels. */
#include "store/canvas.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "store/font.h"

enum { MOST_PIXELS_PER_SIDE = 1 << 14 };

enum status canvas_open(struct canvas *canvas, int width, int height) {
  *canvas = (struct canvas){0};
  REQUIRE(
      width > 0 && height > 0 && width <= MOST_PIXELS_PER_SIDE && height <= MOST_PIXELS_PER_SIDE,
      STATUS_FAILED, "picture: expected 1 to %d pixels per side, found %dx%d", MOST_PIXELS_PER_SIDE,
      width, height);
  size_t bytes = (size_t)width * (size_t)height * 3;
  uint8_t *pixels = malloc(bytes);
  REQUIRE(pixels, STATUS_FAILED, "picture: out of memory for %dx%d pixels", width, height);
  memset(pixels, 255, bytes);
  *canvas = (struct canvas){width, height, pixels};
  return STATUS_OK;
}

void canvas_close(struct canvas *canvas) {
  free(canvas->pixels);
  *canvas = (struct canvas){0};
}

static uint8_t mix(uint8_t below, uint8_t above, double share) {
  return (uint8_t)(below + (above - below) * share + 0.5);
}

void canvas_blend(struct canvas *canvas, int x, int y, struct colour colour, double share) {
  if (x < 0 || y < 0 || x >= canvas->width || y >= canvas->height || !(share > 0)) return;
  if (share > 1) share = 1;
  uint8_t *pixel = canvas->pixels + 3 * ((size_t)y * (size_t)canvas->width + (size_t)x);
  pixel[0] = mix(pixel[0], colour.red, share);
  pixel[1] = mix(pixel[1], colour.green, share);
  pixel[2] = mix(pixel[2], colour.blue, share);
}

static void sort_two(int *low, int *high) {
  if (*low <= *high) return;
  int other = *low;
  *low = *high;
  *high = other;
}

void canvas_rectangle(struct canvas *canvas, int x0, int y0, int x1, int y1, struct colour colour,
                      double share) {
  sort_two(&x0, &x1);
  sort_two(&y0, &y1);
  for (int y = y0 < 0 ? 0 : y0; y <= y1 && y < canvas->height; y++)
    for (int x = x0 < 0 ? 0 : x0; x <= x1 && x < canvas->width; x++)
      canvas_blend(canvas, x, y, colour, share);
}

/* Two pixels across the line share its colour at every step along it (Wu 1991). */
void canvas_line(struct canvas *canvas, double x0, double y0, double x1, double y1,
                 struct colour colour) {
  double along_x = x1 - x0, along_y = y1 - y0;
  int steps = (int)ceil(fmin(fmax(fabs(along_x), fabs(along_y)), 4.0 * MOST_PIXELS_PER_SIDE));
  bool steep = fabs(along_y) > fabs(along_x);
  for (int i = 0; i <= steps; i++) {
    double part = steps ? (double)i / steps : 0;
    double x = x0 + part * along_x, y = y0 + part * along_y, across = steep ? x : y;
    double below = floor(across), share = across - below;
    int first = (int)below, other = (int)floor((steep ? y : x) + 0.5);
    canvas_blend(canvas, steep ? first : other, steep ? other : first, colour, 1 - share);
    canvas_blend(canvas, steep ? first + 1 : other, steep ? other : first + 1, colour, share);
  }
}

void canvas_disc(struct canvas *canvas, double x, double y, double radius, struct colour colour,
                 double share) {
  for (int j = (int)floor(y - radius - 1); j <= y + radius + 1; j++)
    for (int i = (int)floor(x - radius - 1); i <= x + radius + 1; i++) {
      double inside = radius + 0.5 - hypot(i - x, j - y);
      canvas_blend(canvas, i, j, colour, share * fmin(inside, 1));
    }
}

int canvas_text_width(int scale, const char *text) {
  int letters = (int)strlen(text);
  return letters ? (letters * FONT_STEP - 1) * scale : 0;
}

static void draw_letter(struct canvas *canvas, int x, int y, int scale, bool upright,
                        struct colour colour, const uint8_t *glyph) {
  for (int column = 0; column < FONT_WIDTH; column++)
    for (int row = 0; row < FONT_HEIGHT; row++) {
      if (!(glyph[column] >> row & 1)) continue;
      int left = upright ? x + row * scale : x + column * scale;
      int top = upright ? y - (column + 1) * scale + 1 : y + row * scale;
      canvas_rectangle(canvas, left, top, left + scale - 1, top + scale - 1, colour, 1);
    }
}

void canvas_text(struct canvas *canvas, int x, int y, int scale, enum canvas_anchor anchor,
                 bool upright, struct colour colour, const char *text) {
  int width = canvas_text_width(scale, text);
  int before = anchor == CANVAS_LEFT ? 0 : anchor == CANVAS_MIDDLE ? width / 2 : width;
  if (upright)
    y += before;
  else
    x -= before;
  for (; *text; text++) {
    draw_letter(canvas, x, y, scale, upright, colour, font_glyph(*text));
    if (upright)
      y -= FONT_STEP * scale;
    else
      x += FONT_STEP * scale;
  }
}

void canvas_gray(struct canvas *canvas, int x, int y, int width, int height, int scale,
                 const uint8_t *values) {
  for (int row = 0; row < height; row++)
    for (int column = 0; column < width; column++) {
      uint8_t value = values[(size_t)row * (size_t)width + (size_t)column];
      int left = x + column * scale, top = y + row * scale;
      canvas_rectangle(canvas, left, top, left + scale - 1, top + scale - 1,
                       (struct colour){value, value, value}, 1);
    }
}
