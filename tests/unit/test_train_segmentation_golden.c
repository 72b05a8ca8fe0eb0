/* The networks that segment against PyTorch (tests/golden/resnet_seg_*, unet_*), with the losses
 * that they are for: cross entropy of interpolated logits, and of sigmoids against packed bits. */
#include "kernels/loss_bce/loss_bce.h"
#include "kernels/loss_ce/loss_ce.h"
#include "model_golden.h"

/* Labels at the image's extents; bits have a channel for each 8 classes. */
static int add_target(struct graph *graph, int channels) {
  struct shape shape = model_image_shape();
  int target;
  shape.c = channels;
  CHECK_OK(graph_input(graph, "target", shape, DTYPE_U8, false, &target));
  return target;
}

static void add_cross_entropy(struct graph *graph, int output) {
  struct loss_ce_arguments loss = {.weighted = true};
  const int values[2] = {output, add_target(graph, 1)};
  int total;
  for (int i = 0; i < LOGITS_MOST_CLASSES; i++) loss.weight[i] = i == 0 ? 0.1F : 1;
  CHECK_OK(graph_add(graph, "loss_ce", "loss", &loss, sizeof loss, values, 2, &total));
  CHECK_OK(graph_loss(graph, total, 1));
}

static void add_binary_cross_entropy(struct graph *graph, int output) {
  const struct loss_bce_arguments loss = {.gamma = 0};
  const int bytes = (graph_shape(graph, output).c + 7) / 8;
  const int values[2] = {output, add_target(graph, bytes)};
  int total;
  CHECK_OK(graph_add(graph, "loss_bce", "loss", &loss, sizeof loss, values, 2, &total));
  CHECK_OK(graph_loss(graph, total, 1));
}

static void *make_target(void) {
  return golden_bytes(&model_golden, "target");
}

static const struct model_family seg = {"resnet_seg", add_cross_entropy, make_target},
                                 unet = {"unet", add_binary_cross_entropy, make_target};

/* At full width some ReLU is at its corner, and rounding decides the gradients below it: PyTorch's
 * own in float32 and float64 part by 6e-3. */
#define SMALL "model.features=[4,8,10]", "model.blocks=[1,2,1]", "model.classes=3"
#define TINY "model.features=[4,8]", "model.blocks=[1,1]", "model.classes=3"
static const struct model_case cases[] = {
    {&seg, "resnet_seg_small", 16436, {SMALL}, 1e-4, 1e-4, 1e-3},
    {&seg, "resnet_seg_inplane", 4887, {TINY, "model.preset=resnet34_inplane"}, 1e-4, 1e-4, 1e-3},
    {&seg,
     "resnet_seg_group",
     5211,
     {TINY, "model.preset=resnet34_full", "model.norm=group", "model.norm_groups=2"},
     1e-4,
     1e-4,
     1e-3},
    {&seg,
     "resnet_seg_wide",
     3131,
     {TINY, "model.preset=resnet50_x4", "model.dimensions=2"},
     1e-4,
     1e-4,
     1e-3},
    {&seg,
     "resnet_seg_full",
     18490949,
     {"model.classes=5", "model.blocks=[1,1,1,1]"},
     2e-2,
     1e-4,
     1e-2},
    {&unet,
     "unet_small",
     4645,
     {"model.features=[4,6]", "model.classes=11", "model.dimensions=2"},
     1e-4,
     1e-4,
     1e-3},
    {&unet,
     "unet_instance",
     8937,
     {"model.features=[3,5]", "model.classes=4", "model.norm=instance"},
     1e-4,
     1e-4,
     1e-3},
    {&unet,
     "unet_attention",
     13204,
     {"model.features=[4,6]", "model.classes=3", "model.attention=true"},
     1e-4,
     1e-4,
     1e-3},
    {&unet, "unet_full", 7766293, {"model.classes=117", "model.dimensions=2"}, 2e-2, 1e-4, 1e-3},
};

TEST(segmentation_networks_train_as_in_pytorch) {
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) model_golden_check(&cases[i]);
}

int main(void) {
  RUN(segmentation_networks_train_as_in_pytorch);
  return check_result();
}
