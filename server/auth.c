/* auth.c - see auth.h. The set of keys belongs to the loop thread. */
#define _GNU_SOURCE /* explicit_bzero */
#include "server/auth.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { KEY_MIN = 8, KEY_MAX = 128, LINE_ROOM = 512 };

struct key {
    uint8_t text[KEY_MAX]; /* zeros after its end */
    bool admin;
};

struct keys {
    struct key *items; /* [count] */
    int count, admins;
};

struct srv_auth {
    struct srv_auth_config config;
    struct keys keys;
};

static void keys_release(struct keys *keys) {
    if (keys->items) {
        explicit_bzero(keys->items, (size_t)keys->count * sizeof *keys->items);
    }
    free(keys->items);
    *keys = (struct keys){0};
}

/* A key as it is compared, or false if `text` ([length]) cannot be one. */
static bool make_key(struct key *key, const char *text, size_t length) {
    *key = (struct key){0};
    if (length < KEY_MIN || length > KEY_MAX) {
        return false;
    }
    for (size_t i = 0; i < length; i++) {
        if (text[i] <= ' ' || text[i] > '~') {
            return false;
        }
    }
    memcpy(key->text, text, length);
    return true;
}

static trm_status add_key(struct keys *keys, const char *text, size_t length, const char *origin, trm_error *err) {
    struct key key;
    if (!make_key(&key, text, length)) {
        return trm_fail(err, TRM_INVALID, "%s: a key has %d to %d visible ASCII characters", origin, KEY_MIN, KEY_MAX);
    }
    size_t bytes = (size_t)(keys->count + 1) * sizeof *keys->items;
    struct key *items = realloc(keys->items, bytes);
    if (!items) {
        return trm_fail_memory(err, bytes);
    }
    items[keys->count++] = key;
    keys->items = items;
    return TRM_OK;
}

static const char *skip_space(const char *text) {
    return text + strspn(text, " \t\r\n");
}

/* Adds the key that `text` ([length]) is without the space after it. */
static trm_status add_piece(struct keys *keys, const char *text, size_t length, const char *origin, trm_error *err) {
    while (length > 0 && strchr(" \t\r\n", text[length - 1])) {
        length--;
    }
    return add_key(keys, text, length, origin, err);
}

static trm_status read_list(struct keys *keys, const char *list, const char *origin, trm_error *err) {
    trm_status status = TRM_OK;
    while (status == TRM_OK && list) {
        const char *comma = strchr(list, ',');
        const char *start = skip_space(list);
        size_t length = comma && comma > start ? (size_t)(comma - start) : comma ? 0 : strlen(start);
        status = add_piece(keys, start, length, origin, err);
        list = comma ? comma + 1 : NULL;
    }
    return status;
}

static trm_status read_lines(struct keys *keys, FILE *stream, const char *path, trm_error *err) {
    char line[LINE_ROOM], origin[128];
    trm_status status = TRM_OK;
    for (int number = 1; status == TRM_OK && fgets(line, sizeof line, stream); number++) {
        const char *start = skip_space(line);
        if (!strchr(line, '\n') && !feof(stream)) {
            status = trm_fail(err, TRM_INVALID, "%.100s: line %d is too long", path, number);
            break;
        }
        snprintf(origin, sizeof origin, "%.100s: line %d", path, number);
        if (*start && *start != '#') {
            status = add_piece(keys, start, strlen(start), origin, err);
        }
    }
    explicit_bzero(line, sizeof line);
    if (status == TRM_OK && ferror(stream)) {
        status = trm_fail(err, TRM_IO, "%.100s: %s", path, strerror(errno));
    }
    return status;
}

static trm_status read_file(struct keys *keys, const char *path, trm_error *err) {
    FILE *stream = fopen(path, "re");
    if (!stream) {
        return trm_fail(err, TRM_IO, "%.100s: %s", path, strerror(errno));
    }
    setvbuf(stream, NULL, _IONBF, 0); /* no copy of a key stays behind in a buffer */
    int before = keys->count;
    trm_status status = read_lines(keys, stream, path, err);
    fclose(stream);
    if (status == TRM_OK && keys->count == before) {
        status = trm_fail(err, TRM_INVALID, "%.100s: there is no key in it", path);
    }
    return status;
}

