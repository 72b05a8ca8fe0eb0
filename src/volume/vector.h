/* Loops over whole volumes, compiled for several instruction sets, one of which is chosen when the
 * program starts. The numbers are the same in all of them: nothing is contracted or reordered.
 * Private to the volume room, and for static functions: clang gives clones other files' callers do
 * not find. */
#pragma once

#if defined __has_feature
#if __has_feature(thread_sanitizer)
#define VECTOR_LOOP
#endif
#endif
#if !defined VECTOR_LOOP && defined __x86_64__ && defined __GLIBC__ && !defined __SANITIZE_THREAD__
#define VECTOR_LOOP __attribute__((target_clones("avx512f", "avx2", "default")))
#elif !defined VECTOR_LOOP
#define VECTOR_LOOP
#endif
