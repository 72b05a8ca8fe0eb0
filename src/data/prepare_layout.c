/* Which subjects are used, where each goes, and which of the existing shards can stay. */
#include <stdlib.h>
#include <string.h>
#include "base/file.h"
#include "base/log.h"
#include "data/prepare_parts.h"
#include "data/split.h"
#include "data/subject.h"

static bool same_extent(const int a[3], const int b[3]) {
  return a[0] == b[0] && a[1] == b[1] && a[2] == b[2];
}

/* Whether two subjects may be stored together: all axes are alike that data.grid does not leave to
 * each. */
static bool fits(const struct preparation *preparation, const int a[3], const int b[3]) {
  int first = subject_keeps_slices(preparation->config) ? 1 : 0;
  bool same = true;
  for (int i = first; i < 3; i++) same = same && a[i] == b[i];
  return same;
}

static int count_extent(const struct preparation *preparation, const int extent[3]) {
  int count = 0;
  for (int i = 0; i < preparation->source_count; i++)
    count += !preparation->records[i].reason &&
             fits(preparation, preparation->records[i].extent, extent);
  return count;
}

/* The smallest extent that holds every good subject. */
static void largest_extent(const struct preparation *preparation, int extent[3]) {
  for (int a = 0; a < 3; a++) extent[a] = 1;
  for (int i = 0; i < preparation->source_count; i++)
    for (int a = 0; a < 3 && !preparation->records[i].reason; a++)
      if (preparation->records[i].extent[a] > extent[a])
        extent[a] = preparation->records[i].extent[a];
}

/* The extent that most good subjects have, of equals the first by id; NULL without any. */
static const int *usual_extent(const struct preparation *preparation) {
  const int *usual = NULL;
  int most = 0, good = 0;
  for (int i = 0; i < preparation->source_count; i++) good += !preparation->records[i].reason;
  for (int i = 0; i < preparation->source_count && 2 * most < good; i++) {
    const struct survey_record *record = &preparation->records[i];
    if (record->reason || (usual && fits(preparation, usual, record->extent))) continue;
    int count = count_extent(preparation, record->extent);
    if (count > most) usual = record->extent;
    if (count > most) most = count;
  }
  return usual;
}

static enum status refuse_extents(struct preparation *preparation) {
  const int *usual = usual_extent(preparation);
  for (int i = 0; usual && i < preparation->source_count; i++) {
    struct survey_record *record = &preparation->records[i];
    const int *found = record->extent;
    if (record->reason || fits(preparation, found, usual)) continue;
    record->reason = file_format(
        "%s: expected %dx%dx%d voxels after preparation, as other subjects have, found %dx%dx%d; "
        "data.resample or data.size brings all subjects to one size",
        preparation->sources[i].image, usual[0], usual[1], usual[2], found[0], found[1], found[2]);
    REQUIRE(record->reason, STATUS_FAILED, "out of memory");
  }
  return STATUS_OK;
}

enum status prepare_judge(struct preparation *preparation) {
  if (!subject_keeps_grid(preparation->config)) TRY(refuse_extents(preparation));
  int bad = 0, first = -1;
  for (int i = preparation->source_count - 1; i >= 0; i--)
    if (preparation->records[i].reason) {
      bad++;
      first = i;
    }
  if (!bad) return STATUS_OK;
  bool skip = strcmp(preparation->config->data.bad_volume, "skip") == 0;
  const char *id = preparation->sources[first].id, *reason = preparation->records[first].reason;
  REQUIRE(skip || bad > 1, STATUS_FAILED, "subject %s: %s", id, reason);
  REQUIRE(skip, STATUS_FAILED, "subject %s: %s (and %d more; prepare.json names all)", id, reason,
          bad - 1);
  REQUIRE(bad < preparation->source_count, STATUS_FAILED,
          "none of the %d subjects can be used; subject %s: %s", bad, id, reason);
  for (int i = first; preparation->team->rank == 0 && i < preparation->source_count; i++)
    if (preparation->records[i].reason)
      log_warning("subject %s is left out: %s", preparation->sources[i].id,
                  preparation->records[i].reason);
  return STATUS_OK;
}

/* The good subjects' numbers, sorted by id. */
static int select_good(const struct preparation *preparation, int *good) {
  int count = 0;
  for (int i = 0; i < preparation->source_count; i++)
    if (!preparation->records[i].reason) good[count++] = i;
  return count;
}

