/* oneDNN's C API, versions 2 and 3: what differs between them is in the first section. Primitives
 * are made while OpenMP is set to one thread, which makes them plans for one thread. */
#include "kernels/conv/conv_onednn_library.h"
#include <oneapi/dnnl/dnnl.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>

enum { AXES = 5, MOST_ARGUMENTS = 5, MOST_SLOW_WORK = 4000000 /* flops */ };

/* What a problem becomes on the way to a primitive. */
struct recipe {
  dnnl_dims_t stride, dilation, before, after;
  dnnl_alg_kind_t algorithm;
};

static dnnl_engine_t engine(void) {
  static dnnl_engine_t kept;
  if (!kept && dnnl_engine_create(&kept, dnnl_cpu, 0) != dnnl_success) kept = NULL;
  return kept;
}

/* --- what differs between versions: a description of memory, and what makes a primitive --- */

#if DNNL_VERSION_MAJOR >= 3

typedef const_dnnl_memory_desc_t description;
typedef dnnl_memory_desc_t own_description;

static bool describe(own_description *to, int axes, const dnnl_dims_t extent,
                     dnnl_format_tag_t tag) {
  return dnnl_memory_desc_create_with_tag(to, axes, extent, dnnl_f32, tag) == dnnl_success;
}

static bool describe_strides(own_description *to, int axes, const dnnl_dims_t extent,
                             const dnnl_dims_t strides) {
  return dnnl_memory_desc_create_with_strides(to, axes, extent, dnnl_f32, strides) == dnnl_success;
}

static void forget(own_description *own) {
  if (*own) dnnl_memory_desc_destroy(*own);
  *own = NULL;
}

static description view(const own_description *own) {
  return *own;
}

static dnnl_status_t append_sum(dnnl_post_ops_t steps) {
  return dnnl_post_ops_append_sum(steps, 1, 0, dnnl_data_type_undef);
}

static dnnl_status_t append_leaky(dnnl_post_ops_t steps, float slope) {
  return dnnl_post_ops_append_eltwise(steps, dnnl_eltwise_relu, slope, 0);
}

static dnnl_status_t make_forward(dnnl_primitive_desc_t *made, const struct recipe *recipe,
                                  description x, description w, description bias, description y,
                                  const_dnnl_primitive_attr_t attributes) {
  return dnnl_convolution_forward_primitive_desc_create(
      made, engine(), dnnl_forward_training, recipe->algorithm, x, w, bias, y, recipe->stride,
      recipe->dilation, recipe->before, recipe->after, attributes);
}

static dnnl_status_t make_data(dnnl_primitive_desc_t *made, const struct recipe *recipe,
                               description x, description w, description y,
                               const_dnnl_primitive_attr_t attributes,
                               const_dnnl_primitive_desc_t forward) {
  return dnnl_convolution_backward_data_primitive_desc_create(
      made, engine(), recipe->algorithm, x, w, y, recipe->stride, recipe->dilation, recipe->before,
      recipe->after, forward, attributes);
}

static dnnl_status_t make_weight(dnnl_primitive_desc_t *made, const struct recipe *recipe,
                                 description x, description w, description y,
                                 const_dnnl_primitive_attr_t attributes,
                                 const_dnnl_primitive_desc_t forward) {
  return dnnl_convolution_backward_weights_primitive_desc_create(
      made, engine(), recipe->algorithm, x, w, NULL, y, recipe->stride, recipe->dilation,
      recipe->before, recipe->after, forward, attributes);
}

#else

typedef const dnnl_memory_desc_t *description;
typedef dnnl_memory_desc_t own_description;

static bool describe(own_description *to, int axes, const dnnl_dims_t extent,
                     dnnl_format_tag_t tag) {
  return dnnl_memory_desc_init_by_tag(to, axes, extent, dnnl_f32, tag) == dnnl_success;
}

static bool describe_strides(own_description *to, int axes, const dnnl_dims_t extent,
                             const dnnl_dims_t strides) {
  return dnnl_memory_desc_init_by_strides(to, axes, extent, dnnl_f32, strides) == dnnl_success;
}

