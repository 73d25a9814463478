/* accept.h - which framing of an answer a client asks for. Pure functions: any thread. */
#ifndef TRM_PROTO_ACCEPT_H
#define TRM_PROTO_ACCEPT_H

#include <stdbool.h>

/* One JSON object, server-sent events, or one JSON object a line. */
enum proto_framing { PROTO_JSON, PROTO_SSE, PROTO_NDJSON };

/* The framing that an Accept header likes best (RFC 9110, 12.5.1): the one of highest quality; of equals
 * the one that is named most exactly, and then the first of the enum. NULL, and a header in which no
 * media range can be read, accept anything. False if none of the framings is acceptable. */
bool proto_accept(const char *header, enum proto_framing *framing);

const char *proto_framing_type(enum proto_framing framing); /* the Content-Type */

#endif
