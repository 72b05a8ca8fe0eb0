/* bench ops: kernels against the limits of the machine and against each other. */
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "command/bench.h"
#include "command/bench_rate.h"
#include "command/machine.h"
#include "command/sketch.h"
#include "device/cpu_describe.h"
#include "train/measure.h"

/* How long a kernel is measured, but for at least two calls; and the share of the network's
 * arithmetic from which on a convolution is watched. */
static const double KERNEL_SECONDS = 0.2, WATCHED_SHARE = 0.01;

/* Over all convolutions, each as often as it occurs. */
struct convolutions {
  int count, unknown; /* unknown: a time is missing */
  double flops, seconds;
  double possible; /* FLOP at the peaks around these seconds */
  double lowest;   /* share of peak, of the watched ones' passes */
  enum bench_pass lowest_pass;
  char lowest_node[OP_NAME_BYTES];
};

struct table {
  struct device *device;
  const struct graph *graph;
  const struct config *config;
  bool all;
  struct peak peak[2]; /* for float32, and for the activations' type; flops: when last measured */
  double flops;        /* of the network, forward and backward */
  struct convolutions convolutions;
  json_t *rows;
};

/* One kernel's rates on a node. */
struct row {
  const struct node *node;
  const struct kernel *kernel;
  struct bench_rate pass[BENCH_PASSES];
  double peak; /* FLOP/s, the highest meanwhile */
};

/* The machine's limits around what ran since they were last asked for: their arithmetic is measured
 * again, and the higher of both counts. */
static enum status find_peak(struct table *table, const struct node *node, struct peak *around) {
  struct peak *peak = &table->peak[node->dtype != DTYPE_F32];
  *around = *peak;
  if (!node->op->forward_flops) return STATUS_OK;
  TRY(peak_measure_flops(table->device, node->dtype, &peak->flops));
  around->flops = fmax(around->flops, peak->flops);
  return STATUS_OK;
}

static double flops_of(const struct node *node) {
  if (!node->op->forward_flops) return 0;
  return node->op->forward_flops(node) +
         (measure_trains(node) ? node->op->backward_flops(node) : 0);
}

static bool is_watched(const struct table *table, const struct node *node) {
  return table->flops > 0 && flops_of(node) >= WATCHED_SHARE * table->flops;
}

static enum status measure_row(struct table *table, const struct node *node,
                               const struct kernel *kernel, struct row *row) {
  double seconds[BENCH_PASSES] = {0};
  struct node weights;
  struct peak peak, parts;
  *row = (struct row){.node = node, .kernel = kernel};
  TRY(find_peak(table, node, &peak)); /* what was before the row does not count */
  struct measured whole = measure_kernel(table->device, node, kernel, KERNEL_SECONDS);
  TRY(find_peak(table, node, &peak));
  seconds[BENCH_FORWARD] = whole.forward;
  seconds[BENCH_BACKWARD] = whole.backward;
  parts = peak;
  if (isfinite(whole.backward) && whole.backward > 0 && bench_without_data(node, &weights)) {
    struct measured part = measure_kernel(table->device, &weights, kernel, KERNEL_SECONDS);
    TRY(find_peak(table, node, &parts));
    seconds[BENCH_WEIGHTS] = part.backward;
    seconds[BENCH_DATA] = fmax(whole.backward - part.backward, 0);
  }
  for (int pass = 0; pass < BENCH_PASSES; pass++)
    row->pass[pass] =
        bench_rate_of(node, pass, seconds[pass], pass < BENCH_WEIGHTS ? &peak : &parts);
  row->peak = fmax(peak.flops, parts.flops);
  return STATUS_OK;
}

/* The best cuDNN time of a node's kernels, each direction by itself; infinite without. */
static double best_cudnn(const struct row *rows, int count) {
  double forward = INFINITY, backward = INFINITY;
  for (int i = 0; i < count; i++) {
    if (strncmp(rows[i].kernel->name, "cudnn", 5) != 0) continue;
    forward = fmin(forward, rows[i].pass[BENCH_FORWARD].seconds);
    backward = fmin(backward, rows[i].pass[BENCH_BACKWARD].seconds);
  }
  return forward + backward;
}

static double both_ways(const struct row *row) {
  return row->pass[BENCH_FORWARD].seconds + row->pass[BENCH_BACKWARD].seconds;
}

static void print_row(const struct row *row, double times_cudnn) {
  for (int pass = 0; pass < BENCH_PASSES; pass++) {
    if (pass != BENCH_FORWARD && !bench_rate_known(&row->pass[pass])) continue;
    printf("  %-24s %-8s", pass == BENCH_FORWARD ? row->kernel->name : "", bench_pass_name(pass));
    bench_rate_print(&row->pass[pass]);
    if (pass == BENCH_BACKWARD && isfinite(times_cudnn)) printf("  %.2f x cuDNN", times_cudnn);
    printf("\n");
  }
}

