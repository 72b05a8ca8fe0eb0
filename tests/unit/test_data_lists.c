/* Order, split, discovery and csv files. */
#include "data/csv.h"
#include "data/discover.h"
#include "data/order.h"
#include "data/split.h"
#include "test_data.h"

TEST(order_is_a_function_of_seed_and_epoch) {
  int a[100], b[100], seen[100] = {0}, same = 0;
  order_epoch(1, 3, 100, a);
  order_epoch(1, 3, 100, b);
  CHECK(memcmp(a, b, sizeof a) == 0);
  for (int i = 0; i < 100; i++) seen[a[i]]++;
  for (int i = 0; i < 100; i++) CHECK(seen[i] == 1);
  order_epoch(1, 4, 100, b);
  for (int i = 0; i < 100; i++) same += a[i] == b[i];
  CHECK(same < 20);
  order_epoch(1, 3 + ((int64_t)1 << 32), 100, b);
  CHECK(memcmp(a, b, sizeof a) != 0);
}

enum { MOST_SUBJECTS = 200 };

/* Every subject a patient of its own. */
static enum status assign(struct config *config, int count, uint8_t *splits) {
  static char names[MOST_SUBJECTS][12];
  const char *patients[MOST_SUBJECTS];
  for (int i = 0; i < count; i++) {
    snprintf(names[i], sizeof names[i], "%d", i);
    patients[i] = names[i];
  }
  return split_assign(config, patients, count, splits);
}

static void count_splits(struct config *config, int count, int counts[3]) {
  uint8_t splits[MOST_SUBJECTS];
  counts[0] = counts[1] = counts[2] = 0;
  CHECK_OK(assign(config, count, splits));
  for (int i = 0; i < count; i++) counts[splits[i]]++;
}

TEST(splits_by_share_and_count) {
  struct config config;
  uint8_t splits[MOST_SUBJECTS], again[MOST_SUBJECTS];
  int counts[3];
  CHECK_OK(config_defaults(&config));
  count_splits(&config, 100, counts);
  CHECK(counts[0] == 70 && counts[1] == 10 && counts[2] == 20);
  count_splits(&config, 65, counts); /* 6.5 and 13 */
  CHECK(counts[0] == 45 && counts[1] == 7 && counts[2] == 13);
  CHECK_OK(assign(&config, 200, splits));
  CHECK_OK(assign(&config, 200, again));
  CHECK(memcmp(splits, again, 200) == 0);
  CHECK_OK(config_override(&config, "seed=2"));
  CHECK_OK(assign(&config, 200, again));
  CHECK(memcmp(splits, again, 200) != 0);
  CHECK_OK(config_override(&config, "data.split=sorted"));
  CHECK_OK(config_override(&config, "data.test=3"));
  CHECK_OK(config_override(&config, "data.validation=2"));
  CHECK_OK(assign(&config, 10, splits));
  CHECK(splits[4] == SPLIT_TRAIN && splits[5] == SPLIT_VALIDATION && splits[7] == SPLIT_TEST);
  CHECK_FAILS(assign(&config, 5, splits), "found 2 for validation and 3 for testing of 5");
  CHECK_OK(config_override(&config, "data.test=2.5"));
  CHECK_FAILS(assign(&config, 9, splits), "data.test: expected a share below 1 or a whole");
  CHECK(split_find("val") == SPLIT_VALIDATION && split_find("tes") == -1);
  config_close(&config);
}

static char *put_text(const struct data_place *place, const char *name, const char *text) {
  char *path = file_join(place->folder, name);
  CHECK_OK(file_replace(path, text, strlen(text)));
  return path;
}

/* 60 subjects of 20 patients, whose names do not come in order. */
TEST(patients_stay_in_one_split) {
  struct config config;
  char names[60][12];
  const char *patients[60];
  uint8_t splits[60], alone[20];
  int groups[60], group_count, counts[3] = {0};
  CHECK_OK(config_defaults(&config));
  for (int i = 0; i < 60; i++) {
    snprintf(names[i], sizeof names[i], "p%d", (i * 7 + i / 20) % 20);
    patients[i] = names[i];
  }
  CHECK_OK(split_group(patients, 60, groups, &group_count));
  CHECK(group_count == 20 && groups[0] == 0 && groups[1] == 1);
  CHECK_OK(split_assign(&config, patients, 60, splits));
  CHECK_OK(assign(&config, 20, alone));
  for (int i = 0; i < 60; i++) {
    for (int k = 0; k < i; k++)
      CHECK((strcmp(names[i], names[k]) == 0) == (groups[i] == groups[k]));
    CHECK(splits[i] == alone[groups[i]]);
    counts[splits[i]]++;
  }
  CHECK(counts[SPLIT_TRAIN] == 42 && counts[SPLIT_VALIDATION] == 6 && counts[SPLIT_TEST] == 12);
  CHECK_OK(config_override(&config, "data.test=19"));
  CHECK_FAILS(split_assign(&config, patients, 60, splits), "for testing of 20");
  config_close(&config);
}

