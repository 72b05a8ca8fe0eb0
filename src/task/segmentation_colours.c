/* Colour tables. */
#include "task/segmentation_colours.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/file.h"

static uint8_t channel_of(double hue, double saturation, double value, double shift) {
  double place = fmod(hue * 6 + shift, 6);
  double ramp = fmin(fmax(fmin(place, 4 - place), 0), 1);
  return (uint8_t)lrint(255 * (value - value * saturation * ramp));
}

/* Multiples of the plastic number's inverse square go around the circle of hues without coming near
 * each other soon; strength changes with every class. Chosen by trial: of 255 colours two within 11
 * differ by at least 89 (sum over red, green and blue), of the first 120 two within 59 by 37. */
struct colour segmentation_colour(int class) {
  static const double saturations[] = {0.90, 0.60}, values[] = {0.95, 0.80, 0.62};
  if (class <= 0) return (struct colour){0, 0, 0};
  double hue = fmod((class - 1) * 0.56984029099805327, 1);
  double saturation = saturations[(class - 1) % 2], value = values[(class - 1) % 3];
  return (struct colour){channel_of(hue, saturation, value, 5),
                         channel_of(hue, saturation, value, 3),
                         channel_of(hue, saturation, value, 1)};
}

static const char snap_head[] =
    "################################################\n"
    "# ITK-SnAP Label Description File\n"
    "# File format: \n"
    "# IDX   -R-  -G-  -B-  -A--  VIS MSH  LABEL\n"
    "# Fields: \n"
    "#    IDX:   Zero-based index \n"
    "#    -R-:   Red color component (0..255)\n"
    "#    -G-:   Green color component (0..255)\n"
    "#    -B-:   Blue color component (0..255)\n"
    "#    -A-:   Label transparency (0.00 .. 1.00)\n"
    "#    VIS:   Label visibility (0 or 1)\n"
    "#    MSH:   Label mesh visibility (0 or 1)\n"
    "#  LABEL:   Label description \n"
    "################################################\n"
    "    0     0    0    0        0  0  0    \"Clear Label\"\n";

/* A name without what would end its field. */
static void print_name(FILE *out, const char *name, bool spaces) {
  for (; *name; name++) {
    bool odd = *name == '"' || (unsigned char)*name < ' ' || (*name == ' ' && !spaces);
    fputc(odd ? '_' : *name, out);
  }
}

static long long value_of(const struct segmentation_legend *legend, int i) {
  return i < legend->value_count ? (long long)legend->values[i] : i + 1;
}

static void print_slicer(FILE *out, const struct segmentation_legend *legend) {
  fprintf(out, "# 3D Slicer color table\n# %d values\n0 Background 0 0 0 0\n", legend->count + 1);
  for (int i = 0; i < legend->count; i++) {
    struct colour colour = segmentation_colour(i + 1);
    fprintf(out, "%lld ", value_of(legend, i));
    print_name(out, legend->names[i], false);
    fprintf(out, " %d %d %d 255\n", colour.red, colour.green, colour.blue);
  }
}

static void print_snap(FILE *out, const struct segmentation_legend *legend) {
  fputs(snap_head, out);
  for (int i = 0; i < legend->count; i++) {
    struct colour colour = segmentation_colour(i + 1);
    fprintf(out, "%5lld %5d %4d %4d        1  1  1    \"", value_of(legend, i), colour.red,
            colour.green, colour.blue);
    print_name(out, legend->names[i], true);
    fputs("\"\n", out);
  }
}

static enum status write_table(const char *path, const struct segmentation_legend *legend,
                               void (*print)(FILE *, const struct segmentation_legend *)) {
  size_t bytes;
  char *text = NULL;
  FILE *out = open_memstream(&text, &bytes);
  REQUIRE(out, STATUS_FAILED, "%s: out of memory", path);
  print(out, legend);
  enum status status =
      fclose(out) == 0 ? file_replace(path, text, bytes)
                       : status_fail(STATUS_FAILED, __FILE__, __LINE__, "%s: out of memory", path);
  free(text);
  return status;
}

enum status segmentation_write_colours(const char *label_map,
                                       const struct segmentation_legend *legend) {
  const char *suffix = strstr(label_map, ".nii");
  for (const char *next = suffix; next; next = strstr(next + 1, ".nii")) suffix = next;
  int stem = suffix ? (int)(suffix - label_map) : (int)strlen(label_map);
  char *slicer = file_format("%.*s.ctbl", stem, label_map);
  char *snap = file_format("%.*s.txt", stem, label_map);
  enum status status = slicer && snap ? write_table(slicer, legend, print_slicer)
                                      : status_fail(STATUS_FAILED, __FILE__, __LINE__,
                                                    "%s: out of memory", label_map);
  if (!status) status = write_table(snap, legend, print_snap);
  free(slicer);
  free(snap);
  return status;
}
