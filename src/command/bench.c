/* bench: which benchmark, and its options. */
#include "command/bench.h"
#include <string.h>
#include "command/options.h"

struct request {
  const char *steps, *largest, *seconds;
  bool all, whole;
};

static enum status measure_steps(const struct config *config, struct comm *comm,
                                 const struct request *request) {
  long steps = 5;
  if (request->steps) TRY(options_number("--steps", request->steps, 1, BENCH_MOST_STEPS, &steps));
  return bench_steps(config, comm, (int)steps, request->whole);
}

static enum status measure_operators(const struct config *config, struct comm *comm,
                                     const struct request *request) {
  return bench_operators(config, comm, request->all);
}

static enum status measure_comm(const struct config *config, struct comm *comm,
                                const struct request *request) {
  long largest = 128;
  if (request->largest) TRY(options_number("--largest", request->largest, 1, 1024, &largest));
  return bench_comm(config, comm, (int64_t)largest << 20);
}

static enum status measure_data(const struct config *config, struct comm *comm,
                                const struct request *request) {
  double seconds = 0;
  TRY(options_real("--seconds", request->seconds, false, &seconds));
  return bench_data(config, comm, seconds);
}

static enum status measure_import(const struct config *config, struct comm *comm,
                                  const struct request *request) {
  (void)request;
  return bench_import(config, comm);
}

/* The word before the config; the first needs none. */
static const struct benchmark {
  const char *word;
  enum status (*run)(const struct config *config, struct comm *comm, const struct request *request);
} benchmarks[] = {{"", measure_steps},
                  {"ops", measure_operators},
                  {"comm", measure_comm},
                  {"data", measure_data},
                  {"import", measure_import}};

static const struct benchmark *find_benchmark(struct invocation *invocation) {
  for (size_t i = 1; i < sizeof benchmarks / sizeof *benchmarks && invocation->count > 0; i++) {
    if (strcmp(invocation->words[0], benchmarks[i].word) != 0) continue;
    invocation->count--;
    invocation->words++;
    return &benchmarks[i];
  }
  return &benchmarks[0];
}

static enum status bench_command(const struct invocation *invocation) {
  struct request request = {0};
  const struct option options[] = {
      {"--steps", &request.steps, NULL},     {"--all", NULL, &request.all},
      {"--whole", NULL, &request.whole},     {"--largest", &request.largest, NULL},
      {"--seconds", &request.seconds, NULL}, {0}};
  struct invocation rest = *invocation;
  const struct benchmark *benchmark = find_benchmark(&rest);
  struct config config;
  struct words words;
  enum status status = options_open_config(&rest, options, &words, &config);
  if (!status) status = benchmark->run(&config, invocation->comm, &request);
  config_close(&config);
  return status;
}

extern const struct command command_bench;
const struct command command_bench = {
    .name = "bench",
    .usage =
        "[ops|comm|data|import] CONFIG [--steps N] [--whole] [--all] [--largest MIB] [--seconds S] "
        "[key=value ...]",
    .help =
        "time of training steps on random images, by operator, and one line of JSON; "
        "ops: each kind of layer against the machine's peak; comm: the reduction over several "
        "ranks, by size; data: loading, and whether slots of S seconds would wait for it; "
        "import: reading the images of data.source",
    .run = bench_command,
    .parallel = true,
};
