/* Preparation by several ranks: whole shards each, or one shard together; the same bytes as alone.
 */
#include <mpi.h>
#include "test_data_masks.h"

/* The least that the team's functions need, on MPI. */
static enum status team_agree(void *context, enum status mine) {
  (void)context;
  int rank, size, failing, first;
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  MPI_Comm_size(MPI_COMM_WORLD, &size);
  failing = mine ? rank : size;
  MPI_Allreduce(&failing, &first, 1, MPI_INT, MPI_MIN, MPI_COMM_WORLD);
  if (first == size) return STATUS_OK;
  char trace[4096];
  int code = mine;
  snprintf(trace, sizeof trace, "%s", status_trace());
  MPI_Bcast(trace, sizeof trace, MPI_CHAR, first, MPI_COMM_WORLD);
  MPI_Bcast(&code, 1, MPI_INT, first, MPI_COMM_WORLD);
  status_restore(trace);
  return (enum status)code;
}

static enum status team_gather(void *context, const char *mine, char **all) {
  (void)context;
  int rank, size, lengths[16], offsets[17] = {0}, length = (int)strlen(mine);
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  MPI_Comm_size(MPI_COMM_WORLD, &size);
  MPI_Gather(&length, 1, MPI_INT, lengths, 1, MPI_INT, 0, MPI_COMM_WORLD);
  *all = NULL;
  if (rank == 0) {
    for (int i = 0; i < size; i++) offsets[i + 1] = offsets[i] + lengths[i];
    *all = calloc((size_t)offsets[size] + 1, 1);
  }
  MPI_Gatherv(mine, length, MPI_CHAR, *all, lengths, offsets, MPI_CHAR, 0, MPI_COMM_WORLD);
  return STATUS_OK;
}

static enum status team_broadcast(void *context, void *data, size_t bytes) {
  (void)context;
  MPI_Bcast(data, (int)bytes, MPI_BYTE, 0, MPI_COMM_WORLD);
  return STATUS_OK;
}

static enum status team_barrier(void *context) {
  (void)context;
  MPI_Barrier(MPI_COMM_WORLD);
  return STATUS_OK;
}

static struct prepare_team team_open(void) {
  struct prepare_team team = {.agree = team_agree,
                              .gather_text = team_gather,
                              .broadcast = team_broadcast,
                              .barrier = team_barrier,
                              .parallel = true,
                              .communicator = MPI_COMM_WORLD};
  MPI_Comm_rank(MPI_COMM_WORLD, &team.rank);
  MPI_Comm_size(MPI_COMM_WORLD, &team.size);
  return team;
}

static char folder[64];
static struct prepare_team team;

/* One more subject, of another size. */
static void add_odd_subject(const struct data_place *place) {
  struct volume image, label;
  data_make_subject(7, (int[]){12, 21, 16}, &image, &label);
  data_write_pair(place, "odd", &image, &label);
  volume_close(&image);
  volume_close(&label);
}

/* own: subjects of two sizes stay on their own grids; masks: subjects of the layout
 * totalsegmentator. */
enum kind { KIND_COMMON, KIND_OWN, KIND_MASKS };

/* By rank 0. */
static struct data_place make_subjects(enum kind kind) {
  if (kind == KIND_MASKS) return mask_open_place(7, folder);
  struct data_place place = data_open_place(7, folder);
  if (kind == KIND_OWN) add_odd_subject(&place);
  if (kind == KIND_OWN) data_override(&place, "data.grid=own");
  return place;
}

/* Rank 0 makes the subjects and, alone, the shards to compare with. */
static struct data_place open_place(uint64_t *manifest, uint64_t *hash, enum kind kind) {
  struct data_place place;
  if (team.rank == 0) {
    char *made = check_make_folder();
    snprintf(folder, sizeof folder, "%s", made);
    free(made);
    place = make_subjects(kind);
    char *master = place.config.data.shards;
    place.config.data.shards = file_join(place.folder, "alone.h5");
    CHECK_OK(data_prepare(&place));
    struct dataset dataset;
    CHECK_OK(dataset_open(&dataset, place.config.data.shards, NULL));
    *manifest = dataset_manifest(&dataset);
    *hash = data_hash(&dataset);
    dataset_close(&dataset);
    free(place.config.data.shards);
    place.config.data.shards = master;
  }
  MPI_Bcast(folder, sizeof folder, MPI_CHAR, 0, MPI_COMM_WORLD);
  MPI_Bcast(manifest, 1, MPI_UINT64_T, 0, MPI_COMM_WORLD);
  MPI_Bcast(hash, 1, MPI_UINT64_T, 0, MPI_COMM_WORLD);
  if (team.rank != 0) place = data_open_place(0, folder);
  if (kind == KIND_OWN) data_override(&place, "data.grid=own");
  if (kind == KIND_MASKS) mask_configure(&place);
  return place;
}

