/* cuDNN's graph API: descriptors are made, given attributes and finalised; an operation graph of
 * one convolution asks a heuristic for engine configurations, of which one becomes an execution
 * plan. */
#include "kernels/conv/conv_cudnn_plan.h"
#include <cudnn.h>
#include <stdlib.h>
#include <string.h>
#include "device/cuda.h"

enum {
  TENSOR_X = 1, /* cuDNN's own ids of tensors, any numbers */
  TENSOR_W,
  TENSOR_Y,
  TENSORS = 3,
  AXES = 5, /* n c d h w */
  MOST_CONFIGS = 32,
  PACKS = 4,
  ALIGNMENT = 16,
};
static const size_t MOST_WORKSPACE = (size_t)1 << 30;

/* Pointers as cuDNN wants them: made once for each set (inputs alternate between two buffers). */
struct pack {
  const void *pointer[TENSORS + 1]; /* and the workspace */
  cudnnBackendDescriptor_t descriptor;
};

struct conv_cudnn_plan {
  struct conv_cudnn_problem problem;
  cudnnBackendDescriptor_t execution; /* NULL: none was found */
  int64_t workspace;
  struct pack packs[PACKS];
  int next_pack;
  struct conv_cudnn_plan *next;
};

static struct {
  bool asked;
  cudnnHandle_t handle; /* NULL: no GPU */
  struct conv_cudnn_plan *plans;
} library;

static enum status check(cudnnStatus_t code, const char *call) {
  if (code == CUDNN_STATUS_SUCCESS) return STATUS_OK;
  FAIL(STATUS_FAILED, "cuDNN: %s: %s", call, cudnnGetErrorString(code));
}
#define CUDNN_TRY(call) TRY(check((call), #call))

size_t conv_cudnn_version(void) {
  return cudnnGetVersion();
}

static cudnnHandle_t handle(void) {
  if (!library.asked && cudnnCreate(&library.handle) != CUDNN_STATUS_SUCCESS) library.handle = NULL;
  library.asked = true;
  return library.handle;
}

static void destroy(cudnnBackendDescriptor_t descriptor) {
  if (descriptor) cudnnBackendDestroyDescriptor(descriptor);
}

static enum status set(cudnnBackendDescriptor_t descriptor, cudnnBackendAttributeName_t name,
                       cudnnBackendAttributeType_t type, int64_t count, const void *values) {
  CUDNN_TRY(cudnnBackendSetAttribute(descriptor, name, type, count, values));
  return STATUS_OK;
}

static enum status set_int(cudnnBackendDescriptor_t descriptor, cudnnBackendAttributeName_t name,
                           int64_t value) {
  return set(descriptor, name, CUDNN_TYPE_INT64, 1, &value);
}

static enum status set_descriptor(cudnnBackendDescriptor_t descriptor,
                                  cudnnBackendAttributeName_t name,
                                  cudnnBackendDescriptor_t value) {
  return set(descriptor, name, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, (const void *)&value);
}

static cudnnDataType_t data_type(enum dtype dtype) {
  if (dtype == DTYPE_BF16) return CUDNN_DATA_BFLOAT16;
  return dtype == DTYPE_F16 ? CUDNN_DATA_HALF : CUDNN_DATA_FLOAT;
}

/* --- the operation graph of one convolution --- */

/* Everything that is made on the way to an execution plan. */
struct recipe {
  cudnnBackendDescriptor_t tensor[TENSORS], convolution, operation, graph, heuristic;
  cudnnBackendDescriptor_t config[MOST_CONFIGS];
};

static void recipe_close(struct recipe *recipe) {
  for (int i = 0; i < MOST_CONFIGS; i++) destroy(recipe->config[i]);
  destroy(recipe->heuristic);
  destroy(recipe->graph);
  destroy(recipe->operation);
  destroy(recipe->convolution);
  for (int i = 0; i < TENSORS; i++) destroy(recipe->tensor[i]);
}

/* extent: n c d h w, stored with c fastest. */
static enum status make_tensor(cudnnBackendDescriptor_t *tensor, int64_t id, cudnnDataType_t type,
                               const int64_t extent[AXES]) {
  int64_t stride[AXES] = {0};
  stride[1] = 1;
  stride[4] = extent[1];
  stride[3] = stride[4] * extent[4];
  stride[2] = stride[3] * extent[3];
  stride[0] = stride[2] * extent[2];
  CUDNN_TRY(cudnnBackendCreateDescriptor(CUDNN_BACKEND_TENSOR_DESCRIPTOR, tensor));
  TRY(set(*tensor, CUDNN_ATTR_TENSOR_DATA_TYPE, CUDNN_TYPE_DATA_TYPE, 1, &type));
  TRY(set(*tensor, CUDNN_ATTR_TENSOR_DIMENSIONS, CUDNN_TYPE_INT64, AXES, extent));
  TRY(set(*tensor, CUDNN_ATTR_TENSOR_STRIDES, CUDNN_TYPE_INT64, AXES, stride));
  TRY(set_int(*tensor, CUDNN_ATTR_TENSOR_UNIQUE_ID, id));
  TRY(set_int(*tensor, CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, ALIGNMENT));
  CUDNN_TRY(cudnnBackendFinalize(*tensor));
  return STATUS_OK;
}

