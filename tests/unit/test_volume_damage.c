/* Damaged and hostile NIfTI files: every one is read or refused with one message, none harms. */
#include "base/random.h"
#include "check.h"
#include "unit/volume_bytes.h"
#include "volume/volume.h"

enum { COUNT = 3 * 4 * 5, MUTATIONS = 3000 };
static char *folder;
static const struct volume_policy strict;

static struct bytes_file good_file(int version) {
  double samples[COUNT];
  for (int n = 0; n < COUNT; n++) samples[n] = n;
  struct bytes_plan plan = bytes_default(4, 16);
  plan.version = version;
  if (version == 2) plan.offset = 544;
  return bytes_make(&plan, samples, COUNT);
}

static enum status read_bytes(struct volume *volume, const char *name, const void *bytes,
                              size_t count) {
  char *path = file_join(folder, name);
  bytes_save(path, bytes, count);
  enum status status = volume_read(volume, path, &strict);
  free(path);
  return status;
}

TEST(every_truncation_is_refused) {
  for (int version = 1; version <= 2; version++) {
    struct bytes_file file = good_file(version);
    struct bytes_file packed = bytes_compress(file.bytes, file.count);
    struct volume volume;
    for (size_t length = 0; length < file.count; length++)
      CHECK_FAILS(read_bytes(&volume, "short.nii", file.bytes, length), "short.nii");
    for (size_t length = 0; length < packed.count; length++)
      CHECK_FAILS(read_bytes(&volume, "short.nii.gz", packed.bytes, length), "short.nii.gz");
    CHECK_FAILS(read_bytes(&volume, "short.nii", file.bytes, file.count - 1),
                "expected 120 bytes (3 x 4 x 5 x 1 of int16)");
    CHECK_FAILS(read_bytes(&volume, "short.nii.gz", packed.bytes, packed.count - 30), "truncated");
    free(file.bytes);
    free(packed.bytes);
  }
}

/* The voxels' numbers are right. */
static bool is_whole(const struct volume *volume) {
  for (int i = 0; volume->values && i < 3; i++)
    for (int j = 0; j < 4; j++)
      for (int k = 0; k < 5; k++)
        if (volume->values[(i * 4 + j) * 5 + k] != (float)(i + 3 * (j + 4 * k))) return false;
  return volume->values;
}

TEST(compressed_files_of_all_kinds) {
  struct bytes_file file = good_file(1);
  struct bytes_file packed = bytes_compress(file.bytes, file.count);
  struct volume volume;
  CHECK_OK(read_bytes(&volume, "a.nii.gz", packed.bytes, packed.count));
  CHECK(is_whole(&volume) && !volume.warnings);
  volume_close(&volume);
  CHECK_OK(read_bytes(&volume, "plain.nii.gz", file.bytes, file.count)); /* the name lies */
  CHECK(is_whole(&volume));
  volume_close(&volume);
  CHECK_OK(read_bytes(&volume, "packed.nii", packed.bytes, packed.count));
  CHECK(is_whole(&volume));
  volume_close(&volume);
  struct bytes_file garbage = bytes_new(packed.count + 100);
  memcpy(garbage.bytes, packed.bytes, packed.count);
  CHECK_OK(read_bytes(&volume, "garbage.nii.gz", garbage.bytes, garbage.count));
  CHECK(is_whole(&volume));
  volume_close(&volume);
  free(garbage.bytes);
  free(packed.bytes);
  free(file.bytes);
}

TEST(several_gzip_members_are_one_file) {
  struct bytes_file file = good_file(1);
  static const size_t cuts[] = {1, 100, 348, 352, 400, 471};
  for (size_t c = 0; c < sizeof cuts / sizeof *cuts; c++) {
    struct bytes_file first = bytes_compress(file.bytes, cuts[c]);
    struct bytes_file second = bytes_compress(file.bytes + cuts[c], file.count - cuts[c]);
    struct bytes_file both = bytes_new(first.count + second.count);
    memcpy(both.bytes, first.bytes, first.count);
    memcpy(both.bytes + first.count, second.bytes, second.count);
    struct volume volume;
    CHECK_OK(read_bytes(&volume, "members.nii.gz", both.bytes, both.count));
    CHECK(is_whole(&volume));
    volume_close(&volume);
    free(first.bytes);
    free(second.bytes);
    free(both.bytes);
  }
  free(file.bytes);
}

