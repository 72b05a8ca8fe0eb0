/* Runs the blocks of a launch, one after another, their threads as fibers: a thread runs until it
 * waits for others at a barrier or in a warp operation, then the next one in the order of
 * CUDA_SHIM_ORDER does. Waiting that can never end is reported. */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <algorithm>
#include "cuda_shim.h"
#include "shim.h"
#ifndef __x86_64__
#include <ucontext.h>
#endif

enum { MOST_THREADS = 1024, MARGIN_BYTE = 0xa5, UNSET_BYTE = 0xff };
enum : size_t { STACK_BYTES = 256 << 10, GUARD_BYTES = 4096, STRIDE = GUARD_BYTES + STACK_BYTES };
enum : size_t { SHARED_MOST = 227 << 10, SHARED_MARGIN = 1024 };

/* --- switching between stacks --- */

struct fiber {
#ifdef __x86_64__
  void *stack_pointer;
#else
  ucontext_t context;
#endif
};
static fiber host; /* who launched */
static fiber fibers[MOST_THREADS];
static fiber *running, *previous;
static char *stacks; /* of all fibers, each behind a guard page; NULL before the first launch */

#ifdef __x86_64__
/* Saves what a call must keep on the stack of who leaves, and takes it from that of who goes on. */
extern "C" void cuda_shim_switch(void **leave, void *enter);
asm(R"(
.text
.globl cuda_shim_switch
.type cuda_shim_switch, @function
cuda_shim_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size cuda_shim_switch, .-cuda_shim_switch
)");
#endif

/* To the address sanitizer the stacks of all fibers are one: telling it of every switch between
 * them would take as long as the switches. */
#ifdef SHIM_ASAN
static void *host_frames, *fiber_frames; /* what it keeps for either */
static const void *host_stack;
static size_t host_stack_bytes;

static void leaving(const fiber *to) {
  if (to == &host)
    __sanitizer_start_switch_fiber(&fiber_frames, host_stack, host_stack_bytes);
  else if (running == &host)
    __sanitizer_start_switch_fiber(&host_frames, stacks, MOST_THREADS * STRIDE);
}

static void arrived() {
  if (running == &host)
    __sanitizer_finish_switch_fiber(host_frames, nullptr, nullptr);
  else if (previous == &host)
    __sanitizer_finish_switch_fiber(fiber_frames, &host_stack, &host_stack_bytes);
}
#else
static void leaving(const fiber *) {
}
static void arrived() {
}
#endif

static void switch_to(fiber *to) {
  leaving(to);
  fiber *from = running;
  previous = from, running = to;
#ifdef __x86_64__
  cuda_shim_switch(&from->stack_pointer, to->stack_pointer);
#else
  swapcontext(&from->context, &to->context);
#endif
  arrived();
}

static void reserve_stacks() {
  void *memory = mmap(nullptr, MOST_THREADS * STRIDE, PROT_NONE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) shim_fail("no memory for the stacks of threads");
  stacks = (char *)memory;
}

static void fiber_make(fiber *made, void (*entry)()) {
  if (!stacks) reserve_stacks();
  char *stack = stacks + (size_t)(made - fibers) * STRIDE + GUARD_BYTES;
  if (mprotect(stack, STACK_BYTES, PROT_READ | PROT_WRITE) != 0)
    shim_fail("no memory for a thread's stack");
#ifdef __x86_64__
  enum { SAVED_REGISTERS = 6 };
  void **top = (void **)(stack + STACK_BYTES);
  top[-2] = (void *)entry; /* above it a return address of 0: the end of backtraces */
  made->stack_pointer = top - 2 - SAVED_REGISTERS;
#else
  getcontext(&made->context);
  made->context.uc_stack = {stack, 0, STACK_BYTES};
  makecontext(&made->context, entry, 0);
#endif
}

/* --- the threads of the running block --- */

enum thread_state { UNSTARTED, READY, AT_BARRIER, IN_WARP, RETURNED };

struct thread {
  thread_state state;
  uint3 index;
  fiber *stack;
  cuda_shim_line barrier;
  /* of its warp operation */
  const char *operation;
  unsigned mask;
  size_t bytes;
  bool parity;                 /* which of its two slots is filled; the other may still be read */
  unsigned peers, peer_parity; /* the lanes that came, and their parities: bits by lane */
  cuda_shim_finish *finish;    /* where the last lane finishes for all */
  alignas(16) unsigned char slot[2][CUDA_SHIM_EXCHANGE_BYTES];
};

