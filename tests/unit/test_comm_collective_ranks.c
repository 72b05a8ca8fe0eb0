/* What the ranks say to each other outside the gradient. */
#include "check.h"
#include <stdbool.h>
#include <stdint.h>
#include "base/file.h"
#include "comm/comm.h"

static struct comm comm;

TEST(a_single_process_needs_no_mpi) {
  const char *expected = comm.size > 1 ? "mpi" : "self";
  CHECK(strcmp(comm_transport_name(comm.ops), expected) == 0);
  CHECK(comm.local_size == comm.size && comm.local_rank == comm.rank);
}

TEST(unknown_transports_are_refused) {
  struct comm other;
  CHECK_FAILS(comm_open(&other, "pigeon", NULL, NULL), "expected one of auto, self, mpi");
  comm_close(&other);
  CHECK_OK(comm_open(&other, "self", NULL, NULL));
  CHECK(other.size == 1);
  CHECK_OK(comm_barrier(&other));
  comm_close(&other);
}

TEST(all_hear_what_one_says) {
  for (int root = 0; root < comm.size; root++) {
    static unsigned char data[100000];
    memset(data, comm.rank == root ? 'a' + root : 0, sizeof data);
    CHECK_OK(comm_broadcast(&comm, data, sizeof data, root));
    CHECK(data[0] == 'a' + root && data[sizeof data - 1] == 'a' + root);
    CHECK_OK(comm_broadcast(&comm, NULL, 0, root));
  }
}

TEST(one_gathers_parts_of_any_length) {
  static unsigned char mine[60005];
  memset(mine, comm.rank + 1, sizeof mine);
  for (int root = 0; root < comm.size; root++) {
    struct comm_parts parts;
    size_t bytes = comm.rank == 1 ? 0 : (size_t)comm.rank * 20000 + 5;
    CHECK_OK(comm_gather(&comm, mine, bytes, root, &parts));
    for (int rank = 0; comm.rank == root && rank < comm.size; rank++) {
      size_t expected = rank == 1 ? 0 : (size_t)rank * 20000 + 5;
      CHECK(parts.offset[rank + 1] - parts.offset[rank] == expected);
      for (size_t i = parts.offset[rank]; i < parts.offset[rank + 1]; i++)
        if (parts.data[i] != rank + 1) CHECK(!"wrong byte");
    }
    CHECK(comm.rank == root || !parts.data);
    comm_parts_free(&parts);
  }
}

TEST(lines_come_in_rank_order) {
  char first[32];
  snprintf(first, sizeof first, "rank %d", comm.rank);
  const char *lines[] = {first, ""};
  char **all;
  int count;
  CHECK_OK(comm_gather_lines(&comm, lines, comm.rank == 2 ? 0 : 2, 0, &all, &count));
  if (comm.rank == 0) {
    CHECK(count == 2 * comm.size - (comm.size > 2 ? 2 : 0));
    CHECK(strcmp(all[0], "rank 0") == 0 && all[1][0] == 0);
    if (comm.size == 4) CHECK(strcmp(all[4], "rank 3") == 0);
  }
  file_list_free(all, count);
}

TEST(integers_are_combined) {
  int64_t values[40];
  for (int i = 0; i < 40; i++) values[i] = ((int64_t)1 << 60) * (i % 2 ? -1 : 1) + comm.rank;
  CHECK_OK(comm_reduce_int64(&comm, COMM_MAX, values, 40));
  CHECK(values[0] == ((int64_t)1 << 60) + comm.size - 1);
  CHECK(values[39] == -((int64_t)1 << 60) + comm.size - 1);
  int64_t value = comm.rank + 1;
  CHECK_OK(comm_reduce_int64(&comm, COMM_SUM, &value, 1));
  CHECK(value == comm.size * (comm.size + 1) / 2);
  value = comm.rank + 1;
  CHECK_OK(comm_reduce_int64(&comm, COMM_MIN, &value, 1));
  CHECK(value == 1);
  value = 1 << comm.rank;
  CHECK_OK(comm_reduce_int64(&comm, COMM_OR, &value, 1));
  CHECK(value == (1 << comm.size) - 1);
}

static enum status read_my_volume(const char *reason) {
  FAIL(STATUS_FAILED, "image.nii: %s", reason);
}

/* The lowest failing rank's message, on all ranks. */
TEST(one_failure_is_everybodys) {
  int culprit = comm.size - 1;
  CHECK_OK(comm_agree(&comm, STATUS_OK));
  status_clear();
  enum status status = STATUS_OK;
  if (comm.rank == culprit) status = read_my_volume("truncated");
  CHECK(comm_agree(&comm, status) == STATUS_FAILED);
  char expected[64];
  snprintf(expected, sizeof expected, "rank %d: image.nii: truncated", culprit);
  CHECK_SAY(strcmp(status_message(), comm.size > 1 ? expected : expected + 8) == 0, ": %s",
            status_message());
  CHECK(strstr(status_trace(), "test_comm_collective_ranks.c"));
  status_clear();
  CHECK_OK(comm_agree(&comm, STATUS_OK));
}

TEST(the_lowest_rank_speaks_for_many) {
  if (comm.size < 3) return;
  status_clear();
  enum status status = STATUS_OK;
  if (comm.rank > 0) status = read_my_volume(comm.rank == 1 ? "blank" : "missing");
  CHECK(comm_agree(&comm, status) == STATUS_FAILED);
  CHECK_SAY(strcmp(status_message(), "rank 1: image.nii: blank") == 0, ": %s", status_message());
}

TEST(what_all_ran_into_names_no_rank) {
  status_clear();
  CHECK(comm_agree(&comm, read_my_volume("missing")) == STATUS_FAILED);
  CHECK_SAY(strcmp(status_message(), "image.nii: missing") == 0, ": %s", status_message());
}

TEST(a_stop_yields_to_an_error) {
  status_clear();
  CHECK(comm_agree(&comm, comm.rank == 0 ? STATUS_STOPPED : STATUS_OK) == STATUS_STOPPED);
  if (comm.size < 2) return;
  enum status status = comm.rank == 0 ? STATUS_STOPPED : STATUS_OK;
  if (comm.rank == 1) status = read_my_volume("blank");
  CHECK(comm_agree(&comm, status) == STATUS_FAILED);
}

TEST(ranks_that_differ_are_named) {
  CHECK_OK(comm_same(&comm, "the config", "abc", 3));
  if (comm.size < 2) return;
  bool different = comm.rank == 1 || comm.rank == 3;
  CHECK_FAILS(comm_same(&comm, "the config", different ? "abd" : "abc", 3),
              comm.size == 4 ? "but ranks 1, 3 differ from rank 0" : "but rank 1 differs from");
  CHECK(strstr(status_message(), "the config"));
  CHECK_FAILS(comm_same(&comm, "the plan", "abcd", comm.rank == 1 ? 4 : 3), "rank 1 differs");
}

int main(int argc, char **argv) {
  CHECK_OK(comm_open(&comm, "auto", &argc, &argv));
  comm.deadline = 60;
  RUN(a_single_process_needs_no_mpi);
  RUN(unknown_transports_are_refused);
  RUN(all_hear_what_one_says);
  RUN(one_gathers_parts_of_any_length);
  RUN(lines_come_in_rank_order);
  RUN(integers_are_combined);
  RUN(one_failure_is_everybodys);
  RUN(the_lowest_rank_speaks_for_many);
  RUN(what_all_ran_into_names_no_rank);
  RUN(a_stop_yields_to_an_error);
  RUN(ranks_that_differ_are_named);
  comm_close(&comm);
  return check_result();
}
