/* What classes are called where there is no data set. */
#include "task/segmentation_names.h"
#include "base/file.h"
#include "check.h"

struct place {
  char *folder;
  struct config config;
  struct segmentation_names names;
};

static void set(struct place *place, const char *assignment) {
  CHECK_OK(config_override(&place->config, assignment));
}

static struct place open_place(const char *classes) {
  struct place place = {.folder = check_make_folder()};
  char *shards = file_format("data.shards=%s/data.h5", place.folder);
  CHECK_OK(config_defaults(&place.config));
  set(&place, shards);
  set(&place, classes);
  free(shards);
  return place;
}

static void close_place(struct place *place) {
  segmentation_names_free(&place->names);
  CHECK(!place->names.name && place->names.count == 0);
  config_close(&place->config);
  check_remove_folder(place->folder);
}

static void write_map(const struct place *place, const char *text) {
  char *path = file_join(place->folder, "label_map.json");
  CHECK_OK(file_replace(path, text, strlen(text)));
  free(path);
}

static enum status find(struct place *place) {
  segmentation_names_free(&place->names);
  return segmentation_names_find(&place->config, &place->names);
}

/* `expected`: names separated by ';'. */
static void check(struct place *place, const char *expected) {
  char found[256] = "";
  CHECK_OK(find(place));
  for (int i = 0; i < place->names.count; i++) {
    size_t bytes = strlen(found);
    snprintf(found + bytes, sizeof found - bytes, "%s%s", i ? ";" : "", place->names.name[i]);
  }
  CHECK_SAY(strcmp(found, expected) == 0, ": %s, not %s", found, expected);
}

TEST(names_of_classes) {
  struct place place = open_place("model.classes=4");
  check(&place, "class_1;class_2;class_3");
  write_map(&place, "{\"spleen\": 3, \"left lung\": 1, \"liver\": 2}");
  check(&place, "left lung;liver;spleen");
  set(&place, "data.label_names=\" a , b c,d\"");
  check(&place, "a;b c;d"); /* the config knows best */
  set(&place, "data.label_names=\"a,b\"");
  CHECK_FAILS(find(&place), "data.label_names: expected 3 names, for model.classes = 4, found 2");
  CHECK(!place.names.name && place.names.count == 0);
  set(&place, "data.label_names=\"a,b,c,d\"");
  CHECK_FAILS(find(&place), "found 4");
  set(&place, "data.structures=\"p,q\""); /* of other layouts */
  set(&place, "data.label_names=\"\"");
  check(&place, "left lung;liver;spleen");
  close_place(&place);
}

TEST(names_of_structures) {
  struct place place = open_place("model.classes=3");
  set(&place, "data.layout=totalsegmentator");
  check(&place, "class_1;class_2;class_3");
  write_map(&place, "{\"b\": 1, \"a\": 0, \"c\": 2}");
  check(&place, "a;b;c");
  set(&place, "data.structures=\"spleen, liver,aorta\"");
  check(&place, "spleen;liver;aorta");
  set(&place, "data.structures=\"spleen\"");
  CHECK_FAILS(find(&place), "data.structures: expected 3 names, for model.classes = 3, found 1");
  close_place(&place);
}

/* A file of another data set, or of another program, is no reason to fail. */
TEST(maps_that_do_not_fit_are_passed_over) {
  static const char *const maps[] = {
      "{\"a\": 1, \"b\": 2, \"c\": 3}", "{\"a\": 1}",     "{\"a\": 1, \"b\": 3}", "{\"a\": 1, ",
      "{\"a\": \"1\", \"b\": \"2\"}",   "[\"a\", \"b\"]", "{\"a\": 0, \"b\": 1}"};
  struct place place = open_place("model.classes=3");
  for (size_t i = 0; i < sizeof maps / sizeof *maps; i++) {
    write_map(&place, maps[i]);
    check(&place, "class_1;class_2");
  }
  close_place(&place);
}

int main(void) {
  RUN(names_of_classes);
  RUN(names_of_structures);
  RUN(maps_that_do_not_fit_are_passed_over);
  return check_result();
}
