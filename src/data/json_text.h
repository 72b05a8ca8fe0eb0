/* JSON strings from text that may not be UTF-8, as paths and messages need not be. */
#pragma once
#include <jansson.h>

/* A new string in which, where `text` is no UTF-8, every byte above 127 is '?'. NULL when out of
 * memory. */
json_t *json_text(const char *text);
