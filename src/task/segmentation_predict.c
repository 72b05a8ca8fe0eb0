/* Segmenting files. Every volume is prepared as for training, segmented on the network's grid, and
 * what is written lies on the file's own grid: probabilities are brought there first, then
 * compared. Of a volume NAME: NAME_labels.nii.gz with colour tables for 3D Slicer and ITK-SNAP, or
 * a file per structure in the folder NAME; with segmentation.probabilities
 * NAME_probability_CLASS.nii.gz; of passes with dropout and of ensembles NAME_entropy.nii.gz and
 * NAME_deviation.nii.gz. */
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "base/file.h"
#include "base/log.h"
#include "data/subject.h"
#include "kernels/common/logits.h"
#include "model/model.h"
#include "task/segmentation_colours.h"
#include "task/segmentation_names.h"
#include "task/segmentation_prediction.h"
#include "task/volume_list.h"

/* One volume on its way. */
struct work {
  const struct config *config;
  const char *directory, *name;
  const struct segmentation_names *names;
  struct segmentation_view view;
  struct subject_volumes volumes;
  struct grid grid; /* of the file */
  float *image;     /* [c][d][h][w] on the network's grid */
  struct segmentation_prediction mean, deviation;
  bool spread;                            /* there is a deviation */
  double categories[LOGITS_MOST_CLASSES]; /* of the whole */
};

/* --- from the file to probabilities --- */

static enum status open_prediction(struct work *work, struct segmentation_prediction *prediction) {
  const struct grid *target = &work->volumes.target;
  struct segmentation_box whole = {.first = {0}};
  memcpy(whole.extent, target->extent, sizeof whole.extent);
  return segmentation_prediction_open(prediction, &work->view, target->extent, &target->affine,
                                      &whole);
}

static enum status take_mean(void *context, int d, const float *probabilities) {
  struct work *work = context;
  return segmentation_prediction_take(&work->mean, d, probabilities);
}

static enum status take_deviation(void *context, int d, const float *deviations) {
  struct work *work = context;
  return segmentation_prediction_take(&work->deviation, d, deviations);
}

/* What the network sees at once of a whole volume that nobody brought to its multiples; beyond the
 * volume it sees zeros. */
static enum status fit_network(const struct config *config, const int extent[3], int fitting[3]) {
  const struct model *model;
  TRY(model_find(config->model.name, &model));
  int multiple = model->multiple(config);
  for (int axis = 0; axis < 3; axis++) {
    int step = axis == 0 && config->model.dimensions == 2 ? 1 : multiple;
    fitting[axis] = (extent[axis] + step - 1) / step * step;
  }
  return STATUS_OK;
}

static enum status infer(struct work *work, const struct task_network *network) {
  const int *extent = work->volumes.target.extent;
  int fitting[3];
  uint8_t *label;
  TRY(fit_network(work->config, extent, fitting));
  TRY(segmentation_look(work->config, fitting, &work->view));
  /* one plan serves patches of volumes of any extent */
  if (segmentation_samples(work->config, "patch"))
    memcpy(work->view.planned, work->view.window, sizeof work->view.planned);
  work->spread = work->config->segmentation.passes > 1 || network->members > 1;
  TRY(subject_resample(&work->volumes, extent, &work->image, &label));
  TRY(open_prediction(work, &work->mean));
  if (work->spread) TRY(open_prediction(work, &work->deviation));
  const struct segmentation_planes planes = {
      .take = take_mean,
      .take_spread = work->spread ? take_deviation : NULL,
      .categories = work->categories,
      .context = work,
  };
  return segmentation_infer(&work->view, network, work->image, extent, &planes);
}

/* --- files --- */

/* Names of classes may be more than names of files. */
static void clean(char *name) {
  for (; name && *name; name++)
    if (*name == '/') *name = '_';
}

static enum status write_volume(const struct work *work, const struct volume *volume,
                                const char *name, enum volume_type type) {
  char *path = file_format("%s/%s.nii.gz", work->directory, name);
  REQUIRE(path, STATUS_FAILED, "%s: out of memory", work->directory);
  const struct volume_format format = {.type = type, .description = "medtrain-dist"};
  enum status status = volume_write(volume, path, &format);
  if (!status) log_info("wrote %s", path);
  free(path);
  return status;
}

/* The same with NAME and what it is. */
static enum status write_as(const struct work *work, const struct volume *volume, const char *what,
                            enum volume_type type) {
  char *name = file_format("%s_%s", work->name, what);
  REQUIRE(name, STATUS_FAILED, "%s: out of memory", work->directory);
  enum status status = write_volume(work, volume, name, type);
  free(name);
  return status;
}