static void forget(own_description *own) {
  (void)own;
}

static description view(const own_description *own) {
  return own;
}

static dnnl_status_t append_sum(dnnl_post_ops_t steps) {
  return dnnl_post_ops_append_sum(steps, 1);
}

static dnnl_status_t append_leaky(dnnl_post_ops_t steps, float slope) {
  return dnnl_post_ops_append_eltwise(steps, 1, dnnl_eltwise_relu, slope, 0);
}

static dnnl_status_t make_forward(dnnl_primitive_desc_t *made, const struct recipe *recipe,
                                  description x, description w, description bias, description y,
                                  const_dnnl_primitive_attr_t attributes) {
  dnnl_convolution_desc_t asked;
  dnnl_status_t code = dnnl_dilated_convolution_forward_desc_init(
      &asked, dnnl_forward_training, recipe->algorithm, x, w, bias, y, recipe->stride,
      recipe->dilation, recipe->before, recipe->after);
  return code ? code : dnnl_primitive_desc_create(made, &asked, attributes, engine(), NULL);
}

static dnnl_status_t make_data(dnnl_primitive_desc_t *made, const struct recipe *recipe,
                               description x, description w, description y,
                               const_dnnl_primitive_attr_t attributes,
                               const_dnnl_primitive_desc_t forward) {
  dnnl_convolution_desc_t asked;
  dnnl_status_t code = dnnl_dilated_convolution_backward_data_desc_init(
      &asked, recipe->algorithm, x, w, y, recipe->stride, recipe->dilation, recipe->before,
      recipe->after);
  return code ? code : dnnl_primitive_desc_create(made, &asked, attributes, engine(), forward);
}

static dnnl_status_t make_weight(dnnl_primitive_desc_t *made, const struct recipe *recipe,
                                 description x, description w, description y,
                                 const_dnnl_primitive_attr_t attributes,
                                 const_dnnl_primitive_desc_t forward) {
  dnnl_convolution_desc_t asked;
  dnnl_status_t code = dnnl_dilated_convolution_backward_weights_desc_init(
      &asked, recipe->algorithm, x, w, NULL, y, recipe->stride, recipe->dilation, recipe->before,
      recipe->after);
  return code ? code : dnnl_primitive_desc_create(made, &asked, attributes, engine(), forward);
}

#endif

/* --- making one --- */

struct conv_onednn {
  struct conv_onednn_problem problem;
  dnnl_primitive_t primitive; /* NULL: oneDNN has none that is fast */
  dnnl_primitive_desc_t made;
  own_description plain; /* the weights as the parameter block has them, or as in `room` */
  dnnl_primitive_t reorder;
  struct conv_onednn *next;
};

/* What is needed while one is made. */
struct workshop {
  struct recipe recipe;
  own_description x, y, w, bias;
  dnnl_primitive_attr_t attributes;
  dnnl_post_ops_t steps;
  dnnl_primitive_desc_t forward, reorder;
};

static bool describe_tensor(own_description *to, const struct tensor *tensor) {
  const struct shape *s = &tensor->shape;
  const dnnl_dims_t extent = {s->n, s->c, s->d, s->h, s->w};
  return describe(to, AXES, extent, tensor->layout == LAYOUT_BLOCKED ? dnnl_nCdhw16c : dnnl_ncdhw);
}

static bool is_padded(const struct conv_onednn_problem *problem) {
  return problem->x_channels != problem->x.shape.c;
}

