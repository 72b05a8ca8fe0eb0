/* Recording parts of a run (forward; backward from bucket to bucket) as one piece of work for the
 * device, once for each set of bound inputs, since their addresses are recorded, too. Private to
 * this room. */
#pragma once
#include "graph/run.h"

/* Steps [first, end). */
struct run_part {
  int first, end;
  bool warm; /* has been done step by step: whatever is set up at the first call has been */
};

/* Cuts the plan into parts; makes room for recordings if the plan asks for them and the device can.
 */
CHECKED enum status record_open(struct run *run);
/* Accepts a zeroed run. */
void record_close(struct run *run);

/* Does a part by its recording, which it makes first if there is none yet, through `execute`, which
 * gives the device all steps of a part. *done is false if the part has to be done step by step. */
CHECKED enum status record_launch(struct run *run, int part,
                                  enum status (*execute)(struct run *run, int part), bool *done);
