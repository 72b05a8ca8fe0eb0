/* Affine algebra, and the orientation of voxel axes as nibabel defines it. */
#include "volume/geometry.h"
#include <ctype.h>
#include <math.h>
#include <string.h>

static const char letters[2][4] = {"LPI", "RAS"}; /* [points to + end][world axis] */

struct affine affine_identity(void) {
  return affine_scaling((const double[]){1, 1, 1}, (const double[]){0, 0, 0});
}

struct affine affine_scaling(const double spacing[3], const double origin[3]) {
  struct affine affine = {0};
  for (int a = 0; a < 3; a++) {
    affine.m[a][a] = spacing[a];
    affine.m[a][3] = origin[a];
  }
  return affine;
}

void affine_apply(const struct affine *affine, const double point[3], double result[3]) {
  double sum[3];
  for (int a = 0; a < 3; a++)
    sum[a] = affine->m[a][0] * point[0] + affine->m[a][1] * point[1] + affine->m[a][2] * point[2] +
             affine->m[a][3];
  memcpy(result, sum, sizeof sum);
}

struct affine affine_compose(const struct affine *outer, const struct affine *inner) {
  struct affine result;
  for (int a = 0; a < 3; a++) {
    for (int b = 0; b < 4; b++)
      result.m[a][b] = outer->m[a][0] * inner->m[0][b] + outer->m[a][1] * inner->m[1][b] +
                       outer->m[a][2] * inner->m[2][b];
    result.m[a][3] += outer->m[a][3];
  }
  return result;
}

static double cofactor(const struct affine *affine, int row, int column) {
  int r1 = (row + 1) % 3, r2 = (row + 2) % 3, c1 = (column + 1) % 3, c2 = (column + 2) % 3;
  return affine->m[r1][c1] * affine->m[r2][c2] - affine->m[r1][c2] * affine->m[r2][c1];
}

double affine_determinant(const struct affine *affine) {
  double sum = 0;
  for (int b = 0; b < 3; b++) sum += affine->m[0][b] * cofactor(affine, 0, b);
  return sum;
}

static bool is_finite(const struct affine *affine) {
  for (int a = 0; a < 3; a++)
    for (int b = 0; b < 4; b++)
      if (!isfinite(affine->m[a][b])) return false;
  return true;
}

/* Judged relative to the column lengths: a grid of micrometre voxels is not singular. */
static bool is_singular(const struct affine *affine) {
  double spacing[3];
  affine_get_spacing(affine, spacing);
  double volume = spacing[0] * spacing[1] * spacing[2];
  return !(fabs(affine_determinant(affine)) > 1e-9 * volume) || !isnormal(volume);
}

enum status affine_invert(const struct affine *affine, struct affine *inverse) {
  REQUIRE(is_finite(affine), STATUS_FAILED, "affine: expected finite numbers, found NaN or inf");
  REQUIRE(!is_singular(affine), STATUS_FAILED,
          "affine: expected three independent voxel axes, found a determinant of %g",
          affine_determinant(affine));
  double determinant = affine_determinant(affine);
  struct affine result = {0};
  for (int a = 0; a < 3; a++)
    for (int b = 0; b < 3; b++) result.m[a][b] = cofactor(affine, b, a) / determinant;
  const double origin[3] = {affine->m[0][3], affine->m[1][3], affine->m[2][3]};
  double shift[3];
  affine_apply(&result, origin, shift);
  for (int a = 0; a < 3; a++) result.m[a][3] = -shift[a];
  *inverse = result;
  return STATUS_OK;
}

void affine_get_spacing(const struct affine *affine, double spacing[3]) {
  for (int b = 0; b < 3; b++)
    spacing[b] = hypot(hypot(affine->m[0][b], affine->m[1][b]), affine->m[2][b]);
}

bool affine_is_orthogonal(const struct affine *affine) {
  double spacing[3];
  affine_get_spacing(affine, spacing);
  for (int b = 0; b < 3; b++) {
    int c = (b + 1) % 3;
    double product = 0;
    for (int a = 0; a < 3; a++) product += affine->m[a][b] * affine->m[a][c];
    if (!(fabs(product) <= 1e-4 * spacing[b] * spacing[c])) return false;
  }
  return true;
}

/* Columns scaled to length 1 (zero columns stay), then Newton's iteration X <- (X + X^-T)/2 towards
 * the orthogonal factor (Higham, SIAM J. Sci. Stat. Comput. 1986). A singular matrix stays as it
 * is.
 */
