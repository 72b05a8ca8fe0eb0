/* Reading, overriding, writing and comparing configs, and what is said about wrong ones. */
#include "base/file.h"
#include "check.h"
#include "config/config.h"

TEST(defaults_are_the_table_s) {
  struct config config;
  CHECK_OK(config_defaults(&config));
  CHECK(config.train.epochs == 50 && config.root.seed == 1);
  CHECK_NEAR(config.loss.lam_smooth, 0.01, 1e-15);
  CHECK(config.model.encoder.count == 4 && config.model.encoder.value[1] == 32);
  CHECK(config.data.spacing.count == 0 && config.output.tensorboard);
  config_close(&config);
}

TEST(a_written_config_reads_back_the_same) {
  struct config config, again;
  CHECK_OK(config_defaults(&config));
  CHECK_OK(config_override(&config, "train.learning_rate=0.1234567890123"));
  CHECK_OK(config_override(&config, "data.spacing=[1.5, 2, 0.1]"));
  CHECK_OK(config_override(&config, "output.dir=\"runs/a \\\"b\\\"\""));
  CHECK_OK(config_override(&config, "seed=9007199254740992L"));
  char *text = NULL, *second = NULL, *differences = NULL;
  CHECK_OK(config_to_text(&config, &text));
  CHECK_OK(config_parse(&again, text, "text"));
  CHECK_OK(config_to_text(&again, &second));
  CHECK(text && second && strcmp(text, second) == 0);
  CHECK_OK(config_compare(&config, &again, &differences));
  CHECK(differences && *differences == 0);
  free(differences);
  CHECK_OK(config_override(&again, "train.slots=4"));
  CHECK_OK(config_override(&again, "output.dir=elsewhere"));
  CHECK_OK(config_compare(&config, &again, &differences));
  CHECK(differences && strcmp(differences, "train.slots: 1 in the checkpoint, 4 now\n") == 0);
  free(differences);
  free(text);
  free(second);
  config_close(&config);
  config_close(&again);
}

/* Parses `text` as a config and expects a message with `part`. */
static void refuse(const char *text, const char *part) {
  struct config config;
  CHECK_FAILS(config_parse(&config, text, "test"), part);
  config_close(&config);
}

TEST(wrong_files_are_refused_by_name) {
  refuse("train: { epoch = 3; };", "unknown key train.epoch; did you mean train.epochs?");
  refuse("epochs = 3;", "did you mean train.epochs?");
  refuse("train: { epochs = \"three\"; };", "expected an integer, found a string");
  refuse("train: { epochs = 0; };", "train.epochs: expected 1 to 1e+06 epochs, found 0");
  refuse("train: { epochs = 2.5; };", "expected an integer, found a real number");
  refuse("train = 3;", "unknown key train");
  refuse("loss: { similarity = \"nmi\"; };", "expected one of mse|lncc, found \"nmi\"");
  refuse("model: { encoder = [16, \"a\"]; };", "test");
  refuse("model: { encoder = (16, \"a\"); };", "expected a list of integers, found a string");
  refuse("train: { epochs = 3;", "test:1");
}

TEST(messages_name_file_and_line) {
  char *folder = check_make_folder();
  char *path = file_join(folder, "wrong.cfg"), *base = file_join(folder, "base.cfg");
  CHECK_OK(file_replace(base, "train: {\n  epochz = 3;\n};\n", 25));
  CHECK_OK(file_replace(path, "seed = 3;\n@include \"base.cfg\"\n", 30));
  struct config config;
  CHECK_FAILS(config_open(&config, path), "base.cfg:2: unknown key train.epochz");
  config_close(&config);
  CHECK_FAILS(config_open(&config, folder), "expected a config file, found a folder");
  config_close(&config);
  free(path);
  free(base);
  check_remove_folder(folder);
}

TEST(a_file_s_settings_replace_its_base_s) {
  char *folder = check_make_folder();
  char *path = file_join(folder, "run.cfg"), *base = file_join(folder, "base.cfg");
  const char *below = "seed = 3;\nloss: { lam_sim = 2.0; lam_dice = 0.5; };\n";
  const char *above = "base = \"base.cfg\";\nloss: { lam_dice = 0.25; };\n";
  CHECK_OK(file_replace(base, below, strlen(below)));
  CHECK_OK(file_replace(path, above, strlen(above)));
  struct config config;
  CHECK_OK(config_open(&config, path));
  CHECK(config.root.seed == 3);
  CHECK_NEAR(config.loss.lam_sim, 2.0, 0);
  CHECK_NEAR(config.loss.lam_dice, 0.25, 0);
  config_close(&config);
  CHECK_OK(file_replace(base, above, strlen(above)));
  CHECK_FAILS(config_open(&config, path), "at most 8 files behind each other");
  config_close(&config);
  CHECK_OK(file_replace(base, "base = 3;\n", 10));
  CHECK_FAILS(config_open(&config, path), "base.cfg:1: base: expected a string, found an integer");
  config_close(&config);
  free(path);
  free(base);
  check_remove_folder(folder);
}

TEST(wrong_overrides_are_refused) {
  struct config config;
  CHECK_OK(config_defaults(&config));
  CHECK_FAILS(config_override(&config, "train.epochs"), "expected key=value");
  CHECK_FAILS(config_override(&config, "train.slot=2"), "did you mean train.slots?");
  CHECK_FAILS(config_override(&config, "train.slots=two"), "expected an integer, found a string");
  CHECK_FAILS(config_override(&config, "train.slots="), "train.slots");
  CHECK_OK(config_override(&config, "kernels.conv=reference"));
  CHECK(strcmp(config_forced_kernel(&config, "conv"), "reference") == 0);
  CHECK(config_forced_kernel(&config, "warp") == NULL);
  config_close(&config);
}

int main(void) {
  RUN(defaults_are_the_table_s);
  RUN(a_written_config_reads_back_the_same);
  RUN(wrong_files_are_refused_by_name);
  RUN(messages_name_file_and_line);
  RUN(a_file_s_settings_replace_its_base_s);
  RUN(wrong_overrides_are_refused);
  return check_result();
}
