/* request.h - the body of POST /solve, checked member by member.
 *
 *     {"model": "sudoku", "grid": ... | "grids": [...] | "task": {...}, "task_id": "00576224",
 *      "options": {"max_steps", ...}}      options.h
 *
 * Reading has two halves because the shape of a grid depends on the model: proto_request_read()
 * checks everything else, the caller finds the model, proto_request_tokens() reads the grids.
 * Members that we don't know are refused by name: a misspelt option must not be ignored.
 * A request belongs to one thread. */
#ifndef TRM_PROTO_REQUEST_H
#define TRM_PROTO_REQUEST_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/data/arc_task.h"
#include "proto/grid.h"
#include "proto/options.h"
#include "proto/problem.h"

struct proto_request {
    json_t *root;              /* owned; everything below borrows from it */
    const char *model;         /* NULL if absent */
    const json_t *grid;        /* the only grid, or the array of them */
    bool many;                 /* "grids" was given */
    int count;                 /* puzzles, >= 1; tests of a task */
    bool is_task;              /* "task" was given */
    struct data_arc_task task; /* owned */
    const char *task_id;       /* NULL if absent */
    int32_t *tensor;           /* [count, cells] owned: integers in the place of grids (kserve.h), else NULL */
    int cells, columns;        /* of a puzzle in the tensor; columns 0: not said */
    struct proto_options options;
};

/* Parses `body` ([length] bytes). False with *problem filled in, and nothing to release. */
bool proto_request_read(const char *body, size_t length, const struct proto_limits *limits,
                        struct proto_request *request, struct proto_problem *problem);

/* Cells of the first grid as far as one can tell, to choose a model by; 0 for a task. */
size_t proto_request_cells(const struct proto_request *request);

/* Whether the first grid has the shape and only symbols of `form`. */
bool proto_request_fits(const struct proto_request *request, const struct proto_form *form);

/* Reads puzzle `index` into tokens ([side * side] of `form`). Not of a task. */
bool proto_request_tokens(const struct proto_request *request, int index, const struct proto_form *form,
                          int32_t *tokens, struct proto_problem *problem);

void proto_request_release(struct proto_request *request);

#endif
