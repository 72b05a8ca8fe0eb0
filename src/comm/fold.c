/* Folding nodes in tree order. */
#include "comm/fold.h"

bool tree_nodes_are_siblings(const struct tree_node *left, const struct tree_node *right) {
  int64_t width = (int64_t)1 << left->level;
  return left->level == right->level && left->lo % (2 * width) == 0 &&
         left->lo + width == right->lo;
}

/* The two last nodes become one, in the left one's place. */
static void merge_last(struct tree_stack *stack) {
  const struct tree_node *right = &stack->node[--stack->depth];
  struct tree_node *left = &stack->node[stack->depth - 1];
  if (left->present && right->present)
    stack->add(stack->context, left->data, right->data);
  else if (right->present)
    left->data = right->data;
  left->present |= right->present;
  left->level++;
}

void tree_stack_push(struct tree_stack *stack, struct tree_node node) {
  stack->node[stack->depth++] = node;
  while (stack->depth > 1 &&
         tree_nodes_are_siblings(&stack->node[stack->depth - 2], &stack->node[stack->depth - 1]))
    merge_last(stack);
}

struct tree_node tree_stack_finish(struct tree_stack *stack) {
  if (!stack->depth) return (struct tree_node){0};
  while (stack->depth > 1) merge_last(stack);
  return stack->node[--stack->depth];
}

int tree_partials(struct slot_range own, struct tree_node nodes[TREE_STACK_NODES]) {
  struct tree_stack stack = {.depth = 0};
  for (int i = 0; i < own.count; i++)
    tree_stack_push(&stack, (struct tree_node){.lo = own.first + i});
  for (int i = 0; i < stack.depth; i++) nodes[i] = stack.node[i];
  return stack.depth;
}
