/* Descriptors as bags of attributes, and a convolution by its definition. */
#include "cudnn.h"
#include <map>
#include <memory>
#include <vector>
#include "shim.h"
/* after shim.h */
#include "cuda_shim.h"

struct shim_cudnn {
  cudaStream_t stream;
};

/* What a descriptor refers to is kept alive by it. */
struct shim_bag {
  cudnnBackendDescriptorType_t type;
  bool finalized = false;
  int engine = 0; /* of engines and their configurations */
  std::map<int, std::vector<unsigned char>> bytes;
  std::map<int, std::shared_ptr<shim_bag>> parts;
};
struct shim_descriptor {
  std::shared_ptr<shim_bag> bag;
};

static const int ENGINES = 5;
static const cudnnBackendNumericalNote_t NO_NOTE = CUDNN_NUMERICAL_NOTE_TYPE_COUNT;
static const int64_t WORKSPACE = 4096;

size_t cudnnGetVersion(void) {
  return 0;
}

const char *cudnnGetErrorString(cudnnStatus_t status) {
  return status == CUDNN_STATUS_SUCCESS ? "success" : "failure";
}

cudnnStatus_t cudnnCreate(cudnnHandle_t *handle) {
  if (shim_device_count() == 0) return CUDNN_STATUS_NOT_INITIALIZED;
  static shim_cudnn only;
  *handle = &only;
  return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnSetStream(cudnnHandle_t handle, cudaStream_t stream) {
  handle->stream = stream;
  return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnBackendCreateDescriptor(cudnnBackendDescriptorType_t type,
                                           cudnnBackendDescriptor_t *descriptor) {
  *descriptor = new shim_descriptor{std::make_shared<shim_bag>()};
  (*descriptor)->bag->type = type;
  return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnBackendDestroyDescriptor(cudnnBackendDescriptor_t descriptor) {
  delete descriptor;
  return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnBackendFinalize(cudnnBackendDescriptor_t descriptor) {
  for (const auto &part : descriptor->bag->parts)
    if (!part.second->finalized) return CUDNN_STATUS_BAD_PARAM;
  descriptor->bag->finalized = true;
  return CUDNN_STATUS_SUCCESS;
}

static size_t element_bytes(cudnnBackendAttributeType_t type) {
  bool small = type == CUDNN_TYPE_DATA_TYPE || type == CUDNN_TYPE_FLOAT ||
               type == CUDNN_TYPE_CONVOLUTION_MODE || type == CUDNN_TYPE_HEUR_MODE;
  return small ? 4 : 8;
}

cudnnStatus_t cudnnBackendSetAttribute(cudnnBackendDescriptor_t descriptor,
                                       cudnnBackendAttributeName_t name,
                                       cudnnBackendAttributeType_t type, int64_t count,
                                       const void *values) {
  shim_bag &bag = *descriptor->bag;
  if (bag.finalized) return CUDNN_STATUS_BAD_PARAM;
  if (type == CUDNN_TYPE_BACKEND_DESCRIPTOR) {
    bag.parts[name] = (*(const cudnnBackendDescriptor_t *)values)->bag;
  } else {
    const unsigned char *first = (const unsigned char *)values;
    bag.bytes[name].assign(first, first + element_bytes(type) * (size_t)count);
  }
  return CUDNN_STATUS_SUCCESS;
}

/* Engines of a heuristic, the engine of a configuration, notes of an engine, workspace of a plan.
 */
cudnnStatus_t cudnnBackendGetAttribute(cudnnBackendDescriptor_t descriptor,
                                       cudnnBackendAttributeName_t name,
                                       cudnnBackendAttributeType_t, int64_t wanted, int64_t *count,
                                       void *values) {
  shim_bag &bag = *descriptor->bag;
  if (!bag.finalized) return CUDNN_STATUS_BAD_PARAM;
  *count = 1;
  if (name == CUDNN_ATTR_ENGINEHEUR_RESULTS) {
    *count = ENGINES;
    for (int i = 0; i < ENGINES && i < wanted; i++) {
      shim_bag &config = *((cudnnBackendDescriptor_t *)values)[i]->bag;
      config.engine = i;
      config.finalized = true;
      config.parts = bag.parts;
    }
  } else if (name == CUDNN_ATTR_ENGINECFG_ENGINE) {
    shim_bag &engine = *(*(cudnnBackendDescriptor_t *)values)->bag;
    engine.engine = bag.engine;
    engine.finalized = true;
  } else if (name == CUDNN_ATTR_ENGINE_NUMERICAL_NOTE) {
    static const cudnnBackendNumericalNote_t notes[ENGINES] = {
        CUDNN_NUMERICAL_NOTE_NONDETERMINISTIC, NO_NOTE, CUDNN_NUMERICAL_NOTE_TENSOR_CORE, NO_NOTE,
        NO_NOTE};
    *count = notes[bag.engine] != NO_NOTE;
    if (*count) *(cudnnBackendNumericalNote_t *)values = notes[bag.engine];
  } else if (name == CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE) {
    *(int64_t *)values = WORKSPACE;
  } else {
    return CUDNN_STATUS_NOT_SUPPORTED;
  }
  return CUDNN_STATUS_SUCCESS;
}

/* --- execution --- */

struct shim_view {
  void *memory;
  cudnnDataType_t type;
  int64_t extent[5], stride[5];
};

struct shim_convolution {
  shim_view x, w, y;
  int64_t padding[3], stride[3];
};

static int64_t count_of(const shim_view &view) {
  int64_t count = 1;
  for (int i = 0; i < 5; i++) count *= view.extent[i];
  return count;
}

/* Where the element of this number, in the order of the extents, is stored. */
static int64_t offset_of(const shim_view &view, int64_t element) {
  int64_t offset = 0;
  for (int i = 4; i >= 0; element /= view.extent[i--])
    offset += element % view.extent[i] * view.stride[i];
  return offset;
}

static float read(const shim_view &view, int64_t offset) {
  if (view.type == CUDNN_DATA_FLOAT) return ((const float *)view.memory)[offset];
  if (view.type == CUDNN_DATA_HALF) return __half2float(((const __half *)view.memory)[offset]);
  return __bfloat162float(((const __nv_bfloat16 *)view.memory)[offset]);
}

static void write(const shim_view &view, int64_t offset, float value) {
  if (view.type == CUDNN_DATA_FLOAT)
    ((float *)view.memory)[offset] = value;
  else if (view.type == CUDNN_DATA_HALF)
    ((__half *)view.memory)[offset] = __float2half(value);
  else
    ((__nv_bfloat16 *)view.memory)[offset] = __float2bfloat16(value);
}

/* The positions along x that the taps of a kernel read for position `at` along y. */
struct taps {
  int64_t first, last, start; /* taps inside, and where the first of them reads */
};

static taps taps_at(const shim_convolution &c, int axis, int64_t at) {
  int64_t start = at * c.stride[axis] - c.padding[axis];
  int64_t first = start < 0 ? -start : 0, inside = c.x.extent[2 + axis] - start;
  int64_t last = inside < c.w.extent[2 + axis] ? inside : c.w.extent[2 + axis];
  return {first, last, start + first};
}

/* One output voxel and channel against one input channel; element numbers in the order of the
 * extents. */
template <typename Visit>
static void walk_taps(const shim_convolution &c, const taps t[3], int64_t x, int64_t w, int64_t y,
                      Visit visit) {
  const int64_t *ex = c.x.extent, *ew = c.w.extent;
  for (int64_t i = t[0].first; i < t[0].last; i++)
    for (int64_t j = t[1].first; j < t[1].last; j++) {
      int64_t row = t[0].start + i - t[0].first, line = t[1].start + j - t[1].first;
      int64_t from = ((x * ex[2] + row) * ex[3] + line) * ex[4] + t[2].start;
      int64_t tap = ((w * ew[2] + i) * ew[3] + j) * ew[4] + t[2].first;
      for (int64_t k = t[2].first; k < t[2].last; k++) visit(from++, tap++, y);
    }
}

/* Walks y and w; where they meet x, `visit` gets the three elements' numbers. */
template <typename Visit>
static void walk(const shim_convolution &c, Visit visit) {
  const int64_t *e = c.y.extent, channels = c.w.extent[1];
  for (int64_t y = 0; y < count_of(c.y); y++) {
    int64_t co = y / (e[4] * e[3] * e[2]) % e[1], n = y / (e[4] * e[3] * e[2] * e[1]);
    const taps t[] = {taps_at(c, 0, y / (e[4] * e[3]) % e[2]), taps_at(c, 1, y / e[4] % e[3]),
                      taps_at(c, 2, y % e[4])};
    for (int64_t ci = 0; ci < channels; ci++)
      walk_taps(c, t, n * channels + ci, co * channels + ci, y, visit);
  }
}

/* One thread computes all, in float32 however tensors are stored. */
static void convolve(const shim_convolution &c, int direction, void *workspace) {
  const shim_view *views[] = {&c.x, &c.w, &c.y};
  static const int target_of[] = {2, 0, 1}; /* forward, data, filter */
  const shim_view &to = *views[target_of[direction]];
  std::vector<float> values[3];
  memset(workspace, 0x7f, (size_t)WORKSPACE);
  for (int i = 0; i < 3; i++) {
    values[i].resize((size_t)count_of(*views[i]));
    for (size_t k = 0; k < values[i].size() && views[i] != &to; k++)
      values[i][k] = read(*views[i], offset_of(*views[i], (int64_t)k));
  }
  float *x = values[0].data(), *w = values[1].data(), *y = values[2].data();
  if (direction == 0)
    walk(c, [=](int64_t i, int64_t j, int64_t k) { y[k] += x[i] * w[j]; });
  else if (direction == 1)
    walk(c, [=](int64_t i, int64_t j, int64_t k) { x[i] += w[j] * y[k]; });
  else
    walk(c, [=](int64_t i, int64_t j, int64_t k) { w[j] += x[i] * y[k]; });
  for (int64_t k = 0; k < count_of(to); k++)
    write(to, offset_of(to, k), values[target_of[direction]][(size_t)k]);
}

template <typename T>
static void copy_attribute(const shim_bag &bag, int name, T *to) {
  const std::vector<unsigned char> &bytes = bag.bytes.at(name);
  memcpy(to, bytes.data(), bytes.size());
}

static shim_view view_of(const shim_bag &operation, int name, const shim_bag &pack) {
  const shim_bag &tensor = *operation.parts.at(name);
  shim_view view = {};
  int64_t id, ids[3];
  void *pointers[3];
  copy_attribute(tensor, CUDNN_ATTR_TENSOR_DATA_TYPE, &view.type);
  copy_attribute(tensor, CUDNN_ATTR_TENSOR_DIMENSIONS, view.extent);
  copy_attribute(tensor, CUDNN_ATTR_TENSOR_STRIDES, view.stride);
  copy_attribute(tensor, CUDNN_ATTR_TENSOR_UNIQUE_ID, &id);
  copy_attribute(pack, CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, ids);
  copy_attribute(pack, CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, pointers);
  for (int i = 0; i < 3; i++)
    if (ids[i] == id) view.memory = pointers[i];
  return view;
}

/* Attribute names of an operation's tensors x, w, y and its convolution, by direction. */
static const int names[][4] = {
    {CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W,
     CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y,
     CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC},
    {CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DX, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_W,
     CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DY,
     CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_CONV_DESC},
    {CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_X, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DW,
     CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DY,
     CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_CONV_DESC},
};

static int direction_of(const shim_bag &operation) {
  if (operation.type == CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR) return 0;
  return operation.type == CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_DATA_DESCRIPTOR ? 1 : 2;
}

cudnnStatus_t cudnnBackendExecute(cudnnHandle_t handle, cudnnBackendDescriptor_t plan,
                                  cudnnBackendDescriptor_t pack) {
  if (!plan->bag->finalized || !pack->bag->finalized) return CUDNN_STATUS_BAD_PARAM;
  const shim_bag &config = *plan->bag->parts.at(CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG);
  if (config.engine == 0) shim_fail("cuDNN: an engine runs that does not repeat its bits");
  const shim_bag &graph = *config.parts.at(CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH);
  const shim_bag &operation = *graph.parts.at(CUDNN_ATTR_OPERATIONGRAPH_OPS);
  int direction = direction_of(operation);
  const shim_bag &convolution = *operation.parts.at(names[direction][3]);
  shim_convolution c = {};
  c.x = view_of(operation, names[direction][0], *pack->bag);
  c.w = view_of(operation, names[direction][1], *pack->bag);
  c.y = view_of(operation, names[direction][2], *pack->bag);
  copy_attribute(convolution, CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS, c.padding);
  copy_attribute(convolution, CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES, c.stride);
  void *workspace;
  copy_attribute(*pack->bag, CUDNN_ATTR_VARIANT_PACK_WORKSPACE, &workspace);
  shim_queue::work work;
  work.run = [c, direction, workspace] {
    shim_reach reach;
    convolve(c, direction, workspace);
  };
  cudaError_t code = shim_issue(handle->stream, work);
  return code == cudaSuccess ? CUDNN_STATUS_SUCCESS : CUDNN_STATUS_BAD_PARAM;
}
