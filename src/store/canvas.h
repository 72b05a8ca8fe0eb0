/* A picture to draw on: 8-bit RGB, the origin at the top left. What lies outside is cut off. */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include "base/status.h"

struct colour {
  uint8_t red, green, blue;
};

struct canvas {
  int width, height;
  uint8_t *pixels; /* rows from the top, 3 bytes each */
};

/* White. */
CHECKED enum status canvas_open(struct canvas *canvas, int width, int height);
/* Accepts a zeroed one. */
void canvas_close(struct canvas *canvas);

/* Puts `share` (0 to 1) of a colour over a pixel. */
void canvas_blend(struct canvas *canvas, int x, int y, struct colour colour, double share);

/* Both corners included, in any order. */
void canvas_rectangle(struct canvas *canvas, int x0, int y0, int x1, int y1, struct colour colour,
                      double share);

/* A line of a pixel's width, smoothed. */
void canvas_line(struct canvas *canvas, double x0, double y0, double x1, double y1,
                 struct colour colour);

void canvas_disc(struct canvas *canvas, double x, double y, double radius, struct colour colour,
                 double share);

enum canvas_anchor { CANVAS_LEFT, CANVAS_MIDDLE, CANVAS_RIGHT };

/* Text whose anchor is at x and whose top is at y; scale: pixels per dot of the font. Upright text
 * runs upwards: its anchor is then along y, its left side at x. */
void canvas_text(struct canvas *canvas, int x, int y, int scale, enum canvas_anchor anchor,
                 bool upright, struct colour colour, const char *text);

/* Width in pixels. */
int canvas_text_width(int scale, const char *text);

/* Gray values (0 to 255, `width` a row) with their top left at x, y, each as scale^2 pixels. */
void canvas_gray(struct canvas *canvas, int x, int y, int width, int height, int scale,
                 const uint8_t *values);
