/* The C++ side of the runtime API, for the CPU. */
#pragma once
#include "cuda_shim.h"
