/* The template head: shapes painted one over another, each the inside of a function that is about
 * the distance to its surface. */
#include <math.h>
#include <stddef.h>
#include <string.h>
#include "volume/phantom.h"
#include "volume/phantom_parts.h"

const double tissue_levels[TISSUE_COUNT] = {
    [TISSUE_AIR] = 0.0,      [TISSUE_SCALP] = 0.80,     [TISSUE_SKULL] = 0.10,
    [TISSUE_MUSCLE] = 0.42,  [TISSUE_FLUID] = 0.22,     [TISSUE_GRAY] = 0.62,
    [TISSUE_WHITE] = 1.0,    [TISSUE_THALAMUS] = 0.78,  [TISSUE_PUTAMEN] = 0.72,
    [TISSUE_CAUDATE] = 0.66, [TISSUE_HINDBRAIN] = 0.70,
};

/* Ordered so that few labels are the most telling ones. */
static const char *const label_names[PHANTOM_LABELS + 1] = {
    "background",
    "gray matter",
    "white matter",
    "left lateral ventricle",
    "right lateral ventricle",
    "left thalamus",
    "right thalamus",
    "left putamen",
    "right putamen",
    "left caudate",
    "right caudate",
    "cerebrospinal fluid",
    "cerebellum and brainstem",
};

struct shape {
  int label; /* 0: not labelled, hides what is below */
  enum tissue tissue;
  double (*inside)(const struct shape *shape, const double point[3]); /* positive inside */
  double centre[3], radius[3];
  double tilt; /* radians about x, front end upwards */
};

static double inside_ellipsoid(const struct shape *shape, const double point[3]) {
  double x = point[0] - shape->centre[0], y = point[1] - shape->centre[1],
         z = point[2] - shape->centre[2];
  double along = y, across = z;
  if (shape->tilt != 0) {
    along = y * cos(shape->tilt) + z * sin(shape->tilt);
    across = z * cos(shape->tilt) - y * sin(shape->tilt);
  }
  double a = x / shape->radius[0], b = along / shape->radius[1], c = across / shape->radius[2];
  double least = fmin(shape->radius[0], fmin(shape->radius[1], shape->radius[2]));
  return (1 - sqrt(a * a + b * b + c * c)) * least;
}

/* Distance from the nearest sulcus: a gyroid's zero surface, bent so that it does not repeat, and
 * the same on both sides. */
static double distance_to_sulcus(const double point[3]) {
  const double x = fabs(point[0]), y = point[1], z = point[2];
  const double a = 11 * (x + 0.06 * sin(6 * y + 1)), b = 11 * (y + 0.06 * sin(5 * z + 2)),
               c = 11 * (z + 0.06 * sin(7 * x));
  return fabs(sin(a) * cos(b) + sin(b) * cos(c) + sin(c) * cos(a)) / 11;
}

/* The cleft between the hemispheres, above and around the bridge of white matter. */
static double outside_fissure(const double point[3]) {
  double bridge = hypot(point[1] / 0.50, (point[2] - 0.05) / 0.30) - 1;
  return fmax(fabs(point[0]) - 0.022, -0.3 * bridge);
}

static double inside_cerebrum(const struct shape *shape, const double point[3]) {
  return fmin(inside_ellipsoid(shape, point), outside_fissure(point));
}

static double fold(double distance, double width) {
  return exp(-(distance / width) * (distance / width));
}

static double inside_gray(const struct shape *shape, const double point[3]) {
  double depth = inside_cerebrum(shape, point);
  return depth < 0 ? depth : depth - 0.10 * fold(distance_to_sulcus(point), 0.018);
}

static double inside_white(const struct shape *shape, const double point[3]) {
  double depth = inside_cerebrum(shape, point) - 0.065;
  return depth < 0 ? depth : depth - 0.14 * fold(distance_to_sulcus(point), 0.055);
}

#define CEREBRUM {0, 0.02, 0.10}, {0.68, 0.82, 0.68}, 0

