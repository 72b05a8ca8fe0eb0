/* Dropout in networks that segment: where it is, that it is left out where no key is given, and
 * that keys decide what is dropped. */
#include "check.h"
#include "graph/run.h"
#include "kernels/dropout/dropout.h"
#include "model/model.h"

enum { MOST_WORDS = 5, SAMPLES = 2, WIDTH = 16 };

struct network {
  struct config config;
  struct graph graph;
  struct plan plan;
};

static void build(struct network *network, const char *const *words, bool drops) {
  const struct shape shape = {SAMPLES, 1, WIDTH, WIDTH, WIDTH};
  struct model_request request = {.input_count = 1, .dropout = -1};
  struct model_result result;
  const struct model *model;
  int image;
  *network = (struct network){0};
  CHECK_OK(config_defaults(&network->config));
  for (int i = 0; i < MOST_WORDS && words[i]; i++)
    CHECK_OK(config_override(&network->config, words[i]));
  graph_open(&network->graph, DEVICE_CPU, DTYPE_F32);
  CHECK_OK(graph_input(&network->graph, "image", shape, DTYPE_F32, false, &image));
  if (drops)
    CHECK_OK(graph_input(&network->graph, "dropout", (struct shape){SAMPLES, DROPOUT_KEY, 1, 1, 1},
                         DTYPE_F32, false, &request.dropout));
  request.inputs = &image;
  CHECK_OK(model_find(network->config.model.name, &model));
  CHECK_OK(model->build(&network->graph, &network->config, "", &request, &result));
  CHECK_OK(graph_output(&network->graph, "output", result.output));
}

static void close(struct network *network) {
  plan_close(&network->plan);
  graph_close(&network->graph);
  config_close(&network->config);
}

static int count_dropouts(const struct network *network) {
  int count = 0;
  for (int i = 0; i < network->graph.node_count; i++) {
    const struct node *node = &network->graph.nodes[i].node;
    const struct dropout_arguments *a = (const struct dropout_arguments *)node->arguments;
    if (strcmp(node->op->name, "dropout") != 0) continue;
    CHECK(a->probability == 0.25F);
    for (int j = 0; j < i; j++) { /* no number twice */
      const struct node *other = &network->graph.nodes[j].node;
      const struct dropout_arguments *b = (const struct dropout_arguments *)other->arguments;
      CHECK(strcmp(other->op->name, "dropout") != 0 || a->number != b->number);
    }
    count++;
  }
  return count;
}

static void check_drops(const char *const *words, bool drops, int expected) {
  struct network network;
  build(&network, words, drops);
  int found = count_dropouts(&network);
  CHECK_SAY(found == expected, " (%s: %d)", words[0], found);
  close(&network);
}

#define UNET "model.name=unet", "model.features=[4,8,8]"
#define SEG "model.name=resnet_seg", "model.features=[4,8,8]", "model.blocks=[1,1,1]"

TEST(bottleneck_and_decoder_drop) {
  check_drops((const char *const[]){UNET, "model.dropout=0.25", NULL}, true, 4);
  check_drops((const char *const[]){UNET, "model.dropout=0.25", NULL}, false, 0);
  check_drops((const char *const[]){UNET, NULL}, true, 0);
  check_drops((const char *const[]){SEG, "model.dropout=0.25", NULL}, true, 2);
  check_drops((const char *const[]){SEG, "model.dropout=0.25", NULL}, false, 0);
}

/* Runs a U-Net on one image in both samples, under keys 1 and `second`; with the same key both
 * samples, without norms of batches, must come out alike. */
static double difference(float second) {
  static const char *const words[] = {UNET, "model.dropout=0.25", "model.norm=instance", NULL};
  struct network network;
  struct device device;
  struct run run;
  const void *memory;
  enum { VOXELS = WIDTH * WIDTH * WIDTH };
  static float image[SAMPLES * VOXELS], keys[SAMPLES * DROPOUT_KEY] = {1, 2};
  build(&network, words, true);
  CHECK_OK(plan_make(&network.plan, &network.graph, &(const struct plan_options){0}));
  size_t bytes = (size_t)network.plan.parameter_elements * sizeof(float);
  float *weights = aligned_alloc(64, (bytes + 63) / 64 * 64);
  if (!weights) abort();
  plan_initialize(&network.plan, 1, weights);
  for (int i = 0; i < VOXELS; i++) image[i] = image[VOXELS + i] = (float)(i % 37) / 37;
  keys[DROPOUT_KEY] = second;
  keys[DROPOUT_KEY + 1] = 2;
  CHECK_OK(device_open(&device, "cpu", 0, 1, false, 1));
  CHECK_OK(run_open(&run, &network.plan, &device, NULL, weights, NULL));
  CHECK_OK(run_bind(&run, "image", image));
  CHECK_OK(run_bind(&run, "dropout", keys));
  CHECK_OK(run_forward(&run));
  CHECK_OK(run_value(&run, "output", NULL, &memory));
  const float *logits = memory;
  double sum = 0; /* two classes: planar */
  for (int i = 0; i < 2 * VOXELS; i++) sum += fabs((double)(logits[i] - logits[2 * VOXELS + i]));
  run_close(&run);
  device_close(&device);
  free(weights);
  close(&network);
  return sum;
}

TEST(keys_decide_what_is_dropped) {
  CHECK(difference(1) == 0);
  CHECK(difference(3) > 1);
}

int main(void) {
  RUN(bottleneck_and_decoder_drop);
  RUN(keys_decide_what_is_dropped);
  return check_result();
}
