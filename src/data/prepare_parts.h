/* The stages of a preparation and what they hand on: discovery, survey of all subjects, layout of
 * the shards, writing, report. Every rank goes through the same stages with the same numbers. */
#pragma once
#include <jansson.h>
#include "data/discover.h"
#include "data/prepare.h"
#include "data/shard.h"
#include "data/structures.h"
#include "data/subject.h"

/* What the survey found out about a subject. */
struct survey_record {
  char *reason; /* why it cannot be used; NULL when it can */
  bool failed;  /* it cannot be used; also when there was no memory for the reason */
  uint32_t source_checksum, label_source_checksum;
  int extent[3]; /* of its target grid, without padding */
  int largest_label;
  struct subject_volumes kept; /* as they were read, where they were kept in memory; else zeroed */
};

struct preparation {
  const struct config *config;
  const struct prepare_team *team;
  const char *master;
  char *recipe, *config_text;
  struct subject_source *sources;
  int source_count;
  struct structure_list structures; /* of masks; none without */
  char **label_names;               /* of classes 1, 2, ...; NULL: they have none */
  int label_name_count;
  struct survey_record *records; /* one per source */
  struct shard *existing;        /* the readable shards that were there before */
  int existing_count;
  struct shard *shards; /* the wanted ones, without what only processing a subject tells */
  int shard_count;
  bool *stale; /* which of them must be written */
  int stale_count;
  size_t room; /* bytes of volumes that this rank may still keep in memory */
};

/* Reads the shards that the master's folder holds from an earlier run; unreadable ones count as
 * missing. */
CHECKED enum status prepare_find_existing(struct preparation *preparation);

/* Collective. Fills records: every subject's source checksums, and its target extent or the reason
 * why it cannot be used. What an existing shard holds of the same bytes and settings is not read
 * again. */
CHECKED enum status prepare_survey(struct preparation *preparation);

/* Collective. How much memory prepare_keep may use. */
void prepare_find_room(struct preparation *preparation);

/* Keeps a subject's volumes, or closes them where there is no room. Any thread may call this. */
void prepare_keep(struct preparation *preparation, struct survey_record *record,
                  struct subject_volumes *volumes);

/* The volumes of a subject: those that the survey kept, else read again. They are the caller's
 * (subject_close). */
CHECKED enum status prepare_take(const struct preparation *preparation, int source,
                                 struct subject_volumes *volumes);

/* Frees what the survey kept. */
void prepare_forget(struct preparation *preparation);

/* Gives a reason to subjects whose extent differs from that of most, on axes where data.grid does
 * not let it;
 * fails, naming the first by id, when there is a bad one and data.bad_volume is "fail", or no good
 * one. */
CHECKED enum status prepare_judge(struct preparation *preparation);

/* Divides the good subjects into splits and shards, and finds out which shards are stale. */
CHECKED enum status prepare_lay_out(struct preparation *preparation);

/* Collective. Writes the stale shards, each rank its share. */
CHECKED enum status prepare_write(struct preparation *preparation);

/* Rank 0, when all shards are written: the master, if it does not fit the shards; removes shards
 * that it does not name. */
CHECKED enum status prepare_finish(struct preparation *preparation);

/* The masks' part of the entry of a subject in prepare.json, where it has any. */
void prepare_report_masks(json_t *entry, const struct shard *shard, int row);

/* Rank 0: writes a JSON file beside the master; takes root over (NULL: out of memory). */
CHECKED enum status prepare_write_json(const struct preparation *preparation, const char *name,
                                       json_t *root);

/* Rank 0: preprocessing_config.json and preprocessing_report.json beside the master, from what
 * prepare.json says. */
CHECKED enum status prepare_write_reference(const struct preparation *preparation,
                                            const json_t *report);

/* The classes that a subject has, as JSON; NULL where they are not counted. */
json_t *prepare_report_classes(const struct shard *shard, int row);

/* Rank 0: label_map.json beside the master, each structure's name with its channel, or each named
 * class's with its number. Nothing without structures and names. */
CHECKED enum status prepare_write_label_map(const struct preparation *preparation);

/* Rank 0: prepare.json beside the master. */
CHECKED enum status prepare_report(const struct preparation *preparation);

/* The path of a file beside the master (caller frees); NULL when out of memory. */
char *prepare_beside(const struct preparation *preparation, const char *name);
