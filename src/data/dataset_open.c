/* Opening: the shards' descriptions are read, compared with each other and with the master, and
 * turned into one list of subjects; the voxels stay in the files. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/file.h"
#include "data/cache.h"
#include "data/dataset_parts.h"
#include "data/shard.h"
#include "data/structures.h"

/* The shards of a master while it is opened. */
struct shards {
  const char *master;
  struct shard *list;
  int count;
};

static void close_shards(struct shards *shards) {
  for (int i = 0; shards->list && i < shards->count; i++) shard_close(&shards->list[i]);
  free(shards->list);
}

static enum status check_alike(const struct shard *shard, const struct shard *first) {
  for (int i = 0; i < 3; i++)
    REQUIRE(shard->extent[i] == first->extent[i], STATUS_FAILED,
            "%s: field image: expected extents %dx%dx%d as in %s, found %dx%dx%d", shard->path,
            first->extent[0], first->extent[1], first->extent[2], first->path, shard->extent[0],
            shard->extent[1], shard->extent[2]);
  REQUIRE(shard->channels == first->channels, STATUS_FAILED,
          "%s: field image: expected %d channels as in %s, found %d", shard->path, first->channels,
          first->path, shard->channels);
  REQUIRE(shard->has_labels == first->has_labels, STATUS_FAILED,
          "%s: field label: expected %s as in %s, found %s", shard->path,
          first->has_labels ? "one" : "none", first->path, shard->has_labels ? "one" : "none");
  REQUIRE(shard->counted == first->counted, STATUS_FAILED,
          "%s: field slice_voxels: expected %d classes as in %s, found %d; run prepare again",
          shard->path, first->counted, first->path, shard->counted);
  REQUIRE(shard_same_names(shard, first), STATUS_FAILED,
          "%s: field label_names: expected those of %s, found others; run prepare again",
          shard->path, first->path);
  REQUIRE(shard_same_structures(shard, first), STATUS_FAILED,
          "%s: field structures: expected those of %s, found others; run prepare again",
          shard->path, first->path);
  REQUIRE(strcmp(shard->recipe, first->recipe) == 0, STATUS_FAILED,
          "%s: attribute recipe: expected the settings of %s, found others; run prepare again",
          shard->path, first->path);
  return STATUS_OK;
}

static enum status check_place(const struct shards *shards, int index) {
  const struct shard *shard = &shards->list[index];
  REQUIRE(shard->index == index && shard->count == shards->count, STATUS_FAILED,
          "%s: expected shard %d of %d, found shard %d of %d", shard->path, index, shards->count,
          shard->index, shard->count);
  TRY(check_alike(shard, &shards->list[0]));
  if (index == 0) return STATUS_OK;
  const struct shard *before = shard - 1;
  const char *last = before->subjects[before->subject_count - 1].id, *next = shard->subjects[0].id;
  REQUIRE(strcmp(last, next) < 0, STATUS_FAILED,
          "%s: field id: expected names after \"%s\", found \"%s\"; run prepare again", shard->path,
          last, next);
  return STATUS_OK;
}

static enum status read_shards(struct shards *shards, uint64_t *manifest) {
  TRY(shard_read_master(shards->master, &shards->count, manifest));
  shards->list = calloc((size_t)shards->count, sizeof *shards->list);
  REQUIRE(shards->list, STATUS_FAILED, "%s: out of memory for %d shards", shards->master,
          shards->count);
  for (int i = 0; i < shards->count; i++) {
    char *path = shard_path(shards->master, i, shards->count);
    enum status status = path ? shard_read(&shards->list[i], path)
                              : status_fail(STATUS_FAILED, __FILE__, __LINE__, "out of memory");
    free(path);
    TRY(status);
    TRY(check_place(shards, i));
  }
  uint64_t found = shard_manifest(shards->list, shards->count);
  REQUIRE(found == *manifest, STATUS_FAILED,
          "%s: expected shards with the manifest %016llx, found %016llx; run prepare again to "
          "finish it",
          shards->master, (unsigned long long)*manifest, (unsigned long long)found);
  return STATUS_OK;
}

/* Maps map->path, which must be at least `wanted` bytes long. */
static enum status map_file(struct dataset_map *map, uint64_t wanted) {
  struct stat information = {0};
  int descriptor = open(map->path, O_RDONLY | O_CLOEXEC);
  REQUIRE(descriptor >= 0, STATUS_FAILED, "%s: cannot open: %s", map->path, strerror(errno));
  bool long_enough =
      fstat(descriptor, &information) == 0 && (uint64_t)information.st_size >= wanted;
  void *memory =
      long_enough ? mmap(NULL, (size_t)wanted, PROT_READ, MAP_SHARED, descriptor, 0) : MAP_FAILED;
  int reason = errno;
  close(descriptor);
  REQUIRE(long_enough, STATUS_FAILED, "%s: expected %llu bytes, found %lld", map->path,
          (unsigned long long)wanted, (long long)information.st_size);
  REQUIRE(memory != MAP_FAILED, STATUS_FAILED, "%s: cannot map %llu bytes: %s", map->path,
          (unsigned long long)wanted, strerror(reason));
  map->memory = memory;
  map->bytes = (size_t)wanted;
  return STATUS_OK;
}

static enum status map_plain(struct dataset_map *map, const struct shard *shard) {
  map->path = strdup(shard->path);
  REQUIRE(map->path, STATUS_FAILED, "%s: out of memory", shard->path);
  TRY(map_file(map, shard->file_bytes));
  for (int i = 0; i < SHARD_MAPPED_COUNT; i++)
    if (shard_array_bytes(shard, (enum shard_array)i))
      map->array[i] = map->memory + shard->offset[i];
  return STATUS_OK;
}

