/* --help, --version and --list. */
#pragma once
#include <stdbool.h>
#include <stdio.h>

/* Answers if `word` is one of them. */
bool list_answer(const char *word, FILE *out);
