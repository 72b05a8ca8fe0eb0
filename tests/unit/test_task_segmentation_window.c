/* The network over a volume by windows, with networks whose answers are known. */
#include "base/log.h"
#include "check.h"
#include "task/segmentation.h"

enum { MOST_RUNS = 512, MOST_FLOATS = 1 << 16 };

/* A network that says what `logit` says, and remembers what it was asked. */
struct oracle {
  struct segmentation_view view;
  double (*logit)(const struct oracle *oracle, int c, const int voxel[3]);
  struct config config;
  struct task_network network;
  float crop[MOST_FLOATS], logits[MOST_FLOATS], category[4];
  int runs, member, members_taken;
  float keys[MOST_RUNS][2];
};

/* What segmentation_infer gave. */
struct answer {
  const struct oracle *oracle;
  int extent[3], planes, spreads;
  float mean[MOST_FLOATS], deviation[MOST_FLOATS]; /* [d][c][h][w] */
};

static int count_of(const int extent[3]) {
  return extent[0] * extent[1] * extent[2];
}

static enum status run(void *context, const int extent[3], const void *const *inputs) {
  struct oracle *oracle = context;
  const struct segmentation_view *view = &oracle->view;
  CHECK(memcmp(extent, view->planned, sizeof view->planned) == 0);
  memcpy(oracle->crop, inputs[0], sizeof(float) * (size_t)(count_of(view->window) * view->stored));
  if (segmentation_inputs_of(view, PURPOSE_PREDICTION).dropout >= 0 && oracle->runs < MOST_RUNS) {
    const float *key = inputs[1];
    memcpy(oracle->keys[oracle->runs], key, sizeof oracle->keys[0]);
    for (int i = 2; i < DROPOUT_KEY; i++) CHECK(key[i] == 0);
  }
  oracle->runs++;
  return STATUS_OK;
}

static enum status output(void *context, const char *name, const void **memory) {
  struct oracle *oracle = context;
  const struct segmentation_view *view = &oracle->view;
  int coarse[3], voxel[3];
  *memory = oracle->category;
  if (strcmp(name, "category") == 0) return STATUS_OK;
  CHECK(strcmp(name, "logits") == 0);
  for (int a = 0; a < 3; a++) coarse[a] = view->window[a] / view->coarser[a];
  float *to = oracle->logits;
  for (int c = 0; c < view->classes; c++)
    for (voxel[0] = 0; voxel[0] < coarse[0]; voxel[0]++)
      for (voxel[1] = 0; voxel[1] < coarse[1]; voxel[1]++)
        for (voxel[2] = 0; voxel[2] < coarse[2]; voxel[2]++)
          *to++ = (float)oracle->logit(oracle, c, voxel);
  *memory = oracle->logits;
  return STATUS_OK;
}

static enum status use(void *context, int member) {
  struct oracle *oracle = context;
  oracle->member = member;
  oracle->members_taken++;
  return STATUS_OK;
}

static struct oracle *open_oracle(const char *keys, int classes, const int window[3]) {
  struct oracle *oracle = calloc(1, sizeof *oracle);
  char text[1024];
  snprintf(text, sizeof text, "model = { classes = %d; dropout = 0.5; }; segmentation = { %s };",
           classes, keys);
  CHECK_OK(config_parse(&oracle->config, text, "test"));
  oracle->view = (struct segmentation_view){.config = &oracle->config,
                                            .stored = 1,
                                            .classes = classes,
                                            .planned = {3, 5, 7},
                                            .window = {window[0], window[1], window[2]},
                                            .coarser = {1, 1, 1}};
  oracle->network = (struct task_network){.context = oracle, .run = run, .output = output};
  return oracle;
}

static void close_oracle(struct oracle *oracle) {
  config_close(&oracle->config);
  free(oracle);
}

static enum status take(void *context, int d, const float *probabilities) {
  struct answer *answer = context;
  size_t floats = (size_t)(answer->oracle->view.classes * answer->extent[1] * answer->extent[2]);
  CHECK(d == answer->planes);
  memcpy(answer->mean + (size_t)d * floats, probabilities, sizeof(float) * floats);
  answer->planes++;
  return STATUS_OK;
}

