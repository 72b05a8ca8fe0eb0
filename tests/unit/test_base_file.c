/* Checksums against published values, replacement of files, error messages, nearest words. */
#include "base/file.h"
#include "base/text.h"
#include "check.h"

/* Long pieces may be computed in another way than short ones. */
TEST(checksums_do_not_depend_on_the_pieces) {
  enum { COUNT = 50000 };
  static unsigned char bytes[COUNT];
  for (uint32_t i = 0; i < COUNT; i++) bytes[i] = (unsigned char)(i * i / 7 + i);
  uint32_t whole = file_checksum(0, bytes, COUNT);
  for (size_t piece = 1; piece < 20000; piece = piece * 5 + 2) {
    uint32_t crc = 0;
    for (size_t at = 0; at < COUNT; at += piece)
      crc = file_checksum(crc, bytes + at, piece < COUNT - at ? piece : COUNT - at);
    CHECK(crc == whole);
  }
  bytes[COUNT / 2] ^= 1;
  CHECK(file_checksum(0, bytes, COUNT) != whole);
}

TEST(checksums_match_rfc_3720) {
  unsigned char bytes[32] = {0};
  CHECK(file_checksum(0, bytes, 32) == 0x8a9136aau);
  memset(bytes, 0xff, 32);
  CHECK(file_checksum(0, bytes, 32) == 0x62a8ab43u);
  for (int i = 0; i < 32; i++) bytes[i] = (unsigned char)i;
  CHECK(file_checksum(0, bytes, 32) == 0x46dd794eu);
  CHECK(file_checksum(file_checksum(0, bytes, 11), bytes + 11, 21) == 0x46dd794eu);
}

TEST(a_file_is_replaced_whole_or_not_at_all) {
  char *folder = check_make_folder();
  char *path = file_join(folder, "a b/c.txt"), *inner = file_join(folder, "a b");
  CHECK_OK(file_make_directory(inner));
  CHECK_OK(file_replace(path, "old", 3));
  struct file_writer writer;
  CHECK_OK(file_create(&writer, path));
  CHECK_OK(file_write(&writer, "new and longer", 14));
  file_abandon(&writer);
  char *data = NULL;
  size_t bytes = 0;
  CHECK_OK(file_read(path, 100, &data, &bytes));
  CHECK(bytes == 3 && strcmp(data, "old") == 0);
  free(data);
  CHECK_FAILS(file_read(path, 2, &data, &bytes), "expected at most 2 bytes, found 3");
  char **names = NULL;
  int count = 0;
  CHECK_OK(file_list(inner, "", &names, &count));
  CHECK(count == 1);
  file_list_free(names, count);
  free(inner);
  free(path);
  check_remove_folder(folder);
}

TEST(the_nearest_word_is_found) {
  const char *const words[] = {"epochs", "steps", "slots"};
  CHECK(strcmp(text_nearest("epoch", words, 3), "epochs") == 0);
  CHECK(text_distance("kitten", "sitting") == 3);
}

int main(void) {
  RUN(checksums_match_rfc_3720);
  RUN(checksums_do_not_depend_on_the_pieces);
  RUN(a_file_is_replaced_whole_or_not_at_all);
  RUN(the_nearest_word_is_found);
  return check_result();
}