/* The lanes of a warp that have not returned, those that wait in a warp operation, and what they
 * bring to `finish`. */
struct warp_lanes {
  unsigned alive, waiting;
  void *mine[warpSize];
};

static const cuda_shim_launch *launch; /* NULL: no kernel runs */
static thread threads[MOST_THREADS], *current;
static warp_lanes warps[MOST_THREADS / 32];
static int thread_count, returned, waiting; /* waiting: at the barrier */
static int order[MOST_THREADS], cursor;
static fiber *idle[MOST_THREADS];
static int idle_count, fiber_count;
static int votes, votes_before;           /* of the barrier that fills, and the last one */
static const std::function<void()> *body; /* of a thread of the running kernel */
alignas(4096) static unsigned char shared[SHARED_MOST + SHARED_MARGIN];

std::string shim_position() {
  if (!launch) return "";
  char text[256];
  int used = snprintf(text, sizeof text, " (kernel %.*s, block %u %u %u", (int)launch->name.size(),
                      launch->name.data(), blockIdx.x, blockIdx.y, blockIdx.z);
  if (current && used < (int)sizeof text)
    snprintf(text + used, sizeof text - (size_t)used, ", thread %u %u %u)", threadIdx.x,
             threadIdx.y, threadIdx.z);
  return text;
}

static std::string line_of(const cuda_shim_line &here) {
  return std::string(here.file) + ":" + std::to_string(here.line);
}

/* Where a thread waits; empty for one that does not. */
static std::string wait_of(const thread &t) {
  char lanes[24];
  if (t.state == AT_BARRIER) return "at " + line_of(t.barrier);
  if (t.state != IN_WARP) return "";
  snprintf(lanes, sizeof lanes, " of lanes %08x", t.mask);
  return std::string("in ") + t.operation + lanes;
}

/* Neighbours that wait in the same place are named together: the odd one out is what one looks for.
 */
[[noreturn]] static void report_deadlock() {
  std::string text;
  for (int first = 0, last; first < thread_count && text.size() < 2000; first = last + 1) {
    std::string wait = wait_of(threads[first]);
    for (last = first; last + 1 < thread_count && wait_of(threads[last + 1]) == wait;) last++;
    if (wait.empty()) continue;
    text += first == last ? "; thread " : "; threads ";
    text +=
        std::to_string(first) + (first == last ? " " : " to " + std::to_string(last) + " ") + wait;
  }
  current = nullptr;
  shim_fail("threads wait for ever%s", text.c_str());
}

/* --- who goes on --- */

static int find_ready() {
  for (int turn = 0; turn < 2; turn++, cursor = 0)
    for (; cursor < thread_count; cursor++) {
      thread_state state = threads[order[cursor]].state;
      if (state == READY || state == UNSTARTED) return order[cursor++];
    }
  return -1;
}

static void make_current(thread *next) {
  current = next;
  threadIdx = next->index;
}

static void thread_main();

/* The current thread waits or has returned: goes on with another one, or with the host. */
static void yield() {
  fiber *own = running;
  if (returned == thread_count) {
    current = nullptr;
    switch_to(&host);
    return;
  }
  int next = find_ready();
  if (next < 0) report_deadlock();
  thread *t = &threads[next];
  make_current(t);
  if (t->state == UNSTARTED) {
    t->state = READY;
    if (idle_count == 0) {
      fiber_make(&fibers[fiber_count], thread_main);
      idle[idle_count++] = &fibers[fiber_count++];
    }
    t->stack = idle[--idle_count];
  }
  if (t->stack != own) switch_to(t->stack);
}

static void leave_warp();

/* Runs threads until there are none, one after another unless they wait, and then waits to be used
 * again. */
static void thread_main() {
  arrived();
  for (;;) {
    (*body)();
    current->state = RETURNED;
    returned++;
    if (waiting > 0)
      shim_fail("a thread returned while %d wait at the barrier %s", waiting,
                line_of(std::find_if(threads, threads + thread_count,
                                     [](const thread &t) { return t.state == AT_BARRIER; })
                            ->barrier)
                    .c_str());
    leave_warp();
    idle[idle_count++] = running;
    yield();
  }
}

/* --- barriers --- */

