/* The fixed binary tree as a stack of finished nodes, like the digits of a binary counter. The only
 * place that knows which node is added to which. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "comm/tree.h"

/* node(lo, level) covers the slots [lo, lo + 2^level). Absent: none of them has data. */
struct tree_node {
  int lo, level;
  bool present;
  void *data;
};

/* The decomposition of a range of slots into aligned nodes has at most 2 * 31 of them. */
enum { TREE_STACK_NODES = 64 };

/* Adds right's data to left's, in left's place; called when both are present. */
typedef void tree_add(void *context, void *left, const void *right);

struct tree_stack {
  tree_add *add;
  void *context;
  struct tree_node node[TREE_STACK_NODES];
  int depth;
};

/* Appends the node that follows the last one in slot order and merges aligned siblings. */
void tree_stack_push(struct tree_stack *stack, struct tree_node node);

/* The root: what is left on the stack, merged from the right, because the children that would stand
 * between them are missing. An absent node when the stack is empty. */
struct tree_node tree_stack_finish(struct tree_stack *stack);

/* Whether `right` is the sibling that `left` waits for. */
bool tree_nodes_are_siblings(const struct tree_node *left, const struct tree_node *right);

/* The nodes that a rank is left with after adding its own slots; returns how many. */
int tree_partials(struct slot_range own, struct tree_node nodes[TREE_STACK_NODES]);