TEST(a_wrong_checksum_is_found) {
  struct bytes_file file = good_file(1);
  struct bytes_file packed = bytes_compress(file.bytes, file.count);
  for (size_t back = 1; back <= 8; back++) { /* CRC-32 and length are gzip's last 8 bytes */
    packed.bytes[packed.count - back] ^= 0x10;
    struct volume volume;
    CHECK_FAILS(read_bytes(&volume, "crc.nii.gz", packed.bytes, packed.count), "damaged gzip data");
    packed.bytes[packed.count - back] ^= 0x10;
  }
  free(packed.bytes);
  free(file.bytes);
}

TEST(bytes_after_the_voxels_are_said) {
  struct bytes_file file = good_file(1);
  struct bytes_file longer = bytes_new(file.count + 7);
  memcpy(longer.bytes, file.bytes, file.count);
  struct volume volume;
  CHECK_OK(read_bytes(&volume, "longer.nii", longer.bytes, longer.count));
  CHECK(is_whole(&volume) && volume.warnings && strstr(volume.warnings, "7 bytes follow"));
  volume_close(&volume);
  free(longer.bytes);
  free(file.bytes);
}

struct lie {
  long long dim[8], offset;
  int version;
  const char *part;
};

TEST(headers_that_promise_too_much) {
  static const struct lie lies[] = {
      {{3, 32767, 32767, 32767, 1, 1, 1, 1}, 352, 1, "truncated, or a damaged header"},
      {{3, -1, 1, 1, 1, 1, 1, 1}, 352, 1, "dim[1]: expected 1"},
      {{3, 0, 4, 5, 1, 1, 1, 1}, 352, 1, "dim[1]: expected 1"},
      {{0, 3, 4, 5, 1, 1, 1, 1}, 352, 1, "dim[0]: expected 1 to 7"},
      {{8, 3, 4, 5, 1, 1, 1, 1}, 352, 1, "dim[0]: expected 1 to 7"},
      {{3, 3, 4, 5, 1, 1, 1, 1}, 0, 1, "vox_offset: expected 352"},
      {{3, 3, 4, 5, 1, 1, 1, 1}, 351, 1, "vox_offset: expected 352"},
      {{3, 3, 4, 5, 1, 1, 1, 1}, 1 << 30, 1, "truncated, or a damaged header"},
      {{3, 1 << 30, 1 << 30, 1 << 30, 1, 1, 1, 1}, 544, 2, "fits in memory"},
      {{3, 2147483647, 65535, 1, 1, 1, 1, 1}, 544, 2, "truncated, or a damaged header"},
      {{3, 1LL << 40, 1, 1, 1, 1, 1, 1}, 544, 2, "dim[1]: expected 1"},
      {{3, 3, 4, 5, 1, 1, 1, 1}, 1LL << 62, 2, "truncated, or a damaged header"},
      {{3, 3, 4, 5, 1, 1, 1, 1}, -5, 2, "vox_offset: expected 0"},
      {{3, 3, 4, 5, 1, 1, 1, 1}, 352, 2, "vox_offset: expected 544"},
  };
  for (size_t n = 0; n < sizeof lies / sizeof *lies; n++)
    for (int packed = 0; packed < 2; packed++) {
      struct bytes_plan plan = bytes_default(4, 16);
      plan.version = lies[n].version;
      plan.offset = plan.version == 1 ? 352 : 544;
      struct bytes_file file = bytes_new((size_t)plan.offset + 2 * COUNT);
      memcpy(plan.dim, lies[n].dim, sizeof plan.dim);
      plan.offset = lies[n].offset;
      if (plan.version == 1)
        bytes_fill_1(file.bytes, &plan);
      else
        bytes_fill_2(file.bytes, &plan);
      struct bytes_file small = bytes_compress(file.bytes, file.count);
      const struct bytes_file *used = packed ? &small : &file;
      struct volume volume;
      CHECK_FAILS(read_bytes(&volume, "lie.nii", used->bytes, used->count), lies[n].part);
      free(small.bytes);
      free(file.bytes);
    }
}

