/* A network with a checkpoint's weights, or in turn with those of several (an ensemble), ready to
 * predict. */
#pragma once
#include "comm/comm.h"
#include "config/config.h"
#include "task/task.h"
#include "train/network.h"

struct judge {
  const struct config *config;
  struct comm *comm;
  const struct task *task;
  struct task_run task_run; /* the data set: judge_open only */
  struct device device;
  struct network network;
  float *weights; /* on the device: of the member in use */
  size_t weights_bytes;
  char *checkpoint; /* path the weights came from; of an ensemble all, separated by commas */
  int members;
  char **paths;   /* [members] */
  float **member; /* [members], on the device; NULL for a single one */
  int in_use;
};

/* With the config's data set, for evaluation. checkpoint: a path, or several separated by commas;
 * NULL: the run directory's best, or its last. Not collective but for the device; the caller
 * agrees. */
CHECKED enum status judge_open(struct judge *judge, const struct config *config, struct comm *comm,
                               const char *checkpoint);

/* Without data: the network is planned when it is first run, for the extents it is run on. */
CHECKED enum status judge_open_lazily(struct judge *judge, const struct config *config,
                                      struct comm *comm, const char *checkpoint);
/* The network as tasks see it. */
struct task_network judge_network(struct judge *judge);

/* Accepts a zeroed one. */
void judge_close(struct judge *judge);