static enum status make_tensors(struct recipe *recipe, const struct conv_cudnn_problem *problem) {
  const struct shape *x = &problem->x, *y = &problem->y;
  const int *k = problem->kernel;
  cudnnDataType_t type = data_type(problem->dtype);
  cudnnDataType_t weight = problem->direction == CONV_CUDNN_WEIGHT ? CUDNN_DATA_FLOAT : type;
  TRY(make_tensor(&recipe->tensor[0], TENSOR_X, type,
                  (const int64_t[]){x->n, x->c, x->d, x->h, x->w}));
  TRY(make_tensor(&recipe->tensor[1], TENSOR_W, weight,
                  (const int64_t[]){y->c, x->c, k[0], k[1], k[2]}));
  return make_tensor(&recipe->tensor[2], TENSOR_Y, type,
                     (const int64_t[]){y->n, y->c, y->d, y->h, y->w});
}

static enum status make_convolution(struct recipe *recipe,
                                    const struct conv_cudnn_problem *problem) {
  const cudnnDataType_t type = CUDNN_DATA_FLOAT;
  const cudnnConvolutionMode_t mode = CUDNN_CROSS_CORRELATION;
  int64_t padding[3], stride[3], dilation[3] = {1, 1, 1};
  for (int i = 0; i < 3; i++) {
    padding[i] = problem->padding[i];
    stride[i] = problem->stride[i];
  }
  cudnnBackendDescriptor_t *made = &recipe->convolution;
  CUDNN_TRY(cudnnBackendCreateDescriptor(CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR, made));
  TRY(set_int(*made, CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS, 3));
  TRY(set(*made, CUDNN_ATTR_CONVOLUTION_COMP_TYPE, CUDNN_TYPE_DATA_TYPE, 1, &type));
  TRY(set(*made, CUDNN_ATTR_CONVOLUTION_CONV_MODE, CUDNN_TYPE_CONVOLUTION_MODE, 1, &mode));
  TRY(set(*made, CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS, CUDNN_TYPE_INT64, 3, padding));
  TRY(set(*made, CUDNN_ATTR_CONVOLUTION_POST_PADDINGS, CUDNN_TYPE_INT64, 3, padding));
  TRY(set(*made, CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES, CUDNN_TYPE_INT64, 3, stride));
  TRY(set(*made, CUDNN_ATTR_CONVOLUTION_DILATIONS, CUDNN_TYPE_INT64, 3, dilation));
  CUDNN_TRY(cudnnBackendFinalize(*made));
  return STATUS_OK;
}

/* The attribute names of an operation, which differ by direction. */
static const struct {
  cudnnBackendDescriptorType_t type;
  cudnnBackendAttributeName_t convolution, alpha, beta, tensor[TENSORS];
} operations[] = {
    [CONV_CUDNN_FORWARD] = {CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR,
                            CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC,
                            CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_ALPHA,
                            CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_BETA,
                            {CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X,
                             CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W,
                             CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y}},
    [CONV_CUDNN_DATA] = {CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_DATA_DESCRIPTOR,
                         CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_CONV_DESC,
                         CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_ALPHA,
                         CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_BETA,
                         {CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DX,
                          CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_W,
                          CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DY}},
    [CONV_CUDNN_WEIGHT] = {CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_FILTER_DESCRIPTOR,
                           CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_CONV_DESC,
                           CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_ALPHA,
                           CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_BETA,
                           {CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_X,
                            CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DW,
                            CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DY}},
};

static enum status make_operation(struct recipe *recipe, enum conv_cudnn_direction direction) {
  const float alpha = 1, beta = 0;
  cudnnBackendDescriptor_t *made = &recipe->operation;
  CUDNN_TRY(cudnnBackendCreateDescriptor(operations[direction].type, made));
  TRY(set_descriptor(*made, operations[direction].convolution, recipe->convolution));
  for (int i = 0; i < TENSORS; i++)
    TRY(set_descriptor(*made, operations[direction].tensor[i], recipe->tensor[i]));
  TRY(set(*made, operations[direction].alpha, CUDNN_TYPE_FLOAT, 1, &alpha));
  TRY(set(*made, operations[direction].beta, CUDNN_TYPE_FLOAT, 1, &beta));
  CUDNN_TRY(cudnnBackendFinalize(*made));
  return STATUS_OK;
}

