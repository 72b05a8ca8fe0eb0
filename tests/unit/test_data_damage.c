/* Shards with damaged metadata: an error or right data, never a crash. */
#include <fcntl.h>
#include "base/random.h"
#include "data/shard.h"
#include "test_data.h"

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
  CHECK(shard.image_offset + 4 * 8000 <= shard.file_bytes);
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

static void flip_all(const char *compression) {
  struct data_place place = data_open_place(2, NULL);
  data_override(&place, "data.test=0");
  data_override(&place, compression);
  char *path;
  struct bytes file = prepare_one(&place, &path);
  struct shard shard;
  CHECK_OK(shard_read(&shard, path));
  /* plain: image and label lie one after the other, each at a multiple of 4096 */
  uint64_t first = shard.image_offset, next = first + 2 * 8000 * 4;
  shard_close(&shard);
  int tried = 0, refused = flip_metadata(path, file, first, next, &tried);
  printf("%d of %d damaged files refused\n", refused, tried);
  CHECK(tried > 200 && refused > 0);
  free(file.data);
  free(path);
  data_close_place(&place);
}

TEST(flipped_bits_do_not_crash) {
  flip_all("data.compression=0");
}

int main(void) {
  RUN(cut_files_are_refused);
  RUN(flipped_bits_do_not_crash);
  return check_result();
}
