/* The networks that segment: as many parameters as published, shapes, where the head's bias starts,
 * and what is refused. */
#include "check.h"
#include "graph/plan.h"
#include "model/model.h"

enum { MOST_WORDS = 6 };

struct network {
  struct config config;
  struct graph graph;
  struct plan plan;
  struct model_result result;
};

/* Of an image of 2 samples; d 1: a slice. */
static enum status build(struct network *network, int channels, int d, const char *const *words) {
  const struct shape shape = {2, channels, d, 16, 32};
  const struct plan_options options = {0};
  const struct model *model;
  int image;
  *network = (struct network){0};
  CHECK_OK(config_defaults(&network->config));
  for (int i = 0; i < MOST_WORDS && words[i]; i++)
    CHECK_OK(config_override(&network->config, words[i]));
  graph_open(&network->graph, DEVICE_CPU, DTYPE_F32);
  TRY(graph_input(&network->graph, "image", shape, DTYPE_F32, false, &image));
  TRY(model_find(network->config.model.name, &model));
  const struct model_request request = {&image, 1, -1};
  TRY(model->build(&network->graph, &network->config, "", &request, &network->result));
  TRY(graph_output(&network->graph, "output", network->result.output));
  return plan_make(&network->plan, &network->graph, &options);
}

static void close(struct network *network) {
  plan_close(&network->plan);
  graph_close(&network->graph);
  config_close(&network->config);
}

struct count {
  int channels, d;
  int parameters;
  const char *words[MOST_WORDS];
};

#define SEG "model.name=resnet_seg", "model.classes=5"
#define UNET "model.name=unet", "model.classes=117"
static const struct count counts[] = {
    {2, 16, 25549381, {SEG}},
    {2, 16, 25965253, {SEG, "model.preset=resnet34_inplane"}},
    {2, 16, 64869061, {SEG, "model.preset=resnet34_full"}},
    {2, 16, 50700229, {SEG, "model.preset=resnet50_x4"}},
    {2, 16, 25549381, {SEG, "model.norm=group"}},
    {1, 1, 7766293, {UNET, "model.dimensions=2"}},
    {1, 1, 7763349, {UNET, "model.dimensions=2", "model.norm=none"}},
    {1, 1, 1944261, {UNET, "model.dimensions=2", "model.features=[16,32,64,128]"}},
    {1, 16, 22582101, {UNET}},
    {1, 1, 7854537, {UNET, "model.dimensions=2", "model.attention=true"}},
    {1, 16, 22670345, {UNET, "model.attention=true"}},
};

TEST(networks_have_their_parameters) {
  for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
    struct network network;
    CHECK_OK(build(&network, counts[i].channels, counts[i].d, counts[i].words));
    int64_t found = plan_trainable_count(&network.plan);
    CHECK_SAY(found == counts[i].parameters, ": case %d has %lld", (int)i, (long long)found);
    close(&network);
  }
}

static void check_output(int channels, int d, const char *const *words, struct shape expected) {
  struct network network;
  CHECK_OK(build(&network, channels, d, words));
  struct shape shape = graph_shape(&network.graph, network.result.output);
  CHECK_SAY(shape_equal(shape, expected), ": %d %d %d %d %d", shape.n, shape.c, shape.d, shape.h,
            shape.w);
  close(&network);
}

TEST(logits_have_their_extents) {
  check_output(3, 16, (const char *const[]){SEG, NULL}, (struct shape){2, 5, 8, 8, 16});
  check_output(1, 1, (const char *const[]){SEG, "model.dimensions=2", NULL},
               (struct shape){2, 5, 1, 8, 16});
  check_output(1, 1, (const char *const[]){UNET, "model.dimensions=2", NULL},
               (struct shape){2, 117, 1, 16, 32});
  check_output(4, 16, (const char *const[]){UNET, NULL}, (struct shape){2, 117, 16, 16, 32});
}

/* Sigmoids of rare classes start at their frequency: logit(0.01). */
TEST(the_bias_of_the_head_starts_where_asked) {
  static const char *const words[] = {UNET, "model.dimensions=2", "model.prior=0.01", NULL};
  struct network network;
  CHECK_OK(build(&network, 1, 1, words));
  float *weights = calloc((size_t)network.plan.parameter_elements, sizeof *weights);
  if (!weights) abort();
  plan_initialize(&network.plan, 1, weights);
  const struct plan_parameter *bias = plan_find_parameter(&network.plan, "final_conv.bias");
  const struct plan_parameter *weight = plan_find_parameter(&network.plan, "final_conv.weight");
  for (int64_t i = 0; i < bias->count; i++)
    CHECK_NEAR(weights[bias->offset + i], log(0.01 / 0.99), 1e-5);
  double largest = 0;
  for (int64_t i = 0; i < weight->count; i++)
    largest = fmax(largest, fabs((double)weights[weight->offset + i]));
  CHECK_SAY(largest > 0.1 && largest <= 1 / sqrt(32.0), ": %g", largest);
  free(weights);
  close(&network);
}

static void check_refused(int d, const char *const *words, const char *message) {
  struct network network;
  CHECK_FAILS(build(&network, 1, d, words), message);
  close(&network);
}

TEST(what_does_not_fit_is_refused) {
  check_refused(16, (const char *const[]){SEG, "model.blocks=[1,1]", NULL}, "model.blocks");
  check_refused(16, (const char *const[]){SEG, "model.features=[3,4,4,4]", NULL}, "multiples of 2");
  check_refused(24, (const char *const[]){UNET, NULL}, "input 1");
  check_refused(1, (const char *const[]){UNET, NULL}, "max_pool");
}

int main(void) {
  RUN(networks_have_their_parameters);
  RUN(logits_have_their_extents);
  RUN(the_bias_of_the_head_starts_where_asked);
  RUN(what_does_not_fit_is_refused);
  return check_result();
}
