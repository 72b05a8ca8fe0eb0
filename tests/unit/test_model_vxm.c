/* VoxelMorph's networks: as many parameters as published, under the originals' names and shapes;
 * what extents must be multiples of; coarse-to-fine levels. */
#include "check.h"
#include "graph/plan.h"
#include "model/deformation.h"

enum { MOST_WORDS = 8 };

struct network {
  struct config config;
  struct graph graph;
  struct plan plan;
  struct deformation deformation;
};

static void apply(struct config *config, const char *const *words) {
  CHECK_OK(config_defaults(config));
  for (int i = 0; i < MOST_WORDS && words && words[i]; i++)
    CHECK_OK(config_override(config, words[i]));
}

static enum status build(struct network *network, const char *const *words, int side,
                         bool inverse) {
  struct shape shape = {1, 1, side, side, 2 * side};
  const struct plan_options options = {0};
  int moving, fixed;
  *network = (struct network){0};
  apply(&network->config, words);
  graph_open(&network->graph, DEVICE_CPU, DTYPE_F32);
  TRY(graph_input(&network->graph, "moving", shape, DTYPE_F32, false, &moving));
  TRY(graph_input(&network->graph, "fixed", shape, DTYPE_F32, false, &fixed));
  TRY(deformation_build(&network->graph, &network->config, moving, fixed, inverse,
                        &network->deformation));
  TRY(graph_output(&network->graph, "displacement", network->deformation.displacement));
  if (inverse) TRY(graph_output(&network->graph, "inverse", network->deformation.inverse));
  return plan_make(&network->plan, &network->graph, &options);
}

static void close(struct network *network) {
  plan_close(&network->plan);
  graph_close(&network->graph);
  config_close(&network->config);
}

struct layer {
  const char *name;
  int from, to;
};

static const struct layer official[] = {{"unet_model.encoder.0.0.main", 2, 16},
                                        {"unet_model.encoder.1.0.main", 16, 32},
                                        {"unet_model.encoder.2.0.main", 32, 32},
                                        {"unet_model.encoder.3.0.main", 32, 32},
                                        {"unet_model.decoder.0.0.main", 32, 32},
                                        {"unet_model.decoder.1.0.main", 64, 32},
                                        {"unet_model.decoder.2.0.main", 64, 32},
                                        {"unet_model.decoder.3.0.main", 64, 32},
                                        {"unet_model.remaining.0.main", 48, 32},
                                        {"unet_model.remaining.1.main", 32, 16},
                                        {"unet_model.remaining.2.main", 16, 16},
                                        {"flow", 16, 3},
                                        {NULL, 0, 0}};

static const char *const monai_words[] = {"model.variant=monai",
                                          "model.encoder=[16,32,32,32,32,32]", "model.decoder=[32]",
                                          "model.final=[16,16]", NULL};
#define BELOW ".1.submodule"
static const struct layer monai[] = {{"net.0.0.conv", 2, 16},
                                     {"net.0" BELOW ".0.1.conv", 16, 32},
                                     {"net.0" BELOW BELOW ".0.1.conv", 32, 32},
                                     {"net.0" BELOW BELOW BELOW ".0.1.conv", 32, 32},
                                     {"net.0" BELOW BELOW ".2.0.conv", 64, 32},
                                     {"net.0" BELOW ".2.0.conv", 64, 32},
                                     {"net.0.2.conv", 48, 32},
                                     {"net.1.final_conv_0.conv", 32, 16},
                                     {"net.1.final_conv_1.conv", 16, 16},
                                     {"net.1.final_conv_out.conv", 16, 3},
                                     {NULL, 0, 0}};

static void check_parameter(const struct plan *plan, const char *prefix, const char *layer,
                            const char *suffix, const int extent[5], int rank) {
  char name[160];
  snprintf(name, sizeof name, "%s%s.%s", prefix, layer, suffix);
  const struct plan_parameter *found = plan_find_parameter(plan, name);
  CHECK_SAY(found != NULL, " %s", name);
  if (!found) return;
  CHECK_SAY(found->parameter.rank == rank, " %s", name);
  for (int i = 0; i < rank; i++)
    CHECK_SAY(found->parameter.extent[i] == extent[i], " %s: extent %d: %d, %d", name, i,
              found->parameter.extent[i], extent[i]);
}

/* Returns how many parameters the layers have. */
static int check_layers(const struct plan *plan, const char *prefix, const struct layer *layers) {
  int count = 0;
  for (; layers->name; layers++, count += 2) {
    const int weight[5] = {layers->to, layers->from, 3, 3, 3}, bias[5] = {layers->to};
    check_parameter(plan, prefix, layers->name, "weight", weight, 5);
    check_parameter(plan, prefix, layers->name, "bias", bias, 1);
  }
  return count;
}

