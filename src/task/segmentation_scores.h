/* Which numbers a row of a segmentation's scores has, and where (internal to the task). */
#pragma once
#include "metrics/segmentation.h"
#include "task/segmentation.h"

/* Of a case as a whole. */
enum segmentation_number {
  SEGMENTATION_DICE,     /* means over classes but the background, or over structures */
  SEGMENTATION_IOU,      /* the same */
  SEGMENTATION_IOU_ALL,  /* with the background; none for structures that overlap */
  SEGMENTATION_HD95,     /* mm, mean as above */
  SEGMENTATION_NSD,      /* surface Dice, mean as above */
  SEGMENTATION_PRESENT,  /* how many structures the truth has */
  SEGMENTATION_MISSED,   /* how many of these the prediction does not have */
  SEGMENTATION_SPURIOUS, /* how many only the prediction has */
  SEGMENTATION_VOXEL_ML, /* the volume of a voxel */
  SEGMENTATION_NUMBERS,
};

/* Of a class or structure. */
enum segmentation_kind {
  SEGMENTATION_CLASS_DICE,
  SEGMENTATION_CLASS_IOU,
  SEGMENTATION_CLASS_TP,
  SEGMENTATION_CLASS_FP,
  SEGMENTATION_CLASS_FN,
  SEGMENTATION_CLASS_HD95,
  SEGMENTATION_CLASS_NSD,
  SEGMENTATION_KINDS,
};

/* Of the category that the network tells of the case as a whole, where it tells one. */
enum segmentation_verdict {
  SEGMENTATION_CATEGORY_CORRECT,   /* 1 or 0; its mean is the accuracy */
  SEGMENTATION_CATEGORY,           /* none where it is not known */
  SEGMENTATION_CATEGORY_PREDICTED, /* the likeliest */
  SEGMENTATION_VERDICTS,
};

struct segmentation_table {
  bool detailed, overlapping;
  int classes;    /* all, with the background where there is one */
  int first;      /* class or structure that has the first column of each kind */
  int listed;     /* how many have columns of their own */
  int kinds;      /* how many kinds there are */
  int numbers;    /* how many numbers of the case as a whole */
  int categories; /* how many categories there are; 0: none are told */
  int verdicts;   /* how many numbers there are of them, behind those of classes */
};

CHECKED enum status segmentation_table_plan(const struct task_run *run, bool detailed,
                                            struct segmentation_table *table);

/* The column of a class's number, -1: there is none. */
int segmentation_table_column(const struct segmentation_table *table, enum segmentation_kind kind,
                              int c);

/* The column of that, -1: there is none. */
int segmentation_table_verdict(const struct segmentation_table *table,
                               enum segmentation_verdict verdict);

/* What class or structure c is called. */
enum { SEGMENTATION_NAME_BYTES = 160 };
void segmentation_class_name(const struct task_run *run, bool overlapping, int c,
                             char name[SEGMENTATION_NAME_BYTES]);
