/* cors.c - see cors.h. Made by the main thread, then read by the loop thread. */
#define _GNU_SOURCE /* memmem */
#include "server/cors.h"

#include <stdlib.h>
#include <string.h>

struct srv_cors {
    char *list; /* as given; NULL: off */
    bool any;
};

/* A browser sends scheme://host[:port], in lower case and without a path. */
static bool is_origin(const char *text, size_t length) {
    const char *colons = memmem(text, length, "://", 3);
    if (!colons || colons == text) {
        return false;
    }
    size_t host = (size_t)(colons + 3 - text);
    for (size_t i = 0; i < length; i++) {
        bool in_host = i >= host;
        if (text[i] <= ' ' || text[i] > '~' || (text[i] >= 'A' && text[i] <= 'Z') ||
            (in_host && strchr("/?#@*", text[i]))) {
            return false;
        }
    }
    return host < length;
}

static trm_status check(const char *list, trm_error *err) {
    for (const char *item = list;; item += strcspn(item, ",") + 1) {
        size_t length = strcspn(item, ",");
        if (!is_origin(item, length)) {
            return trm_fail(err, TRM_INVALID,
                            "--cors-origin: '%.*s' is not an origin: lower case, as in https://example.org:8443",
                            (int)(length < 80 ? length : 80), item);
        }
        if (item[length] == '\0') {
            return TRM_OK;
        }
    }
}

trm_status srv_cors_open(const char *list, struct srv_cors **result, trm_error *err) {
    *result = NULL;
    bool any = list && strcmp(list, "*") == 0;
    if (list && !any && check(list, err) != TRM_OK) {
        return TRM_INVALID;
    }
    struct srv_cors *cors = calloc(1, sizeof *cors);
    if (!cors) {
        return trm_fail_memory(err, sizeof *cors);
    }
    cors->any = any;
    cors->list = list ? strdup(list) : NULL;
    if (list && !cors->list) {
        free(cors);
        return trm_fail_memory(err, strlen(list) + 1);
    }
    *result = cors;
    return TRM_OK;
}

void srv_cors_close(struct srv_cors *cors) {
    if (cors) {
        free(cors->list);
        free(cors);
    }
}

bool srv_cors_is_on(const struct srv_cors *cors) {
    return cors->list != NULL;
}

bool srv_cors_varies(const struct srv_cors *cors) {
    return cors->list && !cors->any;
}

const char *srv_cors_allow(const struct srv_cors *cors, const char *origin) {
    if (!cors->list || !origin || !*origin) {
        return NULL;
    }
    if (cors->any) {
        return "*";
    }
    size_t wanted = strlen(origin);
    for (const char *item = cors->list;; item += strcspn(item, ",") + 1) {
        size_t length = strcspn(item, ",");
        if (length == wanted && memcmp(item, origin, length) == 0) {
            return origin;
        }
        if (item[length] == '\0') {
            return NULL;
        }
    }
}
