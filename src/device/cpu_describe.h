/* The CPU of a node in words. Private to this room. */
#pragma once
#include <stdio.h>

void cpu_describe(FILE *out);
