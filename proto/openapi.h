/* openapi.h - the description of the wire, as JSON. Its source is openapi.yaml; openapi.py makes the C
 * file at build time. Constant data: any thread. */
#ifndef TRM_PROTO_OPENAPI_H
#define TRM_PROTO_OPENAPI_H

#include <stddef.h>

extern const char proto_openapi[]; /* [proto_openapi_length], and a terminator */
extern const size_t proto_openapi_length;

#endif
