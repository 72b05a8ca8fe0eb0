/* The element type of a reference kernel: a file named NAME_reference.c is compiled once for float
 * and once, with REAL_IS_DOUBLE, for double (gradient checks), and names what it exports through
 * REAL_NAME. */
#pragma once
#include "device/tensor.h"

#ifdef REAL_IS_DOUBLE
typedef double real;
#define REAL_DTYPE DTYPE_F64
#define REAL_NAME(name) name##_f64
#else
typedef float real;
#define REAL_DTYPE DTYPE_F32
#define REAL_NAME(name) name##_f32
#endif

/* Declares and lists both compilations of a reference kernel; end a kernel list with them. */
#define REAL_DECLARE(name) extern const struct kernel name##_f32, name##_f64
#define REAL_KERNELS(name) &name##_f32, &name##_f64