static bool describe_all(struct workshop *shop, struct conv_onednn *made) {
  const struct conv_onednn_problem *p = &made->problem;
  const int *k = p->kernel;
  const dnnl_dims_t extent = {p->y.shape.c, p->x.shape.c, k[0], k[1], k[2]};
  const int64_t taps = (int64_t)k[0] * k[1] * k[2];
  bool padded = is_padded(p);
  const dnnl_dims_t strides = {padded ? taps * p->x.shape.c : p->y_step, padded ? taps : p->x_step,
                               k[1] * k[2], k[2], 1};
  for (int i = 0; i < 3; i++) {
    shop->recipe.stride[i] = p->stride[i];
    shop->recipe.before[i] = p->before[i];
    shop->recipe.after[i] = p->after[i];
  }
  shop->recipe.algorithm = dnnl_convolution_direct;
  return describe_tensor(&shop->x, &p->x) && describe_tensor(&shop->y, &p->y) &&
         describe(&shop->w, AXES, extent, dnnl_format_tag_any) &&
         describe(&shop->bias, 1, extent, dnnl_x) &&
         describe_strides(&made->plain, AXES, extent, strides);
}

static bool set_attributes(struct workshop *shop, const struct conv_onednn_problem *problem) {
  if (dnnl_primitive_attr_create(&shop->attributes) || dnnl_post_ops_create(&shop->steps) ||
      dnnl_primitive_attr_set_scratchpad_mode(shop->attributes, dnnl_scratchpad_mode_user))
    return false;
  if (problem->direction != CONV_ONEDNN_FORWARD) return true;
  if (problem->add && append_sum(shop->steps)) return false;
  if (problem->slope != 1 && append_leaky(shop->steps, problem->slope)) return false;
  return !dnnl_primitive_attr_set_post_ops(shop->attributes, shop->steps);
}

static bool make_convolution(struct workshop *shop, struct conv_onednn *made) {
  const struct conv_onednn_problem *p = &made->problem;
  description x = view(&shop->x), y = view(&shop->y), w = view(&shop->w);
  description bias = p->bias ? view(&shop->bias) : NULL;
  const struct recipe *recipe = &shop->recipe;
  if (p->direction == CONV_ONEDNN_FORWARD)
    return !make_forward(&made->made, recipe, x, w, bias, y, shop->attributes);
  if (make_forward(&shop->forward, recipe, x, w, NULL, y, shop->attributes)) return false;
  dnnl_status_t code =
      p->direction == CONV_ONEDNN_DATA
          ? make_data(&made->made, recipe, x, w, y, shop->attributes, shop->forward)
          : make_weight(&made->made, recipe, x, w, y, shop->attributes, shop->forward);
  return code == dnnl_success;
}

/* Of so little work that it does not matter how it is done: small networks have such layers. */
static bool is_small(const struct conv_onednn_problem *p) {
  return 2.0 * p->x.shape.c * p->y.shape.c * shape_voxels(p->y.shape) * p->kernel[0] *
             p->kernel[1] * p->kernel[2] <
         MOST_SLOW_WORK;
}

/* Everything else is slow: references, and matrix products of rearranged tensors. */
static bool is_fast(const_dnnl_primitive_desc_t made) {
  const char *name = NULL;
  if (dnnl_primitive_desc_query(made, dnnl_query_impl_info_str, 0, &name) || !name) return false;
  return strncmp(name, "jit", 3) == 0 || strncmp(name, "brg", 3) == 0;
}

/* oneDNN 2.6 reads past the end of an x that is smaller than the kernel. */
static bool is_sound(const struct conv_onednn_problem *problem) {
  const int extent[] = {problem->x.shape.d, problem->x.shape.h, problem->x.shape.w};
  bool strided = false, small = false;
  for (int i = 0; i < 3; i++) {
    strided = strided || problem->stride[i] != 1;
    small = small || extent[i] < problem->kernel[i];
  }
  return problem->direction != CONV_ONEDNN_WEIGHT || !strided || !small;
}

static description packed_weights(const struct conv_onednn *made) {
  bool gradient = made->problem.direction == CONV_ONEDNN_WEIGHT;
  return dnnl_primitive_desc_query_md(
      made->made, gradient ? dnnl_query_diff_weights_md : dnnl_query_weights_md, 0);
}

