/* Packs weights for a pass on tensor cores, adding up those that read the same stored voxel. */
#include "kernels/common/cuda.h"
#include "kernels/conv/conv_cuda_matrix.h"

enum { PACK_THREADS = 256 };

/* The weights of one source. */
struct packing {
  const float *w; /* at the first channel of the input in question */
  void *to;
  int64_t count;                        /* packed elements */
  int64_t target_stride, source_stride; /* of channels in w */
  int target_channels, source_channels;
  int kernel[3], phases[3], taps[3];         /* taps: the most of any phase */
  unsigned char reads[3][2][CONV_MOST_TAPS]; /* bit k: kernel index k counts at the tap */
  int chunks, block_channels, warp_channels;
};
struct packings {
  struct packing each[OP_MAX_INPUTS];
};

/* A place in the packed weights. */
struct place {
  int element, row, tap[3], phase[3], chunk, tile;
};

__device__ static inline int take(int64_t *index, int extent) {
  int64_t rest = *index / extent;
  int digit = (int)(*index - rest * extent);
  *index = rest;
  return digit;
}

__device__ static struct place find_place(const struct packing *p, int64_t index, int elements) {
  struct place place;
  place.element = take(&index, elements);
  place.row = take(&index, p->block_channels);
  place.tap[2] = take(&index, p->taps[2]);
  place.tap[1] = take(&index, p->taps[1]);
  for (int i = 2; i >= 0; i--) place.phase[i] = take(&index, p->phases[i]);
  place.tap[0] = take(&index, p->taps[0]);
  place.chunk = take(&index, p->chunks);
  place.tile = (int)index;
  return place;
}

/* The channel in a packed row: lane t holds columns 2t and 2t + 1 of each group of 8, which are
 * channels side by side. */
__device__ static int channel_of(const struct packing *p, int row) {
  int within = row % p->warp_channels, column = within % 8;
  return row - within + column / 2 * (p->warp_channels / 4) + within / 8 * 2 + column % 2;
}

/* Which channel of a chunk lies at a place in a row: every second four rows have their halves
 * swapped. */
__device__ static int source_of(int element, int row, int elements) {
  int half = elements / 2;
  return (element / half ^ (row / 4 % 2)) * half + element % half;
}

__device__ static float sum_weights(const struct packing *p, const float *w,
                                    const struct place *place) {
  float sum = 0;
  unsigned reads[3];
  for (int i = 0; i < 3; i++) reads[i] = p->reads[i][place->phase[i]][place->tap[i]];
  for (int d = 0; d < p->kernel[0]; d++)
    for (int h = 0; h < p->kernel[1]; h++)
      for (int k = 0; k < p->kernel[2]; k++)
        if (reads[0] >> d & reads[1] >> h & reads[2] >> k & 1)
          sum += w[(d * p->kernel[1] + h) * p->kernel[2] + k];
  return sum;
}

template <typename T>
__global__ void pack_weights(const __grid_constant__ struct packings packings) {
  const struct packing *p = &packings.each[blockIdx.y];
  const int elements = MATRIX_CHUNK / (int)sizeof(T);
  int64_t index = (int64_t)blockIdx.x * PACK_THREADS + threadIdx.x;
  if (index >= p->count) return;
  struct place place = find_place(p, index, elements);
  int target = place.tile * p->block_channels + channel_of(p, place.row);
  int source = place.chunk * elements + source_of(place.element, place.row, elements);
  float sum = 0;
  if (target < p->target_channels && source < p->source_channels)
    sum = sum_weights(p, p->w + target * p->target_stride + source * p->source_stride, &place);
  ((T *)p->to)[index] = from_float<T>(sum);
}

static void set_reads(const struct node *node, bool forward, int input, struct packing *p) {
  for (int i = 0; i < 3; i++) {
    struct conv_extent e = conv_cuda_extent(node, input, i);
    struct conv_axis axis =
        forward ? conv_axis_forward(e, e.upsample ? 2 : 1) : conv_axis_gradient(e);
    for (int phase = 0; phase < axis.phases; phase++)
      for (int k = 0; k < e.kernel; k++)
        for (int child = 0; child < 2; child++) {
          int tap = axis.tap[phase][k][child];
          if (tap >= 0) p->reads[i][phase][tap] |= (unsigned char)(1 << k);
        }
  }
}

static struct packing packing_of(const struct node *node, const struct io *io, bool forward,
                                 int input, const struct matrix_pass *pass,
                                 const struct matrix_source *source) {
  struct conv_cuda_weights weights = conv_cuda_weights_of(node, input);
  struct packing p;
  memset(&p, 0, sizeof p);
  p.w = (const float *)io->w[CONV_WEIGHT] + weights.offset;
  p.target_stride = forward ? weights.output : weights.input;
  p.source_stride = forward ? weights.input : weights.output;
  p.target_channels = forward ? node->y.shape.c : node->x[input].shape.c;
  p.source_channels = forward ? node->x[input].shape.c : node->y.shape.c;
  for (int i = 0; i < 3; i++) {
    p.kernel[i] = weights.kernel[i];
    p.phases[i] = source->phases[i];
    p.taps[i] = source->most_taps[i];
  }
  p.chunks = source->chunks;
  p.block_channels = pass->block_channels;
  p.warp_channels = pass->warp_channels;
  set_reads(node, forward, input, &p);
  return p;
}

void conv_cuda_matrix_pack(const struct node *node, const struct io *io, bool forward, int input,
                           struct matrix_pass *pass, void *workspace, struct stream *stream) {
  struct packings packings;
  memset(&packings, 0, sizeof packings);
  unsigned char *to = (unsigned char *)workspace;
  size_t bytes, each = dtype_bytes(node->activation);
  int64_t most = 0;
  for (int i = 0; i < pass->count; i++, to += conv_cuda_round(bytes)) {
    struct packing *p = &packings.each[i];
    *p = packing_of(node, io, forward, forward ? i : input, pass, &pass->source[i]);
    bytes = conv_cuda_matrix_packed(pass, i);
    p->count = (int64_t)(bytes / each);
    p->to = to;
    pass->source[i].packed = to;
    if (p->count > most) most = p->count;
  }
  dim3 grid(cuda_blocks(most, PACK_THREADS), (unsigned)pass->count);
  if (node->activation == DTYPE_F32)
    CUDA_LAUNCH((pack_weights<float>), grid, PACK_THREADS, 0, stream, packings);
  else if (node->activation == DTYPE_BF16)
    CUDA_LAUNCH((pack_weights<__nv_bfloat16>), grid, PACK_THREADS, 0, stream, packings);
  else
    CUDA_LAUNCH((pack_weights<__half>), grid, PACK_THREADS, 0, stream, packings);
}