static enum status fill_subject(const struct preparation *preparation, int number, uint8_t split,
                                struct shard_subject *subject) {
  const struct subject_source *source = &preparation->sources[number];
  const struct survey_record *record = &preparation->records[number];
  subject->id = strdup(source->id);
  subject->source = strdup(source->image);
  subject->label_source = strdup(source->label   ? source->label
                                 : source->masks ? source->masks
                                                 : "");
  subject->history = strdup("");
  subject->split = split;
  subject->category = source->category;
  subject->source_checksum = record->source_checksum;
  subject->label_source_checksum = record->label_source_checksum;
  REQUIRE(subject->id && subject->source && subject->label_source && subject->history,
          STATUS_FAILED, "out of memory for the subjects' list");
  return STATUS_OK;
}

/* copies: where *copied says how many there are, of `count` names. */
static enum status copy_names(char *const *names, int count, char ***copies, int *copied) {
  if (!count) return STATUS_OK;
  *copies = calloc((size_t)count, sizeof **copies);
  REQUIRE(*copies, STATUS_FAILED, "out of memory for names of structures");
  *copied = count;
  for (int i = 0; i < count; i++) {
    (*copies)[i] = strdup(names[i]);
    REQUIRE((*copies)[i], STATUS_FAILED, "out of memory for names of structures");
  }
  return STATUS_OK;
}

static enum status fill_names(const struct preparation *preparation, struct shard *shard) {
  const struct structure_list *structures = &preparation->structures;
  TRY(copy_names(structures->names, structures->count, &shard->structures,
                 &shard->structure_count));
  return copy_names(preparation->label_names, preparation->label_name_count, &shard->label_names,
                    &shard->label_name_count);
}

static bool any_category(const struct preparation *preparation) {
  bool any = false;
  for (int i = 0; i < preparation->source_count; i++)
    any = any || preparation->sources[i].category >= 0;
  return any;
}

/* Known before all subjects are: by the values that become classes, or by their names. 0: not. */
static int known_classes(const struct preparation *preparation) {
  int values = preparation->config->data.labels.count, names = preparation->label_name_count;
  if (names) return names + 1;
  return values ? values + 1 : 0;
}

/* The classes whose voxels are counted, or the structures; 0 without labels. */
static int count_classes(const struct preparation *preparation) {
  int known = known_classes(preparation), largest = 0;
  if (preparation->structures.count) return preparation->structures.count;
  if (!preparation->sources[0].label) return 0;
  if (known) return known;
  for (int i = 0; i < preparation->source_count; i++)
    if (!preparation->records[i].reason && preparation->records[i].largest_label > largest)
      largest = preparation->records[i].largest_label;
  return largest + 1;
}

static enum status fill_shard(const struct preparation *preparation, struct shard *shard, int index,
                              const int *good, const uint8_t *splits, int count) {
  const struct int_list *labels = &preparation->config->data.labels;
  *shard = (struct shard){.path = shard_path(preparation->master, index, preparation->shard_count),
                          .index = index,
                          .count = preparation->shard_count,
                          .channels = (int)preparation->config->data.channels,
                          .classes = known_classes(preparation),
                          .has_categories = any_category(preparation),
                          .counted = count_classes(preparation),
                          .has_labels = preparation->sources[0].label != NULL,
                          .compressed = preparation->config->data.compression > 0,
                          .recipe = strdup(preparation->recipe),
                          .config = strdup(preparation->config_text),
                          .subjects = calloc((size_t)count, sizeof *shard->subjects)};
  largest_extent(preparation, shard->extent);
  if (labels->count) shard->label_values = malloc(sizeof labels->value);
  REQUIRE(shard->path && shard->recipe && shard->config && shard->subjects &&
              (!labels->count || shard->label_values),
          STATUS_FAILED, "out of memory for a shard of %d subjects", count);
  shard->subject_count = count;
  shard->label_value_count = labels->count;
  for (int i = 0; i < labels->count; i++) shard->label_values[i] = labels->value[i];
  TRY(fill_names(preparation, shard));
  for (int row = 0; row < count; row++)
    TRY(fill_subject(preparation, good[row], splits[row], &shard->subjects[row]));
  return STATUS_OK;
}

static bool same_subject(const struct shard_subject *a, const struct shard_subject *b) {
  return strcmp(a->id, b->id) == 0 && a->split == b->split && a->category == b->category &&
         a->source_checksum == b->source_checksum &&
         a->label_source_checksum == b->label_source_checksum;
}

