/* Which volumes the words of a command line mean. */
#include "task/volume_list.h"
#include "base/file.h"
#include "check.h"

struct place {
  char *folder;
  struct config config;
  struct volume_list list;
};

static void add_file(const struct place *place, const char *name) {
  char *path = file_join(place->folder, name);
  CHECK_OK(file_replace(path, "x", 1));
  free(path);
}

static void add_folder(const struct place *place, const char *name) {
  char *path = file_join(place->folder, name);
  CHECK_OK(file_make_directory(path));
  free(path);
}

static struct place open_place(const char *keys) {
  struct place place = {.folder = check_make_folder()};
  char text[256];
  snprintf(text, sizeof text, "data = { %s };", keys);
  CHECK_OK(config_parse(&place.config, text, "test"));
  return place;
}

static void close_place(struct place *place) {
  volume_list_close(&place->list);
  CHECK(!place->list.volumes && place->list.count == 0);
  config_close(&place->config);
  check_remove_folder(place->folder);
}

/* Words are relative to the place; each path of a word with several. */
static enum status find(struct place *place, int count, const char *const *words) {
  char *absolute[8];
  volume_list_close(&place->list);
  for (int i = 0; i < count; i++) {
    const char *second = strchr(words[i], ';');
    int first = second ? (int)(second - words[i]) : (int)strlen(words[i]);
    absolute[i] = second ? file_format("%s/%.*s;%s/%s", place->folder, first, words[i],
                                       place->folder, second + 1)
                         : file_join(place->folder, words[i]);
  }
  enum status status =
      volume_list_find(&place->config, (const char *const *)absolute, count, 1, &place->list);
  for (int i = 0; i < count; i++) free(absolute[i]);
  return status;
}

#define FIND(place, ...)                                                   \
  find(place, (int)(sizeof(const char *[]){__VA_ARGS__} / sizeof(char *)), \
       (const char *[]){__VA_ARGS__})

/* Volume i is called `id`; `files` are its files in order, separated by blanks. */
static void check_volume(const struct place *place, int i, const char *id, const char *files) {
  char found[512] = "";
  if (i >= place->list.count) {
    CHECK_SAY(false, ": no volume %s", id);
    return;
  }
  const struct subject_source *volume = &place->list.volumes[i];
  size_t folder = strlen(place->folder) + 1;
  snprintf(found, sizeof found, "%s", volume->image + folder);
  for (int k = 0; k < volume->channel_file_count; k++) {
    size_t bytes = strlen(found);
    snprintf(found + bytes, sizeof found - bytes, " %s", volume->channel_files[k] + folder);
  }
  CHECK_SAY(strcmp(volume->id, id) == 0, ": %s, not %s", volume->id, id);
  CHECK_SAY(strcmp(found, files) == 0, ": %s, not %s", found, files);
  CHECK(!volume->label && !volume->masks);
}

TEST(files) {
  struct place place = open_place("");
  CHECK_OK(FIND(&place, "b.nii.gz", "x/a.b.nii", "c.hdr", "d.hdr.gz", "e_0000.nii.gz", "odd"));
  CHECK(place.list.count == 6);
  check_volume(&place, 0, "b", "b.nii.gz"); /* in the order of the words */
  check_volume(&place, 1, "a.b", "x/a.b.nii");
  check_volume(&place, 2, "c", "c.hdr");
  check_volume(&place, 3, "d", "d.hdr.gz");
  check_volume(&place, 4, "e", "e_0000.nii.gz");
  check_volume(&place, 5, "odd", "odd"); /* whoever reads it says what is wrong with it */
  close_place(&place);
}