int cuda_shim_barrier(int vote, cuda_shim_line here) {
  if (returned > 0)
    shim_fail("%d threads returned before the others came to the barrier %s", returned,
              line_of(here).c_str());
  current->barrier = here;
  current->state = AT_BARRIER;
  votes += vote != 0;
  waiting++;
  for (int i = 0; i < thread_count && waiting == thread_count; i++)
    if (threads[i].barrier.line != here.line)
      shim_fail("threads are at two barriers, %s and %s", line_of(threads[i].barrier).c_str(),
                line_of(here).c_str());
  if (waiting == thread_count) {
    for (int i = 0; i < thread_count; i++) threads[i].state = READY;
    votes_before = votes;
    votes = waiting = cursor = 0;
  }
  yield();
  return votes_before;
}

/* --- warps --- */

int cuda_shim_lane_id() {
  return (int)(current - threads) % warpSize;
}

static warp_lanes &own_warp() {
  return warps[(current - threads) / warpSize];
}

unsigned __activemask() {
  return own_warp().alive;
}

/* Does what the lanes of a full warp came for. */
static void finish_together(const warp_lanes &warp, const thread &of, unsigned mask) {
  if (mask != ~0U) shim_fail("%s: only lanes %08x of the warp came", of.operation, mask);
  of.finish(warp.mine);
}

/* Lets the lanes go on that wait with the lane `of`, if all of them have come. */
static void release_lanes(warp_lanes &warp, const thread &of) {
  thread *lanes = &threads[(&of - threads) / warpSize * warpSize];
  unsigned mask = of.mask & warp.alive, parities = 0;
  if (mask & ~warp.waiting) return;
  warp.waiting &= ~mask;
  for (unsigned left = mask; left; left &= left - 1) {
    const thread &peer = lanes[__builtin_ctz(left)];
    parities |= (unsigned)peer.parity << (&peer - lanes);
    bool same = peer.operation == of.operation || strcmp(peer.operation, of.operation) == 0;
    if (!same || peer.mask != of.mask || peer.bytes != of.bytes)
      shim_fail("lane %td is in %s of lanes %08x, lane %td in %s of lanes %08x", &of - lanes,
                of.operation, of.mask, &peer - lanes, peer.operation, peer.mask);
  }
  if (of.finish) finish_together(warp, of, mask);
  for (unsigned left = mask; left; left &= left - 1) {
    thread &peer = lanes[__builtin_ctz(left)];
    peer.state = READY;
    peer.peers = mask;
    peer.peer_parity = parities;
  }
}

/* The current thread has returned: others need not wait for it. */
static void leave_warp() {
  warp_lanes &warp = own_warp();
  int first = (int)(current - threads) / warpSize * warpSize;
  warp.alive &= ~(1U << cuda_shim_lane_id());
  for (unsigned left = warp.waiting; left; left &= left - 1)
    if (threads[first + __builtin_ctz(left)].state == IN_WARP)
      release_lanes(warp, threads[first + __builtin_ctz(left)]);
}

static void come(unsigned mask, const char *operation, const void *mine, size_t bytes) {
  int lane = cuda_shim_lane_id();
  if (!(mask >> lane & 1)) shim_fail("%s: lane %d is not in its mask %08x", operation, lane, mask);
  if (bytes > CUDA_SHIM_EXCHANGE_BYTES) shim_fail("%s of %zu bytes", operation, bytes);
  current->operation = operation;
  current->mask = mask;
  current->bytes = bytes;
  current->parity = !current->parity;
  if (bytes) memcpy(current->slot[current->parity], mine, bytes);
  current->state = IN_WARP;
  own_warp().waiting |= 1U << lane;
  release_lanes(own_warp(), *current);
  yield();
}

void cuda_shim_warp(unsigned mask, const char *operation, const void *mine, size_t bytes) {
  current->finish = nullptr;
  come(mask, operation, mine, bytes);
}

void cuda_shim_warp_together(const char *operation, void *mine, cuda_shim_finish *finish) {
  own_warp().mine[cuda_shim_lane_id()] = mine;
  current->finish = finish;
  come(~0U, operation, nullptr, 0);
}

const void *cuda_shim_lane(int lane) {
  static unsigned char absent[CUDA_SHIM_EXCHANGE_BYTES];
  lane &= warpSize - 1;
  if (current->peers >> lane & 1)
    return current[lane - cuda_shim_lane_id()].slot[current->peer_parity >> lane & 1];
  memset(absent, UNSET_BYTE, sizeof absent);
  return absent;
}

