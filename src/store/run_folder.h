/* The folder of a run (output.dir) and the lock that keeps a second run out of it. Only rank 0
 * opens it. */
#pragma once
#include <stdbool.h>
#include "base/status.h"

struct run_folder {
  char *directory;
  char *checkpoints; /* directory/checkpoints */
  char *log;         /* directory/log.txt */
  char *metrics;     /* directory/metrics.csv */
  char *config;      /* directory/config.cfg */
  char *lock;        /* directory/lock */
  bool locked;
};

/* Makes the folder and takes its lock. Without `resume`, a folder that holds checkpoints already is
 * refused (STATUS_USAGE). A lock held by a living run is refused (STATUS_USAGE) naming host,
 * process and job; one left behind by a process that is gone from this host, or by an earlier start
 * of this Slurm job, is taken over with a warning. */
CHECKED enum status run_folder_open(struct run_folder *folder, const char *directory, bool resume);

/* Releases the lock. Accepts a zeroed one. */
void run_folder_close(struct run_folder *folder);

/* The lock alone: a file created with O_EXCL (which network file systems honour where flock may be
 * local), holding host, process, its start time and the job. */
CHECKED enum status lock_take(const char *path);
void lock_release(const char *path);
