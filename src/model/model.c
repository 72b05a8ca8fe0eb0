/* The table of networks. */
#include "model/model.h"
#include <string.h>
#include "base/text.h"

#define MODEL(name) extern const struct model model_##name;
#include "model/models.def"
#undef MODEL

const struct model *const models[] = {
#define MODEL(name) &model_##name,
#include "model/models.def"
#undef MODEL
    NULL};

enum { MOST_NAMES = 64 };

struct int_list model_numbers(const struct int_list *given, const struct int_list *own) {
  return given->count > 0 ? *given : *own;
}

enum status model_find(const char *name, const struct model **model) {
  const char *names[MOST_NAMES];
  int count = 0;
  for (; models[count] && count < MOST_NAMES; count++) {
    names[count] = models[count]->name;
    if (strcmp(name, names[count]) != 0) continue;
    *model = models[count];
    return STATUS_OK;
  }
  const char *nearest = text_nearest(name, names, count);
  FAIL(STATUS_USAGE, "model.name: unknown network \"%s\"%s%s%s", name,
       nearest ? "; did you mean \"" : "", nearest ? nearest : "", nearest ? "\"?" : "");
}
