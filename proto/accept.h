/* accept.h - which form of an answer a client asks for. Pure functions: any thread. */
#ifndef TRM_PROTO_ACCEPT_H
#define TRM_PROTO_ACCEPT_H

#include <stdbool.h>

#include "proto/problem.h"

/* One JSON object, server-sent events, or one JSON object a line. */
enum proto_framing { PROTO_JSON, PROTO_SSE, PROTO_NDJSON };

/* Of `types` ([count], at most PROTO_MOST_TYPES) the one that an Accept header likes best (RFC 9110, 12.5.1):
 * the one of highest quality; of equals the one that is named most exactly, and then the first. NULL, and a
 * header in which no media range can be read, accept anything. -1 if none is acceptable. */
enum { PROTO_MOST_TYPES = 4 };
int proto_accept_best(const char *header, const char *const *types, int count);

/* The same for the framings; false if none of them is acceptable. */
bool proto_accept(const char *header, enum proto_framing *framing);

/* proto_accept(), with *problem filled in if it is false. */
bool proto_accept_framing(const char *header, enum proto_framing *framing, struct proto_problem *problem);

/* Whether an Accept-Encoding header (NULL: none) names `coding` and does not refuse it. */
bool proto_accept_coding(const char *header, const char *coding);

const char *proto_framing_type(enum proto_framing framing); /* the Content-Type */

#endif
