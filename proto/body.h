/* body.h - what the readers of request bodies share. Pure functions: any thread. */
#ifndef TRM_PROTO_BODY_H
#define TRM_PROTO_BODY_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "proto/problem.h"

/* Parses `body` ([length] bytes; NULL if it is 0) into *root, which must be a JSON object; the caller
 * releases it. False with *problem filled in, and nothing to release. */
bool proto_body_parse(const char *body, size_t length, json_t **root, struct proto_problem *problem);

/* True if all members of `object`, which stands at `pointer`, are in the list `known` ("grid, grids"). */
bool proto_body_knows_members(const json_t *object, const char *pointer, const char *known,
                              struct proto_problem *problem);

#endif
