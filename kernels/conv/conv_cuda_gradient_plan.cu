/* Plans the weight gradient on tensor cores. */
#include "kernels/common/cuda.h"
#include "kernels/conv/conv_cuda_gradient.h"

enum {
  WANTED_BLOCKS = 264, /* two for each multiprocessor of an H100 or H200 */
  LEAST_STEPS = 2,
  MOST_SHARED = 100 << 10, /* bytes of a block, so that two of them run side by side */
};

static int round_up(int count, int multiple) {
  return (count + multiple - 1) / multiple;
}

static int at_least_one(int64_t count) {
  return count < 1 ? 1 : (int)count;
}

static void plan_axes(struct gradient_plan *plan, const struct node *node, int input) {
  struct shape x = node->x[input].shape, y = node->y.shape;
  const int x_extent[] = {x.d, x.h, x.w}, y_extent[] = {y.d, y.h, y.w};
  bool upsample = conv_arguments_of(node)->upsample[input];
  plan->samples = x.n;
  plan->channels = x.c;
  plan->out_channels = y.c;
  plan->phases = 1;
  for (int i = 0; i < 3; i++) {
    plan->axis[i] = conv_axis_forward(conv_cuda_extent(node, input, i), upsample ? 2 : 1);
    plan->taps[i] = conv_axis_most_taps(&plan->axis[i]);
    plan->phases *= plan->axis[i].phases;
    plan->x_extent[i] = x_extent[i];
    plan->y_extent[i] = y_extent[i];
  }
}

/* The matrices of a warp: whatever wastes least, and of these the most that registers hold beside
 * the taps. float32 needs them for itself. */
static void plan_matrices(struct gradient_plan *plan, enum dtype dtype) {
  static const int choices[][2] = {{2, 2}, {1, 2}, {2, 1}, {1, 1}};
  int64_t least = INT64_MAX;
  bool crowded = plan->taps_together > 2 || plan->columns > GRADIENT_LARGE_WARPS;
  for (int i = dtype == DTYPE_F32 ? 3 : crowded; i < 4; i++) {
    int left = GRADIENT_LEFT * choices[i][0], right = GRADIENT_RIGHT * choices[i][1];
    int left_groups = round_up(plan->channels, left);
    int right_groups = round_up(plan->out_channels, right);
    int64_t size = (int64_t)left_groups * left * right_groups * right;
    if (size >= least) continue;
    least = size;
    plan->lefts = choices[i][0];
    plan->rights = choices[i][1];
    plan->left_groups = left_groups;
    plan->right_groups = right_groups;
  }
}

static void plan_taps(struct gradient_plan *plan) {
  int columns = plan->taps[0] * plan->taps[2];
  plan->taps_together = plan->taps[1] < GRADIENT_MOST_TAPS ? plan->taps[1] : GRADIENT_MOST_TAPS;
  plan->row_groups = round_up(plan->taps[1], plan->taps_together);
  plan->column_groups = round_up(columns, GRADIENT_MOST_WARPS);
  plan->columns = round_up(columns, plan->column_groups);
}

static void plan_tile(struct gradient_plan *plan, size_t element, int rows) {
  const struct conv_axis *axis = plan->axis;
  plan->rows = rows;
  plan->x_rows = axis[1].step * (rows - 1) + plan->taps_together;
  plan->x_residue = round_up(axis[2].step * (GRADIENT_ACROSS - 1) + plan->taps[2], axis[2].step);
  plan->x_columns = plan->x_residue * axis[2].step;
  plan->ring = plan->taps[0] + axis[0].step;
  plan->x_slot = (size_t)plan->x_rows * plan->x_columns * plan->lefts * GRADIENT_LEFT * element;
  plan->y_slot = (size_t)rows * GRADIENT_ACROSS * plan->rights * GRADIENT_RIGHT * element;
}

static void plan_steps(struct gradient_plan *plan) {
  int extent[3];
  for (int i = 0; i < 3; i++)
    extent[i] = conv_axis_length(plan->y_extent[i], plan->axis[i].phases, 0);
  plan->planes = extent[0];
  plan->tiles_h = round_up(extent[1], plan->rows);
  plan->tiles_w = round_up(extent[2], GRADIENT_ACROSS);
  plan->steps = (int64_t)plan->samples * plan->tiles_h * plan->tiles_w * plan->planes;
  plan->groups = plan->phases * plan->row_groups * plan->column_groups * plan->left_groups *
                 plan->right_groups;
  int most = at_least_one(plan->steps / LEAST_STEPS);
  int wanted = at_least_one(WANTED_BLOCKS / plan->groups);
  plan->chunks = wanted < most ? wanted : most;
  int room = gradient_warps(plan->lefts, plan->rights) / plan->columns;
  plan->splits = at_least_one(room < plan->rows / 2 ? room : plan->rows / 2);
}

struct gradient_plan gradient_plan_of(const struct node *node, int input) {
  struct gradient_plan plan;
  memset(&plan, 0, sizeof plan);
  size_t element = dtype_bytes(node->activation);
  plan_axes(&plan, node, input);
  plan_taps(&plan);
  plan_matrices(&plan, node->activation);
  int rows = GRADIENT_MOST_ROWS;
  plan_tile(&plan, element, rows);
  while (rows > 1 && gradient_shared(plan) > MOST_SHARED)
    plan_tile(&plan, element, rows = rows / 2);
  plan_steps(&plan);
  return plan;
}
