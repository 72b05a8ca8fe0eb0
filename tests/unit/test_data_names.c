/* What classes are called, and what category a whole subject is of. */
#include "data/label_names.h"
#include "data/shard.h"
#include "test_data.h"

TEST(names_are_parsed_and_checked) {
  struct config config;
  char **names = NULL;
  int count = 7;
  CHECK_OK(config_defaults(&config));
  CHECK_OK(label_names_parse(&config, &names, &count));
  CHECK(!names && count == 0 && label_names_count(&config) == 0);
  CHECK_OK(config_override(&config, "data.label_names=\" left ventricle,aorta , b\""));
  CHECK_OK(label_names_parse(&config, &names, &count));
  CHECK(count == 3 && label_names_count(&config) == 3);
  CHECK(strcmp(names[0], "left ventricle") == 0 && strcmp(names[1], "aorta") == 0);
  CHECK(strcmp(names[2], "b") == 0);
  label_names_free(names, count);
  CHECK_OK(config_override(&config, "data.labels=[7, 3]"));
  CHECK_FAILS(label_names_parse(&config, &names, &count),
              "data.label_names: expected names of 2 classes as data.labels has, found 3");
  CHECK_OK(config_override(&config, "data.labels=[]"));
  CHECK_OK(config_override(&config, "data.label_names=\"a,b,\""));
  CHECK_FAILS(label_names_parse(&config, &names, &count),
              "data.label_names: expected a name for class 3, found none");
  CHECK_OK(config_override(&config, "data.label_names=\"a,b, a\""));
  CHECK_FAILS(label_names_parse(&config, &names, &count),
              "expected each name once, found \"a\" for classes 1 and 3");
  CHECK(!names && count == 0);
  config_close(&config);
}

static void check_names(const struct data_place *place) {
  struct dataset dataset;
  CHECK_OK(dataset_open(&dataset, place->master, NULL));
  CHECK(dataset.classes == 4 && dataset.label_name_count == 3);
  CHECK(strcmp(dataset.label_names[0], "grey") == 0);
  CHECK(strcmp(dataset.label_names[2], "left side") == 0);
  dataset_close(&dataset);
}

TEST(names_are_kept_with_the_data) {
  struct data_place place = data_open_place(4, NULL);
  data_override(&place, "data.labels=[3, 1, 2]");
  CHECK_OK(data_prepare(&place));
  char *map = file_join(place.folder, "out/label_map.json"), *text = NULL;
  CHECK(!file_exists(map));
  data_override(&place, "data.label_names=\"grey, white, left side\"");
  CHECK_OK(data_prepare(&place));
  check_names(&place);
  size_t bytes;
  CHECK_OK(file_read(map, 4096, &text, &bytes));
  CHECK(strstr(text, "\"grey\": 1,") && strstr(text, "\"left side\": 3"));
  free(text);
  FILE *out = open_memstream(&text, &bytes);
  CHECK_OK(shard_inspect(place.master, out));
  fclose(out);
  CHECK(strstr(text, "classes  1 grey, 2 white, 3 left side"));
  free(text);
  data_override(&place, "data.compression=1");
  CHECK_OK(data_prepare(&place));
  check_names(&place);

  /* names say how many classes there are, whether they occur or not */
  data_override(&place, "data.labels=[]");
  CHECK_FAILS(data_prepare(&place), "expected labels of 0 to 3 (data.label_names), found ");
  data_override(&place, "data.label_names=\"a,b,c,d,e,f,g,h,i,j,k,l,m,n\"");
  CHECK_OK(data_prepare(&place));
  struct dataset dataset;
  uint64_t voxels[15];
  CHECK_OK(dataset_open(&dataset, place.master, NULL));
  CHECK(dataset.classes == 15);
  dataset_count_voxels(&dataset, 0, voxels);
  CHECK(voxels[14] == 0 && voxels[0] > 0);
  dataset_close(&dataset);
  free(map);
  data_close_place(&place);
}

TEST(names_need_label_maps) {
  struct data_place place = data_open_place(0, NULL);
  char *labels = file_join(place.source, "labels");
  for (int i = 0; i < 3; i++) data_add_subject(&place, i, false);
  CHECK(rmdir(labels) == 0);
  data_override(&place, "data.label_names=a");
  CHECK_FAILS(data_prepare(&place), "data.label_names: expected subjects with label maps");
  free(labels);
  data_close_place(&place);
}

static void write_list(const struct data_place *place, const char *text) {
  char *path = file_join(place->folder, "list.csv");
  CHECK_OK(file_replace(path, text, strlen(text)));
  free(path);
}

static uint64_t check_categories(const struct data_place *place, const int wanted[3],
                                 int categories) {
  struct dataset dataset;
  CHECK_OK(data_prepare((struct data_place *)place));
  CHECK_OK(dataset_open(&dataset, place->master, NULL));
  CHECK(dataset.categories == categories && dataset.subject_count == 3);
  for (int i = 0; i < 3; i++) CHECK(dataset.subjects[i].category == wanted[i]);
  uint64_t manifest = dataset_manifest(&dataset);
  dataset_close(&dataset);
  return manifest;
}

#define ROW(number, rest) \
  "s" #number ",images/subject_0" #number ".nii.gz,labels/subject_0" #number ".nii.gz" rest "\n"

TEST(subjects_have_categories) {
  struct data_place place = data_open_place(3, NULL);
  char *key = file_format("data.list=%s/list.csv", place.folder);
  data_override(&place, key);
  free(key);
  data_override(&place, "data.layout=csv");
  data_override(&place, "data.validation=0");
  write_list(&place, "subject,image,label\n" ROW(0, "") ROW(1, "") ROW(2, ""));
  uint64_t without = check_categories(&place, (int[]){-1, -1, -1}, 0);
  char *path = shard_path(place.master, 1, 2);
  struct timespec before = data_modified(path);
  write_list(&place, "subject,image,label,category\n" ROW(0, ",") ROW(1, ",") ROW(2, ","));
  CHECK(check_categories(&place, (int[]){-1, -1, -1}, 0) == without);
  CHECK(data_same_time(before, data_modified(path)));
  write_list(&place, "subject,image,label,category\n" ROW(0, ",4") ROW(1, ",") ROW(2, ",0"));
  uint64_t with = check_categories(&place, (int[]){4, -1, 0}, 5);
  CHECK(with != without && !data_same_time(before, data_modified(path)));
  data_override(&place, "data.shard_count=3");
  CHECK(check_categories(&place, (int[]){4, -1, 0}, 5) == with);
  char *report = data_read_report(&place);
  CHECK(strstr(report, "\"category\": 4") && !strstr(report, "\"category\": -1"));
  free(report);
  write_list(&place, "subject,image,label,category\n" ROW(0, ",4") ROW(1, ",-2") ROW(2, ",0"));
  CHECK_FAILS(
      data_prepare(&place),
      "list.csv:3: category: expected a whole number of 0 to 65535 or nothing, found \"-2\"");
  write_list(&place, "subject,image,label,category\n" ROW(0, ",65536") ROW(1, ",") ROW(2, ",0"));
  CHECK_FAILS(data_prepare(&place), "list.csv:2: category: expected a whole number of 0 to 65535");
  free(path);
  data_close_place(&place);
}

int main(void) {
  RUN(names_are_parsed_and_checked);
  RUN(names_are_kept_with_the_data);
  RUN(names_need_label_maps);
  RUN(subjects_have_categories);
  return check_result();
}