TEST(folders) {
  static const char *const names[] = {"b.nii.gz",       "a.nii",     "c.hdr",    "c.img",
                                      "b_label.nii.gz", "notes.txt", ".hid.nii", "z_0001.nii"};
  struct place place = open_place("");
  add_folder(&place, "in");
  add_folder(&place, "in/deeper.nii");
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
    char *name = file_join("in", names[i]);
    add_file(&place, name);
    free(name);
  }
  CHECK_OK(FIND(&place, "q.nii", "in"));
  check_volume(&place, 0, "q", "q.nii");
  check_volume(&place, 1, "a", "in/a.nii");
  check_volume(&place, 2, "b", "in/b.nii.gz");
  check_volume(&place, 3, "c", "in/c.hdr");
  check_volume(&place, 4, "z_0001", "in/z_0001.nii");
  CHECK(place.list.count == 5);
  close_place(&place);
}

TEST(channels) {
  struct place place = open_place("channels = 2");
  add_folder(&place, "in");
  add_file(&place, "in/b_0000.nii.gz");
  add_file(&place, "in/b_0001.nii.gz");
  add_file(&place, "in/a_0000.nii");
  add_file(&place, "in/a_0001.nii");
  add_file(&place, "in/both.nii.gz"); /* one file of two channels */
  CHECK_OK(FIND(&place, "in"));
  CHECK(place.list.count == 3);
  check_volume(&place, 0, "a", "in/a_0000.nii in/a_0001.nii");
  check_volume(&place, 1, "b", "in/b_0000.nii.gz in/b_0001.nii.gz");
  check_volume(&place, 2, "both", "in/both.nii.gz");
  CHECK_OK(FIND(&place, "in/x_0000.nii.gz;in/y.nii.gz", "in/both.nii.gz"));
  CHECK(place.list.count == 2);
  check_volume(&place, 0, "x", "in/x_0000.nii.gz in/y.nii.gz");
  check_volume(&place, 1, "both", "in/both.nii.gz");
  add_file(&place, "in/b_0002.nii.gz");
  CHECK_FAILS(FIND(&place, "in"), "b_0000.nii.gz: expected one file or 2 (data.channels), found 3");
  CHECK(!place.list.volumes && place.list.count == 0);
  close_place(&place);
}

TEST(subjects) {
  struct place place = open_place("layout = \"totalsegmentator\"");
  add_folder(&place, "s0001/segmentations");
  add_file(&place, "s0001/segmentations/liver.nii.gz");
  add_file(&place, "s0001/ct.nii.gz");
  add_folder(&place, "s0002");
  add_file(&place, "s0002/mri.nii.gz");
  add_folder(&place, "loose");
  add_file(&place, "loose/v.nii.gz");
  CHECK_OK(FIND(&place, "s0002/", "s0001", "loose"));
  CHECK(place.list.count == 3);
  check_volume(&place, 0, "s0002", "s0002//mri.nii.gz");
  check_volume(&place, 1, "s0001", "s0001/ct.nii.gz");
  check_volume(&place, 2, "v", "loose/v.nii.gz");
  CHECK_OK(config_override(&place.config, "data.layout=folders"));
  CHECK_OK(FIND(&place, "s0001")); /* a folder of volumes like any other */
  check_volume(&place, 0, "ct", "s0001/ct.nii.gz");
  close_place(&place);
}

TEST(words_that_mean_nothing) {
  struct place place = open_place("");
  add_folder(&place, "empty");
  add_file(&place, "empty/notes.txt");
  add_file(&place, "empty/a_label.nii.gz");
  CHECK_FAILS(FIND(&place, "empty"), "empty: expected volumes (.nii.gz, .nii, .hdr) in the folder");
  CHECK_FAILS(FIND(&place, "a.nii", "x/a.nii.gz"), "expected volumes with different names, found ");
  CHECK(strstr(status_message(), "/a.nii and ") && strstr(status_message(), "/x/a.nii.gz"));
  CHECK_FAILS(FIND(&place, "a.nii;b.nii"),
              "a.nii: expected one file or 1 (data.channels), found 2");
  CHECK_FAILS(volume_list_find(&place.config, NULL, 0, 1, &place.list),
              "predict: expected volumes or folders, found none");
  CHECK(!place.list.volumes && place.list.count == 0);
  close_place(&place);
}

int main(void) {
  RUN(files);
  RUN(folders);
  RUN(channels);
  RUN(subjects);
  RUN(words_that_mean_nothing);
  return check_result();
}