static enum status map_unpacked(struct dataset_map *map, const struct shard *shard,
                                const char *cache_folder) {
  TRY(cache_open(shard, cache_folder, &map->path));
  TRY(map_file(map, cache_bytes(shard)));
  for (int i = 0; i < SHARD_MAPPED_COUNT; i++)
    if (shard_array_bytes(shard, (enum shard_array)i))
      map->array[i] = map->memory + cache_offset(shard, (enum shard_array)i);
  return STATUS_OK;
}

/* Moves the arrays that are not mapped. */
static void take_arrays(struct dataset_map *map, struct shard *shard) {
  map->slice_structures = shard->slice_structures;
  map->slice_checksum = shard->slice_checksum;
  map->structure_voxels = shard->structure_voxels;
  shard->slice_structures = NULL;
  shard->slice_checksum = NULL;
  shard->structure_voxels = NULL;
}

static enum status map_shards(struct dataset *dataset, const struct shards *shards,
                              const char *cache_folder) {
  dataset->maps = calloc((size_t)shards->count, sizeof *dataset->maps);
  REQUIRE(dataset->maps, STATUS_FAILED, "%s: out of memory", shards->master);
  dataset->map_count = shards->count;
  for (int i = 0; i < shards->count; i++) {
    struct shard *shard = &shards->list[i];
    struct dataset_map *map = &dataset->maps[i];
    TRY(shard->compressed ? map_unpacked(map, shard, cache_folder) : map_plain(map, shard));
    take_arrays(map, shard);
  }
  return STATUS_OK;
}

/* Moves the strings. */
static void take_subject(struct dataset_subject *to, struct shard_subject *from, int map, int row) {
  *to = (struct dataset_subject){.id = from->id,
                                 .source = from->source,
                                 .label_source = from->label_source,
                                 .category = from->category,
                                 .split = (enum split)from->split,
                                 .map = map,
                                 .row = row,
                                 .checksum_image = from->checksum_image,
                                 .checksum_label = from->checksum_label,
                                 .checksum_mask = from->checksum_mask,
                                 .checksum_voxels = from->checksum_voxels,
                                 .overlap_voxels = from->overlap_voxels};
  memcpy(to->affine.m, from->affine, sizeof to->affine.m);
  memcpy(to->spacing, from->spacing, sizeof to->spacing);
  memcpy(to->box_first, from->box_first, sizeof to->box_first);
  memcpy(to->box_count, from->box_count, sizeof to->box_count);
  memcpy(to->centroid, from->centroid, sizeof to->centroid);
  from->id = from->source = from->label_source = NULL;
}

static enum status take_subjects(struct dataset *dataset, struct shards *shards) {
  int64_t total = 0;
  for (int i = 0; i < shards->count; i++) total += shards->list[i].subject_count;
  REQUIRE(total <= INT32_MAX, STATUS_FAILED, "%s: expected at most %d subjects, found %lld",
          shards->master, INT32_MAX, (long long)total);
  dataset->subjects = calloc((size_t)total, sizeof *dataset->subjects);
  dataset->verified = calloc((size_t)total, sizeof *dataset->verified);
  if (dataset->has_masks)
    dataset->verified_slices =
        calloc((size_t)total * (size_t)dataset->extent[0], sizeof *dataset->verified_slices);
  REQUIRE(
      dataset->subjects && dataset->verified && dataset->has_masks == !!dataset->verified_slices,
      STATUS_FAILED, "%s: out of memory for %lld subjects", shards->master, (long long)total);
  for (int i = 0; i < shards->count; i++)
    for (int row = 0; row < shards->list[i].subject_count; row++) {
      struct dataset_subject *subject = &dataset->subjects[dataset->subject_count++];
      take_subject(subject, &shards->list[i].subjects[row], i, row);
      if (subject->category >= dataset->categories) dataset->categories = subject->category + 1;
    }
  return STATUS_OK;
}

/* Moves the names. */
static void take_structures(struct dataset *dataset, struct shard *shard) {
  dataset->structure_count = shard->structure_count;
  dataset->structures = shard->structures;
  dataset->has_masks = shard->structure_count > 0;
  dataset->mask_planes = (int)structures_planes(shard->structure_count);
  shard->structures = NULL;
}

static enum status open_all(struct dataset *dataset, struct shards *shards,
                            const char *cache_folder) {
  TRY(read_shards(shards, &dataset->manifest));
  struct shard *first = &shards->list[0];
  memcpy(dataset->extent, first->extent, sizeof dataset->extent);
  dataset->channels = first->channels;
  dataset->counted = first->counted;
  dataset->has_labels = first->has_labels;
  dataset->classes = shard_classes(shards->list, shards->count);
  dataset->label_value_count = first->label_value_count;
  dataset->label_values = first->label_values;
  first->label_values = NULL;
  dataset->label_name_count = first->label_name_count;
  dataset->label_names = first->label_names;
  first->label_names = NULL;
  TRY(map_shards(dataset, shards, cache_folder)); /* whose caches are called by all of it */
  take_structures(dataset, first);
  return take_subjects(dataset, shards);
}

enum status dataset_open(struct dataset *dataset, const char *master_path,
                         const char *cache_folder) {
  *dataset = (struct dataset){0};
  REQUIRE(file_exists(master_path), STATUS_FAILED,
          "%s: expected the master file of prepared shards (data.shards), found none; "
          "\"prepare\" makes it",
          master_path);
  struct shards shards = {.master = master_path};
  enum status status = open_all(dataset, &shards, cache_folder);
  close_shards(&shards);
  if (status) dataset_close(dataset);
  return status;
}
