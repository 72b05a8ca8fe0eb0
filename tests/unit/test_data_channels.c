/* Images of several channels: where they come from, how they are stored, what is refused. */
#include "data/discover.h"
#include "data/shard.h"
#include "test_data_masks.h"

enum { CHANNELS = 3 };

/* Channel c of subject s: the phantom, brighter by channel. */
static float value_of(const struct volume *image, int c, size_t at) {
  return image->values[at] * (float)(c + 1) + (float)(c * c);
}

static void make_channel(const struct volume *image, int c, struct volume *one) {
  struct grid grid = volume_get_grid(image);
  CHECK_OK(volume_create(one, &grid, 1));
  for (size_t i = 0; i < volume_count(image); i++) one->values[i] = value_of(image, c, i);
}

static void write_channel(const struct data_place *place, const char *name,
                          const struct volume *image, int c) {
  const struct volume_format format = {0};
  struct volume one;
  make_channel(image, c, &one);
  char *path = file_join(place->source, name);
  CHECK_OK(volume_write(&one, path, &format));
  volume_close(&one);
  free(path);
}

static void make_subject(int s, struct volume *image, struct volume *label) {
  data_make_subject(s, (int[]){17, 18, 19}, image, label);
}

/* images/sN_0000 ... and labels/sN. */
static struct data_place open_files(int subjects) {
  struct data_place place = data_open_place(0, NULL);
  const struct volume_format classes = {.type = VOLUME_UINT8};
  data_override(&place, "data.channels=3");
  data_override(&place, "data.test=0");
  data_override(&place, "data.validation=0");
  for (int s = 0; s < subjects; s++) {
    struct volume image, label;
    char name[64];
    make_subject(s, &image, &label);
    for (int c = 0; c < CHANNELS; c++) {
      snprintf(name, sizeof name, "images/s%d_%04d.nii.gz", s, c);
      write_channel(&place, name, &image, c);
    }
    char *path = file_format("%s/labels/s%d.nii.gz", place.source, s);
    CHECK_OK(volume_write(&label, path, &classes));
    free(path);
    volume_close(&image);
    volume_close(&label);
  }
  return place;
}

/* sN.nii.gz of 4 axes instead of a file per channel. */
static void join_files(const struct data_place *place, int s, int channels) {
  const struct volume_format format = {0};
  struct volume image, label, all;
  make_subject(s, &image, &label);
  struct grid grid = volume_get_grid(&image);
  CHECK_OK(volume_create(&all, &grid, channels));
  for (int c = 0; c < channels; c++)
    for (size_t i = 0; i < volume_count(&image); i++)
      all.values[(size_t)c * volume_count(&image) + i] = value_of(&image, c, i);
  char *path = file_format("%s/images/s%d.nii.gz", place->source, s);
  CHECK_OK(volume_write(&all, path, &format));
  free(path);
  for (int c = 0; c < CHANNELS; c++) {
    path = file_format("%s/images/s%d_%04d.nii.gz", place->source, s, c);
    unlink(path);
    free(path);
  }
  volume_close(&image);
  volume_close(&label);
  volume_close(&all);
}

/* Every stored voxel is the source's, or the channel's smallest where there is none. */
static void compare_subject(const struct dataset *dataset, int s) {
  const int *extent = dataset->extent;
  const float *stored = dataset_image(dataset, s);
  struct volume image, label;
  make_subject(s, &image, &label);
  struct affine inverse;
  CHECK_OK(affine_invert(&image.affine, &inverse));
  struct affine map = affine_compose(&inverse, &dataset->subjects[s].affine);
  size_t wrong = 0, outside = 0;
  for (int c = 0; c < dataset->channels; c++) {
    float lowest = value_of(&image, c, 0);
    for (size_t i = 0; i < volume_count(&image); i++)
      lowest = fminf(lowest, value_of(&image, c, i));
    for (int d = 0; d < extent[0]; d++)
      for (int h = 0; h < extent[1]; h++)
        for (int w = 0; w < extent[2]; w++, stored++) {
          double point[3] = {d, h, w};
          affine_apply(&map, point, point);
          int i = (int)lround(point[0]), j = (int)lround(point[1]), k = (int)lround(point[2]);
          bool inside = i >= 0 && i < 17 && j >= 0 && j < 18 && k >= 0 && k < 19;
          size_t at = inside ? (size_t)((i * 18 + j) * 19 + k) : 0;
          outside += !inside;
          wrong += *stored != (inside ? value_of(&image, c, at) : lowest);
        }
  }
  CHECK_SAY(wrong == 0 && outside > 0, ": %zu of subject %d", wrong, s);
  volume_close(&image);
  volume_close(&label);
}

static uint64_t check_stored(const struct data_place *place, int subjects) {
  struct dataset dataset;
  enum status status = dataset_open(&dataset, place->master, NULL);
  CHECK_OK(status);
  if (status) return 0;
  CHECK(dataset.channels == CHANNELS && dataset.subject_count == subjects && dataset.has_labels);
  for (int s = 0; s < subjects; s++) {
    CHECK_OK(dataset_verify(&dataset, s));
    compare_subject(&dataset, s);
    dataset_release_pages(&dataset, s);
  }
  uint64_t manifest = dataset_manifest(&dataset);
  dataset_close(&dataset);
  return manifest;
}

