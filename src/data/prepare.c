/* The stages one after the other, each agreed on by all ranks before the next begins. */
#include "data/prepare.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/file.h"
#include "base/log.h"
#include "data/label_names.h"
#include "data/prepare_parts.h"
#include "data/subject.h"

static enum status alone_agree(void *context, enum status mine) {
  (void)context;
  return mine;
}

static enum status alone_gather(void *context, const char *mine, char **all) {
  (void)context;
  *all = strdup(mine);
  REQUIRE(*all, STATUS_FAILED, "out of memory");
  return STATUS_OK;
}

static enum status alone_broadcast(void *context, void *data, size_t bytes) {
  (void)context;
  (void)data;
  (void)bytes;
  return STATUS_OK;
}

static enum status alone_barrier(void *context) {
  (void)context;
  return STATUS_OK;
}

struct prepare_team prepare_team_alone(void) {
  return (struct prepare_team){.size = 1,
                               .agree = alone_agree,
                               .gather_text = alone_gather,
                               .broadcast = alone_broadcast,
                               .barrier = alone_barrier};
}

static enum status check_triple(const char *key, int count) {
  REQUIRE(count == 0 || count == 3, STATUS_USAGE,
          "%s: expected 3 numbers, one per axis, or none, found %d", key, count);
  return STATUS_OK;
}

static enum status check_config(const struct config *config) {
  TRY(check_triple("data.spacing", config->data.spacing.count));
  TRY(check_triple("data.resample", config->data.resample.count));
  TRY(check_triple("data.size", config->data.size.count));
  REQUIRE(config->data.relabel.count % 2 == 0, STATUS_USAGE,
          "data.relabel: expected pairs of an old and a new value, found %d numbers",
          config->data.relabel.count);
  REQUIRE(config->data.shards[0], STATUS_USAGE, "data.shards: expected a path, found nothing");
  return STATUS_OK;
}

/* Rank 0 holds a lock beside the master while it prepares, so that two runs cannot mix their
 * shards. -1 without one. */
