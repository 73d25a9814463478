/* framing.h - whether everyone agrees where a request ends. Loop thread.
 *
 * libmicrohttpd is lenient: it takes the first of two Content-Lengths, prefers Transfer-Encoding to either
 * and passes over a name with a space in it. A proxy before us may see another end, and its clients could
 * hide one request in the body of another (request smuggling). So such heads are refused
 * (RFC 9112, sections 5.1 and 6.3). */
#ifndef TRM_SERVER_FRAMING_H
#define TRM_SERVER_FRAMING_H

#include <stdbool.h>

#include "proto/problem.h"

struct MHD_Connection;

/* False with *problem filled in if the head leaves in doubt where the body ends; the connection must end
 * with the answer then. */
bool srv_framing_is_clear(struct MHD_Connection *connection, struct proto_problem *problem);

#endif