/* Later shapes cover earlier ones. The right side is a little larger than the left. */
static const struct shape shapes[] = {
    {0, TISSUE_SCALP, inside_ellipsoid, {0, 0, 0}, {0.84, 0.95, 0.92}, 0},
    {0, TISSUE_SKULL, inside_ellipsoid, {0, 0, 0.005}, {0.785, 0.895, 0.87}, 0},
    {0, TISSUE_MUSCLE, inside_ellipsoid, {0, 0.02, -0.56}, {0.50, 0.66, 0.29}, 0},
    {11, TISSUE_FLUID, inside_ellipsoid, {0, 0.01, 0.075}, {0.725, 0.84, 0.745}, 0},
    {12, TISSUE_HINDBRAIN, inside_ellipsoid, {-0.21, -0.38, -0.45}, {0.27, 0.26, 0.16}, 0.3},
    {12, TISSUE_HINDBRAIN, inside_ellipsoid, {0.22, -0.38, -0.45}, {0.28, 0.27, 0.165}, 0.3},
    {1, TISSUE_GRAY, inside_gray, CEREBRUM},
    {2, TISSUE_WHITE, inside_white, CEREBRUM},
    {12, TISSUE_HINDBRAIN, inside_ellipsoid, {0, -0.14, -0.46}, {0.11, 0.13, 0.28}, 0.2},
    {3, TISSUE_FLUID, inside_ellipsoid, {-0.13, 0.07, 0.16}, {0.085, 0.32, 0.105}, 0.1},
    {4, TISSUE_FLUID, inside_ellipsoid, {0.13, 0.07, 0.16}, {0.09, 0.34, 0.11}, 0.1},
    {3, TISSUE_FLUID, inside_ellipsoid, {-0.20, -0.26, 0.09}, {0.085, 0.22, 0.12}, 0.5},
    {4, TISSUE_FLUID, inside_ellipsoid, {0.205, -0.27, 0.09}, {0.09, 0.23, 0.125}, 0.5},
    {5, TISSUE_THALAMUS, inside_ellipsoid, {-0.155, -0.07, -0.09}, {0.125, 0.18, 0.125}, 0},
    {6, TISSUE_THALAMUS, inside_ellipsoid, {0.16, -0.07, -0.09}, {0.13, 0.19, 0.13}, 0},
    {7, TISSUE_PUTAMEN, inside_ellipsoid, {-0.38, 0.08, -0.05}, {0.09, 0.24, 0.15}, 0.1},
    {8, TISSUE_PUTAMEN, inside_ellipsoid, {0.385, 0.08, -0.05}, {0.095, 0.25, 0.155}, 0.1},
    {9, TISSUE_CAUDATE, inside_ellipsoid, {-0.28, 0.24, 0.14}, {0.085, 0.19, 0.12}, 0.2},
    {10, TISSUE_CAUDATE, inside_ellipsoid, {0.285, 0.24, 0.14}, {0.09, 0.20, 0.125}, 0.2},
};

const char *anatomy_label_name(int label) {
  return label >= 0 && label <= PHANTOM_LABELS ? label_names[label] : NULL;
}

struct anatomy anatomy_at(const double point[3], double width, const double levels[TISSUE_COUNT],
                          int labels) {
  struct anatomy anatomy = {.intensity = levels[TISSUE_AIR]};
  for (size_t n = 0; n < sizeof shapes / sizeof *shapes; n++) {
    const struct shape *shape = &shapes[n];
    double depth = shape->inside(shape, point);
    double coverage = fmin(fmax(0.5 + depth / width, 0), 1);
    anatomy.intensity += coverage * (levels[shape->tissue] - anatomy.intensity);
    if (depth > 0 && shape->label <= labels) anatomy.label = shape->label;
    if (n == 0 && depth < -width) break; /* air: nothing is outside the scalp */
  }
  return anatomy;
}
