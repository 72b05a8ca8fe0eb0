/* The written side of evaluation. */
#pragma once
#include "task/pose.h"

/* pose_errors_NAME.png (histograms) and pose_scatter_NAME.png (predicted over true numbers) in
 * output.dir. */
CHECKED enum status pose_write_figures(const struct task_run *run,
                                       const struct task_scores *scores);
