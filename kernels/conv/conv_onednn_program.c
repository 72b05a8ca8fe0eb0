/* How layers are cut, and running what comes of it. */
#include "kernels/conv/conv_onednn_program.h"
#include <stdlib.h>
#include <string.h>
#include "kernels/conv/conv_onednn_passes.h"

enum {
  LEAST_WORK = 20000000, /* flops of a piece of 16 x 16 channels: enough to forget its call */
  MOST_VOXELS = 20000,   /* of a piece, where that is enough work: it stays in the caches */
  LEAST_SLABS = 8,       /* so that threads have work; likewise */
  WANTED_TASKS = 16,     /* of layers that are not cut into slabs */
  WANTED_SUMS = 64,      /* tasks of a weight gradient */
  MOST_CHUNKS = 16,
  FOLDED_TOGETHER = 1 << 12, /* floats */
  LINE = 16,                 /* floats */
};

static int64_t round_to_line(int64_t floats) {
  return (floats + LINE - 1) / LINE * LINE;
}

static int divide_up(int64_t a, int64_t b) {
  return (int)((a + b - 1) / b);
}

/* --- cutting --- */

/* With several slabs pieces are single blocks. */
struct cut {
  int slabs, planes;   /* of the target; planes: of a slab, but for the last */
  int target_channels; /* of a piece */
  int groups, pieces;  /* of the target's and of all sources' channels */
};

/* Of several planar channels together oneDNN takes only some. */
static int source_channels(const struct cut *cut, const struct tensor *source) {
  if (source->layout == LAYOUT_PLANAR) return 1;
  return cut->slabs > 1 ? CHANNEL_BLOCK : source->shape.c;
}

/* oneDNN's gradients of strided layers take whole tensors: that of x adds nothing, and that of the
 * weights must not see less of x than a kernel's extent. */
static bool is_whole(const struct conv_onednn_layer *layer) {
  const int *stride = layer->stride;
  bool strided = stride[0] != 1 || stride[1] != 1 || stride[2] != 1;
  return strided && layer->direction != CONV_ONEDNN_FORWARD;
}

static int planes_of_slab(const struct conv_onednn_layer *layer) {
  const struct shape *s = &layer->target.shape;
  const int *k = layer->kernel;
  int64_t plane = (int64_t)s->h * s->w;
  int64_t work = 2 * CHANNEL_BLOCK * CHANNEL_BLOCK * plane * k[0] * k[1] * k[2];
  int least = divide_up(LEAST_WORK, work), planes = divide_up(s->d, LEAST_SLABS);
  if (planes > MOST_VOXELS / plane) planes = (int)(MOST_VOXELS / plane);
  if (planes < least) planes = least;
  return planes < s->d && !is_whole(layer) ? planes : s->d;
}

static struct cut cut_layer(const struct conv_onednn_layer *layer) {
  const struct shape *s = &layer->target.shape;
  struct cut cut = {.planes = planes_of_slab(layer), .target_channels = CHANNEL_BLOCK};
  cut.slabs = divide_up(s->d, cut.planes);
  int blocks = divide_up(s->c, CHANNEL_BLOCK), wanted = divide_up(WANTED_TASKS, s->n);
  if (cut.slabs == 1) cut.target_channels *= divide_up(blocks, wanted < blocks ? wanted : blocks);
  cut.groups = divide_up(s->c, cut.target_channels);
  for (int i = 0; i < layer->source_count; i++)
    cut.pieces += divide_up(layer->source[i].shape.c, source_channels(&cut, &layer->source[i]));
  return cut;
}

/* Which piece of which tensors a step is about. */
struct choice {
  int n, slab, group, piece;
};

/* A piece of the sources; `before`: channels of the sources in front of it. */
struct piece {
  int source, channel, before;
};

static struct piece piece_of(const struct conv_onednn_layer *layer, const struct cut *cut,
                             int index) {
  struct piece piece = {0};
  for (; piece.source < layer->source_count; piece.source++) {
    const struct tensor *source = &layer->source[piece.source];
    int channels = source_channels(cut, source), count = divide_up(source->shape.c, channels);
    piece.channel = index * channels;
    if (index < count) break;
    index -= count;
    piece.before += source->shape.c;
  }
  return piece;
}

static struct tensor part_of(const struct tensor *tensor, int channel, int channels, int planes) {
  struct tensor part = *tensor;
  int left = tensor->shape.c - channel;
  part.shape.n = 1;
  part.shape.c = left < channels ? left : channels;
  part.shape.d = planes;
  return part;
}

