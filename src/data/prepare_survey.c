/* Every rank looks at its share of the subjects; then all know about all. Findings travel as one
 * line of JSON per subject. */
#include <stdlib.h>
#include <string.h>
#include "base/file.h"
#include "base/log.h"
#include "data/json_text.h"
#include "data/prepare_parts.h"
#include "data/subject_masks.h"

static const struct shard_subject *find_row(const struct shard *shard, const char *id) {
  int low = 0, high = shard->subject_count;
  while (low < high) {
    int middle = low + (high - low) / 2, order = strcmp(shard->subjects[middle].id, id);
    if (order == 0) return &shard->subjects[middle];
    if (order < 0)
      low = middle + 1;
    else
      high = middle;
  }
  return NULL;
}

/* The row that holds what would be made of this subject now, or NULL. */
static const struct shard_subject *find_known(const struct preparation *preparation,
                                              const struct subject_source *source,
                                              const struct survey_record *record) {
  for (int i = 0; i < preparation->existing_count; i++) {
    const struct shard *shard = &preparation->existing[i];
    const struct shard_subject *row = find_row(shard, source->id);
    if (row && row->source_checksum == record->source_checksum &&
        row->label_source_checksum == record->label_source_checksum &&
        shard->has_labels == (source->label != NULL) &&
        (shard->structure_count > 0) == (source->masks != NULL) &&
        strcmp(shard->recipe, preparation->recipe) == 0)
      return row;
  }
  return NULL;
}

static enum status look(struct preparation *preparation, const struct subject_source *source,
                        struct survey_record *record) {
  TRY(subject_checksum_image(source, &record->source_checksum));
  const struct structure_list *structures = &preparation->structures;
  if (source->label) TRY(subject_checksum(source->label, &record->label_source_checksum));
  if (source->masks)
    TRY(subject_checksum_masks(source, structures, &record->label_source_checksum));
  const struct shard_subject *known = find_known(preparation, source, record);
  if (known) {
    memcpy(record->extent, known->box_count, sizeof record->extent);
    record->largest_label = known->largest_label;
    return STATUS_OK;
  }
  struct subject_volumes volumes;
  TRY(subject_read(preparation->config, source, &volumes));
  memcpy(record->extent, volumes.target.extent, sizeof record->extent);
  record->largest_label = volumes.largest_label;
  enum status status =
      source->masks ? subject_check_masks(preparation->config, source, structures, &volumes.image)
                    : STATUS_OK;
  if (status)
    subject_close(&volumes);
  else
    prepare_keep(preparation, record, &volumes);
  return status;
}

static enum status print_record(FILE *out, int index, const struct survey_record *record) {
  json_t *reason = record->reason ? json_text(record->reason) : json_null();
  json_t *root = json_pack("{s:i, s:I, s:I, s:[i,i,i], s:i, s:o}", "subject", index, "image",
                           (json_int_t)record->source_checksum, "label",
                           (json_int_t)record->label_source_checksum, "extent", record->extent[0],
                           record->extent[1], record->extent[2], "largest", record->largest_label,
                           "reason", reason);
  int failed = root ? json_dumpf(root, out, JSON_COMPACT) : -1;
  json_decref(root);
  REQUIRE(failed == 0 && fputc('\n', out) != EOF, STATUS_FAILED,
          "out of memory for the findings about subject %d", index);
  return STATUS_OK;
}

