/* A font of 5x8 dots for the labels of charts. */
#pragma once
#include <stdint.h>

enum { FONT_WIDTH = 5, FONT_HEIGHT = 8, FONT_STEP = 6 /* from letter to letter */ };

/* The columns of an ASCII letter, left to right, the lowest bit on top; others than ASCII show as
 * '?'. */
const uint8_t *font_glyph(char letter);