/* Padding behind x, as much as y reads; negative where it does not read all of x. */
static int padding_behind(int x, int y, int kernel, int stride, int before) {
  return (y - 1) * stride + kernel - before - x;
}

static void set_padding(const struct conv_onednn_layer *layer, struct conv_onednn_problem *p) {
  const struct shape *x = &p->x.shape, *y = &p->y.shape;
  const int from[] = {x->d, x->h, x->w}, to[] = {y->d, y->h, y->w};
  for (int i = 0; i < 3; i++) {
    p->kernel[i] = layer->kernel[i];
    p->stride[i] = layer->stride[i];
    if (i > 0) p->before[i] = layer->padding[i];
    p->after[i] = padding_behind(from[i], to[i], p->kernel[i], p->stride[i], p->before[i]);
  }
}

/* Planes of x that a slab of y reads, and how many it would read in front of the first. */
static void read_planes(const struct conv_onednn_layer *layer, const struct cut *cut, int slab,
                        int *first, int *count, int *before) {
  int depth = layer->source[0].shape.d, stride = layer->stride[0];
  *first = slab * cut->planes * stride - layer->padding[0];
  *before = *first < 0 ? -*first : 0;
  int planes = layer->target.shape.d - slab * cut->planes;
  if (planes > cut->planes) planes = cut->planes;
  int end = *first + (planes - 1) * stride + layer->kernel[0];
  if (end > depth || cut->slabs == 1) end = depth;
  *first += *before;
  *count = end - *first;
}

static struct conv_onednn_problem problem_of(const struct conv_onednn_layer *layer,
                                             const struct cut *cut, struct choice choice,
                                             struct conv_onednn_step *step) {
  struct conv_onednn_problem problem;
  memset(&problem, 0, sizeof problem);
  struct piece piece = piece_of(layer, cut, choice.piece);
  const struct tensor *source = &layer->source[piece.source], *target = &layer->target;
  int from = choice.slab * cut->planes, first = 0, count = source->shape.d;
  int channel = choice.group * cut->target_channels, left = target->shape.d - from;
  if (layer->direction == CONV_ONEDNN_DATA)
    problem.before[0] = layer->padding[0];
  else
    read_planes(layer, cut, choice.slab, &first, &count, &problem.before[0]);
  struct tensor read = part_of(source, piece.channel, source_channels(cut, source), count);
  struct tensor made =
      part_of(target, channel, cut->target_channels, left < cut->planes ? left : cut->planes);
  bool data = layer->direction == CONV_ONEDNN_DATA;
  problem.direction = layer->direction;
  problem.x = data ? made : read;
  problem.y = data ? read : made;
  problem.y_step = layer->y_step;
  problem.x_step = layer->x_step;
  problem.slope = 1;
  problem.x_channels = problem.x.shape.c;
  problem.x.shape.c = tensor_stored_channels(&problem.x);
  set_padding(layer, &problem);
  step->source = piece.source;
  step->source_at = tensor_at(source, choice.n, piece.channel, first, 0, 0);
  step->target_at = tensor_at(target, choice.n, channel, from, 0, 0);
  step->bias_at = channel;
  return problem;
}

/* --- writing a program --- */

static int64_t weights_of(const struct conv_onednn *convolution) {
  return round_to_line((int64_t)(conv_onednn_weight_bytes(convolution) / sizeof(float)));
}

/* The pack of a step's weights: all steps on the same channels must have the same order. */
static bool share_weights(struct conv_onednn_program *program, const struct cut *cut,
                          struct choice choice, struct conv_onednn_step *step) {
  const struct conv_onednn_layer *layer = &program->layer;
  struct conv_onednn_pack *pack = &program->pack[choice.group * cut->pieces + choice.piece];
  if (!pack->convolution) {
    bool data = layer->direction == CONV_ONEDNN_DATA;
    struct piece piece = piece_of(layer, cut, choice.piece);
    int64_t weights = weights_of(step->convolution);
    pack->convolution = step->convolution;
    pack->packed_at = program->weights;
    pack->plain_at = step->bias_at * (data ? layer->x_step : layer->y_step) +
                     (piece.before + piece.channel) * (data ? layer->y_step : layer->x_step);
    program->weights += weights;
    if (weights > program->most_weights) program->most_weights = weights;
  }
  step->weight_at = pack->packed_at;
  return conv_onednn_alike(pack->convolution, step->convolution);
}

/* Of the steps that make one piece of the target, which this is. */
struct turn {
  bool first, last;
};

