/* A subject's deformation: B-spline noise of two scales, exponentiated. */
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include "base/random.h"
#include "volume/phantom_parts.h"

enum { NODES = 48, SQUARINGS = 6, SCALES = 2 };

static const struct {
  int cells;     /* B-spline intervals across the field of view */
  double weight; /* of this scale in the velocity */
} scales[SCALES] = {{4, 1.0}, {8, 0.5}};

static size_t node_count(void) {
  return (size_t)NODES * NODES * NODES;
}

static double coordinate_of(int node) {
  return 2.0 * node / (NODES - 1) - 1;
}

/* The four cubic B-spline weights at `t` in 0..1 of an interval. */
static void spline_weights(double t, double weight[4]) {
  weight[0] = (1 - t) * (1 - t) * (1 - t) / 6;
  weight[1] = (3 * t * t * t - 6 * t * t + 4) / 6;
  weight[2] = (-3 * t * t * t + 3 * t * t + 3 * t + 1) / 6;
  weight[3] = t * t * t / 6;
}

struct basis {
  int first;
  double weight[4];
};

static struct basis basis_at(int node, int cells) {
  double place = 0.5 * (coordinate_of(node) + 1) * cells;
  int first = place < cells ? (int)place : cells - 1;
  struct basis basis = {.first = first};
  spline_weights(place - first, basis.weight);
  return basis;
}

/* One axis of the tensor product: [count][from][tail] controls -> [count][NODES][tail] values. */
static void spread(const double *controls, double *values, int count, int cells, int tail) {
  for (int n = 0; n < count; n++)
    for (int node = 0; node < NODES; node++) {
      struct basis basis = basis_at(node, cells);
      const double *from = controls + ((ptrdiff_t)n * (cells + 3) + basis.first) * tail;
      double *to = values + ((ptrdiff_t)n * NODES + node) * tail;
      for (int e = 0; e < tail; e++) {
        double sum = 0;
        for (int w = 0; w < 4; w++) sum += basis.weight[w] * from[w * tail + e];
        to[e] = sum;
      }
    }
}

/* Adds one scale of noise to the field. `room` holds two arrays of the field's size. */
static void add_scale(double (*shift)[3], double *room, int scale, struct random *random) {
  int cells = scales[scale].cells, controls = cells + 3;
  double *a = room, *b = room + 3 * node_count();
  for (int n = 0; n < controls * controls * controls * 3; n++)
    a[n] = scales[scale].weight * random_normal(random);
  spread(a, b, controls * controls, cells, 3);
  spread(b, a, controls, cells, NODES * 3);
  spread(a, b, 1, cells, NODES * NODES * 3);
  for (size_t n = 0; n < node_count(); n++)
    for (int c = 0; c < 3; c++) shift[n][c] += b[3 * n + (size_t)c];
}

/* 0 at the border of the field of view, flat inside. */
static double window_at(int node) {
  double u = coordinate_of(node);
  return 1 - u * u * u * u;
}

/* Fades the field out at the border and gives it the wanted root mean square. */
static void shape_velocity(double (*shift)[3], double amplitude) {
  double sum = 0;
  size_t n = 0;
  for (int i = 0; i < NODES; i++)
    for (int j = 0; j < NODES; j++)
      for (int k = 0; k < NODES; k++, n++)
        for (int c = 0; c < 3; c++) {
          shift[n][c] *= window_at(i) * window_at(j) * window_at(k);
          sum += shift[n][c] * shift[n][c];
        }
  double scale = sum > 0 ? amplitude / sqrt(sum / (double)n) : 0;
  for (n = 0; n < node_count(); n++)
    for (int c = 0; c < 3; c++) shift[n][c] *= scale;
}

void deformation_apply(const struct deformation *deformation, const double point[3],
                       double result[3]) {
  const int stride[3] = {NODES * NODES, NODES, 1};
  double weight[3], shift[3] = {0};
  int base = 0;
  for (int a = 0; a < 3; a++) {
    double place = fmin(fmax(0.5 * (point[a] + 1) * (NODES - 1), 0), NODES - 1);
    int low = place < NODES - 1 ? (int)place : NODES - 2;
    weight[a] = place - low;
    base += low * stride[a];
  }
  for (int corner = 0; corner < 8; corner++) {
    int node = base;
    double share = 1;
    for (int a = 0; a < 3; a++) {
      bool high = corner >> a & 1;
      node += high ? stride[a] : 0;
      share *= high ? weight[a] : 1 - weight[a];
    }
    for (int c = 0; c < 3; c++) shift[c] += share * deformation->shift[node][c];
  }
  for (int c = 0; c < 3; c++) result[c] = point[c] + shift[c];
}

/* shift <- shift o shift */
static void square(struct deformation *deformation, double (*room)[3]) {
#pragma omp parallel for schedule(static)
  for (int i = 0; i < NODES; i++)
    for (int j = 0; j < NODES; j++)
      for (int k = 0; k < NODES; k++) {
        ptrdiff_t n = ((ptrdiff_t)i * NODES + j) * NODES + k;
        const double *step = deformation->shift[n];
        double node[3] = {coordinate_of(i), coordinate_of(j), coordinate_of(k)};
        double point[3] = {node[0] + step[0], node[1] + step[1], node[2] + step[2]};
        deformation_apply(deformation, point, point);
        for (int c = 0; c < 3; c++) room[n][c] = point[c] - node[c];
      }
  memcpy(deformation->shift, room, node_count() * sizeof *room);
}

static void fill(struct deformation *deformation, double *room, uint64_t seed, uint32_t subject,
                 double amplitude) {
  struct random random = random_stream(seed, RANDOM_PHANTOM, subject, PHANTOM_VELOCITY);
  for (int scale = 0; scale < SCALES; scale++) add_scale(deformation->shift, room, scale, &random);
  shape_velocity(deformation->shift, amplitude / (1 << SQUARINGS));
  for (int step = 0; step < SQUARINGS; step++) square(deformation, (double(*)[3])room);
}

enum status deformation_make(struct deformation *deformation, uint64_t seed, uint32_t subject,
                             double amplitude) {
  *deformation = (struct deformation){.extent = NODES};
  deformation->shift = calloc(node_count(), sizeof *deformation->shift);
  double *room = malloc(2 * 3 * node_count() * sizeof *room);
  if (deformation->shift && room) fill(deformation, room, seed, subject, amplitude);
  bool failed = !deformation->shift || !room;
  free(room);
  if (!failed) return STATUS_OK;
  deformation_close(deformation);
  FAIL(STATUS_FAILED, "phantom: out of memory for a deformation of %d^3 nodes", NODES);
}

void deformation_close(struct deformation *deformation) {
  free(deformation->shift);
  *deformation = (struct deformation){0};
}
