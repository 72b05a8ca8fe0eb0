/* Whether a launcher started several processes, by the variables it leaves in the environment. */
#include "check.h"
#include "comm/comm.h"
#include "comm/fold.h"
#include "comm/transport.h"

static const char *const variables[] = {"OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE", "PMI_SIZE",
                                        "SLURM_STEP_NUM_TASKS", "SLURM_NTASKS",        "PMIX_RANK"};

static void clear(void) {
  for (size_t i = 0; i < sizeof variables / sizeof *variables; i++) unsetenv(variables[i]);
}

TEST(alone_without_a_launcher) {
  struct comm comm;
  clear();
  CHECK(comm_launched_processes() == 1);
  CHECK_OK(comm_open(&comm, "auto", NULL, NULL));
  CHECK(strcmp(comm_transport_name(comm.ops), "self") == 0);
  comm_close(&comm);
  comm_close(&comm);
}

TEST(launchers_say_how_many) {
  for (int i = 0; i < 4; i++) {
    clear();
    setenv(variables[i], "8", 1);
    CHECK(comm_launched_processes() == 8);
  }
  clear();
  setenv("PMIX_RANK", "0", 1);
  CHECK(comm_launched_processes() == 0);
  clear();
}

/* The script of a batch job is one process, whatever the job asked for. */
TEST(a_batch_script_is_alone) {
  clear();
  setenv("SLURM_NTASKS", "8", 1);
  CHECK(comm_launched_processes() == 1);
  clear();
}

/* mpirun in a Slurm job runs its helpers, and so our processes, in steps of one task per node. */
TEST(the_inner_launcher_counts) {
  clear();
  setenv("SLURM_STEP_NUM_TASKS", "1", 1);
  setenv("OMPI_COMM_WORLD_SIZE", "4", 1);
  CHECK(comm_launched_processes() == 4);
  clear();
}

TEST(a_range_of_slots_is_cut_into_few_nodes) {
  struct tree_node nodes[TREE_STACK_NODES];
  CHECK(tree_partials((struct slot_range){0, 8}, nodes) == 1 && nodes[0].level == 3);
  CHECK(tree_partials((struct slot_range){3, 5}, nodes) == 2 && nodes[1].level == 2);
  CHECK(tree_partials((struct slot_range){1, 6}, nodes) == 4);
  for (int first = 0; first < 40; first++)
    for (int count = 1; count < 40; count++) {
      int next = first, parts = tree_partials((struct slot_range){first, count}, nodes);
      for (int i = 0; i < parts; i++) {
        CHECK(nodes[i].lo == next && nodes[i].lo % (1 << nodes[i].level) == 0);
        next += 1 << nodes[i].level;
      }
      CHECK(next == first + count && parts <= 10);
    }
}

int main(void) {
  RUN(alone_without_a_launcher);
  RUN(launchers_say_how_many);
  RUN(a_batch_script_is_alone);
  RUN(the_inner_launcher_counts);
  RUN(a_range_of_slots_is_cut_into_few_nodes);
  return check_result();
}