static bool write_step(struct conv_onednn_program *program, const struct cut *cut,
                       struct choice choice, struct turn turn, struct conv_onednn_step *step) {
  const struct conv_onednn_layer *layer = &program->layer;
  struct conv_onednn_problem problem = problem_of(layer, cut, choice, step);
  if (layer->direction == CONV_ONEDNN_FORWARD) {
    problem.bias = layer->bias && turn.first;
    problem.add = layer->add || !turn.first;
    if (turn.last) problem.slope = layer->slope;
  }
  step->convolution = conv_onednn_find(&problem);
  if (!step->convolution) return false;
  size_t scratch = (conv_onednn_scratch_bytes(step->convolution) + 63) / 64 * 64;
  if (scratch > program->scratch) program->scratch = scratch;
  return share_weights(program, cut, choice, step);
}

static bool allocate(struct conv_onednn_program *program, const struct cut *cut, int tasks,
                     int64_t steps) {
  program->tasks = tasks;
  program->packs = cut->groups * cut->pieces;
  program->first = calloc((size_t)tasks + 1, sizeof *program->first);
  program->steps = calloc((size_t)steps, sizeof *program->steps);
  program->pack = calloc((size_t)program->packs, sizeof *program->pack);
  return program->first && program->steps && program->pack;
}

/* A task for each piece of the target, a step for each piece of the sources. */
static bool write_values(struct conv_onednn_program *program, const struct cut *cut) {
  int tasks = program->layer.target.shape.n * cut->slabs * cut->groups;
  if (!allocate(program, cut, tasks, (int64_t)tasks * cut->pieces)) return false;
  struct conv_onednn_step *step = program->steps;
  for (int task = 0; task < tasks; task++) {
    struct choice choice = {.n = task / cut->groups / cut->slabs,
                            .slab = task / cut->groups % cut->slabs,
                            .group = task % cut->groups};
    for (; choice.piece < cut->pieces; choice.piece++) {
      struct turn turn = {choice.piece == 0, choice.piece == cut->pieces - 1};
      if (!write_step(program, cut, choice, turn, step++)) return false;
    }
    program->first[task + 1] = (int)(step - program->steps);
  }
  return true;
}

/* A task for each pair of pieces and each chunk of the slabs of all samples. */
static bool write_sums(struct conv_onednn_program *program, const struct cut *cut) {
  int units = program->layer.target.shape.n * cut->slabs, pairs = cut->groups * cut->pieces;
  int chunks = WANTED_SUMS / pairs < MOST_CHUNKS ? WANTED_SUMS / pairs : MOST_CHUNKS;
  if (chunks > units) chunks = units;
  if (chunks < 1) chunks = 1;
  program->chunks = chunks;
  if (!allocate(program, cut, chunks * pairs, (int64_t)units * pairs)) return false;
  struct conv_onednn_step *step = program->steps;
  for (int task = 0; task < program->tasks; task++) {
    int chunk = task / pairs, end = (int)((int64_t)units * (chunk + 1) / chunks);
    for (int unit = (int)((int64_t)units * chunk / chunks); unit < end; unit++) {
      struct choice choice = {unit / cut->slabs, unit % cut->slabs, task % pairs / cut->pieces,
                              task % cut->pieces};
      if (!write_step(program, cut, choice, (struct turn){0}, step++)) return false;
    }
    program->first[task + 1] = (int)(step - program->steps);
  }
  return true;
}

static void empty(struct conv_onednn_program *program) {
  free(program->first);
  free(program->steps);
  free(program->pack);
  program->first = NULL;
  program->steps = NULL;
  program->pack = NULL;
}

const struct conv_onednn_program *conv_onednn_program(const struct conv_onednn_layer *layer) {
  static struct conv_onednn_program *kept;
  struct conv_onednn_program *found = kept;
  while (found && memcmp(&found->layer, layer, sizeof *layer) != 0) found = found->next;
  if (!found) {
    found = calloc(1, sizeof *found);
    if (!found) return NULL;
    memcpy(&found->layer, layer, sizeof *layer);
    struct cut cut = cut_layer(layer);
    bool sums = layer->direction == CONV_ONEDNN_WEIGHT;
    if (!(sums ? write_sums : write_values)(found, &cut)) empty(found);
    found->next = kept;
    kept = found;
  }
  return found->steps ? found : NULL;
}

/* --- running it --- */

/* Where things lie in the workspace, in floats. */
struct arrangement {
  int64_t weights, room, sum, scratch, end;
};