/* What class c is called in label maps: as in those it was trained on. */
static double value_of(const struct work *work, int c) {
  const struct int_list *values = &work->config->data.labels;
  return c > 0 && c <= values->count ? (double)values->value[c - 1] : c;
}

/* Structure c is c + 1; where several are, the last one. */
static enum status paint_structures(const struct work *work, uint8_t *mask, struct volume *map) {
  size_t count = volume_count(map);
  for (int c = 0; c < work->view.classes; c++) {
    TRY(segmentation_prediction_mask(&work->mean, c, &work->grid, mask));
    for (size_t i = 0; i < count; i++)
      if (mask[i]) map->values[i] = (float)(c + 1);
  }
  return STATUS_OK;
}

static enum status paint_classes(const struct work *work, uint8_t *labels, struct volume *map) {
  size_t count = volume_count(map);
  TRY(segmentation_prediction_labels(&work->mean, &work->grid, labels));
  for (size_t i = 0; i < count; i++) map->values[i] = (float)value_of(work, labels[i]);
  return STATUS_OK;
}

/* Colours for the values of a label map. */
static enum status write_colours(const struct work *work) {
  const struct int_list *values = &work->config->data.labels;
  const struct segmentation_legend legend = {
      .count = work->names->count,
      .names = (const char *const *)work->names->name,
      .values = values->value,
      .value_count = work->view.overlapping ? 0 : values->count,
  };
  char *path = file_format("%s/%s_labels.nii.gz", work->directory, work->name);
  REQUIRE(path, STATUS_FAILED, "%s: out of memory", work->directory);
  enum status status = segmentation_write_colours(path, &legend);
  free(path);
  return status;
}

static enum status write_map(const struct work *work, uint8_t *scratch) {
  struct volume map;
  TRY(volume_create(&map, &work->grid, 1));
  enum status status = work->view.overlapping ? paint_structures(work, scratch, &map)
                                              : paint_classes(work, scratch, &map);
  if (!status) status = write_as(work, &map, "labels", VOLUME_INT32);
  volume_close(&map);
  return status ? status : write_colours(work);
}

/* NAME/STRUCTURE.nii.gz, as TotalSegmentator has them. */
static enum status write_structure(const struct work *work, int c, const uint8_t *mask) {
  struct volume volume;
  char *name = file_format("%s/%s", work->name, work->names->name[c]);
  clean(name ? name + strlen(work->name) + 1 : NULL);
  REQUIRE(name, STATUS_FAILED, "%s: out of memory", work->directory);
  enum status status = volume_create(&volume, &work->grid, 1);
  if (!status) {
    size_t count = volume_count(&volume);
    for (size_t i = 0; i < count; i++) volume.values[i] = (float)mask[i];
    status = write_volume(work, &volume, name, VOLUME_UINT8);
    volume_close(&volume);
  }
  free(name);
  return status;
}

static enum status write_structures(const struct work *work, uint8_t *scratch) {
  char *folder = file_join(work->directory, work->name);
  REQUIRE(folder, STATUS_FAILED, "%s: out of memory", work->directory);
  enum status status = file_make_directory(folder);
  free(folder);
  for (int c = 0; c < work->view.classes && !status; c++) {
    status = segmentation_prediction_mask(&work->mean, c, &work->grid, scratch);
    if (!status) status = write_structure(work, c, scratch);
  }
  return status;
}

static enum status write_labels(const struct work *work) {
  const char *files = work->config->segmentation.files;
  bool structures = work->view.overlapping && strcmp(files, "map") != 0;
  uint8_t *scratch = malloc((size_t)grid_count(&work->grid));
  REQUIRE(scratch, STATUS_FAILED, "%s: out of memory", work->name);
  enum status status = STATUS_OK;
  if (!work->view.overlapping || strcmp(files, "structures") != 0)
    status = write_map(work, scratch);
  if (structures && !status) status = write_structures(work, scratch);
  free(scratch);
  return status;
}

static enum status write_probabilities(const struct work *work) {
  int first = work->view.overlapping ? 0 : 1;
  for (int c = first; c < work->view.classes; c++) {
    struct volume map;
    char *what = file_format("probability_%s", work->names->name[c - first]);
    clean(what);
    REQUIRE(what, STATUS_FAILED, "%s: out of memory", work->name);
    enum status status = segmentation_prediction_map(&work->mean, c, &work->grid, &map);
    if (!status) {
      status = write_as(work, &map, what, VOLUME_FLOAT32);
      volume_close(&map);
    }
    free(what);
    TRY(status);
  }
  return STATUS_OK;
}

