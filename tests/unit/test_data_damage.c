/* Shards with damaged metadata: an error or right data, never a crash. */
#include <fcntl.h>
#include <hdf5.h>
#include "base/random.h"
#include "data/shard.h"
#include "test_data_masks.h"

/* HDF5 1.10 itself forgets some memory when it refuses a file. */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void) {
  return "leak:libhdf5_openmpi";
}

struct bytes {
  char *data;
  size_t count;
};

static void put_file(const char *path, const char *data, size_t bytes) {
  int descriptor = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0666);
  CHECK(descriptor >= 0 && write(descriptor, data, bytes) == (ssize_t)bytes);
  close(descriptor);
}

/* Whether the shard was refused; what is accepted is read to its end. */
static bool is_refused(const char *path) {
  struct shard shard;
  status_clear();
  if (shard_read(&shard, path) != STATUS_OK) {
    CHECK(strstr(status_message(), path));
    return true;
  }
  CHECK(shard.offset[SHARD_IMAGE] + 4 * 8000 <= shard.file_bytes);
  shard_close(&shard);
  return false;
}

static struct bytes prepare_one(struct data_place *place, char **path) {
  data_override(place, "data.shard_count=1");
  CHECK_OK(data_prepare(place));
  *path = shard_path(place->master, 0, 1);
  struct bytes file = {0};
  CHECK_OK(file_read(*path, (size_t)1 << 24, &file.data, &file.count));
  return file;
}

TEST(cut_files_are_refused) {
  struct data_place place = data_open_place(2, NULL);
  data_override(&place, "data.test=0");
  char *path;
  struct bytes file = prepare_one(&place, &path);
  for (int part = 0; part < 40; part++) {
    put_file(path, file.data, file.count * (size_t)part / 40);
    CHECK(is_refused(path));
  }
  put_file(path, file.data, file.count - 1);
  CHECK(is_refused(path));
  put_file(path, file.data, file.count);
  CHECK(!is_refused(path));
  free(file.data);
  free(path);
  data_close_place(&place);
}

/* Every byte outside the voxels, one bit each. */
static int flip_metadata(const char *path, struct bytes file, uint64_t first, uint64_t next,
                         int *tried) {
  int refused = 0;
  struct random random = random_stream(7, RANDOM_TEST, 0, 0);
  for (int i = 0; i < 1500; i++) {
    uint64_t at = random_below(&random, (uint32_t)file.count);
    if (at >= first && at < next) continue;
    char before = file.data[at];
    file.data[at] = (char)(before ^ (1 << random_below(&random, 8)));
    put_file(path, file.data, file.count);
    refused += is_refused(path);
    file.data[at] = before;
    ++*tried;
  }
  return refused;
}

TEST(flipped_metadata_does_not_crash) {
  struct data_place place = data_open_place(2, NULL);
  data_override(&place, "data.test=0");
  char *path;
  struct bytes file = prepare_one(&place, &path);
  struct shard shard;
  CHECK_OK(shard_read(&shard, path));
  uint64_t first = shard.offset[SHARD_IMAGE], next = first + 2 * 8000 * 4;
  shard_close(&shard);
  int tried = 0, refused = flip_metadata(path, file, first, next, &tried);
  printf("%d of %d damaged files refused\n", refused, tried);
  CHECK(tried > 200 && refused > 0);
  free(file.data);
  free(path);
  data_close_place(&place);
}

/* Whether the data set is refused at once or by its checksums. */
static bool is_noticed(const struct data_place *place, const char *cache) {
  struct dataset dataset;
  status_clear();
  if (dataset_open(&dataset, place->master, cache) != STATUS_OK) return true;
  bool noticed = false;
  for (int i = 0; i < dataset.subject_count && !noticed; i++)
    noticed = dataset_verify(&dataset, i) != STATUS_OK;
  dataset_close(&dataset);
  return noticed;
}

TEST(flipped_compressed_voxels_are_noticed) {
  struct data_place place = data_open_place(2, NULL);
  data_override(&place, "data.test=0");
  data_override(&place, "data.compression=1");
  char *path, *cache = file_join(place.folder, "cache"), command[512];
  struct bytes file = prepare_one(&place, &path);
  struct random random = random_stream(8, RANDOM_TEST, 0, 0);
  snprintf(command, sizeof command, "rm -rf '%s'", cache);
  int noticed = 0;
  for (int i = 0; i < 100; i++) {
    uint32_t at = random_below(&random, (uint32_t)file.count);
    char before = file.data[at];
    file.data[at] = (char)(before ^ (1 << random_below(&random, 8)));
    put_file(path, file.data, file.count);
    CHECK(system(command) == 0);
    noticed += is_noticed(&place, cache);
    file.data[at] = before;
  }
  printf("%d of 100 damaged compressed files noticed\n", noticed);
  CHECK(noticed > 60);
  put_file(path, file.data, file.count);
  CHECK(system(command) == 0 && !is_noticed(&place, cache));
  free(file.data);
  free(path);
  free(cache);
  data_close_place(&place);
}

/* What is known per slice and structure is as safe as the voxels are. */
TEST(flipped_bits_of_masked_shards_are_noticed) {
  struct data_place place = mask_open_place(2, NULL);
  data_override(&place, "data.test=0");
  char *path;
  struct bytes file = prepare_one(&place, &path);
  CHECK(!is_noticed(&place, NULL));
  struct random random = random_stream(9, RANDOM_TEST, 0, 0);
  int noticed = 0;
  for (int i = 0; i < 400; i++) {
    uint32_t at = random_below(&random, (uint32_t)file.count);
    char before = file.data[at];
    file.data[at] = (char)(before ^ (1 << random_below(&random, 8)));
    put_file(path, file.data, file.count);
    noticed += is_noticed(&place, NULL);
    file.data[at] = before;
  }
  printf("%d of 400 damaged masked files noticed\n", noticed);
  CHECK(noticed > 50);
  struct shard shard;
  put_file(path, file.data, file.count);
  CHECK_OK(shard_read(&shard, path));
  char *counts = memmem(file.data, file.count, shard.slice_structures,
                        shard_array_bytes(&shard, SHARD_SLICE_STRUCTURES));
  CHECK(counts != NULL);
  shard_close(&shard);
  counts[0] ^= 1;
  put_file(path, file.data, file.count);
  CHECK(is_noticed(&place, NULL) && strstr(status_message(), "manifest"));
  free(file.data);
  free(path);
  data_close_place(&place);
}

TEST(nothing_is_left_open) {
  CHECK(H5Fget_obj_count((hid_t)H5F_OBJ_ALL, H5F_OBJ_ALL) == 0);
}

int main(void) {
  RUN(cut_files_are_refused);
  RUN(flipped_metadata_does_not_crash);
  RUN(flipped_compressed_voxels_are_noticed);
  RUN(flipped_bits_of_masked_shards_are_noticed);
  RUN(nothing_is_left_open);
  return check_result();
}