static enum status take_lock(const struct preparation *preparation, int *lock) {
  char *path = file_format("%s.lock", preparation->master);
  REQUIRE(path, STATUS_FAILED, "%s: out of memory", preparation->master);
  *lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
  int reason = errno;
  struct stat information = {0};
  bool busy = *lock >= 0 && flock(*lock, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK;
  /* a run that ended just now may have removed the file under us */
  busy = busy || (*lock >= 0 && fstat(*lock, &information) == 0 && information.st_nlink == 0);
  free(path);
  REQUIRE(*lock >= 0, STATUS_FAILED, "%s.lock: cannot create: %s", preparation->master,
          strerror(reason));
  REQUIRE(!busy, STATUS_FAILED, "%s: another run is preparing it now", preparation->master);
  return STATUS_OK;
}

static void release_lock(const struct preparation *preparation, int lock) {
  if (lock < 0) return;
  char *path = file_format("%s.lock", preparation->master);
  if (path) unlink(path);
  free(path);
  close(lock);
}

/* What an interrupted run left. */
static enum status remove_leftovers(const struct preparation *preparation) {
  char *folder = prepare_beside(preparation, ".");
  char **names = NULL;
  int count = 0;
  REQUIRE(folder, STATUS_FAILED, "%s: out of memory", preparation->master);
  enum status status = file_list(folder, ".h5.part", &names, &count);
  const char *slash = strrchr(preparation->master, '/');
  const char *name = slash ? slash + 1 : preparation->master;
  size_t stem = strlen(name);
  if (stem > 3 && strcmp(name + stem - 3, ".h5") == 0) stem -= 3;
  for (int i = 0; !status && i < count; i++) {
    bool ours = strncmp(names[i], name, stem) == 0 &&
                (names[i][stem] == '-' || strcmp(names[i] + stem, ".h5.part") == 0);
    char *path = ours ? file_join(folder, names[i]) : NULL;
    if (path) unlink(path);
    free(path);
  }
  file_list_free(names, count);
  free(folder);
  return status;
}

/* Rank 0, before anything is read. */
static enum status make_ready(const struct preparation *preparation, int *lock) {
  char *folder = prepare_beside(preparation, ".");
  REQUIRE(folder, STATUS_FAILED, "%s: out of memory", preparation->master);
  enum status status = file_make_directory(folder);
  free(folder);
  if (!status) status = take_lock(preparation, lock);
  if (!status) status = remove_leftovers(preparation);
  return status;
}

static enum status discover(struct preparation *preparation) {
  const struct config *config = preparation->config;
  TRY(check_config(config));
  TRY(subject_recipe(config, &preparation->recipe));
  TRY(config_to_text(config, &preparation->config_text));
  TRY(discover_subjects(config, &preparation->sources, &preparation->source_count));
  TRY(structures_find(config, preparation->sources, preparation->source_count,
                      &preparation->structures));
  TRY(label_names_parse(config, &preparation->label_names, &preparation->label_name_count));
  REQUIRE(!preparation->label_name_count || preparation->sources[0].label, STATUS_USAGE,
          "data.label_names: expected subjects with label maps, found none");
  preparation->records = calloc((size_t)preparation->source_count, sizeof *preparation->records);
  REQUIRE(preparation->records, STATUS_FAILED, "out of memory for %d subjects",
          preparation->source_count);
  return prepare_find_existing(preparation);
}

/* The judgement is the same on all ranks; rank 0 reports also a bad one. */
static enum status judge(struct preparation *preparation) {
  enum status status = prepare_judge(preparation);
  if (status) {
    char *trace = strdup(status_trace());
    if (preparation->team->rank == 0 && prepare_report(preparation) != STATUS_OK)
      log_warning("%s", status_message());
    status_restore(trace ? trace : "out of memory");
    free(trace);
    return status;
  }
  return prepare_lay_out(preparation);
}

static enum status finish(struct preparation *preparation) {
  if (preparation->team->rank != 0) return STATUS_OK;
  TRY(prepare_finish(preparation));
  TRY(prepare_write_label_map(preparation));
  TRY(prepare_report(preparation));
  log_info("%s: %d subjects in %d shards, %d of them written now", preparation->master,
           preparation->source_count, preparation->shard_count, preparation->stale_count);
  return STATUS_OK;
}

static enum status run_stages(struct preparation *preparation, int *lock) {
  const struct prepare_team *team = preparation->team;
  TRY(team->agree(team->context, check_config(preparation->config)));
  TRY(team->agree(team->context, team->rank ? STATUS_OK : make_ready(preparation, lock)));
  TRY(team->agree(team->context, discover(preparation)));
  TRY(prepare_survey(preparation));
  TRY(team->agree(team->context, judge(preparation)));
  TRY(prepare_write(preparation));
  return team->agree(team->context, finish(preparation));
}

static void close_all(struct preparation *preparation) {
  prepare_forget(preparation);
  for (int i = 0; preparation->records && i < preparation->source_count; i++)
    free(preparation->records[i].reason);
  for (int i = 0; i < preparation->existing_count; i++) shard_close(&preparation->existing[i]);
  for (int i = 0; i < preparation->shard_count; i++) shard_close(&preparation->shards[i]);
  structures_free(&preparation->structures);
  label_names_free(preparation->label_names, preparation->label_name_count);
  discover_free(preparation->sources, preparation->source_count);
  free(preparation->records);
  free(preparation->existing);
  free(preparation->shards);
  free(preparation->stale);
  free(preparation->recipe);
  free(preparation->config_text);
}

enum status prepare_run(const struct config *config, const struct prepare_team *team) {
  struct preparation preparation = {.config = config, .team = team, .master = config->data.shards};
  int lock = -1;
  enum status status = run_stages(&preparation, &lock);
  release_lock(&preparation, lock);
  close_all(&preparation);
  return status;
}