/* --- uncertainty --- */

static float entropy_of(float p) {
  return p > 0 ? -p * logf(p) : 0;
}

/* One class's part in a map of uncertainty. */
static void add_entropy(const struct work *work, const struct volume *map, struct volume *sum) {
  size_t count = volume_count(sum);
  for (size_t i = 0; i < count; i++) {
    float p = map->values[i], own = entropy_of(p);
    if (work->view.overlapping)
      sum->values[i] = fmaxf(sum->values[i], own + entropy_of(1 - p));
    else
      sum->values[i] += own;
  }
}

static void add_deviation(const struct work *work, const struct volume *map, struct volume *sum) {
  size_t count = volume_count(sum);
  (void)work;
  for (size_t i = 0; i < count; i++) sum->values[i] = fmaxf(sum->values[i], map->values[i]);
}

static enum status write_uncertainty(
    const struct work *work, const struct segmentation_prediction *prediction, const char *what,
    void (*add)(const struct work *work, const struct volume *map, struct volume *sum)) {
  struct volume sum, map;
  TRY(volume_create(&sum, &work->grid, 1));
  enum status status = STATUS_OK;
  for (int c = 0; c < work->view.classes && !status; c++) {
    status = segmentation_prediction_map(prediction, c, &work->grid, &map);
    if (status) break;
    add(work, &map, &sum);
    volume_close(&map);
  }
  if (!status) status = write_as(work, &sum, what, VOLUME_FLOAT32);
  volume_close(&sum);
  return status;
}

/* NAME_category.json: the likeliest category and all probabilities. */
static enum status write_category(const struct work *work) {
  int best = 0;
  json_t *all = json_array();
  for (int c = 0; c < work->view.categories; c++) {
    if (work->categories[c] > work->categories[best]) best = c;
    json_array_append_new(all, json_real(work->categories[c]));
  }
  json_t *root = json_pack("{s:i, s:o}", "category", best, "probabilities", all);
  char *text = root ? json_dumps(root, JSON_INDENT(2) | JSON_PRESERVE_ORDER) : NULL;
  char *path = file_format("%s/%s_category.json", work->directory, work->name);
  enum status status = text && path ? file_replace(path, text, strlen(text))
                                    : status_fail(STATUS_FAILED, __FILE__, __LINE__,
                                                  "%s: out of memory", work->name);
  if (!status) log_info("wrote %s: category %d", path, best);
  json_decref(root);
  free(text);
  free(path);
  return status;
}

static enum status write_results(const struct work *work) {
  TRY(write_labels(work));
  if (work->view.categories > 0) TRY(write_category(work));
  if (work->config->segmentation.probabilities) TRY(write_probabilities(work));
  if (!work->spread) return STATUS_OK;
  TRY(write_uncertainty(work, &work->mean, "entropy", add_entropy));
  return write_uncertainty(work, &work->deviation, "deviation", add_deviation);
}

/* --- all --- */

static enum status segment(struct work *work, const struct task_network *network,
                           const struct subject_source *source) {
  TRY(subject_read(work->config, source, &work->volumes));
  work->grid = volume_get_grid(&work->volumes.image);
  TRY(infer(work, network));
  return write_results(work);
}

static void close_work(struct work *work) {
  segmentation_prediction_close(&work->mean);
  segmentation_prediction_close(&work->deviation);
  subject_close(&work->volumes);
  free(work->image);
}

static enum status segment_all(const struct config *config, const struct task_network *network,
                               const struct volume_list *list,
                               const struct segmentation_names *names, const char *directory) {
  TRY(file_make_directory(directory));
  for (int i = 0; i < list->count; i++) {
    struct work work = {
        .config = config, .directory = directory, .name = list->volumes[i].id, .names = names};
    enum status status = segment(&work, network, &list->volumes[i]);
    close_work(&work);
    TRY(status);
  }
  return STATUS_OK;
}

enum status segmentation_predict(const struct config *config, const struct task_network *network,
                                 const char *const *files, int count, const char *directory) {
  struct volume_list list;
  struct segmentation_names names = {0};
  TRY(volume_list_find(config, files, count, 1, &list));
  enum status status = segmentation_names_find(config, &names);
  if (!status) status = segment_all(config, network, &list, &names, directory);
  segmentation_names_free(&names);
  volume_list_close(&list);
  return status;
}
