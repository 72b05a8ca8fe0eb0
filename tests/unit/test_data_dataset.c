/* Reading shards back: any number of them, compressed or not, moved, damaged. */
#include <fcntl.h>
#include <sys/stat.h>
#include "data/shard.h"
#include "test_data.h"

struct content {
  uint64_t manifest, hash;
};

static struct content read_content(const struct data_place *place, const char *cache) {
  struct dataset dataset;
  struct content content = {0};
  enum status status = dataset_open(&dataset, place->master, cache);
  CHECK_OK(status);
  if (status) return content;
  content = (struct content){dataset_manifest(&dataset), data_hash(&dataset)};
  for (int i = 0; i < dataset.subject_count; i++) dataset_release_pages(&dataset, i);
  CHECK(data_hash(&dataset) == content.hash);
  dataset_close(&dataset);
  return content;
}

TEST(the_number_of_shards_changes_nothing) {
  struct data_place place = data_open_place(5, NULL);
  CHECK_OK(data_prepare(&place));
  struct content two = read_content(&place, NULL);
  static const char *const counts[] = {"data.shard_count=1", "data.shard_count=3",
                                       "data.shard_count=8"};
  for (int i = 0; i < 3; i++) {
    data_override(&place, counts[i]);
    CHECK_OK(data_prepare(&place));
    struct content other = read_content(&place, NULL);
    CHECK(other.manifest == two.manifest && other.hash == two.hash);
  }
  /* of all those shards only the last run's are left */
  char *folder = file_join(place.folder, "out"), **names;
  int count;
  CHECK_OK(file_list(folder, ".h5", &names, &count));
  CHECK_SAY(count == 6, ": %d files", count);
  file_list_free(names, count);
  free(folder);
  data_close_place(&place);
}

TEST(compressed_shards_hold_the_same) {
  struct data_place place = data_open_place(4, NULL);
  CHECK_OK(data_prepare(&place));
  struct content plain = read_content(&place, NULL);
  data_override(&place, "data.compression=1");
  CHECK_OK(data_prepare(&place));
  char *cache = file_join(place.folder, "cache");
  struct content packed = read_content(&place, cache);
  CHECK(packed.manifest == plain.manifest && packed.hash == plain.hash);
  char **names;
  int count;
  CHECK_OK(file_list(cache, ".cache", &names, &count));
  CHECK(count == 2);
  /* a cache file that was cut short is made again */
  char *first = file_join(cache, names[0]);
  CHECK(truncate(first, 5000) == 0);
  packed = read_content(&place, cache);
  CHECK(packed.hash == plain.hash);
  file_list_free(names, count);
  free(first);
  free(cache);
  packed = read_content(&place, NULL);
  CHECK(packed.hash == plain.hash);
  data_close_place(&place);
}

TEST(the_folder_can_be_moved) {
  struct data_place place = data_open_place(4, NULL);
  CHECK_OK(data_prepare(&place));
  struct content before = read_content(&place, NULL);
  char *from = file_join(place.folder, "out"), *to = file_join(place.folder, "else where");
  CHECK(rename(from, to) == 0);
  free(place.master);
  place.master = file_join(to, "data.h5");
  struct content after = read_content(&place, NULL);
  CHECK(after.hash == before.hash);
  free(from);
  free(to);
  data_close_place(&place);
}

static void flip(const char *path, uint64_t offset, unsigned char mask) {
  int descriptor = open(path, O_RDWR);
  unsigned char byte = 0;
  CHECK(pread(descriptor, &byte, 1, (off_t)offset) == 1);
  byte ^= mask;
  CHECK(pwrite(descriptor, &byte, 1, (off_t)offset) == 1);
  close(descriptor);
}

