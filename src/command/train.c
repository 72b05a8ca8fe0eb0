/* train: also what medtrain-dist CONFIG does. */
#include "train/train.h"
#include "command/machine.h"
#include "command/options.h"
#include "command/preparation.h"

static enum status train_with(const struct config *config, struct comm *comm) {
  struct device device = {0};
  TRY(preparation_provide(config, comm));
  enum status status = machine_open(&device, config, comm);
  if (!status) status = train_run(config, comm, &device);
  device_close(&device);
  return status;
}

static enum status no_more_words(const struct words *words) {
  REQUIRE(words->positional_count == 0, STATUS_USAGE,
          "expected key=value after the config, found \"%s\"", words->positional[0]);
  return STATUS_OK;
}

static enum status train_command(const struct invocation *invocation) {
  struct config config;
  struct words words;
  enum status status = options_open_config(invocation, NULL, &words, &config);
  if (!status) status = no_more_words(&words);
  if (!status) status = train_with(&config, invocation->comm);
  config_close(&config);
  return status;
}

extern const struct command command_train;
const struct command command_train = {
    .name = "train",
    .usage = "CONFIG [key=value ...]",
    .help = "trains; continues where output.dir left off",
    .run = train_command,
    .parallel = true,
};
