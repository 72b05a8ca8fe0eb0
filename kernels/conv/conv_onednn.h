/* How conv's table lists the kernel of oneDNN: present in builds with the library. */
#pragma once
#include "kernels/op.h"

#ifdef MEDTRAIN_HAS_ONEDNN
extern const struct kernel conv_onednn;
#define CONV_ONEDNN &conv_onednn,
#else
#define CONV_ONEDNN
#endif
