/* kserve.h - the Open Inference Protocol v2 (KServe, Triton) in JSON: the same puzzles and options as
 * /solve, in tensors.
 *
 *     {"id": "...", "parameters": {"max_steps": 16, ...},                  the options of options.h
 *      "inputs": [{"name": "grid", "shape": [n, 81] or [n, 9, 9], "datatype": "INT32", "data": [...]}],
 *      "outputs": [{"name": "answer"}, ...]}                               optional: all of them
 *
 * Input cells are the integers of grid.h, row by row, flat or nested. The binary tensor extension is not
 * spoken: binary input is refused; outputs come as JSON also to who would like them binary.
 * Pure functions: any thread. */
#ifndef TRM_PROTO_KSERVE_H
#define TRM_PROTO_KSERVE_H

#include "proto/answer.h"
#include "proto/request.h"

/* What a request says beyond its puzzles. */
struct proto_kserve_wish {
    char id[128];     /* "" if absent */
    unsigned outputs; /* bit i: output i of kserve.c's table */
};

/* Parses the body of an inference request ([length] bytes) into a request with a tensor, whose model is
 * for the caller to set. False with *problem filled in, and nothing to release. */
bool proto_kserve_read(const char *body, size_t length, const struct proto_limits *limits,
                       struct proto_request *request, struct proto_kserve_wish *wish, struct proto_problem *problem);

/* The answer: one tensor for each output that is wished for, over answers [count] of one form. `id` is
 * used if the wish has none. */
void proto_kserve_write_answers(struct proto_text *text, const struct proto_kserve_wish *wish, const char *id,
                                const char *model, const struct proto_answer *answers, int count);

/* The documents of GET /v2 and /v2/models/M, and of an error: {"error": "..."}. */
void proto_kserve_write_server(struct proto_text *text);
void proto_kserve_write_model(struct proto_text *text, const char *name, const struct proto_form *form);
void proto_kserve_write_problem(const struct proto_problem *problem, struct proto_text *text);

#endif
