/* web.c - see web.h. Constant data; handlers run on the loop thread. */
#include "server/web.h"

#include <string.h>

#include "proto/accept.h"

/* Scripts, styles and data from this server only, nothing inline, in no frame. */
static const char POLICY[] = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
                             "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

static const struct srv_web_asset *find(const char *name) {
    for (int i = 0; i < srv_web_asset_count; i++) {
        if (strcmp(srv_web_assets[i].name, name) == 0) {
            return &srv_web_assets[i];
        }
    }
    return NULL;
}

/* Whether If-None-Match (NULL: absent) lists `etag`, as a strong tag or a weak one. */
static bool is_known(const char *header, const char *etag) {
    size_t length = strlen(etag);
    while (header && *header) {
        header += strspn(header, " \t,");
        header += strncmp(header, "W/", 2) == 0 ? 2 : 0;
        size_t tag = strcspn(header, " \t,");
        if ((tag == 1 && *header == '*') || (tag == length && memcmp(header, etag, length) == 0)) {
            return true;
        }
        header += tag;
    }
    return false;
}

static void reply(struct srv_exchange *x, const struct srv_web_asset *asset) {
    bool gzip = proto_accept_coding(srv_exchange_header(x, "Accept-Encoding"), "gzip");
    const struct srv_header headers[] = {
        {"ETag", gzip ? asset->gzip_etag : asset->etag},
        {"Vary", strcmp(asset->name, "index.html") == 0 ? "Accept, Accept-Encoding" : "Accept-Encoding"},
        {"Content-Security-Policy", POLICY},
        {"Referrer-Policy", "no-referrer"},
        {"Content-Type", asset->type},
        {"Content-Encoding", "gzip"},
    };
    enum { ALL = sizeof headers / sizeof *headers, WITHOUT_CODING = ALL - 1, WITHOUT_BODY = ALL - 2 };
    if (is_known(srv_exchange_header(x, "If-None-Match"), headers[0].value)) {
        srv_reply_constant(x, 304, NULL, 0, headers, WITHOUT_BODY);
    } else if (gzip) {
        srv_reply_constant(x, 200, asset->gzip, asset->gzip_length, headers, ALL);
    } else {
        srv_reply_constant(x, 200, asset->data, asset->length, headers, WITHOUT_CODING);
    }
}

void srv_web_page(struct srv_exchange *x) {
    reply(x, find("index.html"));
}

void srv_web_file(struct srv_exchange *x) {
    char name[64];
    srv_exchange_segment(x, name, sizeof name);
    const struct srv_web_asset *asset = find(name);
    if (asset) {
        reply(x, asset);
    } else {
        struct proto_problem problem;
        proto_problem_set(&problem, PROTO_NOT_FOUND, "", "the playground has no file '%s'", name);
        srv_reply_problem(x, &problem);
    }
}