static enum status make_graph(struct recipe *recipe) {
  cudnnHandle_t used = handle();
  cudnnBackendDescriptor_t *made = &recipe->graph;
  CUDNN_TRY(cudnnBackendCreateDescriptor(CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR, made));
  TRY(set(*made, CUDNN_ATTR_OPERATIONGRAPH_HANDLE, CUDNN_TYPE_HANDLE, 1, (const void *)&used));
  TRY(set_descriptor(*made, CUDNN_ATTR_OPERATIONGRAPH_OPS, recipe->operation));
  CUDNN_TRY(cudnnBackendFinalize(*made));
  return STATUS_OK;
}

/* --- the choice of an engine --- */

/* Asks the heuristic for engine configurations, best first. */
static enum status list_configs(struct recipe *recipe, int *count) {
  const cudnnBackendHeurMode_t mode = CUDNN_HEUR_MODE_A;
  cudnnBackendDescriptor_t *made = &recipe->heuristic;
  CUDNN_TRY(cudnnBackendCreateDescriptor(CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR, made));
  TRY(set_descriptor(*made, CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, recipe->graph));
  TRY(set(*made, CUDNN_ATTR_ENGINEHEUR_MODE, CUDNN_TYPE_HEUR_MODE, 1, &mode));
  CUDNN_TRY(cudnnBackendFinalize(*made));
  for (int i = 0; i < MOST_CONFIGS; i++)
    CUDNN_TRY(cudnnBackendCreateDescriptor(CUDNN_BACKEND_ENGINECFG_DESCRIPTOR, &recipe->config[i]));
  int64_t found = 0;
  CUDNN_TRY(cudnnBackendGetAttribute(*made, CUDNN_ATTR_ENGINEHEUR_RESULTS,
                                     CUDNN_TYPE_BACKEND_DESCRIPTOR, MOST_CONFIGS, &found,
                                     (void *)recipe->config));
  *count = found < MOST_CONFIGS ? (int)found : MOST_CONFIGS;
  return STATUS_OK;
}

static bool note_is_bad(cudnnBackendNumericalNote_t note, enum dtype dtype) {
  return note == CUDNN_NUMERICAL_NOTE_NONDETERMINISTIC ||
         note == CUDNN_NUMERICAL_NOTE_REDUCED_PRECISION_REDUCTION ||
         note == CUDNN_NUMERICAL_NOTE_DOWN_CONVERT_INPUTS ||
         (note == CUDNN_NUMERICAL_NOTE_TENSOR_CORE && dtype == DTYPE_F32);
}

static enum status read_notes(cudnnBackendDescriptor_t config, cudnnBackendDescriptor_t engine,
                              enum dtype dtype, bool *usable) {
  cudnnBackendNumericalNote_t notes[CUDNN_NUMERICAL_NOTE_TYPE_COUNT];
  int64_t count = 0;
  CUDNN_TRY(cudnnBackendGetAttribute(config, CUDNN_ATTR_ENGINECFG_ENGINE,
                                     CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &count, (void *)&engine));
  CUDNN_TRY(cudnnBackendGetAttribute(engine, CUDNN_ATTR_ENGINE_NUMERICAL_NOTE,
                                     CUDNN_TYPE_NUMERICAL_NOTE, CUDNN_NUMERICAL_NOTE_TYPE_COUNT,
                                     &count, notes));
  for (int64_t i = 0; i < count; i++)
    if (note_is_bad(notes[i], dtype)) *usable = false;
  return STATUS_OK;
}

/* Whether an engine repeats its bits and keeps its precision, by its own word. */
static bool is_usable(cudnnBackendDescriptor_t config, enum dtype dtype) {
  cudnnBackendDescriptor_t engine = NULL;
  bool usable = true;
  if (cudnnBackendCreateDescriptor(CUDNN_BACKEND_ENGINE_DESCRIPTOR, &engine) !=
      CUDNN_STATUS_SUCCESS)
    return false;
  if (read_notes(config, engine, dtype, &usable)) usable = false;
  destroy(engine);
  return usable;
}

static enum status make_execution(struct conv_cudnn_plan *plan, cudnnBackendDescriptor_t config) {
  cudnnHandle_t used = handle();
  int64_t count = 0;
  cudnnBackendDescriptor_t *made = &plan->execution;
  CUDNN_TRY(cudnnBackendCreateDescriptor(CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR, made));
  TRY(set(*made, CUDNN_ATTR_EXECUTION_PLAN_HANDLE, CUDNN_TYPE_HANDLE, 1, (const void *)&used));
  TRY(set_descriptor(*made, CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, config));
  CUDNN_TRY(cudnnBackendFinalize(*made));
  CUDNN_TRY(cudnnBackendGetAttribute(*made, CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE,
                                     CUDNN_TYPE_INT64, 1, &count, &plan->workspace));
  REQUIRE((size_t)plan->workspace <= MOST_WORKSPACE, STATUS_FAILED, "cuDNN: too large a workspace");
  return STATUS_OK;
}

