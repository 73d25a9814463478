/* cors.h - which web pages of other origins may read our answers. Read-only after the start. */
#ifndef TRM_SERVER_CORS_H
#define TRM_SERVER_CORS_H

#include <stdbool.h>

#include "engine/status.h"

struct srv_cors;

/* `list` is origins with commas between them ("https://a.example,http://localhost:3000"), or "*" for
 * every page; NULL: none, and no header is ever sent. TRM_INVALID names what is no origin. */
trm_status srv_cors_open(const char *list, struct srv_cors **cors, trm_error *err);
void srv_cors_close(struct srv_cors *cors); /* NULL is fine */

/* Whether there is any origin to allow. */
bool srv_cors_is_on(const struct srv_cors *cors);

/* Whether answers depend on the header Origin. */
bool srv_cors_varies(const struct srv_cors *cors);

/* The value of Access-Control-Allow-Origin for a request with this header Origin (NULL: it has none);
 * NULL: none is to be sent. Lives as long as both arguments. */
const char *srv_cors_allow(const struct srv_cors *cors, const char *origin);

#endif
