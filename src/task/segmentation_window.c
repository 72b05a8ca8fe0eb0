/* The network over a volume, window by window. Windows of one row along d are computed, then what
 * no further window reaches is given away: memory is that of one window's depth of planes. Windows
 * lie on a grid, so that the sum of weights is a product of sums along the axes. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "base/random.h"
#include "kernels/common/logits.h"
#include "task/segmentation_sample.h"

/* Where windows begin along an axis, and the weight of each voxel of a window there. */
struct axis {
  int extent, window, count;
  int *first;              /* [count] */
  float *weight, *inverse; /* [window]; [extent]: 1 / the sum of weights */
};

struct inference {
  const struct segmentation_view *view;
  const struct task_network *network;
  const struct segmentation_planes *planes;
  const float *image;
  struct axis axis[3];
  int runs;                    /* of the network on a window: passes with dropout times members */
  float *crop, *mean, *square; /* a window's image, and moments of what the runs say of it */
  float *sum, *squares;        /* [window d][classes][H][W], weighted; squares only for spreads */
};

/* --- where windows lie --- */

/* As many as the overlap wants, evenly spread. */
static void place_windows(struct axis *axis, double overlap) {
  int slack = axis->extent - axis->window;
  double stride = fmax(1, axis->window * (1 - overlap));
  axis->count = slack > 0 ? (int)ceil(slack / stride) + 1 : 1;
  for (int i = 0; i < axis->count && axis->first; i++)
    axis->first[i] = axis->count > 1 ? (int)lround((double)slack * i / (axis->count - 1)) : 0;
}

static void weigh(struct axis *axis) {
  double middle = (axis->window - 1) / 2.0, deviation = axis->window / 8.0;
  for (int i = 0; i < axis->window; i++) {
    double distance = (i - middle) / deviation;
    axis->weight[i] = axis->count > 1 ? (float)exp(-distance * distance / 2) : 1;
  }
  for (int i = 0; i < axis->extent; i++) axis->inverse[i] = 0;
  for (int k = 0; k < axis->count; k++)
    for (int i = 0; i < axis->window && axis->first[k] + i < axis->extent; i++)
      axis->inverse[axis->first[k] + i] += axis->weight[i];
  for (int i = 0; i < axis->extent; i++) axis->inverse[i] = 1 / axis->inverse[i];
}

static enum status open_axis(struct axis *axis, int extent, int window, double overlap) {
  *axis = (struct axis){.extent = extent, .window = window};
  place_windows(axis, overlap);
  axis->first = malloc(sizeof(int) * (size_t)axis->count);
  axis->weight = malloc(sizeof(float) * (size_t)window);
  axis->inverse = malloc(sizeof(float) * (size_t)extent);
  REQUIRE(axis->first && axis->weight && axis->inverse, STATUS_FAILED, "out of memory");
  place_windows(axis, overlap);
  weigh(axis);
  return STATUS_OK;
}

static size_t window_voxels(const struct inference *work) {
  const int *window = work->view->window;
  return (size_t)window[0] * (size_t)window[1] * (size_t)window[2];
}

static size_t plane_floats(const struct inference *work) {
  return (size_t)work->view->classes * (size_t)work->axis[1].extent * (size_t)work->axis[2].extent;
}

static enum status open_inference(struct inference *work, const int extent[3]) {
  const struct segmentation_view *view = work->view;
  for (int a = 0; a < 3; a++)
    TRY(open_axis(&work->axis[a], extent[a], view->window[a], view->config->segmentation.overlap));
  size_t voxels = window_voxels(work), classes = (size_t)view->classes;
  size_t planes = plane_floats(work) * (size_t)view->window[0];
  bool spread = work->planes->take_spread != NULL;
  work->crop = malloc(sizeof(float) * voxels * (size_t)view->stored);
  work->mean = malloc(sizeof(float) * voxels * classes);
  work->square = spread ? malloc(sizeof(float) * voxels * classes) : NULL;
  work->sum = calloc(planes, sizeof(float));
  work->squares = spread ? calloc(planes, sizeof(float)) : NULL;
  bool there = work->crop && work->mean && work->sum;
  REQUIRE(there && (!spread || (work->square && work->squares)), STATUS_FAILED,
          "out of memory for the probabilities of %d classes on %d %d %d voxels", view->classes,
          view->window[0], extent[1], extent[2]);
  return STATUS_OK;
}

static void close_inference(struct inference *work) {
  for (int a = 0; a < 3; a++) {
    free(work->axis[a].first);
    free(work->axis[a].weight);
    free(work->axis[a].inverse);
  }
  free(work->crop);
  free(work->mean);
  free(work->square);
  free(work->sum);
  free(work->squares);
}

/* --- probabilities of a window --- */

/* Logits of one voxel: interpolated where the network's are coarser, as the losses do it. */
struct logits_view {
  const float *logits;
  int classes, coarse[3], factor[3];
  bool fine; /* factor is 1 along every axis */
};