static struct affine nearest_rotation(const struct affine *affine) {
  double spacing[3];
  affine_get_spacing(affine, spacing);
  struct affine x = *affine;
  for (int a = 0; a < 3; a++)
    for (int b = 0; b < 3; b++) x.m[a][b] /= spacing[b] > 0 ? spacing[b] : 1;
  if (is_singular(&x)) return x;
  for (int step = 0; step < 50; step++) {
    struct affine next = x;
    double determinant = affine_determinant(&x), change = 0;
    for (int a = 0; a < 3; a++)
      for (int b = 0; b < 3; b++) {
        next.m[a][b] = 0.5 * (x.m[a][b] + cofactor(&x, a, b) / determinant);
        change = fmax(change, fabs(next.m[a][b] - x.m[a][b]));
      }
    x = next;
    if (change < 1e-14) break;
  }
  return x;
}

static double strength(const struct affine *rotation, int column) {
  double largest = 0;
  for (int a = 0; a < 3; a++) largest = fmax(largest, fabs(rotation->m[a][column]));
  return largest;
}

void affine_get_axes(const struct affine *affine, int world[3], int sign[3]) {
  struct affine rotation = nearest_rotation(affine);
  int order[3] = {0, 1, 2};
  double strengths[3];
  for (int b = 0; b < 3; b++) strengths[b] = strength(&rotation, b);
  for (int i = 1; i < 3; i++) /* stable: equal strengths keep their order */
    for (int j = i; j > 0 && strengths[order[j]] > strengths[order[j - 1]]; j--) {
      int swap = order[j];
      order[j] = order[j - 1];
      order[j - 1] = swap;
    }
  bool taken[3] = {false};
  for (int i = 0; i < 3; i++) {
    int best = -1, column = order[i];
    for (int a = 0; a < 3; a++)
      if (!taken[a] && (best < 0 || fabs(rotation.m[a][column]) > fabs(rotation.m[best][column])))
        best = a;
    taken[best] = true;
    world[column] = best;
    sign[column] = rotation.m[best][column] < 0 ? -1 : 1;
  }
}

void affine_get_orientation(const struct affine *affine, char code[4]) {
  int world[3], sign[3];
  affine_get_axes(affine, world, sign);
  for (int b = 0; b < 3; b++) code[b] = letters[sign[b] > 0][world[b]];
  code[3] = 0;
}

enum status orientation_parse(const char *code, int world[3], int sign[3]) {
  bool taken[3] = {false}, good = strlen(code) == 3;
  for (int b = 0; good && b < 3; b++) {
    int letter = toupper((unsigned char)code[b]);
    good = false;
    for (int a = 0; a < 3; a++)
      for (int positive = 0; positive < 2; positive++)
        if (letters[positive][a] == letter && !taken[a]) {
          world[b] = a;
          sign[b] = positive ? 1 : -1;
          taken[a] = good = true;
        }
  }
  REQUIRE(good, STATUS_USAGE,
          "orientation: expected three letters, one each of L/R, P/A and I/S (such as RAS), found "
          "'%s'",
          code);
  return STATUS_OK;
}

enum status grid_reorient(const struct grid *grid, const char *code, struct grid *result,
                          int from[3], bool flip[3]) {
  int have[3], have_sign[3], want[3], want_sign[3];
  TRY(orientation_parse(code, want, want_sign));
  affine_get_axes(&grid->affine, have, have_sign);
  struct grid turned = {0};
  for (int a = 0; a < 3; a++) turned.affine.m[a][3] = grid->affine.m[a][3];
  for (int b = 0; b < 3; b++) {
    int old = 0;
    while (have[old] != want[b]) old++;
    from[b] = old;
    flip[b] = have_sign[old] != want_sign[b];
    turned.extent[b] = grid->extent[old];
    for (int a = 0; a < 3; a++) {
      double step = grid->affine.m[a][old];
      turned.affine.m[a][b] = flip[b] ? -step : step;
      if (flip[b]) turned.affine.m[a][3] += step * (grid->extent[old] - 1);
    }
  }
  *result = turned;
  return STATUS_OK;
}

bool grid_is_same(const struct grid *a, const struct grid *b, double tolerance) {
  for (int axis = 0; axis < 3; axis++)
    if (a->extent[axis] != b->extent[axis]) return false;
  for (int corner = 0; corner < 8; corner++) {
    double voxel[3], place[3], other[3];
    for (int axis = 0; axis < 3; axis++) voxel[axis] = corner >> axis & 1 ? a->extent[axis] - 1 : 0;
    affine_apply(&a->affine, voxel, place);
    affine_apply(&b->affine, voxel, other);
    for (int axis = 0; axis < 3; axis++)
      if (!(fabs(place[axis] - other[axis]) <= tolerance)) return false;
  }
  return true;
}

void grid_get_centre(const struct grid *grid, double centre[3]) {
  const double middle[3] = {0.5 * (grid->extent[0] - 1), 0.5 * (grid->extent[1] - 1),
                            0.5 * (grid->extent[2] - 1)};
  affine_apply(&grid->affine, middle, centre);
}

long long grid_count(const struct grid *grid) {
  return (long long)grid->extent[0] * grid->extent[1] * grid->extent[2];
}
