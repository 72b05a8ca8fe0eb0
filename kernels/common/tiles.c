/* Whether there are tiles, and their shapes. */
#include "kernels/common/tiles.h"
#include <pthread.h>
#include <stdint.h>
#if defined __x86_64__ && defined __linux__
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>

/* See "Using XSTATE features in user space applications" of the kernel's documentation. */
enum { ARCH_REQ_XCOMP_PERM = 0x1023, XFEATURE_XTILEDATA = 18 };

static bool available;

static void find_tiles(void) {
  unsigned a, b, c, d;
  const unsigned tiles = 1U << 24, bf16 = 1U << 22;
  if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || (d & (tiles | bf16)) != (tiles | bf16)) return;
  available = syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) == 0;
}

bool tiles_available(void) {
  static pthread_once_t once = PTHREAD_ONCE_INIT;
  pthread_once(&once, find_tiles);
  return available;
}

/* Palette 1: bytes of a row of each tile, and rows. */
static const struct {
  uint8_t palette, start, reserved[14];
  uint16_t row_bytes[16];
  uint8_t rows[16];
} shapes = {.palette = 1,
            .row_bytes = {64, 64, 64, 64, 64, 64, 64, 64},
            .rows = {16, 16, 16, 16, 16, 16, 16, 16}};

TILES_TARGET void tiles_begin(void) {
  _tile_loadconfig(&shapes);
}

TILES_TARGET void tiles_end(void) {
  _tile_release();
}
#else
bool tiles_available(void) {
  return false;
}
#endif