static float logit_at(const struct logits_view *view, int class, const struct logits_tap tap[3]) {
  size_t row = (size_t)view->coarse[2], plane = (size_t)view->coarse[1] * row;
  const float *x = view->logits + (size_t) class * (size_t)view->coarse[0] * plane;
  float sum = 0;
  if (view->fine)
    return x[(size_t)tap[0].low * plane + (size_t)tap[1].low * row + (size_t)tap[2].low];
  for (int corner = 0; corner < 8; corner++) {
    float weight = 1;
    int at[3];
    for (int a = 0; a < 3; a++) {
      bool high = corner >> (2 - a) & 1;
      at[a] = high ? tap[a].high : tap[a].low;
      weight *= high ? tap[a].high_weight : tap[a].low_weight;
    }
    if (weight != 0) sum += weight * x[(size_t)at[0] * plane + (size_t)at[1] * row + (size_t)at[2]];
  }
  return sum;
}

static void softmax(float *logits, int classes) {
  float largest = logits[0], sum = 0;
  for (int c = 1; c < classes; c++) largest = fmaxf(largest, logits[c]);
  for (int c = 0; c < classes; c++) sum += logits[c] = expf(logits[c] - largest);
  for (int c = 0; c < classes; c++) logits[c] /= sum;
}

/* Adds one run's probabilities of row (d, h) of the window to the moments. */
static void add_row(const struct inference *work, const struct logits_view *view, int d, int h) {
  const int *window = work->view->window;
  struct logits_tap tap[3] = {logits_tap_of(d, view->factor[0], view->coarse[0]),
                              logits_tap_of(h, view->factor[1], view->coarse[1])};
  size_t voxels = window_voxels(work);
  float share = 1 / (float)work->runs, *probability = (float[LOGITS_MOST_CLASSES]){0};
  size_t at = ((size_t)d * (size_t)window[1] + (size_t)h) * (size_t)window[2];
  for (int w = 0; w < window[2]; w++, at++) {
    tap[2] = logits_tap_of(w, view->factor[2], view->coarse[2]);
    for (int first = 0; first < view->classes; first += LOGITS_MOST_CLASSES) {
      int count = view->classes - first;
      if (count > LOGITS_MOST_CLASSES) count = LOGITS_MOST_CLASSES;
      for (int c = 0; c < count; c++) probability[c] = logit_at(view, first + c, tap);
      if (!work->view->overlapping) softmax(probability, count);
      for (int c = 0; c < count; c++) {
        float p = work->view->overlapping ? 1 / (1 + expf(-probability[c])) : probability[c];
        work->mean[(size_t)(first + c) * voxels + at] += share * p;
        if (work->square) work->square[(size_t)(first + c) * voxels + at] += share * p * p;
      }
    }
  }
}

static enum status add_run(struct inference *work) {
  const int *window = work->view->window;
  struct logits_view view = {.classes = work->view->classes, .fine = true};
  const void *logits;
  TRY(work->network->output(work->network->context, "logits", &logits));
  view.logits = logits;
  for (int a = 0; a < 3; a++) {
    view.factor[a] = work->view->coarser[a];
    view.coarse[a] = window[a] / view.factor[a];
    view.fine = view.fine && view.factor[a] == 1;
  }
  int rows = window[0] * window[1];
#pragma omp parallel for schedule(static)
  for (int row = 0; row < rows; row++) add_row(work, &view, row / window[1], row % window[1]);
  return STATUS_OK;
}

/* What one run says of the category of the whole. */
static enum status add_category(const struct inference *work) {
  const void *output;
  float probability[LOGITS_MOST_CLASSES];
  int count = work->view->categories;
  if (!work->planes->categories || count == 0) return STATUS_OK;
  TRY(work->network->output(work->network->context, "category", &output));
  memcpy(probability, output, sizeof(float) * (size_t)count);
  softmax(probability, count);
  double windows = (double)work->axis[0].count * work->axis[1].count * work->axis[2].count;
  for (int c = 0; c < count; c++)
    work->planes->categories[c] += (double)probability[c] / (windows * work->runs);
  return STATUS_OK;
}

/* The key of a run on a window, whoever makes it. */
static void draw_key(const struct inference *work, int run, int window, float key[]) {
  struct random stream = random_stream((uint64_t)work->view->config->root.seed, RANDOM_PASSES,
                                       (uint32_t)run, (uint32_t)window);
  memset(key, 0, sizeof(float) * DROPOUT_KEY);
  for (int i = 0; i < 2; i++) key[i] = (float)(random_bits(&stream) >> 8);
}

static int passes_of(const struct inference *work) {
  const struct config *config = work->view->config;
  bool drops = segmentation_inputs_of(work->view, PURPOSE_PREDICTION).dropout >= 0;
  return drops ? (int)config->segmentation.passes : 1;
}

