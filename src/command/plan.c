/* plan: what training would do and need, without doing it. */
#include <stdio.h>
#include "base/text.h"
#include "command/options.h"
#include "command/plan_ranks.h"
#include "command/sketch.h"
#include "comm/tree.h"

static void print_place(const struct sketch_memory *memory, enum sketch_place place) {
  char text[32];
  for (int i = 0; i < memory->count; i++)
    if (memory->line[i].place == place)
      printf("  %-48s %12s\n", memory->line[i].what, text_bytes(memory->line[i].bytes, text));
  printf("  %-48s %12s\n", "total", text_bytes(memory->total[place], text));
}

static void print_memory(const struct sketch *sketch, const struct config *config, int ranks) {
  struct sketch_memory memory;
  sketch_memory(sketch, config, ranks, &memory);
  printf("\nmemory of each of %d rank%s", ranks, ranks == 1 ? "" : "s");
  if (memory.total[SKETCH_DEVICE] > 0) {
    printf(", of its %s device\n", sketch->device->name);
    print_place(&memory, SKETCH_DEVICE);
    printf("and of the host");
  }
  printf("\n");
  print_place(&memory, SKETCH_HOST);
}

static void print_traffic(const struct sketch *sketch, const struct config *config, int ranks) {
  const struct plan *plan = &sketch->training.plan;
  int slots = (int)config->train.slots;
  double sums = sketch->sums.network.plan.forward_flops;
  double flops = plan->forward_flops + plan->backward_flops + sums;
  char text[32];
  printf("\nreduction: %d slots on %d rank%s, at most %d of them on a rank; ", slots, ranks,
         ranks == 1 ? "" : "s", (slots + ranks - 1) / ranks);
  printf("%s sent by each rank and step",
         text_bytes((double)tree_traffic(slots, ranks, plan->parameter_elements), text));
  printf(" (gradient: %s)\n", text_bytes(sizeof(float) * (double)plan->parameter_elements, text));
  printf("arithmetic: %.1f GFLOP forward, %.1f GFLOP backward", plan->forward_flops * 1e-9,
         plan->backward_flops * 1e-9);
  if (sketch->sums.count > 0)
    printf(" and before them %.1f GFLOP for %d sums over the batch", sums * 1e-9,
           sketch->sums.count);
  printf(" per slot; %.1f GFLOP per step on the busiest rank\n",
         flops * 1e-9 * ((slots + ranks - 1) / ranks));
}

struct request {
  const char *ranks;
  struct plan_ranks_words words;
};

static enum status print_sketch(const struct sketch *sketch, const struct config *config,
                                const struct request *request, struct comm *comm, int ranks) {
  struct config larger = *config; /* more ranks than slots are predicted with a slot each */
  if (larger.train.slots < ranks) larger.train.slots = ranks;
  printf("device %s, activations %s\n\n", sketch->device->name,
         dtype_name(sketch->training.graph.activation));
  plan_print(&sketch->training.plan, stdout);
  print_memory(sketch, &larger, ranks);
  print_traffic(sketch, &larger, ranks);
  if (!plan_ranks_wanted(&request->words)) return STATUS_OK;
  return plan_ranks_print(&request->words, sketch, config, comm, ranks);
}

static enum status plan_with(const struct config *config, const struct request *request,
                             struct comm *comm) {
  long ranks = 1;
  struct slot_range own;
  const struct device_ops *device;
  if (request->ranks) TRY(options_number("--ranks", request->ranks, 1, 1000000, &ranks));
  TRY(plan_ranks_check(&request->words));
  if (!plan_ranks_wanted(&request->words))
    TRY(comm_slots((int)config->train.slots, 0, (int)ranks, &own));
  TRY(device_find(config->root.device, &device));
  struct sketch sketch;
  enum status status = sketch_open(&sketch, config, device);
  if (!status) status = print_sketch(&sketch, config, request, comm, (int)ranks);
  sketch_close(&sketch);
  return status;
}

static enum status plan_command(const struct invocation *invocation) {
  struct request request = {0};
  const struct option options[] = {{"--ranks", &request.ranks, NULL},
                                   {"--seconds", &request.words.seconds, NULL},
                                   {"--measure", &request.words.measure, NULL},
                                   {"--comm", &request.words.link, NULL},
                                   {"--bandwidth", &request.words.bandwidth, NULL},
                                   {"--latency", &request.words.latency, NULL},
                                   {"--overhead", &request.words.overhead, NULL},
                                   {0}};
  struct config config;
  struct words words;
  enum status status = options_open_config(invocation, options, &words, &config);
  if (!status) status = plan_with(&config, &request, invocation->comm);
  config_close(&config);
  return status;
}

extern const struct command command_plan;
const struct command command_plan = {
    .name = "plan",
    .usage =
        "CONFIG [--ranks N] [--seconds S | --measure SLOTS] [--comm FILE] [--bandwidth GB/S] "
        "[--latency US] [--overhead US] [key=value ...]",
    .help =
        "steps, kernels, parameters, memory, arithmetic and traffic; trains nothing; with the "
        "seconds of a slot, given or measured, also the time of a step on 1, 2, 4 ... N ranks",
    .run = plan_command,
};