TEST(csv_is_read_and_checked) {
  struct data_place place = data_open_place(0, NULL);
  char *path = put_text(&place, "a.csv",
                        "\xEF\xBB\xBFsubject,image,\"note \"\"q\"\"\"\r\n\r\n"
                        "a,\"x,y\",\"two\nlines\"\r\nb,,\n\"c\",z,last");
  struct csv csv;
  CHECK_OK(csv_read(&csv, path));
  CHECK(csv.rows == 3 && csv.columns == 3 && csv_find(&csv, "note \"q\"") == 2);
  CHECK(strcmp(csv_get(&csv, 0, 1), "x,y") == 0 && strcmp(csv_get(&csv, 0, 2), "two\nlines") == 0);
  CHECK(strcmp(csv_get(&csv, 1, 2), "") == 0 && strcmp(csv_get(&csv, 2, 2), "last") == 0);
  CHECK(csv_line(&csv, 0) == 3 && csv_line(&csv, 1) == 5 && csv_line(&csv, 2) == 6);
  csv_close(&csv);
  free(path);
  static const char *const bad[][2] = {
      {"a,b\n1,2,3\n", ":2: expected 2 fields as in the header, found more"},
      {"a,b\n1\n", ":2: expected 2 fields as in the header, found 1"},
      {"a,b\n\"1,2\n", ":2: expected ',' or the end of the line"},
      {"a,b\n\"1\"x,2\n", ":2: expected ',' or the end of the line"},
      {"a,b\n1\"x,2\n", ":2: expected ',' or the end of the line"},
      {"\n\n", "expected a header line, found an empty file"},
      {"", "expected a header line, found an empty file"},
  };
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    path = put_text(&place, "b.csv", bad[i][0]);
    CHECK_FAILS(csv_read(&csv, path), bad[i][1]);
    free(path);
  }
  data_close_place(&place);
}

TEST(finds_folders) {
  struct data_place place = data_open_place(3, NULL);
  struct subject_source *subjects;
  int count;
  char *path = file_join(place.source, "images/._subject_00.nii.gz");
  CHECK_OK(file_replace(path, "x", 1));
  CHECK_OK(discover_subjects(&place.config, &subjects, &count));
  CHECK(count == 3 && strcmp(subjects[1].id, "subject_01") == 0 && subjects[1].split == -1);
  CHECK(strstr(subjects[2].image, "/images/subject_02.nii.gz"));
  CHECK(strstr(subjects[2].label, "/labels/subject_02.nii.gz"));
  discover_free(subjects, count);
  free(path);
  path = file_join(place.source, "images/subject_00.nii");
  CHECK_OK(file_replace(path, "x", 1));
  CHECK_FAILS(discover_subjects(&place.config, &subjects, &count),
              "subject subject_00 occurs twice");
  CHECK(unlink(path) == 0);
  free(path);
  path = file_join(place.source, "labels/subject_01.nii.gz");
  CHECK(unlink(path) == 0);
  CHECK_FAILS(discover_subjects(&place.config, &subjects, &count),
              "subject_01.nii.gz: expected its label map");
  free(path);
  char command[512];
  snprintf(command, sizeof command, "rm -r '%s/labels'", place.source);
  CHECK(system(command) == 0);
  CHECK_OK(discover_subjects(&place.config, &subjects, &count));
  CHECK(count == 3 && !subjects[0].label);
  discover_free(subjects, count);
  data_override(&place, "data.source=/nowhere/at/all");
  CHECK_FAILS(discover_subjects(&place.config, &subjects, &count),
              "data.source: /nowhere/at/all: expected a folder");
  data_close_place(&place);
}

