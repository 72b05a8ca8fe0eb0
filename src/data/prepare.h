/* Volumes to shards. Every subject is read and checked, its intensities are normalised by the
 * statistics of its own source voxels, and then it is brought to the wanted orientation, spacing,
 * size and multiple in one interpolation (linear; labels by nearest neighbour). Voxels outside the
 * source's field of view get the channel's smallest value or 0 (data.padding), and class 0.
 *
 * Only what is missing or stale is done again: a shard is kept when it holds the same subjects in
 * the same splits, made from files with the same checksums by the same settings.
 *
 * Beside the master NAME.h5: the shards NAME-00000-of-00008.h5 (data/shard.h) and
 * prepare.json, what became of every subject; label_map.json where structures or classes have
 * names; with data.reference_reports preprocessing_config.json and preprocessing_report.json. An
 * interrupted run leaves only NAME*.part files, which the next one removes. */
#pragma once
#include <mpi.h>
#include <stdbool.h>
#include "base/status.h"
#include "config/config.h"

/* The ranks that prepare together, as the communicator of the run does it. */
struct prepare_team {
  int rank, size;
  void *context; /* handed to the functions */
  /* Collective. All ranks get the first failure and its trace, or STATUS_OK. */
  enum status (*agree)(void *context, enum status mine);
  /* Collective. Rank 0 gets all ranks' texts, one after the other in rank order (caller frees); the
   * others NULL. */
  enum status (*gather_text)(void *context, const char *mine, char **all);
  /* Collective. Copies rank 0's bytes to all. */
  enum status (*broadcast)(void *context, void *data, size_t bytes);
  /* Collective. */
  enum status (*barrier)(void *context);
  bool parallel;         /* MPI is up: `communicator` holds these ranks in this order */
  MPI_Comm communicator; /* for MPI-IO where ranks write one shard together */
};

/* A team of one, without MPI. */
struct prepare_team prepare_team_alone(void);

/* Collective. Prepares config->data. With data.bad_volume "skip" a volume that cannot be used is
 * left out and named with its reason in the report, else it is an error. When there are more ranks
 * than shards to write, the ranks of a group write one shard together through MPI-IO. */
CHECKED enum status prepare_run(const struct config *config, const struct prepare_team *team);