static void close_place(struct data_place *place) {
  MPI_Barrier(MPI_COMM_WORLD);
  if (team.rank == 0)
    data_close_place(place);
  else {
    free(place->folder);
    data_free_place(place);
  }
}

static void prepare_and_compare(struct data_place *place, uint64_t manifest, uint64_t hash) {
  CHECK_OK(prepare_run(&place->config, &team));
  struct dataset dataset;
  CHECK_OK(dataset_open(&dataset, place->master, NULL));
  CHECK(dataset_manifest(&dataset) == manifest && data_hash(&dataset) == hash);
  dataset_close(&dataset);
  MPI_Barrier(MPI_COMM_WORLD);
}

TEST(any_number_of_ranks_writes_the_same) {
  uint64_t manifest, hash;
  struct data_place place = open_place(&manifest, &hash, KIND_COMMON);
  /* 1: all ranks write one shard together; 2: groups; 5: whole shards each */
  static const char *const settings[] = {"data.shard_count=1", "data.shard_count=2",
                                         "data.shard_count=5", "data.compression=1",
                                         "data.shard_count=1"};
  for (int i = 0; i < 5; i++) {
    data_override(&place, settings[i]);
    prepare_and_compare(&place, manifest, hash);
  }
  prepare_and_compare(&place, manifest, hash);
  close_place(&place);
}

TEST(own_grids_are_the_same_too) {
  uint64_t manifest, hash;
  struct data_place place = open_place(&manifest, &hash, KIND_OWN);
  data_override(&place, "data.shard_count=1");
  prepare_and_compare(&place, manifest, hash);
  data_override(&place, "data.shard_count=3");
  prepare_and_compare(&place, manifest, hash);
  close_place(&place);
}

TEST(masks_are_the_same_too) {
  uint64_t manifest, hash;
  struct data_place place = open_place(&manifest, &hash, KIND_MASKS);
  static const char *const settings[] = {"data.shard_count=1", "data.shard_count=2",
                                         "data.shard_count=5", "data.compression=1"};
  for (int i = 0; i < 4; i++) {
    data_override(&place, settings[i]);
    prepare_and_compare(&place, manifest, hash);
  }
  close_place(&place);
}

TEST(one_damaged_mask_stops_all_with_one_message) {
  uint64_t manifest, hash;
  struct data_place place = open_place(&manifest, &hash, KIND_MASKS);
  char *path = mask_path(&place, 4, "liver");
  CHECK(file_exists(path));
  if (team.rank == 0) CHECK(truncate(path, 60) == 0);
  MPI_Barrier(MPI_COMM_WORLD);
  data_override(&place, "data.shard_count=1");
  CHECK_FAILS(prepare_run(&place.config, &team), "subject s0004: ");
  CHECK(strstr(status_message(), "s0004/segmentations/liver.nii.gz"));
  free(path);
  close_place(&place);
}

TEST(one_bad_volume_stops_all_with_one_message) {
  uint64_t manifest, hash;
  struct data_place place = open_place(&manifest, &hash, KIND_COMMON);
  char *path = file_format("%s/images/subject_02.nii.gz", place.source);
  char *other = file_format("%s/images/subject_04.nii.gz", place.source);
  if (team.rank == 0) CHECK(truncate(path, 300) == 0 && truncate(other, 300) == 0);
  MPI_Barrier(MPI_COMM_WORLD);
  data_override(&place, "data.shard_count=1");
  /* the first by name, whichever rank came upon which */
  CHECK_FAILS(prepare_run(&place.config, &team), "subject subject_02: ");
  CHECK(strstr(status_message(), "and 1 more"));
  data_override(&place, "data.bad_volume=skip");
  CHECK_OK(prepare_run(&place.config, &team));
  struct dataset dataset;
  CHECK_OK(dataset_open(&dataset, place.master, NULL));
  CHECK(dataset.subject_count == 5);
  dataset_close(&dataset);
  free(path);
  free(other);
  close_place(&place);
}

int main(int argc, char **argv) {
  MPI_Init(&argc, &argv);
  team = team_open();
  RUN(any_number_of_ranks_writes_the_same);
  RUN(own_grids_are_the_same_too);
  RUN(masks_are_the_same_too);
  RUN(one_damaged_mask_stops_all_with_one_message);
  RUN(one_bad_volume_stops_all_with_one_message);
  int result = check_result();
  MPI_Finalize();
  return result;
}