TEST(finds_oasis) {
  struct data_place place = data_open_place(0, NULL);
  struct subject_source *subjects;
  int count;
  data_override(&place, "data.layout=oasis");
  CHECK_FAILS(discover_subjects(&place.config, &subjects, &count), "aligned_norm.nii.gz");
  char command[2048];
  snprintf(
      command, sizeof command,
      "cd '%s' && for s in OASIS_OAS1_0002_MR1 OASIS_OAS1_0001_MR1; do mkdir $s && touch "
      "$s/aligned_norm.nii.gz $s/aligned_seg4.nii.gz $s/aligned_orig.nii.gz; done; mkdir empty",
      place.source);
  CHECK(system(command) == 0);
  CHECK_OK(discover_subjects(&place.config, &subjects, &count));
  CHECK(count == 2 && strcmp(subjects[0].id, "OASIS_OAS1_0001_MR1") == 0);
  CHECK(strstr(subjects[0].label, "aligned_seg4.nii.gz"));
  discover_free(subjects, count);
  data_override(&place, "data.oasis_labels=seg35");
  CHECK_FAILS(discover_subjects(&place.config, &subjects, &count), "expected aligned_seg35.nii.gz");
  data_close_place(&place);
}

static void touch(const struct data_place *place, const char *names) {
  char command[2048];
  snprintf(command, sizeof command,
           "cd '%s' && for f in %s; do mkdir -p $(dirname $f) && touch $f; done", place->source,
           names);
  CHECK(system(command) == 0);
}

TEST(finds_mmwhs) {
  struct data_place place = data_open_place(0, NULL);
  struct subject_source *subjects;
  int count;
  data_override(&place, "data.layout=mmwhs");
  CHECK_FAILS(discover_subjects(&place.config, &subjects, &count), "mr_train");
  touch(&place,
        "mr_train/mr_train_1002_image.nii.gz mr_train/mr_train_1001_image.nii "
        "mr_train/mr_train_1002_label.nii.gz mr_train/mr_train_1001_label.nii.gz "
        "mr_train/._mr_train_1001_image.nii.gz mr_train/notes.txt mr_train/_image.nii "
        "mr_test/mr_test_2001_image.nii.gz ct_train/readme");
  CHECK_OK(discover_subjects(&place.config, &subjects, &count));
  CHECK(count == 2 && strcmp(subjects[0].id, "mr_train_1001") == 0);
  CHECK(strcmp(subjects[0].patient, "mr_train_1001") == 0 && subjects[0].split == -1);
  CHECK(strstr(subjects[0].image, "/mr_train/mr_train_1001_image.nii"));
  CHECK(strstr(subjects[1].label, "/mr_train/mr_train_1002_label.nii.gz"));
  discover_free(subjects, count);
  data_override(&place, "data.subset=mr_test");
  CHECK_OK(discover_subjects(&place.config, &subjects, &count));
  CHECK(count == 1 && !subjects[0].label);
  discover_free(subjects, count);
  data_override(&place, "data.subset=ct_train");
  CHECK_FAILS(discover_subjects(&place.config, &subjects, &count), "expected *_image.nii.gz");
  data_override(&place, "data.subset=mr_train");
  touch(&place, "mr_train/mr_train_1003_image.nii.gz");
  CHECK_FAILS(discover_subjects(&place.config, &subjects, &count),
              "subject mr_train_1001 has a label map but subject mr_train_1003 has none");
  data_close_place(&place);
}

TEST(finds_plain_folders_and_patients) {
  struct data_place place = data_open_place(0, NULL);
  struct subject_source *subjects;
  int count;
  data_override(&place, "data.layout=plain");
  CHECK_FAILS(discover_subjects(&place.config, &subjects, &count), "expected *.nii.gz");
  touch(&place, "a_1.nii.gz b_x_2.nii a_2.hdr a_2.img _c.nii .hidden.nii text.txt");
  data_override(&place, "data.patient=_");
  CHECK_OK(discover_subjects(&place.config, &subjects, &count));
  static const char *const expected[][2] = {
      {"_c", "_c"}, {"a_1", "a"}, {"a_2", "a"}, {"b_x_2", "b_x"}};
  CHECK(count == 4);
  for (int i = 0; i < 4 && count == 4; i++) {
    CHECK(strcmp(subjects[i].id, expected[i][0]) == 0 && !subjects[i].label);
    CHECK(strcmp(subjects[i].patient, expected[i][1]) == 0);
  }
  discover_free(subjects, count);
  data_close_place(&place);
}