/* The mean of all members' passes over the window in `crop`. */
static enum status run_window(struct inference *work, int number) {
  const struct task_network *network = work->network;
  size_t bytes = sizeof(float) * window_voxels(work) * (size_t)work->view->classes;
  int passes = passes_of(work), members = network->members > 1 ? network->members : 1;
  float key[DROPOUT_KEY];
  const void *inputs[] = {work->crop, key};
  memset(work->mean, 0, bytes);
  if (work->square) memset(work->square, 0, bytes);
  work->runs = members * passes;
  for (int run = 0; run < work->runs; run++) {
    if (members > 1 && run % passes == 0) TRY(network->use(network->context, run / passes));
    draw_key(work, run, number, key);
    TRY(network->run(network->context, work->view->planned, inputs));
    TRY(add_run(work));
    TRY(add_category(work));
  }
  return STATUS_OK;
}

/* --- from windows to planes --- */

/* Adds a window's moments, weighted, to the planes. */
static void add_window(struct inference *work, const int place[3], const float *moments,
                       float *planes) {
  const struct axis *d = &work->axis[0], *h = &work->axis[1], *w = &work->axis[2];
  size_t voxels = window_voxels(work), row = (size_t)w->extent, plane = (size_t)h->extent * row;
  int rows = work->view->classes * d->window;
#pragma omp parallel for schedule(static)
  for (int k = 0; k < rows; k++) {
    size_t c = (size_t)(k / d->window), z = (size_t)(k % d->window);
    const float *from = moments + c * voxels + z * (size_t)(h->window * w->window);
    float *to = planes + (z * (size_t)work->view->classes + c) * plane;
    for (int y = 0; y < h->window && place[1] + y < h->extent; y++)
      for (int x = 0; x < w->window && place[2] + x < w->extent; x++)
        to[(size_t)(place[1] + y) * row + (size_t)(place[2] + x)] +=
            d->weight[z] * h->weight[y] * w->weight[x] * from[y * w->window + x];
  }
}

static enum status add_windows_of_row(struct inference *work, int i) {
  const struct axis *axis = work->axis;
  const int extent[3] = {axis[0].extent, axis[1].extent, axis[2].extent};
  for (int j = 0; j < axis[1].count; j++)
    for (int k = 0; k < axis[2].count; k++) {
      struct segmentation_box box = {{axis[0].first[i], axis[1].first[j], axis[2].first[k]}, {0}};
      memcpy(box.extent, work->view->window, sizeof box.extent);
      segmentation_crop_image(work->image, work->view->stored, extent, &box, work->crop);
      TRY(run_window(work, (i * axis[1].count + j) * axis[2].count + k));
      add_window(work, box.first, work->mean, work->sum);
      if (work->squares) add_window(work, box.first, work->square, work->squares);
    }
  return STATUS_OK;
}

/* Weighted sums of plane d to means, in place. */
static void divide(const struct inference *work, int d, float *plane) {
  const struct axis *h = &work->axis[1], *w = &work->axis[2];
  int rows = work->view->classes * h->extent;
#pragma omp parallel for schedule(static)
  for (int k = 0; k < rows; k++)
    for (int x = 0; x < w->extent; x++)
      plane[(size_t)k * (size_t)w->extent + (size_t)x] *=
          work->axis[0].inverse[d] * h->inverse[k % h->extent] * w->inverse[x];
}

/* Gives plane d away, whose sums are plane `at` of those kept. */
static enum status give_plane(struct inference *work, int d, int at) {
  size_t floats = plane_floats(work);
  float *mean = work->sum + (size_t)at * floats;
  divide(work, d, mean);
  TRY(work->planes->take(work->planes->context, d, mean));
  if (!work->squares) return STATUS_OK;
  float *square = work->squares + (size_t)at * floats;
  divide(work, d, square);
  for (size_t i = 0; i < floats; i++) square[i] = sqrtf(fmaxf(0, square[i] - mean[i] * mean[i]));
  return work->planes->take_spread(work->planes->context, d, square);
}

/* Moves what is left of the kept planes to their beginning, `by` planes on; zeros behind. */
static void move_planes(const struct inference *work, float *planes, int by) {
  size_t floats = plane_floats(work), left = (size_t)(work->axis[0].window - by) * floats;
  if (!planes) return;
  memmove(planes, planes + (size_t)by * floats, sizeof(float) * left);
  memset(planes + left, 0, sizeof(float) * (size_t)by * floats);
}

static enum status infer_row(struct inference *work, int i) {
  const struct axis *axis = &work->axis[0];
  bool last = i + 1 == axis->count;
  int first = axis->first[i], next = last ? axis->extent : axis->first[i + 1];
  TRY(add_windows_of_row(work, i));
  for (int d = first; d < next; d++) TRY(give_plane(work, d, d - first));
  if (last) return STATUS_OK;
  move_planes(work, work->sum, next - first);
  move_planes(work, work->squares, next - first);
  return STATUS_OK;
}

enum status segmentation_infer(const struct segmentation_view *view,
                               const struct task_network *network, const float *image,
                               const int extent[3], const struct segmentation_planes *planes) {
  struct inference work = {.view = view, .network = network, .planes = planes, .image = image};
  for (int c = 0; c < view->categories && planes->categories; c++) planes->categories[c] = 0;
  enum status status = open_inference(&work, extent);
  for (int i = 0; i < work.axis[0].count && !status; i++) status = infer_row(&work, i);
  close_inference(&work);
  return status;
}
