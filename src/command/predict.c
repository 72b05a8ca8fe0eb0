/* predict: a network on files of the user's. */
#include "command/judge.h"
#include "command/options.h"

static enum status predict_with(const struct config *config, struct comm *comm,
                                const char *checkpoint, const struct words *words,
                                const char *directory) {
  REQUIRE(directory, STATUS_USAGE, "predict: expected --output DIR");
  struct judge judge = {0};
  enum status status = judge_open_lazily(&judge, config, comm, checkpoint);
  struct task_network network = judge_network(&judge);
  if (!status)
    status = judge.task->predict(config, &network, words->positional, words->positional_count,
                                 directory);
  judge_close(&judge);
  return status;
}

static enum status predict_command(const struct invocation *invocation) {
  const char *checkpoint = NULL, *directory = NULL;
  const struct option options[] = {
      {"--checkpoint", &checkpoint, NULL}, {"--output", &directory, NULL}, {0}};
  struct config config;
  struct words words;
  enum status status = options_open_config(invocation, options, &words, &config);
  if (!status) status = predict_with(&config, invocation->comm, checkpoint, &words, directory);
  config_close(&config);
  return status;
}

extern const struct command command_predict;
const struct command command_predict = {
    .name = "predict",
    .usage = "CONFIG [--checkpoint FILE] --output DIR INPUT... [key=value ...]",
    .help =
        "registration: MOVING FIXED [MOVING_LABELS] to warped image, labels, displacement, "
        "Jacobian; pose: volumes or folders to poses, ITK transforms, figures; segmentation: "
        "volumes "
        "or folders to label maps, probabilities, uncertainty. --checkpoint FILE,FILE,...: an "
        "ensemble",
    .run = predict_command,
};