TEST(the_official_network_has_its_parameters) {
  struct network network;
  CHECK_OK(build(&network, NULL, 16, false));
  CHECK(plan_trainable_count(&network.plan) == 327331);
  CHECK(network.plan.parameter_count == check_layers(&network.plan, "", official));
  close(&network);
}

TEST(the_monai_network_has_its_parameters) {
  struct network network;
  CHECK_OK(build(&network, monai_words, 16, false));
  CHECK(plan_trainable_count(&network.plan) == 244323);
  CHECK(network.plan.parameter_count == check_layers(&network.plan, "", monai));
  close(&network);
}

/* The last layer of the original starts near 0, so that training starts near the identity. */
TEST(the_last_layer_starts_small) {
  struct network network;
  CHECK_OK(build(&network, NULL, 16, false));
  float *weights = calloc((size_t)network.plan.parameter_elements, sizeof *weights);
  if (!weights) abort();
  plan_initialize(&network.plan, 1, weights);
  const struct plan_parameter *flow = plan_find_parameter(&network.plan, "flow.weight");
  double squares = 0;
  for (int64_t i = 0; i < flow->count; i++) squares += pow((double)weights[flow->offset + i], 2);
  CHECK_NEAR(sqrt(squares / (double)flow->count), 1e-5, 1e-6);
  const struct plan_parameter *bias = plan_find_parameter(&network.plan, "flow.bias");
  for (int64_t i = 0; i < bias->count; i++) CHECK(weights[bias->offset + i] == 0);
  free(weights);
  close(&network);
}

static int multiple_of(const char *const *words) {
  struct config config = {0};
  int multiple = 0;
  apply(&config, words);
  CHECK_OK(deformation_multiple(&config, &multiple));
  config_close(&config);
  return multiple;
}

TEST(extents_are_multiples_of_what_the_network_halves) {
  CHECK(multiple_of(NULL) == 16);
  CHECK(multiple_of(monai_words) == 8);
  CHECK(multiple_of((const char *const[]){"model.levels=3", NULL}) == 64);
  CHECK(multiple_of((const char *const[]){"model.integration_downsize=3", NULL}) == 48);
  CHECK(multiple_of((const char *const[]){"model.encoder=[8,8]", "model.decoder=[8,8]", NULL}) ==
        4);
}

static void check_shape(const struct graph *graph, int value, int channels, int d, int w) {
  struct shape shape = graph_shape(graph, value);
  CHECK_SAY(shape.n == 1 && shape.c == channels && shape.d == d && shape.h == d && shape.w == w,
            ": %d %d %d %d %d", shape.n, shape.c, shape.d, shape.h, shape.w);
}

/* Each level is a network of its own, whose velocity lives on its own, coarser, grid. */
TEST(levels_refine) {
  static const char *const words[] = {"model.levels=2", NULL};
  struct network network;
  CHECK_OK(build(&network, words, 32, true));
  CHECK(plan_trainable_count(&network.plan) == 2 * 327331);
  CHECK(check_layers(&network.plan, "", official) +
            check_layers(&network.plan, "level1.", official) ==
        network.plan.parameter_count);
  CHECK(network.deformation.level_count == 2);
  check_shape(&network.graph, network.deformation.displacement, 3, 32, 64);
  check_shape(&network.graph, network.deformation.inverse, 3, 32, 64);
  check_shape(&network.graph, network.deformation.velocity[0], 3, 16, 32);
  check_shape(&network.graph, network.deformation.velocity[1], 3, 8, 16);
  close(&network);
}

TEST(integration_may_be_at_full_resolution_or_left_out) {
  static const char *const full[] = {"model.integration_downsize=1", NULL};
  static const char *const none[] = {"model.integration_steps=0", NULL};
  struct network network;
  CHECK_OK(build(&network, full, 16, false));
  check_shape(&network.graph, network.deformation.velocity[0], 3, 16, 32);
  close(&network);
  CHECK_OK(build(&network, none, 16, false));
  CHECK(network.deformation.velocity[0] == network.deformation.displacement);
  CHECK(network.deformation.inverse == -1);
  close(&network);
}

static void check_refused(const char *const *words, const char *message) {
  struct network network;
  CHECK_FAILS(build(&network, words, 16, false), message);
  close(&network);
}

TEST(wrong_features_are_refused) {
  check_refused((const char *const[]){"model.decoder=[32,32]", NULL}, "model.decoder");
  check_refused((const char *const[]){"model.variant=monai", "model.encoder=[8,8,8]", NULL},
                "even number");
  check_refused((const char *const[]){"model.name=vmx", NULL}, "did you mean \"vxm\"");
}

int main(void) {
  RUN(the_official_network_has_its_parameters);
  RUN(the_monai_network_has_its_parameters);
  RUN(the_last_layer_starts_small);
  RUN(extents_are_multiples_of_what_the_network_halves);
  RUN(levels_refine);
  RUN(integration_may_be_at_full_resolution_or_left_out);
  RUN(wrong_features_are_refused);
  return check_result();
}