static enum status take_spread(void *context, int d, const float *deviations) {
  struct answer *answer = context;
  size_t floats = (size_t)(answer->oracle->view.classes * answer->extent[1] * answer->extent[2]);
  CHECK(d == answer->spreads && d == answer->planes - 1);
  memcpy(answer->deviation + (size_t)d * floats, deviations, sizeof(float) * floats);
  answer->spreads++;
  return STATUS_OK;
}

/* Asks about an image; *categories may be NULL. */
static struct answer *infer(struct oracle *oracle, const float *image, const int extent[3],
                            bool spread, double *categories) {
  struct answer *answer = calloc(1, sizeof *answer);
  answer->oracle = oracle;
  memcpy(answer->extent, extent, sizeof answer->extent);
  oracle->runs = 0;
  oracle->members_taken = 0;
  const struct segmentation_planes planes = {.take = take,
                                             .take_spread = spread ? take_spread : NULL,
                                             .categories = categories,
                                             .context = answer};
  CHECK_OK(segmentation_infer(&oracle->view, &oracle->network, image, extent, &planes));
  CHECK(answer->planes == extent[0] && answer->spreads == (spread ? extent[0] : 0));
  return answer;
}

static size_t place_of(const struct answer *answer, int c, const int voxel[3]) {
  const int *extent = answer->extent;
  return (size_t)(((voxel[0] * answer->oracle->view.classes + c) * extent[1] + voxel[1]) *
                      extent[2] +
                  voxel[2]);
}

/* Steps through the voxels of an extent: begin with {0, 0, -1}. */
static bool next_voxel(const int extent[3], int voxel[3]) {
  for (int a = 2; a >= 0; a--) {
    if (++voxel[a] < extent[a]) return true;
    voxel[a] = 0;
  }
  return false;
}

/* The largest difference between what was said of class c and what `expected` says. */
static double worst(const struct answer *answer, const float *values, int c,
                    double (*expected)(const struct answer *answer, int c, const int voxel[3])) {
  int voxel[3] = {0, 0, -1};
  double most = 0;
  while (next_voxel(answer->extent, voxel))
    most =
        fmax(most, fabs((double)values[place_of(answer, c, voxel)] - expected(answer, c, voxel)));
  return most;
}

static double sigmoid(double x) {
  return 1 / (1 + exp(-x));
}

/* An image whose values tell the voxel: a linear function of it, different along each axis. */
static double value_at(const int voxel[3]) {
  return 0.31 * voxel[0] - 0.17 * voxel[1] + 0.11 * voxel[2] - 0.5;
}

static float *make_image(const int extent[3]) {
  float *image = malloc(sizeof(float) * (size_t)count_of(extent)), *to = image;
  int voxel[3] = {0, 0, -1};
  while (next_voxel(extent, voxel)) *to++ = (float)value_at(voxel);
  return image;
}

/* --- functions of the image --- */

/* Class c says c times the image's value. */
static double of_image(const struct oracle *oracle, int c, const int voxel[3]) {
  const int *window = oracle->view.window;
  return c * (double)oracle->crop[(voxel[0] * window[1] + voxel[1]) * window[2] + voxel[2]];
}

static double softmax_of_image(const struct answer *answer, int c, const int voxel[3]) {
  double sum = 0;
  for (int k = 0; k < answer->oracle->view.classes; k++) sum += exp(k * value_at(voxel));
  return exp(c * value_at(voxel)) / sum;
}

static void check_image(const char *keys, const int window[3], const int extent[3], int runs) {
  struct oracle *oracle = open_oracle(keys, 3, window);
  float *image = make_image(extent);
  oracle->logit = of_image;
  struct answer *answer = infer(oracle, image, extent, false, NULL);
  CHECK_SAY(oracle->runs == runs, ": %s: %d runs, not %d", keys, oracle->runs, runs);
  for (int c = 0; c < 3; c++) CHECK_NEAR(worst(answer, answer->mean, c, softmax_of_image), 0, 1e-6);
  free(answer);
  free(image);
  close_oracle(oracle);
}

TEST(one_window_gives_what_the_network_says) {
  check_image("overlap = 0.5", (int[]){4, 5, 6}, (int[]){4, 5, 6}, 1);
}

