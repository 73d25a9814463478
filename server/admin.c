/* admin.c - see admin.h. The key is read once, before there are threads. */
#include "server/admin.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "server/server.h"

enum { MOST = 1024 }; /* characters of a key */

static trm_status read_file(const char *path, char *key, trm_error *err) {
    FILE *file = fopen(path, "re");
    if (!file) {
        return trm_fail(err, TRM_IO, "--admin-key-file: %.150s: %s", path, strerror(errno));
    }
    key[0] = '\0';
    trm_status status = !fgets(key, MOST + 1, file) && ferror(file)
                            ? trm_fail(err, TRM_IO, "--admin-key-file: %.150s: %s", path, strerror(errno))
                            : TRM_OK;
    fclose(file);
    key[strcspn(key, "\r\n")] = '\0';
    return status;
}

trm_status srv_admin_read_key(const struct srv_options *options, char **key, trm_error *err) {
    char buffer[MOST + 1];
    const char *value = options->admin_key;
    *key = NULL;
    if (value && options->admin_key_file) {
        return trm_fail(err, TRM_INVALID, "--admin-key and --admin-key-file: one of them is enough");
    }
    if (options->admin_key_file) {
        trm_status status = read_file(options->admin_key_file, buffer, err);
        if (status != TRM_OK) {
            return status;
        }
        value = buffer;
    }
    if (value && !*value) {
        return trm_fail(err, TRM_INVALID, "the admin key is empty");
    }
    *key = value ? strdup(value) : NULL;
    return value && !*key ? trm_fail_memory(err, strlen(value) + 1) : TRM_OK;
}

/* Takes a time that depends on the length of `given` alone. */
static bool is_same(const char *given, const char *key) {
    size_t given_length = strlen(given), key_length = strlen(key);
    unsigned different = given_length != key_length;
    for (size_t i = 0; i < given_length; i++) {
        different |= (unsigned char)given[i] ^ (unsigned char)key[i % key_length];
    }
    return different == 0;
}

bool srv_admin_allows(const struct srv_exchange *x, struct proto_problem *problem) {
    const char *key = x->server->admin_key;
    const char *header = srv_exchange_header(x, "Authorization");
    if (!key) {
        return proto_problem_set(problem, PROTO_FORBIDDEN, "", "the server was started without an admin key");
    }
    if (!header || strncasecmp(header, "Bearer ", 7) != 0 || !is_same(header + 7, key)) {
        return proto_problem_set(problem, PROTO_UNAUTHORIZED, "", "this needs the admin key as a bearer token");
    }
    return true;
}
