/* auth.h - API keys: who may ask what.
 *
 * Keys come from a file (one a line; blank lines and lines that begin with # do not count) and from a
 * list with commas. Admin keys may do everything, others all but what changes the server. Comparing takes
 * the same time wherever a wrong key differs. Keys are never logged. Loop thread. */
#ifndef TRM_SERVER_AUTH_H
#define TRM_SERVER_AUTH_H

#include <stdbool.h>

#include "engine/status.h"

enum srv_access {
    SRV_KEYED,   /* any key, where there are keys of clients */
    SRV_PUBLIC,  /* nobody is asked for a key */
    SRV_METRICS, /* as SRV_KEYED, or public if the operator says so */
    SRV_ADMIN    /* an admin key, also where there are no keys at all */
};

enum srv_verdict {
    SRV_ALLOWED,
    SRV_NO_KEY,       /* none was given */
    SRV_WRONG_KEY,    /* it is not one of ours */
    SRV_NOT_ENOUGH,   /* a good key, but an admin's is needed */
    SRV_NOT_POSSIBLE, /* an admin's key is needed and none was ever set */
};

/* Where the keys are; NULL: nowhere. Without any of clients all but SRV_ADMIN is allowed to everyone. */
struct srv_auth_config {
    const char *file, *list;             /* of clients */
    const char *admin_file, *admin_list; /* of operators */
    bool public_metrics;
};

struct srv_auth;

/* Reads all keys. `config` is copied, its strings must outlive the result. A file without a key or a
 * key that cannot be one is an error: TRM_INVALID, TRM_IO. */
trm_status srv_auth_open(const struct srv_auth_config *config, struct srv_auth **auth, trm_error *err);
void srv_auth_close(struct srv_auth *auth); /* NULL is fine */

/* Reads them again. On failure the keys stay as they are. */
trm_status srv_auth_reload(struct srv_auth *auth, trm_error *err);

/* How many keys there are. */
int srv_auth_count(const struct srv_auth *auth);

/* Judges a request by its headers Authorization ("Bearer KEY") and X-Api-Key; NULL where absent. */
enum srv_verdict srv_auth_judge(const struct srv_auth *auth, enum srv_access access, const char *authorization,
                                const char *api_key);

#endif