/* Windows that agree about every voxel change nothing, however they overlap. */
TEST(windows_that_agree_give_what_they_say) {
  check_image("overlap = 0.5", (int[]){4, 4, 4}, (int[]){9, 8, 11}, 4 * 3 * 5);
  check_image("overlap = 0.0", (int[]){4, 4, 4}, (int[]){9, 8, 11}, 3 * 2 * 3);
  check_image("overlap = 0.1", (int[]){5, 3, 7}, (int[]){23, 10, 15}, 5 * 4 * 3);
  check_image("overlap = 0.9", (int[]){2, 4, 6}, (int[]){4, 5, 6}, 3 * 2 * 1);
  check_image("overlap = 0.5", (int[]){1, 5, 6}, (int[]){7, 5, 6}, 7);
}

TEST(windows_beyond_the_volume_see_zeros) {
  const int extent[3] = {3, 9, 5}, window[3] = {4, 4, 8};
  check_image("overlap = 0.5", window, extent, 4);
  struct oracle *oracle = open_oracle("overlap = 0.5", 2, window);
  float *image = make_image(extent);
  oracle->logit = of_image;
  struct answer *answer = infer(oracle, image, extent, false, NULL);
  int voxel[3] = {0, 0, -1}; /* the last window begins at row 5 */
  while (next_voxel(window, voxel)) {
    bool inside = voxel[0] < 3 && voxel[2] < 5;
    double there = value_at((int[]){voxel[0], voxel[1] + 5, voxel[2]});
    CHECK_NEAR(of_image(oracle, 1, voxel), inside ? there : 0, 1e-6);
  }
  free(answer);
  free(image);
  close_oracle(oracle);
}

/* --- functions of the place in the window --- */

static const int place_window[3] = {3, 4, 6}, place_extent[3] = {5, 6, 12};
static const int place_first[3][3] = {{0, 1, 2}, {0, 2}, {0, 3, 6}};
static const int place_count[3] = {3, 2, 3};

static double of_place(const struct oracle *oracle, int c, const int voxel[3]) {
  (void)oracle;
  return c * (0.4 * voxel[0] - 0.3 * voxel[1] + 0.2 * voxel[2]);
}

/* Mean over the windows that see the voxel, weighted by a Gaussian around their middles. */
static void moments_of_place(const int voxel[3], double *mean, double *square) {
  int window[3] = {0, 0, -1};
  double weights = 0;
  *mean = *square = 0;
  while (next_voxel(place_count, window)) {
    int place[3];
    double weight = 1;
    bool inside = true;
    for (int a = 0; a < 3; a++) {
      place[a] = voxel[a] - place_first[a][window[a]];
      inside = inside && place[a] >= 0 && place[a] < place_window[a];
      double distance = (place[a] - (place_window[a] - 1) / 2.0) / (place_window[a] / 8.0);
      weight *= exp(-distance * distance / 2);
    }
    if (!inside) continue;
    double p = sigmoid(of_place(NULL, 1, place));
    weights += weight;
    *mean += weight * p;
    *square += weight * p * p;
  }
  *mean /= weights;
  *square /= weights;
}

static double mean_of_place(const struct answer *answer, int c, const int voxel[3]) {
  double mean, square;
  (void)answer;
  moments_of_place(voxel, &mean, &square);
  return c ? mean : 1 - mean;
}

static double deviation_of_place(const struct answer *answer, int c, const int voxel[3]) {
  double mean, square;
  (void)answer, (void)c;
  moments_of_place(voxel, &mean, &square);
  return sqrt(fmax(0, square - mean * mean));
}

TEST(windows_that_disagree_are_weighted) {
  struct oracle *oracle = open_oracle("overlap = 0.5", 2, place_window);
  float *image = make_image(place_extent);
  oracle->logit = of_place;
  struct answer *answer = infer(oracle, image, place_extent, true, NULL);
  CHECK(oracle->runs == 18);
  for (int c = 0; c < 2; c++) {
    CHECK_NEAR(worst(answer, answer->mean, c, mean_of_place), 0, 2e-6);
    CHECK_NEAR(worst(answer, answer->deviation, c, deviation_of_place), 0, 6e-4);
  }
  free(answer);
  free(image);
  close_oracle(oracle);
}

/* --- coarser logits --- */

static double linear(const double at[3]) {
  return 0.9 * at[0] - 0.7 * at[1] + 0.3 * at[2] - 1;
}

static double of_coarse_place(const struct oracle *oracle, int c, const int voxel[3]) {
  (void)oracle;
  return c * linear((double[]){voxel[0], voxel[1], voxel[2]});
}

