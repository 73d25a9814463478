/* framing.c - see framing.h. No state. */
#include "server/framing.h"

#include <microhttpd.h>
#include <string.h>
#include <strings.h>

struct findings {
    int lengths, encodings;
    bool bad_name, bad_encoding;
};

/* A token of RFC 9110, section 5.6.2; nearly all of its characters are letters. */
static bool is_token(const char *text) {
    for (const char *c = text; *c; c++) {
        bool is_letter = (*c >= 'a' && *c <= 'z') || (*c >= 'A' && *c <= 'Z') || *c == '-';
        if (!is_letter && (*c <= ' ' || *c > '~' || strchr("\"(),/:;<=>?@[\\]{}", *c))) {
            return false;
        }
    }
    return *text != '\0';
}

static enum MHD_Result on_header(void *cls, enum MHD_ValueKind kind, const char *name, const char *value) {
    struct findings *found = cls;
    (void)kind;
    found->bad_name |= !is_token(name);
    found->lengths += strcasecmp(name, "Content-Length") == 0;
    if (strcasecmp(name, "Transfer-Encoding") == 0) {
        found->encodings++;
        found->bad_encoding |= !value || strcasecmp(value, "chunked") != 0;
    }
    return MHD_YES;
}

bool srv_framing_is_clear(struct MHD_Connection *connection, struct proto_problem *problem) {
    struct findings found = {0};
    MHD_get_connection_values(connection, MHD_HEADER_KIND, on_header, &found);
    if (found.bad_name) {
        return proto_problem_set(problem, PROTO_BAD_HEAD, "", "a header has a name that cannot be one");
    }
    if (found.lengths + found.encodings > 1) {
        return proto_problem_set(problem, PROTO_BAD_HEAD, "", "Content-Length or Transfer-Encoding: one of them, once");
    }
    if (found.bad_encoding) {
        return proto_problem_set(problem, PROTO_BAD_HEAD, "", "the only Transfer-Encoding here is chunked");
    }
    return true;
}