static enum status parse_record(struct preparation *preparation, const char *line, size_t length) {
  json_t *root = json_loadb(line, length, 0, NULL);
  int index = -1, *extent = NULL, sizes[3], largest;
  json_int_t image, label;
  json_t *reason = NULL;
  int failed = root ? json_unpack(root, "{s:i, s:I, s:I, s:[i,i,i], s:i, s:o}", "subject", &index,
                                  "image", &image, "label", &label, "extent", &sizes[0], &sizes[1],
                                  &sizes[2], "largest", &largest, "reason", &reason)
                    : -1;
  if (!failed && index >= 0 && index < preparation->source_count) {
    struct survey_record *record = &preparation->records[index];
    extent = record->extent;
    memcpy(extent, sizes, sizeof sizes);
    record->largest_label = largest;
    record->source_checksum = (uint32_t)image;
    record->label_source_checksum = (uint32_t)label;
    free(record->reason);
    record->reason = json_is_string(reason) ? strdup(json_string_value(reason)) : NULL;
  }
  json_decref(root);
  REQUIRE(extent, STATUS_FAILED, "the ranks do not understand each other's findings");
  return STATUS_OK;
}

/* In the calling thread, whose trace is cleared. */
static void find_out(struct preparation *preparation, int index) {
  struct survey_record *record = &preparation->records[index];
  if (look(preparation, &preparation->sources[index], record) == STATUS_OK) return;
  record->reason = strdup(status_message());
  record->failed = true;
  status_clear();
}

/* One file per thread: a file is unpacked by one thread, the others would wait. */
static void look_at_files(struct preparation *preparation, int first, int next) {
  struct progress progress = {0};
  progress_start(&progress, "check", next - first);
#pragma omp parallel for schedule(dynamic, 1) if (next - first > 1)
  for (int i = first; i < next; i++) {
    find_out(preparation, i);
#pragma omp critical(prepare_progress)
    progress_update(&progress, progress.done + 1, preparation->sources[i].id);
  }
  progress_finish(&progress, "");
}

/* Subjects that lie beside each other in the list, since they will lie beside each other in the
 * shards: as prepare_write divides those among ranks, if all subjects are good. */
static enum status look_at_share(struct preparation *preparation, FILE *out) {
  const struct prepare_team *team = preparation->team;
  int64_t count = preparation->source_count;
  int first = (int)(count * team->rank / team->size);
  int next = (int)(count * (team->rank + 1) / team->size);
  look_at_files(preparation, first, next);
  for (int i = first; i < next; i++) {
    const struct survey_record *record = &preparation->records[i];
    REQUIRE(!record->failed || record->reason, STATUS_FAILED, "out of memory");
    TRY(print_record(out, i, record));
  }
  return STATUS_OK;
}

/* Collective. The texts of all ranks to all ranks. */
static enum status share(const struct prepare_team *team, const char *mine, char **all) {
  *all = NULL;
  TRY(team->gather_text(team->context, mine, all));
  uint64_t bytes = *all ? strlen(*all) : 0;
  TRY(team->broadcast(team->context, &bytes, sizeof bytes));
  if (team->rank != 0) *all = calloc(bytes + 1, 1);
  TRY(team->agree(team->context, *all ? STATUS_OK
                                      : status_fail(STATUS_FAILED, __FILE__, __LINE__,
                                                    "out of memory for the subjects' list")));
  return bytes ? team->broadcast(team->context, *all, bytes) : STATUS_OK;
}

static enum status parse_all(struct preparation *preparation, const char *text) {
  for (const char *line = text; *line;) {
    size_t length = strcspn(line, "\n");
    TRY(parse_record(preparation, line, length));
    line += length + (line[length] == '\n');
  }
  return STATUS_OK;
}

enum status prepare_survey(struct preparation *preparation) {
  const struct prepare_team *team = preparation->team;
  char *mine = NULL, *all = NULL;
  size_t bytes;
  prepare_find_room(preparation);
  FILE *out = open_memstream(&mine, &bytes);
  enum status status = out ? look_at_share(preparation, out)
                           : status_fail(STATUS_FAILED, __FILE__, __LINE__, "out of memory");
  if (out) fclose(out);
  status = team->agree(team->context, status);
  if (!status) status = share(team, mine ? mine : "", &all);
  if (!status) status = parse_all(preparation, all);
  free(mine);
  free(all);
  return status;
}