/* Voxel i's middle lies at (i + 1/2) / 2 - 1/2 between those of coarse voxels; none lie outside. */
static double interpolated(const struct answer *answer, int c, const int voxel[3]) {
  double at[3];
  for (int a = 0; a < 3; a++) {
    int factor = answer->oracle->view.coarser[a];
    at[a] = (voxel[a] + 0.5) / factor - 0.5;
    at[a] = fmin(fmax(at[a], 0), answer->extent[a] / factor - 1);
  }
  double p = sigmoid(linear(at));
  return c ? p : 1 - p;
}

TEST(coarser_logits_are_interpolated) {
  static const int extent[3] = {4, 6, 8}, coarser[][3] = {{2, 2, 2}, {1, 2, 2}, {2, 1, 1}};
  for (int i = 0; i < 3; i++) {
    struct oracle *oracle = open_oracle("overlap = 0.5", 2, extent);
    float *image = make_image(extent);
    memcpy(oracle->view.coarser, coarser[i], sizeof coarser[i]);
    oracle->logit = of_coarse_place;
    struct answer *answer = infer(oracle, image, extent, false, NULL);
    for (int c = 0; c < 2; c++) CHECK_NEAR(worst(answer, answer->mean, c, interpolated), 0, 2e-6);
    free(answer);
    free(image);
    close_oracle(oracle);
  }
}

/* --- structures that overlap --- */

static double scaled(const struct oracle *oracle, int c, const int voxel[3]) {
  return of_image(oracle, 1, voxel) * (c - 33) / 10;
}

static double sigmoid_of_image(const struct answer *answer, int c, const int voxel[3]) {
  (void)answer;
  return sigmoid(value_at(voxel) * (c - 33) / 10);
}

TEST(each_of_many_structures_by_itself) {
  const int extent[3] = {3, 6, 7};
  struct oracle *oracle = open_oracle("overlap = 0.5", 70, (int[]){2, 4, 4});
  float *image = make_image(extent);
  oracle->view.overlapping = true;
  oracle->logit = scaled;
  struct answer *answer = infer(oracle, image, extent, false, NULL);
  for (int c = 0; c < 70; c++)
    CHECK_NEAR(worst(answer, answer->mean, c, sigmoid_of_image), 0, 1e-6);
  free(answer);
  free(image);
  close_oracle(oracle);
}

/* --- passes and members --- */

/* Every run has a probability of its own: three passes of each of two members. */
static const double run_probability[6] = {0.1, 0.2, 0.6, 0.3, 0.9, 0.5};

static double of_run(const struct oracle *oracle, int c, const int voxel[3]) {
  (void)voxel;
  int which = (oracle->runs - 1) % 6;
  if (oracle->network.members > 1) CHECK(oracle->member == which / 3);
  return c ? log(run_probability[which] / (1 - run_probability[which])) : 0;
}

static void check_moments(const struct answer *answer, double mean, double deviation) {
  int voxel[3] = {0, 0, -1};
  while (next_voxel(answer->extent, voxel)) {
    CHECK_NEAR(answer->mean[place_of(answer, 1, voxel)], mean, 1e-6);
    CHECK_NEAR(answer->mean[place_of(answer, 0, voxel)], 1 - mean, 1e-6);
    CHECK_NEAR(answer->deviation[place_of(answer, 0, voxel)], deviation, 1e-5);
    CHECK_NEAR(answer->deviation[place_of(answer, 1, voxel)], deviation, 1e-5);
  }
}

TEST(mean_and_deviation_of_passes_and_members) {
  const int extent[3] = {2, 3, 6};
  struct oracle *oracle = open_oracle("overlap = 0.5; passes = 3", 2, (int[]){2, 3, 4});
  float *image = make_image(extent), keys[12][2];
  oracle->network.members = 2;
  oracle->network.use = use;
  oracle->logit = of_run;
  struct answer *answer = infer(oracle, image, extent, true, NULL);
  CHECK(oracle->runs == 12 && oracle->members_taken == 4);
  /* (0.1 + 0.2 + 0.6 + 0.3 + 0.9 + 0.5) / 6 and sqrt(1.56 / 6 - mean^2) */
  check_moments(answer, 13.0 / 30, sqrt(0.26 - 169.0 / 900));
  memcpy(keys, oracle->keys, sizeof keys);
  for (int i = 0; i < 12; i++)
    for (int k = 0; k < i; k++) CHECK(memcmp(keys[i], keys[k], sizeof keys[i]) != 0);
  free(answer);
  answer = infer(oracle, image, extent, true, NULL);
  CHECK(memcmp(keys, oracle->keys, sizeof keys) == 0);
  free(answer);
  CHECK_OK(config_override(&oracle->config, "seed=5"));
  answer = infer(oracle, image, extent, true, NULL);
  CHECK(memcmp(keys[0], oracle->keys[0], sizeof keys[0]) != 0);
  free(answer);
  free(image);
  close_oracle(oracle);
}

