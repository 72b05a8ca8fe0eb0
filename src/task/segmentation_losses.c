/* Cross entropies and Dice losses, of each slot or of the whole batch: then each of them has its
 * place among the sums over the batch, the denominator of the cross entropy first. */
#include "task/segmentation_losses.h"
#include <string.h>
#include "kernels/label_weight/label_weight.h"
#include "kernels/loss_bce/loss_bce.h"
#include "kernels/loss_ce/loss_ce.h"
#include "kernels/loss_dice/loss_dice.h"

/* What segmentation.loss is made of. */
struct loss_parts {
  const char *name;
  bool entropy, focal, overlap;
};
static const struct loss_parts losses[] = {
    {"ce", true, false, false},   {"dice", false, false, true},     {"dice_ce", true, false, true},
    {"focal", true, true, false}, {"dice_focal", true, true, true},
};

static const struct loss_parts *parts_of(const struct config *config) {
  size_t i = 0;
  while (strcmp(losses[i].name, config->segmentation.loss) != 0) i++; /* the config has checked */
  return &losses[i];
}

/* --- which losses read sums --- */

/* One slot is the whole batch. */
static bool is_shared(const struct config *config) {
  return config->train.slots > 1 && strcmp(config->segmentation.scope, "batch") == 0;
}

/* Without weights every slot has as large a denominator. */
static int count_entropy_sums(const struct segmentation_view *view) {
  const struct config *config = view->config;
  bool weighted = config->segmentation.class_weights.count > 0 && !view->overlapping;
  return is_shared(config) && parts_of(config)->entropy && weighted ? 1 : 0;
}

static int count_overlap_sums(const struct segmentation_view *view) {
  const struct config *config = view->config;
  bool batch = parts_of(config)->overlap && config->segmentation.dice_batch;
  return is_shared(config) && batch ? view->classes * DICE_SUMS : 0;
}

/* --- one loss --- */

/* An operator's name and arguments. */
struct call {
  const char *op;
  const void *arguments;
  size_t bytes;
};

struct term {
  const char *name;
  struct call loss, summands; /* summands: gives what a slot adds to its sums */
  bool of_truth;              /* they are of the truth alone */
  int sums;                   /* it reads so many; 0: none */
  double weight;
};

struct build {
  struct graph *graph;
  enum purpose purpose;
  int logits, truth;
  int sums;                /* training: the input; -1: none */
  int summands[2], summed; /* PURPOSE_SUMS: values, and how many */
};

static enum status add_loss(struct build *build, const struct term *term) {
  const int inputs[] = {build->logits, build->truth, build->sums};
  int value;
  TRY(graph_add(build->graph, term->loss.op, term->name, term->loss.arguments, term->loss.bytes,
                inputs, term->sums > 0 ? 3 : 2, &value));
  return graph_loss(build->graph, value, term->weight);
}

static enum status add_summands(struct build *build, const struct term *term) {
  const int inputs[] = {build->logits, build->truth};
  const struct call *call = &term->summands;
  if (term->sums == 0) return STATUS_OK;
  return graph_add(build->graph, call->op, term->name, call->arguments, call->bytes,
                   inputs + term->of_truth, 2 - term->of_truth, &build->summands[build->summed++]);
}

static enum status add_term(struct build *build, const struct term *term) {
  return build->purpose == PURPOSE_SUMS ? add_summands(build, term) : add_loss(build, term);
}

/* --- the losses --- */

static double gamma_of(const struct config *config) {
  return parts_of(config)->focal ? config->segmentation.focal_gamma : 0;
}

static enum status add_binary_entropy(struct build *build, const struct segmentation_view *view) {
  const struct config *config = view->config;
  const struct loss_bce_arguments arguments = {
      .gamma = gamma_of(config), .positive_weight = config->segmentation.positive_weight};
  const struct term term = {.name = parts_of(config)->focal ? "focal" : "bce",
                            .loss = {"loss_bce", &arguments, sizeof arguments},
                            .weight = config->segmentation.lam_ce};
  return add_term(build, &term);
}

static enum status add_entropy(struct build *build, const struct segmentation_view *view) {
  const struct config *config = view->config;
  const struct real_list *weights = &config->segmentation.class_weights;
  struct loss_ce_arguments arguments = {.gamma = gamma_of(config), .weighted = weights->count > 0};
  struct label_weight_arguments denominator = {.classes = view->classes, .weighted = true};
  for (int c = 0; c < weights->count; c++)
    arguments.weight[c] = denominator.weight[c] = (float)weights->value[c];
  const struct term term = {.name = parts_of(config)->focal ? "focal" : "ce",
                            .loss = {"loss_ce", &arguments, sizeof arguments},
                            .summands = {"label_weight", &denominator, sizeof denominator},
                            .of_truth = true,
                            .sums = count_entropy_sums(view),
                            .weight = config->segmentation.lam_ce};
  return add_term(build, &term);
}

static enum status add_overlap(struct build *build, const struct segmentation_view *view) {
  const struct config *config = view->config;
  const struct loss_dice_arguments arguments = {
      .activation = view->overlapping ? LOSS_DICE_SIGMOID : LOSS_DICE_SOFTMAX,
      .include_background = config->segmentation.dice_background || view->overlapping,
      .batch = config->segmentation.dice_batch,
      .squared = config->segmentation.dice_squared,
      .smooth_numerator = config->segmentation.dice_smooth,
      .smooth_denominator = config->segmentation.dice_smooth,
      .sum = count_entropy_sums(view),
  };
  const struct term term = {.name = "dice",
                            .loss = {"loss_dice", &arguments, sizeof arguments},
                            .summands = {"dice_volumes", &arguments, sizeof arguments},
                            .sums = count_overlap_sums(view),
                            .weight = config->segmentation.lam_dice};
  return add_term(build, &term);
}

/* --- the sums --- */

static enum status add_sums_input(struct build *build, int count) {
  const struct shape shape = {1, count + 1, 1, 1, 1};
  if (count == 0 || build->purpose == PURPOSE_SUMS) return STATUS_OK;
  return graph_input(build->graph, TASK_SUMS, shape, build->graph->dtype, false, &build->sums);
}

static enum status add_sums_output(struct build *build) {
  int value = build->summands[0];
  if (build->purpose != PURPOSE_SUMS) return STATUS_OK;
  REQUIRE(build->summed > 0, STATUS_FAILED, "segmentation.loss reads no sums over the batch");
  if (build->summed > 1)
    TRY(graph_add(build->graph, "concat", "summands", NULL, 0, build->summands, build->summed,
                  &value));
  return graph_output(build->graph, TASK_SUMS, value);
}

enum status segmentation_add_losses(const struct segmentation_view *view, enum purpose purpose,
                                    int logits, int truth, struct graph *graph) {
  const struct loss_parts *parts = parts_of(view->config);
  struct build build = {
      .graph = graph, .purpose = purpose, .logits = logits, .truth = truth, .sums = -1};
  TRY(add_sums_input(&build, count_entropy_sums(view) + count_overlap_sums(view)));
  if (parts->entropy)
    TRY(view->overlapping ? add_binary_entropy(&build, view) : add_entropy(&build, view));
  if (parts->overlap) TRY(add_overlap(&build, view));
  return add_sums_output(&build);
}