static void note_row(struct table *table, const struct row *row, int alike, double times_cudnn) {
  const struct node *node = row->node;
  json_t *json =
      json_pack("{s:s, s:s, s:s, s:b, s:s, s:i, s:f}", "node", node->name, "operator",
                node->op->name, "kernel", row->kernel->name, "chosen", row->kernel == node->kernel,
                "type", dtype_name(node->dtype), "alike", alike, "share_of_flops",
                table->flops > 0 ? flops_of(node) / table->flops : 0);
  for (int pass = 0; json && pass < BENCH_PASSES; pass++)
    json_object_set_new(json, bench_pass_name(pass), bench_rate_json(&row->pass[pass]));
  if (json && node->op->forward_flops)
    json_object_set_new(json, "peak_flop_per_second", json_real(row->peak));
  if (json && isfinite(times_cudnn))
    json_object_set_new(json, "times_cudnn", json_real(times_cudnn));
  json_array_append_new(table->rows, json);
}

/* Backward counts by its parts where it has any. */
static void find_lowest(struct convolutions *sum, const struct row *row) {
  bool parts = bench_rate_known(&row->pass[BENCH_WEIGHTS]);
  for (int pass = 0; pass < BENCH_PASSES; pass++) {
    const struct bench_rate *rate = &row->pass[pass];
    if (pass == BENCH_BACKWARD && parts) continue;
    if (!bench_rate_known(rate) || !(rate->share < sum->lowest)) continue;
    sum->lowest = rate->share;
    sum->lowest_pass = pass;
    memcpy(sum->lowest_node, row->node->name, sizeof sum->lowest_node);
  }
}

static void add_convolution(struct table *table, const struct row *row, int alike) {
  struct convolutions *sum = &table->convolutions;
  if (!row->node->op->forward_flops) return;
  sum->count += alike;
  if (isfinite(both_ways(row))) {
    sum->seconds += alike * both_ways(row);
    sum->flops += alike * flops_of(row->node);
    sum->possible += alike * both_ways(row) * row->peak;
  } else {
    sum->unknown += alike;
  }
  if (is_watched(table, row->node)) find_lowest(sum, row);
}

static void print_node(const struct table *table, const struct node *node, int alike) {
  printf("%s%s (%s, %s):", is_watched(table, node) ? "* " : "", node->name, node->op->name,
         dtype_name(node->dtype));
  for (int i = 0; i <= node->input_count; i++) {
    const struct shape *s = i < node->input_count ? &node->x[i].shape : &node->y.shape;
    printf("%s %dx%dx%dx%dx%d", i < node->input_count ? "" : " ->", s->n, s->c, s->d, s->h, s->w);
  }
  if (node->op->forward_flops)
    printf("  %.2f GFLOP, %.1f%%", flops_of(node) * 1e-9, 100 * flops_of(node) / table->flops);
  if (alike > 1) printf("  (%d of them)", alike);
  printf("\n");
}

enum { MOST_KERNELS = 64 };

static enum status bench_node(struct table *table, const struct node *node, int alike) {
  struct row rows[MOST_KERNELS];
  int count = 0;
  print_node(table, node, alike);
  for (int i = 0; node->op->kernels[i] && count < MOST_KERNELS; i++) {
    const struct kernel *kernel = node->op->kernels[i];
    if (table->all ? op_kernel_fits(kernel, node) : kernel == node->kernel)
      TRY(measure_row(table, node, kernel, &rows[count++]));
  }
  double cudnn = best_cudnn(rows, count);
  for (int i = 0; i < count; i++) {
    double ratio = cudnn / both_ways(&rows[i]);
    print_row(&rows[i], ratio);
    note_row(table, &rows[i], alike, ratio);
    if (rows[i].kernel == node->kernel) add_convolution(table, &rows[i], alike);
  }
  fflush(stdout);
  return STATUS_OK;
}

static bool tensors_equal(const struct tensor *a, const struct tensor *b) {
  return shape_equal(a->shape, b->shape) && a->dtype == b->dtype && a->layout == b->layout;
}

static bool nodes_alike(const struct node *a, const struct node *b) {
  bool alike = a->kernel && a->op == b->op && a->input_count == b->input_count &&
               tensors_equal(&a->y, &b->y) &&
               memcmp(a->arguments, b->arguments, sizeof a->arguments) == 0;
  for (int i = 0; alike && i < a->input_count; i++)
    alike = tensors_equal(&a->x[i], &b->x[i]) && a->wants_dx[i] == b->wants_dx[i];
  return alike;
}

/* How many nodes from n on are like node n; 0: one before it is. Only nodes that run have a kernel.
 */
static int count_alike(const struct graph *graph, int n) {
  const struct node *node = &graph->nodes[n].node;
  int count = 0;
  for (int i = 0; i < n; i++)
    if (nodes_alike(&graph->nodes[i].node, node)) return 0;
  for (int i = n; node->kernel && i < graph->node_count; i++)
    count += nodes_alike(&graph->nodes[i].node, node);
  return count;
}