static bool make_reorder(struct workshop *shop, struct conv_onednn *made) {
  description plain = view(&made->plain), packed = packed_weights(made);
  bool gradient = made->problem.direction == CONV_ONEDNN_WEIGHT;
  return !dnnl_reorder_primitive_desc_create(&shop->reorder, gradient ? packed : plain, engine(),
                                             gradient ? plain : packed, engine(), NULL) &&
         !dnnl_primitive_create(&made->reorder, shop->reorder);
}

static void workshop_close(struct workshop *shop) {
  own_description *descriptions[] = {&shop->x, &shop->y, &shop->w, &shop->bias};
  for (size_t i = 0; i < sizeof descriptions / sizeof *descriptions; i++) forget(descriptions[i]);
  if (shop->attributes) dnnl_primitive_attr_destroy(shop->attributes);
  if (shop->steps) dnnl_post_ops_destroy(shop->steps);
  if (shop->forward) dnnl_primitive_desc_destroy(shop->forward);
  if (shop->reorder) dnnl_primitive_desc_destroy(shop->reorder);
}

static void make(struct conv_onednn *made) {
  struct workshop shop;
  memset(&shop, 0, sizeof shop);
  int threads = omp_get_max_threads();
  omp_set_num_threads(1);
  if (!engine() || !is_sound(&made->problem) || !describe_all(&shop, made) ||
      !set_attributes(&shop, &made->problem) || !make_convolution(&shop, made) ||
      !(is_small(&made->problem) || is_fast(made->made)) || !make_reorder(&shop, made) ||
      dnnl_primitive_create(&made->primitive, made->made))
    made->primitive = NULL;
  omp_set_num_threads(threads);
  workshop_close(&shop);
}

const struct conv_onednn *conv_onednn_find(const struct conv_onednn_problem *problem) {
  static struct conv_onednn *kept;
  struct conv_onednn *found = kept;
  while (found && memcmp(&found->problem, problem, sizeof *problem) != 0) found = found->next;
  if (!found) {
    found = calloc(1, sizeof *found);
    if (!found) return NULL;
    memcpy(&found->problem, problem, sizeof *problem);
    make(found);
    found->next = kept;
    kept = found;
  }
  return found->primitive ? found : NULL;
}

/* --- using one --- */

size_t conv_onednn_weight_bytes(const struct conv_onednn *convolution) {
  return dnnl_memory_desc_get_size(packed_weights(convolution));
}

size_t conv_onednn_scratch_bytes(const struct conv_onednn *convolution) {
  description scratch =
      dnnl_primitive_desc_query_md(convolution->made, dnnl_query_scratchpad_md, 0);
  return scratch ? dnnl_memory_desc_get_size(scratch) : 0;
}

bool conv_onednn_alike(const struct conv_onednn *a, const struct conv_onednn *b) {
  return dnnl_memory_desc_equal(packed_weights(a), packed_weights(b));
}

/* A tensor of a call: its role, its memory. */
struct argument {
  int role;
  description description;
  const void *memory;
};

static bool execute(const_dnnl_primitive_t primitive, const struct argument *arguments, int count) {
  dnnl_exec_arg_t list[MOST_ARGUMENTS] = {0};
  dnnl_stream_t stream = NULL;
  bool good = dnnl_stream_create(&stream, engine(), dnnl_stream_default_flags) == dnnl_success;
  for (int i = 0; i < count && good; i++) {
    list[i].arg = arguments[i].role;
    good = dnnl_memory_create(&list[i].memory, arguments[i].description, engine(),
                              (void *)(uintptr_t)arguments[i].memory) == dnnl_success;
  }
  good = good && dnnl_primitive_execute(primitive, stream, count, list) == dnnl_success &&
         dnnl_stream_wait(stream) == dnnl_success;
  for (int i = 0; i < count; i++)
    if (list[i].memory) dnnl_memory_destroy(list[i].memory);
  if (stream) dnnl_stream_destroy(stream);
  return good;
}