static struct arrangement arrange(const struct conv_onednn_program *program) {
  bool sums = program->layer.direction == CONV_ONEDNN_WEIGHT;
  struct arrangement at = {0};
  at.room = program->weights * (sums ? program->chunks : 1);
  at.sum = at.room + program->most_weights;
  at.scratch = at.sum + (sums ? program->tasks * program->most_weights : 0);
  at.end = at.scratch + program->tasks * (int64_t)(program->scratch / sizeof(float));
  return at;
}

size_t conv_onednn_program_bytes(const struct conv_onednn_program *program) {
  return sizeof(float) * (size_t)arrange(program).end;
}

static struct conv_onednn_call call_of(const struct conv_onednn_program *program,
                                       const struct conv_onednn_memory *memory, int task,
                                       const struct conv_onednn_step *step) {
  struct arrangement at = arrange(program);
  float *workspace = memory->workspace;
  const float *source = memory->source[step->source] + step->source_at;
  const float *target = memory->target + step->target_at;
  bool data = program->layer.direction == CONV_ONEDNN_DATA;
  return (struct conv_onednn_call){
      .x = data ? target : source,
      .y = data ? source : target,
      .weight = workspace + at.weights + step->weight_at,
      .bias = memory->bias ? memory->bias + step->bias_at : NULL,
      .scratch = (char *)(workspace + at.scratch) + (size_t)task * program->scratch};
}

static bool run_values(const struct conv_onednn_program *program,
                       const struct conv_onednn_memory *memory, int task) {
  bool good = true;
  for (int s = program->first[task]; s < program->first[task + 1]; s++) {
    struct conv_onednn_call call = call_of(program, memory, task, &program->steps[s]);
    good = good && conv_onednn_run(program->steps[s].convolution, &call);
  }
  return good;
}

/* The first step writes its chunk's sum, the others are added to it. */
static bool run_sums(const struct conv_onednn_program *program,
                     const struct conv_onednn_memory *memory, int task) {
  struct arrangement at = arrange(program);
  float *workspace = memory->workspace;
  int chunk = task / program->packs;
  int64_t count = weights_of(program->pack[task % program->packs].convolution);
  float *more = workspace + at.sum + task * program->most_weights;
  bool good = true;
  for (int s = program->first[task]; s < program->first[task + 1] && good; s++) {
    const struct conv_onednn_step *step = &program->steps[s];
    struct conv_onednn_call call = call_of(program, memory, task, step);
    float *sum = workspace + chunk * program->weights + step->weight_at;
    bool first = s == program->first[task];
    call.weight = first ? sum : more;
    good = conv_onednn_run(step->convolution, &call);
    if (!first) conv_onednn_passes()->move(more, sum, count, true);
  }
  return good;
}

/* The first chunk's sums += those of the others, in order. */
static void fold_chunks(const struct conv_onednn_program *program, float *sums) {
  int64_t count = program->weights;
#pragma omp parallel for schedule(static)
  for (int64_t from = 0; from < count; from += FOLDED_TOGETHER)
    for (int chunk = 1; chunk < program->chunks; chunk++)
      conv_onednn_passes()->move(sums + chunk * count + from, sums + from,
                                 count - from < FOLDED_TOGETHER ? count - from : FOLDED_TOGETHER,
                                 true);
}

static enum status reorder_weights(const struct conv_onednn_program *program,
                                   const struct conv_onednn_memory *memory) {
  for (int i = 0; i < program->packs; i++) {
    const struct conv_onednn_pack *pack = &program->pack[i];
    float *workspace = memory->workspace;
    TRY(conv_onednn_reorder(pack->convolution, (float *)memory->plain + pack->plain_at,
                            workspace + pack->packed_at, workspace + arrange(program).room));
  }
  return STATUS_OK;
}

enum status conv_onednn_program_run(const struct conv_onednn_program *program,
                                    const struct conv_onednn_memory *memory) {
  bool sums = program->layer.direction == CONV_ONEDNN_WEIGHT, failed = false;
  if (!sums) TRY(reorder_weights(program, memory));
#pragma omp parallel for schedule(static)
  for (int task = 0; task < program->tasks; task++)
    if (!(sums ? run_sums : run_values)(program, memory, task)) {
#pragma omp atomic write
      failed = true;
    }
  REQUIRE(!failed, STATUS_FAILED, "oneDNN: a convolution failed");
  if (!sums) return STATUS_OK;
  fold_chunks(program, memory->workspace);
  return reorder_weights(program, memory);
}