TEST(finds_patients_by_csv) {
  struct data_place place = data_open_place(3, NULL);
  struct subject_source *subjects;
  int count;
  data_override(&place, "data.layout=csv");
  char *path = put_text(&place, "list.csv",
                        "subject,image,patient,split\n"
                        "a,images/subject_00.nii.gz,zoe,train\n"
                        "b,images/subject_01.nii.gz,eve,train\n"
                        "c,images/subject_02.nii.gz,zoe,test\n");
  char *list = file_format("data.list=%s", path);
  data_override(&place, list);
  CHECK_OK(discover_subjects(&place.config, &subjects, &count));
  CHECK(count == 3 && strcmp(subjects[2].patient, "zoe") == 0);
  discover_free(subjects, count);
  CHECK_FAILS(data_prepare(&place),
              "expected one split for all subjects of patient zoe, found "
              "train for a and test for c");
  free(path);
  path = put_text(&place, "list.csv",
                  "subject,image,patient\n"
                  "a,images/subject_00.nii.gz,\n");
  CHECK_FAILS(discover_subjects(&place.config, &subjects, &count),
              ":2: patient: expected a name, found nothing");
  free(path);
  path = put_text(&place, "list.csv",
                  "subject,image,patient\n"
                  "a,images/subject_00.nii.gz,zoe\n"
                  "b,images/subject_01.nii.gz,eve\n"
                  "c,images/subject_02.nii.gz,zoe\n");
  data_override(&place, "data.test=1");
  data_override(&place, "data.validation=0");
  CHECK_OK(data_prepare(&place));
  struct dataset dataset;
  CHECK_OK(dataset_open(&dataset, place.master, NULL));
  CHECK(dataset.subjects[0].split == dataset.subjects[2].split);
  CHECK(dataset.subjects[0].split != dataset.subjects[1].split);
  dataset_close(&dataset);
  char *text = data_read_report(&place);
  CHECK(strstr(text, "\"patient\": \"zoe\""));
  free(text);
  free(path);
  free(list);
  data_close_place(&place);
}

TEST(finds_by_csv) {
  struct data_place place = data_open_place(3, NULL);
  struct subject_source *subjects;
  int count;
  data_override(&place, "data.layout=csv");
  CHECK_FAILS(discover_subjects(&place.config, &subjects, &count), "data.list");
  char *path = put_text(&place, "list.csv",
                        "subject,image,label,split\n"
                        "zoe,images/subject_00.nii.gz,labels/subject_00.nii.gz,test\n"
                        "adam,images/subject_01.nii.gz,labels/subject_01.nii.gz,train\n"
                        "eve,images/subject_02.nii.gz,labels/subject_02.nii.gz,train\n");
  char *list = file_format("data.list=%s", path);
  data_override(&place, list);
  CHECK_OK(discover_subjects(&place.config, &subjects, &count));
  CHECK(count == 3 && strcmp(subjects[0].id, "adam") == 0 && subjects[2].split == SPLIT_TEST);
  discover_free(subjects, count);
  CHECK_OK(data_prepare(&place));
  struct dataset dataset;
  CHECK_OK(dataset_open(&dataset, place.master, NULL));
  CHECK(dataset.subject_count == 3 && dataset.subjects[2].split == SPLIT_TEST);
  CHECK(dataset_select(&dataset, SPLIT_TRAIN, NULL) == 2);
  dataset_close(&dataset);
  free(path);
  static const char *const bad[][2] = {
      {"subject,image\na,images/none.nii.gz\n", "subject a: "},
      {"subject,picture\na,b\n", "found no \"image\""},
      {"subject,image,split\na,images/subject_00.nii.gz,tset\n", ":2: split: expected train"},
      {"subject,image\na/b,images/subject_00.nii.gz\n", "expected a name without '/'"},
      {"subject,image\n", "expected a line per subject"},
      {"subject,image,label\na,images/subject_00.nii.gz,\nb,images/subject_01.nii.gz,"
       "labels/subject_01.nii.gz\n",
       "subject a has no label map but subject b has one"},
  };
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    path = put_text(&place, "list.csv", bad[i][0]);
    CHECK_FAILS(discover_subjects(&place.config, &subjects, &count), bad[i][1]);
    free(path);
  }
  free(list);
  data_close_place(&place);
}

int main(void) {
  RUN(order_is_a_function_of_seed_and_epoch);
  RUN(splits_by_share_and_count);
  RUN(patients_stay_in_one_split);
  RUN(csv_is_read_and_checked);
  RUN(finds_folders);
  RUN(finds_oasis);
  RUN(finds_mmwhs);
  RUN(finds_plain_folders_and_patients);
  RUN(finds_patients_by_csv);
  RUN(finds_by_csv);
  return check_result();
}