/* The choice-th configuration that can be used; none leaves `execution` NULL. */
static enum status choose(struct conv_cudnn_plan *plan, struct recipe *recipe) {
  int count = 0, usable = 0;
  TRY(list_configs(recipe, &count));
  for (int i = 0; i < count; i++) {
    if (!is_usable(recipe->config[i], plan->problem.dtype)) continue;
    bool made = make_execution(plan, recipe->config[i]) == STATUS_OK;
    if (made && usable++ == plan->problem.choice) return STATUS_OK;
    destroy(plan->execution);
    plan->execution = NULL;
  }
  return STATUS_OK;
}

static enum status build(struct conv_cudnn_plan *plan, struct recipe *recipe) {
  TRY(make_tensors(recipe, &plan->problem));
  TRY(make_convolution(recipe, &plan->problem));
  TRY(make_operation(recipe, plan->problem.direction));
  TRY(make_graph(recipe));
  return choose(plan, recipe);
}

static bool problems_equal(const struct conv_cudnn_problem *a, const struct conv_cudnn_problem *b) {
  return a->direction == b->direction && a->dtype == b->dtype && shape_equal(a->x, b->x) &&
         shape_equal(a->y, b->y) && !memcmp(a->kernel, b->kernel, sizeof a->kernel) &&
         !memcmp(a->stride, b->stride, sizeof a->stride) &&
         !memcmp(a->padding, b->padding, sizeof a->padding) && a->choice == b->choice;
}

const struct conv_cudnn_plan *conv_cudnn_find(const struct conv_cudnn_problem *problem) {
  struct conv_cudnn_plan *plan = library.plans;
  while (plan && !problems_equal(&plan->problem, problem)) plan = plan->next;
  if (!plan && handle() && (plan = calloc(1, sizeof *plan)) != NULL) {
    struct recipe recipe = {0};
    plan->problem = *problem;
    plan->next = library.plans;
    library.plans = plan;
    if (build(plan, &recipe)) plan->execution = NULL;
    status_clear(); /* shapes and engines that cuDNN does not take are no errors */
    recipe_close(&recipe);
  }
  return plan && plan->execution ? plan : NULL;
}

size_t conv_cudnn_workspace(const struct conv_cudnn_plan *plan) {
  return (size_t)plan->workspace;
}

/* --- running --- */

static enum status make_pack(struct pack *pack) {
  const int64_t ids[TENSORS] = {TENSOR_X, TENSOR_W, TENSOR_Y};
  destroy(pack->descriptor);
  pack->descriptor = NULL;
  CUDNN_TRY(cudnnBackendCreateDescriptor(CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR, &pack->descriptor));
  TRY(set(pack->descriptor, CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, CUDNN_TYPE_INT64, TENSORS, ids));
  TRY(set(pack->descriptor, CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, CUDNN_TYPE_VOID_PTR, TENSORS,
          (const void *)pack->pointer));
  TRY(set(pack->descriptor, CUDNN_ATTR_VARIANT_PACK_WORKSPACE, CUDNN_TYPE_VOID_PTR, 1,
          (const void *)&pack->pointer[TENSORS]));
  CUDNN_TRY(cudnnBackendFinalize(pack->descriptor));
  return STATUS_OK;
}

static enum status find_pack(struct conv_cudnn_plan *plan, const void *const pointer[TENSORS + 1],
                             const struct pack **found) {
  for (int i = 0; i < PACKS; i++) {
    *found = &plan->packs[i];
    size_t bytes = sizeof plan->packs[i].pointer;
    if ((*found)->descriptor && !memcmp((*found)->pointer, pointer, bytes)) return STATUS_OK;
  }
  struct pack *pack = &plan->packs[plan->next_pack];
  plan->next_pack = (plan->next_pack + 1) % PACKS;
  memcpy(pack->pointer, pointer, sizeof pack->pointer);
  *found = pack;
  return make_pack(pack);
}

enum status conv_cudnn_run(const struct conv_cudnn_plan *plan, const void *x, const void *w,
                           const void *y, void *workspace, struct stream *stream) {
  const void *const pointer[TENSORS + 1] = {x, w, y, workspace};
  const struct pack *pack;
  TRY(find_pack((struct conv_cudnn_plan *)(uintptr_t)plan, pointer, &pack));
  CUDNN_TRY(cudnnSetStream(handle(), cuda_stream(stream)));
  CUDNN_TRY(cudnnBackendExecute(handle(), plan->execution, pack->descriptor));
  return STATUS_OK;
}
