/* The table of penalties: each term is a product of one-dimensional differences along the axes. */
#include "kernels/loss_smooth/terms.h"

enum difference { NONE, FORWARD, CENTRAL, SECOND, SECOND_WIDE };

struct taps {
  int count, offset[3];
  double coefficient[3];
};

static const struct taps differences[] = {
    [NONE] = {1, {0}, {1}},
    [FORWARD] = {2, {1, 0}, {1, -1}},
    [CENTRAL] = {2, {1, -1}, {0.5, -0.5}},
    [SECOND] = {3, {1, 0, -1}, {1, -2, 1}},
    [SECOND_WIDE] = {3, {2, 0, -2}, {0.25, -0.5, 0.25}},
};

struct factor {
  double weight;
  enum difference along[3];
};

struct kind {
  const char *name;
  bool absolute;
  int crop, least_extent, terms;
  struct factor term[SMOOTH_MOST_TERMS];
};

#define MIXED                                                     \
  {2, {CENTRAL, CENTRAL, NONE}}, {2, {CENTRAL, NONE, CENTRAL}}, { \
    2, {                                                          \
      NONE, CENTRAL, CENTRAL                                      \
    }                                                             \
  }
#define EACH_AXIS(weight, difference)                                       \
  {weight, {difference, NONE, NONE}}, {weight, {NONE, difference, NONE}}, { \
    weight, {                                                               \
      NONE, NONE, difference                                                \
    }                                                                       \
  }

static const struct kind kinds[SMOOTH_KINDS] = {
    [SMOOTH_BENDING] = {"bending", false, 2, 5, 6, {EACH_AXIS(1, SECOND_WIDE), MIXED}},
    [SMOOTH_BENDING_COMPACT] = {"bending_compact", false, 1, 3, 6, {EACH_AXIS(1, SECOND), MIXED}},
    [SMOOTH_L1] = {"l1", true, 0, 2, 3, {EACH_AXIS(1.0 / 3, FORWARD)}},
    [SMOOTH_L2] = {"l2", false, 0, 2, 3, {EACH_AXIS(1.0 / 3, FORWARD)}},
    [SMOOTH_DIFFUSION] = {"diffusion", false, 1, 3, 3, {EACH_AXIS(1, CENTRAL)}},
};

int smooth_least_extent(enum loss_smooth_kind kind) {
  return kinds[kind].least_extent;
}

const char *smooth_kind_name(enum loss_smooth_kind kind) {
  return kinds[kind].name;
}

/* Multiplies a term by a difference along one axis. */
static void term_extend(struct smooth_term *term, int axis, const struct taps *taps) {
  struct smooth_term before = *term;
  term->taps = 0;
  for (int i = 0; i < before.taps; i++)
    for (int k = 0; k < taps->count; k++) {
      struct smooth_tap tap = before.tap[i];
      tap.offset[axis] = taps->offset[k];
      tap.coefficient *= taps->coefficient[k];
      term->tap[term->taps++] = tap;
    }
}

/* Where along an axis the difference is taken: not in the crop, and with all neighbours inside. */
static void term_bound(struct smooth_term *term, int axis, int extent, int crop) {
  int before = crop, after = crop;
  for (int k = 0; k < term->taps; k++) {
    int offset = term->tap[k].offset[axis];
    if (-offset > before) before = -offset;
    if (offset > after) after = offset;
  }
  term->first[axis] = before;
  term->end[axis] = extent - after;
}

static struct smooth_term term_make(const struct factor *factor, const struct shape *shape,
                                    int crop) {
  const int extent[3] = {shape->d, shape->h, shape->w};
  struct smooth_term term = {.taps = 1, .tap = {{{0}, 1}}};
  double places = (double)shape->n * shape->c;
  for (int axis = 0; axis < 3; axis++) {
    term_extend(&term, axis, &differences[factor->along[axis]]);
    term_bound(&term, axis, extent[axis], crop);
    places *= term.end[axis] - term.first[axis];
  }
  term.scale = factor->weight / places;
  return term;
}

struct smooth_penalty smooth_penalty_make(const struct node *node) {
  const struct loss_smooth_arguments *arguments = (const void *)node->arguments;
  const struct kind *kind = &kinds[arguments->kind];
  struct smooth_penalty penalty = {.absolute = kind->absolute, .terms = kind->terms};
  for (int t = 0; t < kind->terms; t++) {
    penalty.term[t] = term_make(&kind->term[t], &node->x[0].shape, kind->crop);
    penalty.term[t].scale *= arguments->multiply;
  }
  return penalty;
}
