/* admin.h - the key of those who may change a running server. Loop thread. */
#ifndef TRM_SERVER_ADMIN_H
#define TRM_SERVER_ADMIN_H

#include "server/exchange.h"
#include "server/options.h"

/* The key that the options name, NULL if they name none; the caller frees it. TRM_IO for a file that
 * cannot be read, TRM_INVALID for an empty key or two of them. */
trm_status srv_admin_read_key(const struct srv_options *options, char **key, trm_error *err);

/* Whether a request shows the key: "Authorization: Bearer KEY". False with *problem filled in, also
 * when the server has no key. */
bool srv_admin_allows(const struct srv_exchange *exchange, struct proto_problem *problem);

#endif