TEST(one_pass_without_dropout) {
  const int extent[3] = {2, 3, 4};
  struct oracle *oracle = open_oracle("passes = 0", 2, extent);
  float *image = make_image(extent);
  oracle->logit = of_run;
  struct answer *answer = infer(oracle, image, extent, true, NULL);
  CHECK(oracle->runs == 1);
  check_moments(answer, 0.1, 0);
  free(answer);
  CHECK_OK(config_override(&oracle->config, "segmentation.passes=3"));
  answer = infer(oracle, image, extent, true, NULL);
  CHECK(oracle->runs == 3);
  check_moments(answer, 0.3, sqrt(0.41 / 3 - 0.09));
  free(answer);
  CHECK_OK(config_override(&oracle->config, "model.dropout=0.0")); /* passes would be the same */
  answer = infer(oracle, image, extent, true, NULL);
  CHECK(oracle->runs == 1);
  free(answer);
  free(image);
  close_oracle(oracle);
}

/* --- categories --- */

/* The logits of the whole differ from run to run. */
static double of_category(const struct oracle *oracle, int c, const int voxel[3]) {
  (void)voxel;
  float *category = (float *)(uintptr_t)oracle->category;
  const double p = run_probability[(oracle->runs - 1) % 6];
  for (int i = 0; i < 3; i++) category[i] = (float)log(i == 0 ? p : (1 - p) * i / 3) + 7;
  return c;
}

TEST(categories_are_the_mean_over_windows_and_passes) {
  const int extent[3] = {2, 3, 6};
  double categories[3] = {5, 5, 5};
  struct oracle *oracle = open_oracle("overlap = 0.5; passes = 3", 2, (int[]){2, 3, 4});
  float *image = make_image(extent);
  oracle->view.categories = 3;
  oracle->logit = of_category;
  struct answer *answer = infer(oracle, image, extent, false, categories);
  CHECK(oracle->runs == 6);
  CHECK_NEAR(categories[0], 13.0 / 30, 1e-6);
  CHECK_NEAR(categories[1], 17.0 / 90, 1e-6);
  CHECK_NEAR(categories[2], 34.0 / 90, 1e-6);
  free(answer);
  free(infer(oracle, image, extent, false, NULL)); /* who does not want them is told none */
  free(image);
  close_oracle(oracle);
}

/* --- failures --- */

static enum status refuse(void *context, int d, const float *probabilities) {
  (void)context, (void)probabilities;
  return d == 1 ? status_fail(STATUS_FAILED, __FILE__, __LINE__, "no more") : STATUS_OK;
}

TEST(failures_are_handed_on) {
  const int extent[3] = {4, 3, 4};
  struct oracle *oracle = open_oracle("overlap = 0.0", 2, (int[]){2, 3, 4});
  float *image = make_image(extent);
  oracle->logit = of_image;
  const struct segmentation_planes planes = {.take = refuse};
  CHECK_FAILS(segmentation_infer(&oracle->view, &oracle->network, image, extent, &planes),
              "no more");
  CHECK(oracle->runs == 1);
  free(image);
  close_oracle(oracle);
}

int main(void) {
  log_setup(0, 1, LOG_ERROR);
  RUN(one_window_gives_what_the_network_says);
  RUN(windows_that_agree_give_what_they_say);
  RUN(windows_beyond_the_volume_see_zeros);
  RUN(windows_that_disagree_are_weighted);
  RUN(coarser_logits_are_interpolated);
  RUN(each_of_many_structures_by_itself);
  RUN(mean_and_deviation_of_passes_and_members);
  RUN(one_pass_without_dropout);
  RUN(categories_are_the_mean_over_windows_and_passes);
  RUN(failures_are_handed_on);
  return check_result();
}
