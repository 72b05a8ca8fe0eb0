/* The history of a run, made of its table of steps. */
#include <jansson.h>
#include "base/file.h"
#include "check.h"
#include "store/history.h"
#include "store/step_table.h"

static char *folder, *table_path;

enum { COLUMNS = 4 };

/* loss 1/step, learning rate 0.1, no gradient norm at odd steps; validation after every tenth. */
static void write_table(int steps) {
  static const char *const names[COLUMNS] = {"loss", "learning_rate", "gradient_norm",
                                             "validation_dice"};
  struct step_table table;
  if (remove(table_path) != 0 && file_exists(table_path)) check_failures++;
  CHECK_OK(step_table_open(&table, table_path, names, COLUMNS, 1));
  for (int step = 1; step <= steps; step++) {
    const double row[COLUMNS] = {1.0 / step, 0.1, step % 2 ? NAN : step,
                                 step % 10 ? NAN : step / 1e4};
    CHECK_OK(step_table_append(&table, step, row));
  }
  step_table_close(&table);
}

static json_t *write_and_read(const char *score) {
  char *path = file_join(folder, "training_history.json"), *text = NULL;
  size_t bytes;
  CHECK_OK(history_write(table_path, folder, score));
  CHECK_OK(file_read(path, (size_t)1 << 24, &text, &bytes));
  json_t *json = json_loads(text ? text : "", 0, NULL);
  CHECK(json);
  free(path);
  free(text);
  return json;
}

static json_t *at(json_t *json, const char *part, const char *name, size_t index) {
  return json_array_get(json_object_get(json_object_get(json, part), name), index);
}

static size_t length(json_t *json, const char *part, const char *name) {
  return json_array_size(json_object_get(json_object_get(json, part), name));
}

TEST(short_runs_are_kept_step_by_step) {
  write_table(25);
  json_t *json = write_and_read("dice");
  CHECK(length(json, "training", "loss") == 25 && length(json, "validation", "dice") == 2);
  CHECK(json_integer_value(at(json, "training", "step", 4)) == 5);
  CHECK(json_real_value(at(json, "training", "loss", 4)) == 0.2);
  CHECK(json_is_null(at(json, "training", "gradient_norm", 0)));
  CHECK(json_integer_value(at(json, "validation", "step", 1)) == 20);
  CHECK(json_real_value(at(json, "validation", "dice", 1)) == 0.002);
  CHECK(!json_object_get(json_object_get(json, "training"), "validation_dice"));
  json_decref(json);
  char *path = file_join(folder, "training_history.png"), *png = NULL;
  size_t bytes = 0;
  CHECK_OK(file_read(path, (size_t)1 << 24, &png, &bytes));
  CHECK(bytes > 500 && !memcmp(png, "\x89PNG", 4));
  free(png);
  free(path);
}

TEST(long_runs_are_condensed_to_means) {
  write_table(2 * HISTORY_POINTS + 1);
  json_t *json = write_and_read(NULL);
  size_t last = (2 * HISTORY_POINTS + 1) / 3;
  CHECK(json_integer_value(json_object_get(json, "steps_per_point")) == 3);
  CHECK(length(json, "training", "loss") == last);
  CHECK_NEAR(json_real_value(at(json, "training", "loss", 0)), (1 + 0.5 + 1 / 3.0) / 3, 1e-12);
  CHECK(json_real_value(at(json, "training", "gradient_norm", 0)) == 2);
  CHECK(json_real_value(at(json, "training", "gradient_norm", 1)) == 5);
  CHECK(json_integer_value(at(json, "training", "step", last - 1)) == 2 * HISTORY_POINTS + 1);
  CHECK(length(json, "validation", "dice") == 200);
  json_decref(json);
}

TEST(half_written_lines_are_left_out) {
  static const char text[] = "step,loss\n1,0.5\n2,0.25\n3,0.1";
  CHECK_OK(file_replace(table_path, text, sizeof text - 1));
  json_t *json = write_and_read("dice");
  CHECK(length(json, "training", "loss") == 2);
  json_decref(json);
}

TEST(tables_without_steps_give_nothing) {
  char *path = file_join(folder, "training_history.json");
  CHECK(remove(path) == 0);
  write_table(0);
  CHECK_OK(history_write(table_path, folder, "dice"));
  CHECK(!file_exists(path));
  CHECK_OK(file_replace(table_path, "other\n", 6));
  CHECK_FAILS(history_write(table_path, folder, "dice"), "first column is step");
  free(path);
}

int main(void) {
  folder = check_make_folder();
  table_path = file_join(folder, "metrics.csv");
  RUN(short_runs_are_kept_step_by_step);
  RUN(long_runs_are_condensed_to_means);
  RUN(half_written_lines_are_left_out);
  RUN(tables_without_steps_give_nothing);
  free(table_path);
  check_remove_folder(folder);
  return check_result();
}