TEST(damage_is_named) {
  struct data_place place = data_open_place(4, NULL);
  CHECK_OK(data_prepare(&place));
  char *path = shard_path(place.master, 1, 2);
  struct shard shard;
  CHECK_OK(shard_read(&shard, path));
  flip(path, shard.offset[SHARD_IMAGE] + 8000 * 4 + 777, 0x10); /* subject 3, row 1 */
  flip(path, shard.offset[SHARD_LABEL] + 12, 1);                /* subject 2, row 0 */
  shard_close(&shard);
  struct dataset dataset;
  CHECK_OK(dataset_open(&dataset, place.master, NULL));
  CHECK_OK(dataset_verify(&dataset, 0));
  CHECK_OK(dataset_verify(&dataset, 0));
  CHECK_FAILS(dataset_verify(&dataset, 3),
              "data-00001-of-00002.h5: subject subject_03: field image: expected the checksum");
  CHECK_FAILS(dataset_verify(&dataset, 2),
              "subject subject_02: field label: expected the checksum");
  dataset_close(&dataset);
  free(path);
  data_close_place(&place);
}

TEST(a_master_knows_its_shards) {
  struct data_place place = data_open_place(5, NULL);
  CHECK_OK(data_prepare(&place));
  char *keep = file_join(place.folder, "old"), command[1024];
  char *path = shard_path(place.master, 1, 2);
  snprintf(command, sizeof command, "cp '%s' '%s'", path, keep);
  CHECK(system(command) == 0);
  data_override(&place, "data.intensity=minmax");
  CHECK_OK(data_prepare(&place));
  CHECK(rename(keep, path) == 0);
  struct dataset dataset;
  CHECK_FAILS(dataset_open(&dataset, place.master, NULL),
              "attribute recipe: expected the settings");
  CHECK(unlink(path) == 0);
  CHECK_FAILS(dataset_open(&dataset, place.master, NULL),
              "data-00001-of-00002.h5: expected a shard file, found none");
  CHECK(!dataset.subjects && !dataset.maps);
  free(keep);
  free(path);
  data_close_place(&place);
}

TEST(selects_by_split) {
  struct data_place place = data_open_place(6, NULL);
  data_override(&place, "data.split=sorted");
  data_override(&place, "data.validation=1");
  data_override(&place, "data.test=2");
  CHECK_OK(data_prepare(&place));
  struct dataset dataset;
  int subjects[6];
  CHECK_OK(dataset_open(&dataset, place.master, NULL));
  CHECK(dataset_select(&dataset, SPLIT_TRAIN, NULL) == 3);
  CHECK(dataset_select(&dataset, SPLIT_TEST, subjects) == 2 && subjects[0] == 4 &&
        subjects[1] == 5);
  CHECK(dataset_select(&dataset, SPLIT_VALIDATION, subjects) == 1 && subjects[0] == 3);
  CHECK(dataset_find(&dataset, "subject_05") == 5 && dataset_find(&dataset, "x") == -1);
  dataset_close(&dataset);
  data_close_place(&place);
}

TEST(inspects) {
  struct data_place place = data_open_place(4, NULL);
  CHECK_OK(data_prepare(&place));
  char *text = NULL;
  size_t bytes;
  FILE *out = open_memstream(&text, &bytes);
  CHECK_OK(shard_inspect(place.master, out));
  fclose(out);
  CHECK(strstr(text, "master of 2 shards") && strstr(text, "subject_03"));
  CHECK(strstr(text, "2 subjects of 20 x 20 x 20 voxels, with labels, uncompressed"));
  free(text);
  CHECK(shard_is_hdf5(place.master) && !shard_is_hdf5("/etc/passwd"));
  CHECK_FAILS(shard_inspect("/etc/passwd", stdout), "/etc/passwd: expected an HDF5 file");
  data_close_place(&place);
}

int main(void) {
  RUN(the_number_of_shards_changes_nothing);
  RUN(compressed_shards_hold_the_same);
  RUN(the_folder_can_be_moved);
  RUN(damage_is_named);
  RUN(a_master_knows_its_shards);
  RUN(selects_by_split);
  RUN(inspects);
  return check_result();
}