TEST(files_that_are_something_else) {
  struct volume volume;
  struct bytes_file file = good_file(1);
  memset(file.bytes + 344, 0, 4);
  CHECK_FAILS(read_bytes(&volume, "old.nii", file.bytes, file.count), "ANALYZE 7.5");
  memset(file.bytes, 'x', file.count);
  CHECK_FAILS(read_bytes(&volume, "text.nii", file.bytes, file.count), "not a NIfTI file");
  free(file.bytes);
  file = good_file(2);
  file.bytes[8] = '\n'; /* what a transfer in text mode does */
  CHECK_FAILS(read_bytes(&volume, "text.nii", file.bytes, file.count), "text mode");
  free(file.bytes);
  CHECK_FAILS(volume_read(&volume, folder, &strict), "regular file");
  CHECK_FAILS(volume_read(&volume, "/nowhere/at all.nii", &strict), "cannot open");
}

/* Reads whatever it is under every policy; only the outcome "no harm" is checked, by the sanitizers
 * and by the promise that a failure leaves the volume zeroed and a message. */
static void read_mutant(const void *bytes, size_t count, int *refused, FILE *nowhere) {
  char *path = file_join(folder, "mutant.nii");
  bytes_save(path, bytes, count);
  const struct volume_policy lenient = {
      .nonfinite = NONFINITE_MEAN, .unknown_orientation = UNKNOWN_LAS, .allow_channels = true};
  struct volume volume;
  status_clear();
  if (volume_read(&volume, path, &lenient)) {
    ++*refused;
    CHECK(!volume.values && !volume.source && !volume.warnings && *status_message());
    CHECK(strstr(status_message(), "mutant.nii"));
  } else {
    size_t voxels = volume_count(&volume) * (size_t)volume.channels;
    CHECK(voxels > 0 && voxels <= count && isfinite(volume.values[voxels - 1]));
  }
  volume_close(&volume);
  (void)!volume_inspect(path, nowhere);
  free(path);
}

TEST(thousands_of_mutations_do_no_harm) {
  struct random random = random_stream(1, RANDOM_TEST, 1, 0);
  FILE *nowhere = fopen("/dev/null", "w");
  int refused = 0;
  struct bytes_file sources[3] = {good_file(1), good_file(2), {0}};
  sources[2] = bytes_compress(sources[0].bytes, sources[0].count);
  for (int n = 0; n < MUTATIONS; n++) {
    const struct bytes_file *source = &sources[n % 3];
    struct bytes_file mutant = bytes_new(source->count);
    memcpy(mutant.bytes, source->bytes, source->count);
    uint32_t header = n % 3 == 0 ? 352 : n % 3 == 1 ? 544 : (uint32_t)source->count;
    for (uint32_t flips = 1 + random_below(&random, 4); flips > 0; flips--) {
      uint32_t at = random_below(&random, header), kind = random_below(&random, 3);
      if (kind == 0) mutant.bytes[at] ^= (unsigned char)(1u << random_below(&random, 8));
      if (kind == 1) mutant.bytes[at] = (unsigned char)random_bits(&random);
      if (kind == 2) mutant.bytes[at] = random_below(&random, 2) ? 0xff : 0;
    }
    read_mutant(mutant.bytes, mutant.count, &refused, nowhere);
    free(mutant.bytes);
  }
  printf("%d of %d mutants refused\n", refused, MUTATIONS);
  CHECK(refused > MUTATIONS / 4 && refused < MUTATIONS);
  for (int s = 0; s < 3; s++) free(sources[s].bytes);
  fclose(nowhere);
}

int main(void) {
  folder = check_make_folder();
  RUN(every_truncation_is_refused);
  RUN(compressed_files_of_all_kinds);
  RUN(several_gzip_members_are_one_file);
  RUN(a_wrong_checksum_is_found);
  RUN(bytes_after_the_voxels_are_said);
  RUN(headers_that_promise_too_much);
  RUN(files_that_are_something_else);
  RUN(thousands_of_mutations_do_no_harm);
  check_remove_folder(folder);
  return check_result();
}
