/* Surfel areas by construction: border polygons on the faces of a cell, then their triangulation.
 */
#include "metrics/surfel.h"
#include <math.h>
#include <stdbool.h>

enum { EDGES = 24, POLYGON = 12, NONE = -1 };

/* The edge between two neighbouring corners: 8 times its axis, plus the lower corner. */
static int edge_between(int a, int b) {
  int axis = (a ^ b) == 4 ? 0 : (a ^ b) == 2 ? 1 : 2;
  return 8 * axis + (a & b);
}

static void edge_middle(int edge, double point[3]) {
  for (int axis = 0; axis < 3; axis++)
    point[axis] = (edge & 7) >> (2 - axis) & 1 ? 1.0 : edge / 8 == axis ? 0.5 : 0.0;
}

/* The corners of a face, turning the same way on all six when seen from outside. */
static void face_corners(int face, int corner[4]) {
  int axis = face / 2, side = face % 2;
  int first = 4 >> (axis + 1) % 3, second = 4 >> (axis + 2) % 3, base = side ? 4 >> axis : 0;
  corner[0] = base;
  corner[1] = base | (side ? first : second);
  corner[2] = base | first | second;
  corner[3] = base | (side ? second : first);
}

/* On one face: a segment around each run of inside corners; next[e] is the edge where the segment
 * that starts at edge e ends. */
static void link_face(int face, int code, int next[EDGES]) {
  int corner[4];
  face_corners(face, corner);
  for (int start = 0; start < 4; start++) {
    int before = corner[(start + 3) % 4], last = start;
    if (!(code >> corner[start] & 1) || code >> before & 1) continue;
    while (code >> corner[(last + 1) % 4] & 1) last++;
    next[edge_between(before, corner[start])] =
        edge_between(corner[last % 4], corner[(last + 1) % 4]);
  }
}

static double triangle_area(const double a[3], const double b[3], const double c[3],
                            const double spacing[3]) {
  double u[3], v[3], sum = 0;
  for (int i = 0; i < 3; i++) {
    u[i] = (b[i] - a[i]) * spacing[i];
    v[i] = (c[i] - a[i]) * spacing[i];
  }
  for (int i = 0; i < 3; i++) {
    int j = (i + 1) % 3, k = (i + 2) % 3;
    double normal = u[j] * v[k] - u[k] * v[j];
    sum += normal * normal;
  }
  return sqrt(sum) / 2;
}

struct area {
  double unit, scaled;
};

/* The part of a polygon on one side of its diagonal from point i to point j. */
static struct area polygon_part(double point[][3], int i, int j, const double spacing[3]) {
  static const double one[3] = {1, 1, 1};
  struct area best = {0, 0};
  for (int k = i + 1; k < j; k++) {
    struct area left = polygon_part(point, i, k, spacing);
    struct area right = polygon_part(point, k, j, spacing);
    double unit = left.unit + right.unit + triangle_area(point[i], point[k], point[j], one);
    if (unit <= best.unit + 1e-9) continue;
    double own = triangle_area(point[i], point[k], point[j], spacing);
    best = (struct area){unit, left.scaled + right.scaled + own};
  }
  return best;
}

/* Takes the polygon through edge `first` out of `next`. */
static double take_polygon(int next[EDGES], int first, const double spacing[3]) {
  double point[POLYGON][3];
  int count = 0;
  for (int edge = first; next[edge] != NONE && count < POLYGON;) {
    int following = next[edge];
    edge_middle(edge, point[count++]);
    next[edge] = NONE;
    edge = following;
  }
  return polygon_part(point, 0, count - 1, spacing).scaled;
}

static double code_area(int code, const double spacing[3]) {
  int next[EDGES];
  double area = 0;
  for (int edge = 0; edge < EDGES; edge++) next[edge] = NONE;
  for (int face = 0; face < 6; face++) link_face(face, code, next);
  for (int edge = 0; edge < EDGES; edge++)
    if (next[edge] != NONE) area += take_polygon(next, edge, spacing);
  return area;
}

void metrics_surfel_areas(const double spacing[3], double area[256]) {
  for (int code = 0; code < 256; code++) {
    bool mostly_inside = __builtin_popcount((unsigned)code) > 4;
    area[code] =
        code == 0 || code == 255 ? 0 : code_area(mostly_inside ? 255 - code : code, spacing);
  }
}