TEST(a_file_per_channel_or_one_of_four_axes) {
  struct data_place place = open_files(3);
  data_override(&place, "data.intensity=none");
  CHECK_OK(data_prepare(&place));
  uint64_t manifest = check_stored(&place, 3);
  struct dataset dataset;
  CHECK_OK(dataset_open(&dataset, place.master, NULL));
  CHECK(strcmp(dataset.subjects[2].id, "s2") == 0);
  CHECK(strstr(dataset.subjects[2].source, "/s2_0000.nii.gz"));
  dataset_close(&dataset);
  char *report = data_read_report(&place);
  CHECK(strstr(report, "/s1_0002.nii.gz") && strstr(report, "\"channels\": 3"));
  free(report);

  for (int s = 0; s < 3; s++) join_files(&place, s, CHANNELS);
  data_override(&place, "data.compression=1");
  data_override(&place, "data.shard_count=3");
  CHECK_OK(data_prepare(&place));
  CHECK(check_stored(&place, 3) == manifest);
  char *text = NULL;
  size_t bytes;
  FILE *out = open_memstream(&text, &bytes);
  CHECK_OK(shard_inspect(place.master, out));
  fclose(out);
  CHECK(strstr(text, "1 subjects of 20 x 20 x 20 voxels, 3 channels, with labels, gzip"));
  free(text);
  data_close_place(&place);
}

TEST(a_table_names_the_files_of_channels) {
  static const char head[] = "subject,image,label\n";
  struct data_place place = open_files(2);
  char *list = file_join(place.folder, "list.csv"), *text;
  char *key = file_format("data.list=%s", list);
  data_override(&place, "data.intensity=none");
  data_override(&place, "data.layout=csv");
  data_override(&place, key);
  text = file_format("%s%s%s", head,
                     "s0,images/s0_0000.nii.gz;images/s0_0001.nii.gz;images/s0_0002.nii.gz,"
                     "labels/s0.nii.gz\n",
                     "s1,images/s1.nii.gz,labels/s1.nii.gz\n");
  CHECK_OK(file_replace(list, text, strlen(text)));
  free(text);
  join_files(&place, 1, CHANNELS);
  CHECK_OK(data_prepare(&place));
  check_stored(&place, 2);
  text = file_format("%ss0,images/s0_0000.nii.gz;images/s0_0001.nii.gz,labels/s0.nii.gz\n", head);
  CHECK_OK(file_replace(list, text, strlen(text)));
  CHECK_FAILS(data_prepare(&place),
              "list.csv:2: image: expected one file or one for each of 3 "
              "channels (data.channels), separated by ;, found 2");
  free(text);
  text = file_format("%ss0,images/s0_0000.nii.gz;no;images/s0_0001.nii.gz,\n", head);
  CHECK_OK(file_replace(list, text, strlen(text)));
  CHECK_FAILS(data_prepare(&place), "/no: expected a file, found none");
  free(text);
  free(list);
  free(key);
  data_close_place(&place);
}

TEST(each_channel_is_normalised_by_itself) {
  struct data_place place = open_files(1);
  data_override(&place, "data.intensity=minmax");
  CHECK_OK(data_prepare(&place));
  struct dataset dataset;
  CHECK_OK(dataset_open(&dataset, place.master, NULL));
  const float *image = dataset_image(&dataset, 0);
  for (int c = 0; c < CHANNELS; c++) {
    float low = 9, high = -9, off = 0;
    for (int i = 0; i < 8000; i++) {
      low = fminf(low, image[c * 8000 + i]);
      high = fmaxf(high, image[c * 8000 + i]);
      off = fmaxf(off, fabsf(image[c * 8000 + i] - image[i])); /* channels differ linearly */
    }
    CHECK(low == 0 && high == 1 && off < 1e-5f);
  }
  dataset_close(&dataset);
  data_close_place(&place);
}

static void rename_in(const struct data_place *place, const char *from, const char *to) {
  char *old = file_join(place->source, from), *new = file_join(place->source, to);
  CHECK(rename(old, new) == 0);
  free(old);
  free(new);
}