static enum status print_nodes(struct table *table) {
  const struct graph *graph = table->graph;
  for (int n = 0; n < graph->node_count; n++)
    if (graph->nodes[n].node.kernel) table->flops += flops_of(&graph->nodes[n].node);
  for (int n = 0; n < graph->node_count; n++) {
    int alike = count_alike(graph, n);
    if (alike > 0) TRY(bench_node(table, &graph->nodes[n].node, alike));
  }
  return STATUS_OK;
}

static enum status print_head(struct table *table) {
  enum dtype type = table->graph->activation;
  char processor[128];
  TRY(peak_measure(table->device, DTYPE_F32, &table->peak[0]));
  table->peak[1] = table->peak[0];
  if (type != DTYPE_F32) TRY(peak_measure(table->device, type, &table->peak[1]));
  cpu_model(processor, sizeof processor);
  printf("%s (%s, %s), %d thread%s: %.1f GFLOP/s in float32", table->device->ops->name, processor,
         cpu_instruction_set(), table->device->threads, table->device->threads == 1 ? "" : "s",
         table->peak[0].flops * 1e-9);
  if (type != DTYPE_F32) printf(", %.1f in %s", table->peak[1].flops * 1e-9, dtype_name(type));
  printf("; memory %.1f GB/s\n", table->peak[0].bytes * 1e-9);
  printf(
      "shares: of that arithmetic, as the definition counts it and as the machine can meanwhile, "
      "or of that bandwidth (what fits the caches may exceed it)\n");
  return STATUS_OK;
}

static json_t *describe_convolutions(const struct table *table) {
  const struct convolutions *sum = &table->convolutions;
  double speed = sum->seconds > 0 ? sum->flops / sum->seconds : 0;
  double share = sum->possible > 0 ? sum->flops / sum->possible : NAN;
  printf("\nall %d convolutions: %.1f GFLOP in %.4f s, %.1f GFLOP/s", sum->count, sum->flops * 1e-9,
         sum->seconds, speed * 1e-9);
  if (isfinite(share)) printf(", %.1f%% of peak", 100 * share);
  if (sum->unknown > 0) printf(" (without %d that could not be measured)", sum->unknown);
  printf("\n");
  json_t *json = json_pack("{s:i, s:f, s:f, s:f, s:o}", "count", sum->count, "flop", sum->flops,
                           "seconds", sum->seconds, "flop_per_second", speed, "share_of_peak",
                           isfinite(share) ? json_real(share) : json_null());
  if (!json || !isfinite(sum->lowest)) return json;
  printf("lowest share of those with at least 1 %% of the arithmetic (*): %.1f%%, %s of %s\n",
         100 * sum->lowest, bench_pass_name(sum->lowest_pass), sum->lowest_node);
  json_object_set_new(json, "lowest",
                      json_pack("{s:s, s:s, s:f}", "node", sum->lowest_node, "pass",
                                bench_pass_name(sum->lowest_pass), "share_of_peak", sum->lowest));
  return json;
}

static json_t *describe_all(const struct table *table, const struct sketch *sketch) {
  const int *extent = sketch->training.extent;
  json_t *result =
      json_pack("{s:s, s:s, s:[i,i,i], s:i, s:o}", "network", table->config->model.name,
                "activations", dtype_name(table->graph->activation), "size", extent[0], extent[1],
                extent[2], "samples", (int)table->config->train.slot_samples, "machine",
                bench_machine(table->device, &table->peak[0]));
  if (!result) return NULL;
  if (table->graph->activation != DTYPE_F32)
    json_object_set_new(result, "peak_flop_per_second_of_activations",
                        json_real(table->peak[1].flops));
  if (table->convolutions.count > 0)
    json_object_set_new(result, "convolutions", describe_convolutions(table));
  json_object_set(result, "rows", table->rows);
  return result;
}

static enum status print_all(struct table *table, const struct sketch *sketch) {
  TRY(print_head(table));
  TRY(print_nodes(table));
  TRY(bench_update(table->device, table->config->train.optimizer,
                   sketch->training.plan.trained_elements, &table->peak[0], table->rows));
  return bench_print(describe_all(table, sketch));
}

static enum status bench_device(const struct config *config, struct device *device, bool all) {
  struct sketch sketch;
  struct table table = {.device = device,
                        .config = config,
                        .all = all,
                        .convolutions = {.lowest = INFINITY},
                        .rows = json_array()};
  enum status status = sketch_open(&sketch, config, device->ops);
  table.graph = &sketch.training.graph;
  if (!status) status = print_all(&table, &sketch);
  json_decref(table.rows);
  sketch_close(&sketch);
  return status;
}

enum status bench_operators(const struct config *config, struct comm *comm, bool all) {
  struct device device = {0};
  REQUIRE(comm->size == 1, STATUS_USAGE, "bench ops runs on one process, found %d ranks",
          comm->size);
  enum status status = machine_open(&device, config, comm);
  if (!status) status = bench_device(config, &device, all);
  device_close(&device);
  return status;
}