/* Adds the keys of both sources; they are an admin's or a client's. */
static trm_status read_keys(struct keys *keys, const char *file, const char *list, bool admin, trm_error *err) {
    int before = keys->count;
    trm_status status = list ? read_list(keys, list, admin ? "--admin-key" : "--api-keys", err) : TRM_OK;
    if (status == TRM_OK && file) {
        status = read_file(keys, file, err);
    }
    for (int i = before; i < keys->count; i++) {
        keys->items[i].admin = admin;
        keys->admins += admin;
    }
    return status;
}

trm_status srv_auth_reload(struct srv_auth *auth, trm_error *err) {
    const struct srv_auth_config *config = &auth->config;
    struct keys keys = {0};
    trm_status status = read_keys(&keys, config->file, config->list, false, err);
    if (status == TRM_OK) {
        status = read_keys(&keys, config->admin_file, config->admin_list, true, err);
    }
    if (status != TRM_OK) {
        keys_release(&keys);
        return status;
    }
    keys_release(&auth->keys);
    auth->keys = keys;
    return TRM_OK;
}

trm_status srv_auth_open(const struct srv_auth_config *config, struct srv_auth **result, trm_error *err) {
    *result = NULL;
    struct srv_auth *auth = calloc(1, sizeof *auth);
    if (!auth) {
        return trm_fail_memory(err, sizeof *auth);
    }
    auth->config = *config;
    trm_status status = srv_auth_reload(auth, err);
    if (status != TRM_OK) {
        srv_auth_close(auth);
        return status;
    }
    *result = auth;
    return TRM_OK;
}

void srv_auth_close(struct srv_auth *auth) {
    if (auth) {
        keys_release(&auth->keys);
        free(auth);
    }
}

int srv_auth_count(const struct srv_auth *auth) {
    return auth->keys.count;
}

/* All of both, whatever the first difference. */
static unsigned differ(const struct key *a, const struct key *b) {
    unsigned difference = 0;
    for (int i = 0; i < KEY_MAX; i++) {
        difference |= (unsigned)(a->text[i] ^ b->text[i]);
    }
    return difference;
}

/* KEY of "Bearer KEY"; NULL if it is something else. */
static const char *bearer_of(const char *authorization) {
    static const char scheme[] = "Bearer";
    size_t length = sizeof scheme - 1;
    if (!authorization || strncasecmp(authorization, scheme, length) != 0 || authorization[length] != ' ') {
        return NULL;
    }
    return authorization + length + strspn(authorization + length, " ");
}

enum srv_verdict srv_auth_judge(const struct srv_auth *auth, enum srv_access access, const char *authorization,
                                const char *api_key) {
    const struct keys *keys = &auth->keys;
    if (access == SRV_PUBLIC || (access == SRV_METRICS && auth->config.public_metrics) ||
        (access != SRV_ADMIN && keys->count == keys->admins)) {
        return SRV_ALLOWED;
    }
    if (keys->admins == 0 && access == SRV_ADMIN) {
        return SRV_NOT_POSSIBLE;
    }
    const char *given = bearer_of(authorization) ? bearer_of(authorization) : api_key;
    struct key key;
    if (!given) {
        return SRV_NO_KEY;
    }
    if (!make_key(&key, given, strlen(given))) {
        return SRV_WRONG_KEY;
    }
    bool known = false, admin = false;
    for (int i = 0; i < keys->count; i++) {
        bool same = differ(&key, &keys->items[i]) == 0;
        known |= same;
        admin |= same & keys->items[i].admin;
    }
    explicit_bzero(&key, sizeof key);
    return !known ? SRV_WRONG_KEY : access == SRV_ADMIN && !admin ? SRV_NOT_ENOUGH : SRV_ALLOWED;
}