TEST(wrong_channels_are_named) {
  struct data_place place = open_files(2);
  rename_in(&place, "images/s1_0002.nii.gz", "images/s1_0003.nii.gz");
  CHECK_FAILS(data_prepare(&place),
              "images/s1_0000: expected 3 channels (data.channels), found 2: "
              "there is no s1_0002");
  rename_in(&place, "images/s1_0003.nii.gz", "images/s1_0002.nii.gz");
  data_override(&place, "data.channels=2");
  CHECK_FAILS(data_prepare(&place),
              "images/s0_0000: expected 2 channels (data.channels), found "
              "more: there is s0_0002");
  data_override(&place, "data.channels=3");
  join_files(&place, 1, 2);
  CHECK_FAILS(data_prepare(&place),
              "images/s1.nii.gz: expected 3 channels (data.channels), "
              "found 2");
  join_files(&place, 1, 1);
  CHECK_FAILS(data_prepare(&place),
              "images/s1.nii.gz: expected 3 channels (data.channels), "
              "found 1");
  join_files(&place, 1, CHANNELS);
  struct volume image, label;
  make_subject(0, &image, &label);
  image.affine.m[1][3] += 1;
  write_channel(&place, "images/s0_0001.nii.gz", &image, 1);
  CHECK_FAILS(data_prepare(&place),
              "images/s0_0001.nii.gz: expected a channel at its image's "
              "place");
  image.affine.m[1][3] -= 1;
  for (size_t i = 0; i < volume_count(&image); i++) image.values[i] = 4;
  write_channel(&place, "images/s0_0001.nii.gz", &image, 1);
  CHECK_FAILS(data_prepare(&place),
              "images/s0_0001.nii.gz: expected an image, found a blank "
              "channel 1: every voxel is 9");
  volume_close(&image);
  volume_close(&label);
  data_override(&place, "data.channels=1");
  CHECK_FAILS(data_prepare(&place), "expected its label map");
  data_close_place(&place);
}

/* Another file of a channel, or another number of them, is other data. */
TEST(a_changed_channel_is_made_again) {
  struct data_place place = open_files(2);
  CHECK_OK(data_prepare(&place));
  char *first = shard_path(place.master, 0, 2), *second = shard_path(place.master, 1, 2);
  struct timespec before[2] = {data_modified(first), data_modified(second)};
  CHECK_OK(data_prepare(&place));
  CHECK(data_same_time(before[0], data_modified(first)));
  struct volume image, label;
  make_subject(7, &image, &label);
  write_channel(&place, "images/s1_0002.nii.gz", &image, 2);
  volume_close(&image);
  volume_close(&label);
  CHECK_OK(data_prepare(&place));
  CHECK(data_same_time(before[0], data_modified(first)));
  CHECK(!data_same_time(before[1], data_modified(second)));
  free(first);
  free(second);
  data_close_place(&place);
}

/* A slice is a piece of each channel, and of the masks. */
TEST(slices_of_channels_are_verified) {
  struct data_place place = mask_open_place(1, NULL);
  const struct volume_format format = {.type = VOLUME_INT16};
  struct volume one, all;
  struct grid grid = mask_grid(0);
  data_override(&place, "data.test=0");
  data_override(&place, "data.validation=0");
  data_override(&place, "data.channels=2");
  mask_make(0, -1, &one);
  CHECK_OK(volume_create(&all, &grid, 2));
  for (size_t i = 0; i < volume_count(&one); i++) {
    all.values[i] = one.values[i];
    all.values[volume_count(&one) + i] = -one.values[i];
  }
  char *path = file_format("%s/s0000/ct.nii.gz", place.source);
  CHECK_OK(volume_write(&all, path, &format));
  CHECK_OK(data_prepare(&place));
  struct dataset dataset;
  CHECK_OK(dataset_open(&dataset, place.master, NULL));
  size_t count = (size_t)(dataset.extent[0] * dataset.extent[1] * dataset.extent[2]), wrong = 0;
  for (int d = 0; d < dataset.extent[0]; d++) CHECK_OK(dataset_verify_slice(&dataset, 0, d));
  for (size_t i = 0; i < count; i++)
    wrong += dataset_image(&dataset, 0)[i] != -dataset_image(&dataset, 0)[count + i];
  CHECK(wrong == 0);
  dataset_close(&dataset);

  /* a byte of slice 2 of channel 1 */
  struct shard shard;
  char *name = shard_path(place.master, 0, 1);
  CHECK_OK(shard_read(&shard, name));
  size_t plane = (size_t)(shard.extent[1] * shard.extent[2]);
  size_t at = ((size_t)shard.extent[0] + 2) * plane * sizeof(float) + 5;
  FILE *file = fopen(name, "r+b");
  CHECK(fseek(file, (long)(shard.offset[SHARD_IMAGE] + at), SEEK_SET) == 0);
  int byte = fgetc(file);
  CHECK(fseek(file, -1, SEEK_CUR) == 0 && fputc(byte ^ 64, file) != EOF && fclose(file) == 0);
  shard_close(&shard);
  CHECK_OK(dataset_open(&dataset, place.master, NULL));
  for (int d = 0; d < dataset.extent[0]; d++)
    if (d != 2) CHECK_OK(dataset_verify_slice(&dataset, 0, d));
  CHECK_FAILS(dataset_verify_slice(&dataset, 0, 2),
              "subject s0000: slice 2: expected the checksum");
  CHECK_FAILS(dataset_verify(&dataset, 0), "field image: expected the checksum");
  dataset_close(&dataset);
  volume_close(&one);
  volume_close(&all);
  free(path);
  free(name);
  data_close_place(&place);
}

int main(void) {
  RUN(a_file_per_channel_or_one_of_four_axes);
  RUN(a_table_names_the_files_of_channels);
  RUN(each_channel_is_normalised_by_itself);
  RUN(wrong_channels_are_named);
  RUN(a_changed_channel_is_made_again);
  RUN(slices_of_channels_are_verified);
  return check_result();
}