/* Between plain weights and `room`, where x has all channels of its blocks. */
static void copy_taps(const struct conv_onednn_problem *p, float *plain, float *room) {
  int taps = p->kernel[0] * p->kernel[1] * p->kernel[2];
  size_t bytes = sizeof(float) * (size_t)taps;
  if (p->direction != CONV_ONEDNN_WEIGHT)
    memset(room, 0, bytes * (size_t)p->x.shape.c * (size_t)p->y.shape.c);
  for (int y = 0; y < p->y.shape.c; y++)
    for (int x = 0; x < p->x_channels; x++) {
      float *a = plain + y * p->y_step + x * p->x_step;
      float *b = room + ((int64_t)y * p->x.shape.c + x) * taps;
      if (p->direction == CONV_ONEDNN_WEIGHT)
        memcpy(a, b, bytes);
      else
        memcpy(b, a, bytes);
    }
}

enum status conv_onednn_reorder(const struct conv_onednn *convolution, void *plain, void *packed,
                                void *room) {
  const struct conv_onednn_problem *p = &convolution->problem;
  bool gradient = p->direction == CONV_ONEDNN_WEIGHT, padded = is_padded(p);
  struct argument arguments[] = {
      {gradient ? DNNL_ARG_TO : DNNL_ARG_FROM, view(&convolution->plain), padded ? room : plain},
      {gradient ? DNNL_ARG_FROM : DNNL_ARG_TO, packed_weights(convolution), packed},
  };
  if (padded && !gradient) copy_taps(p, plain, room);
  REQUIRE(execute(convolution->reorder, arguments, 2), STATUS_FAILED,
          "oneDNN: weights could not be reordered");
  if (padded && gradient) copy_taps(p, plain, room);
  return STATUS_OK;
}

bool conv_onednn_run(const struct conv_onednn *convolution, const struct conv_onednn_call *call) {
  static const int roles[][3] = {
      [CONV_ONEDNN_FORWARD] = {DNNL_ARG_SRC, DNNL_ARG_WEIGHTS, DNNL_ARG_DST},
      [CONV_ONEDNN_DATA] = {DNNL_ARG_DIFF_SRC, DNNL_ARG_WEIGHTS, DNNL_ARG_DIFF_DST},
      [CONV_ONEDNN_WEIGHT] = {DNNL_ARG_SRC, DNNL_ARG_DIFF_WEIGHTS, DNNL_ARG_DIFF_DST},
  };
  static const dnnl_query_t queries[][3] = {
      [CONV_ONEDNN_FORWARD] = {dnnl_query_src_md, dnnl_query_weights_md, dnnl_query_dst_md},
      [CONV_ONEDNN_DATA] = {dnnl_query_diff_src_md, dnnl_query_weights_md, dnnl_query_diff_dst_md},
      [CONV_ONEDNN_WEIGHT] = {dnnl_query_src_md, dnnl_query_diff_weights_md,
                              dnnl_query_diff_dst_md},
  };
  const struct conv_onednn_problem *p = &convolution->problem;
  const void *const memory[] = {call->x, call->weight, call->y};
  struct argument arguments[MOST_ARGUMENTS];
  int count = 0;
  for (int i = 0; i < 3; i++)
    arguments[count++] = (struct argument){
        roles[p->direction][i],
        dnnl_primitive_desc_query_md(convolution->made, queries[p->direction][i], 0), memory[i]};
  if (p->bias)
    arguments[count++] = (struct argument){
        DNNL_ARG_BIAS, dnnl_primitive_desc_query_md(convolution->made, dnnl_query_weights_md, 1),
        call->bias};
  if (conv_onednn_scratch_bytes(convolution) > 0)
    arguments[count++] = (struct argument){
        DNNL_ARG_SCRATCHPAD,
        dnnl_primitive_desc_query_md(convolution->made, dnnl_query_scratchpad_md, 0),
        call->scratch};
  return execute(convolution->primitive, arguments, count);
}

size_t conv_onednn_version(void) {
  const dnnl_version_t *version = dnnl_version();
  return (size_t)version->major * 10000 + (size_t)version->minor * 100 + (size_t)version->patch;
}