unsigned cuda_shim_ballot(unsigned mask, const char *operation, bool vote) {
  cuda_shim_warp(mask, operation, &vote, sizeof vote);
  unsigned votes_of_lanes = 0;
  for (int lane = 0; lane < warpSize; lane++)
    if (current->peers >> lane & 1)
      votes_of_lanes |= (unsigned)(*(const bool *)cuda_shim_lane(lane)) << lane;
  return votes_of_lanes;
}

/* --- shared memory --- */

unsigned char *cuda_shim_dynamic_shared(size_t alignment) {
  if (alignment > 128)
    shim_fail("dynamic shared memory is aligned to 128 bytes, not %zu", alignment);
  return shared;
}

static void open_shared() {
  size_t bytes = launch->shared_bytes;
  SHIM_UNPOISON(shared, sizeof shared);
  memset(shared, UNSET_BYTE, bytes);
  memset(shared + bytes, MARGIN_BYTE, SHARED_MARGIN);
  SHIM_POISON(shared + bytes, sizeof shared - bytes);
}

static void close_shared() {
  SHIM_UNPOISON(shared, sizeof shared);
  for (size_t i = 0; i < SHARED_MARGIN; i++)
    if (shared[launch->shared_bytes + i] != MARGIN_BYTE)
      shim_fail("written behind the %zu bytes of dynamic shared memory", launch->shared_bytes);
}

/* --- blocks --- */

enum order_kind { ASCENDING, DESCENDING, SHUFFLED };
static uint64_t random_state;

static order_kind order_of_environment() {
  const char *text = getenv("CUDA_SHIM_ORDER");
  if (!text || !*text || strcmp(text, "ascending") == 0) return ASCENDING;
  if (strcmp(text, "descending") == 0) return DESCENDING;
  if (strncmp(text, "shuffled", 8) != 0) shim_fail("CUDA_SHIM_ORDER is \"%s\"", text);
  random_state = text[8] ? strtoull(text + 9, nullptr, 10) : 0;
  return SHUFFLED;
}

static uint64_t random_below(uint64_t count) {
  random_state += 0x9e3779b97f4a7c15;
  uint64_t z = (random_state ^ random_state >> 30) * 0xbf58476d1ce4e5b9;
  z = (z ^ z >> 27) * 0x94d049bb133111eb;
  return (z ^ z >> 31) % count;
}

static void start_order(order_kind kind) {
  for (int i = 0; i < thread_count; i++) order[i] = kind == DESCENDING ? thread_count - 1 - i : i;
  for (int i = thread_count; kind == SHUFFLED && i > 1; i--)
    std::swap(order[i - 1], order[random_below((uint64_t)i)]);
}

static void run_block(order_kind kind) {
  open_shared();
  start_order(kind);
  for (int i = 0; i < thread_count; i++) threads[i].state = UNSTARTED;
  for (int first = 0; first < thread_count; first += warpSize)
    warps[first / warpSize] = {
        thread_count - first < warpSize ? (1U << (thread_count - first)) - 1 : ~0U, 0, {}};
  returned = waiting = votes = cursor = 0;
  running = &host;
  yield();
  close_shared();
}

void shim_run_blocks(const cuda_shim_launch &started) {
  static const order_kind kind = order_of_environment();
  const dim3 g = started.grid, b = started.block;
  launch = &started;
  body = &started.thread;
  gridDim = g, blockDim = b;
  thread_count = (int)(b.x * b.y * b.z);
  for (unsigned i = 0; i < (unsigned)thread_count; i++)
    threads[i].index = {i % b.x, i / b.x % b.y, i / b.x / b.y};
  uint64_t count = (uint64_t)g.x * g.y * g.z;
  const uint64_t prime = 2147483647; /* steps of it meet all blocks, if there are fewer */
  uint64_t first = kind == SHUFFLED ? random_below(count) : 0;
  for (uint64_t i = 0; i < count; i++) {
    uint64_t at = kind == DESCENDING                  ? count - 1 - i
                  : kind == SHUFFLED && count < prime ? (first + i * prime) % count
                                                      : i;
    blockIdx = {(unsigned)(at % g.x), (unsigned)(at / g.x % g.y), (unsigned)(at / g.x / g.y)};
    run_block(kind);
  }
  launch = nullptr;
  body = nullptr;
}