static bool is_fresh(const struct shard *wanted, const struct shard *found) {
  bool same =
      found->complete && strcmp(wanted->path, found->path) == 0 && wanted->index == found->index &&
      wanted->count == found->count && wanted->classes == found->classes &&
      wanted->subject_count == found->subject_count && wanted->channels == found->channels &&
      wanted->counted == found->counted && same_extent(wanted->extent, found->extent) &&
      wanted->has_labels == found->has_labels && shard_same_names(wanted, found) &&
      wanted->has_categories == found->has_categories && shard_same_structures(wanted, found) &&
      wanted->compressed == found->compressed && strcmp(wanted->recipe, found->recipe) == 0;
  for (int row = 0; same && row < wanted->subject_count; row++)
    same = same_subject(&wanted->subjects[row], &found->subjects[row]);
  return same;
}

static void keep_fresh(struct preparation *preparation) {
  for (int s = 0; s < preparation->shard_count; s++) {
    preparation->stale[s] = true;
    for (int i = 0; i < preparation->existing_count && preparation->stale[s]; i++)
      preparation->stale[s] = !is_fresh(&preparation->shards[s], &preparation->existing[i]);
    preparation->stale_count += preparation->stale[s];
  }
}

/* Where the splits are written, for messages. */
static const char *table_of(const struct preparation *preparation) {
  return preparation->structures.count ? "meta.csv" : preparation->config->data.list;
}

/* The list's own splits. No patient may be in two of them: scores of patients that were trained on
 * mean nothing. */
static enum status take_splits(const struct preparation *preparation, const int *good,
                               const char *const *patients, int count, uint8_t *splits) {
  int *groups = malloc(sizeof *groups * (size_t)count), group_count, training = 0;
  REQUIRE(groups, STATUS_FAILED, "out of memory");
  enum status status = split_group(patients, count, groups, &group_count);
  int *first = calloc((size_t)count, sizeof *first); /* of each patient: a subject, plus 1 */
  if (!status && !first) status = status_fail(STATUS_FAILED, __FILE__, __LINE__, "out of memory");
  for (int i = 0; i < count && !status; i++) {
    const struct subject_source *source = &preparation->sources[good[i]];
    if (!first[groups[i]]) first[groups[i]] = i + 1;
    const struct subject_source *before = &preparation->sources[good[first[groups[i]] - 1]];
    splits[i] = (uint8_t)source->split;
    training += splits[i] == SPLIT_TRAIN;
    if (source->split != before->split)
      status =
          status_fail(STATUS_USAGE, __FILE__, __LINE__,
                      "%s: column split: expected one split for all subjects of patient %s, "
                      "found %s for %s and %s for %s",
                      table_of(preparation), source->patient, split_name((enum split)before->split),
                      before->id, split_name((enum split)source->split), source->id);
  }
  free(groups);
  free(first);
  if (status) return status;
  REQUIRE(training > 0, STATUS_USAGE, "%s: column split: expected subjects to train on, found none",
          table_of(preparation));
  return STATUS_OK;
}

static enum status assign_splits(const struct preparation *preparation, const int *good, int count,
                                 uint8_t *splits) {
  const char **patients = malloc(sizeof *patients * (size_t)count);
  REQUIRE(patients, STATUS_FAILED, "out of memory");
  for (int i = 0; i < count; i++) patients[i] = preparation->sources[good[i]].patient;
  enum status status = preparation->sources[0].split < 0
                           ? split_assign(preparation->config, patients, count, splits)
                           : take_splits(preparation, good, patients, count, splits);
  free(patients);
  return status;
}

static enum status fill_shards(struct preparation *preparation, const int *good,
                               const uint8_t *splits, int count) {
  int wanted = (int)preparation->config->data.shard_count;
  int shards = wanted < count ? wanted : count;
  preparation->shards = calloc((size_t)shards, sizeof *preparation->shards);
  preparation->stale = calloc((size_t)shards, sizeof *preparation->stale);
  REQUIRE(preparation->shards && preparation->stale, STATUS_FAILED, "out of memory for %d shards",
          shards);
  preparation->shard_count = shards;
  for (int s = 0; s < shards; s++) {
    int first = (int)((int64_t)s * count / shards), next = (int)((int64_t)(s + 1) * count / shards);
    TRY(fill_shard(preparation, &preparation->shards[s], s, good + first, splits + first,
                   next - first));
  }
  keep_fresh(preparation);
  return STATUS_OK;
}

enum status prepare_lay_out(struct preparation *preparation) {
  size_t room = (size_t)preparation->source_count;
  int *good = malloc(sizeof *good * room);
  uint8_t *splits = malloc(room);
  int count = good ? select_good(preparation, good) : 0;
  enum status status = good && splits
                           ? assign_splits(preparation, good, count, splits)
                           : status_fail(STATUS_FAILED, __FILE__, __LINE__, "out of memory");
  if (!status) status = fill_shards(preparation, good, splits, count);
  free(good);
  free(splits);
  return status;
}
