/* What the program can say about itself: everything comes from the tables. */
#include "command/list.h"
#include <string.h>
#include "command/command.h"
#include "comm/comm.h"
#include "device/device.h"
#include "kernels/op.h"
#include "model/model.h"
#include "optim/optim.h"
#include "optim/schedule.h"
#include "task/task.h"
#include "volume/intensity.h"

static void print_help(FILE *out) {
  fprintf(
      out,
      "medtrain-dist " MEDTRAIN_VERSION
      ": trains 3-D medical imaging networks on one core, one GPU or a cluster\n\n"
      "usage: medtrain-dist CONFIG [key=value ...]        train; alone, or under mpirun or srun\n"
      "       medtrain-dist COMMAND ...\n\ncommands:\n");
  for (int i = 0; commands[i]; i++)
    fprintf(out, "  %-9s %s\n            %s%s\n", commands[i]->name, commands[i]->usage,
            commands[i]->help, commands[i]->parallel ? " (parallel)" : "");
  fprintf(
      out,
      "\n  --list     tasks, networks, operators with their kernels, devices\n"
      "  --version\n  --help\n\n"
      "exit status: 0 done, 1 failed, 2 usage or config, 85 stopped on request and resumable\n\n"
      "config keys, with their defaults:\n");
  config_help(out);
}

static void print_kernels(const struct op *op, FILE *out) {
  fprintf(out, "  %-16s %s\n", op->name, op->help);
  for (int d = 0; devices[d]; d++) {
    bool any = false;
    for (int i = 0; op->kernels[i]; i++) {
      const struct kernel *kernel = op->kernels[i];
      if (kernel->device != devices[d]->kind) continue;
      if (!any) fprintf(out, "      %s:", devices[d]->name);
      fprintf(out, " %s/%s", kernel->name, dtype_name(kernel->dtype));
      any = true;
    }
    if (any) fputc('\n', out);
  }
}

static void print_list(FILE *out) {
  fprintf(out, "tasks:\n");
  for (int i = 0; tasks[i]; i++) fprintf(out, "  %-16s %s\n", tasks[i]->name, tasks[i]->help);
  fprintf(out, "networks:\n");
  for (int i = 0; models[i]; i++) fprintf(out, "  %-16s %s\n", models[i]->name, models[i]->help);
  fprintf(out, "operators:\n");
  for (int i = 0; ops[i]; i++) print_kernels(ops[i], out);
  fprintf(out, "optimisers:\n");
  for (int i = 0; optimizers[i]; i++)
    fprintf(out, "  %-16s %s\n", optimizers[i]->name, optimizers[i]->help);
  fprintf(out, "learning rate schedules:\n");
  for (int i = 0; schedules[i]; i++)
    fprintf(out, "  %-16s %s\n", schedules[i]->name, schedules[i]->help);
  fprintf(out, "intensity normalisations:\n");
  for (int i = 0; i < intensity_count; i++)
    fprintf(out, "  %-16s %s\n", intensities[i]->name, intensities[i]->help);
  fprintf(out, "devices:\n");
  for (int i = 0; devices[i]; i++) {
    const char *why = "";
    int count = devices[i]->count(&why);
    fprintf(out, "  %-16s %d here%s%s\n", devices[i]->name, count, count ? "" : ": ",
            count ? "" : why);
  }
  fprintf(out, "rank transports:\n");
  for (int i = 0; comm_transports[i]; i++)
    fprintf(out, "  %s\n", comm_transport_name(comm_transports[i]));
}

bool list_answer(const char *word, FILE *out) {
  if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0) {
    print_help(out);
  } else if (strcmp(word, "--version") == 0) {
    fprintf(out, "medtrain-dist " MEDTRAIN_VERSION "\n");
  } else if (strcmp(word, "--list") == 0) {
    print_list(out);
  } else {
    return false;
  }
  return true;
}
