/* web.h - the playground: the files of server/web, which are part of the program. */
#ifndef TRM_SERVER_WEB_H
#define TRM_SERVER_WEB_H

#include <stddef.h>

#include "server/exchange.h"

/* One file, as it is and compressed. */
struct srv_web_asset {
    const char *name, *type;
    const char *etag, *gzip_etag;     /* with their quotes */
    const unsigned char *data, *gzip; /* [length], [gzip_length] */
    size_t length, gzip_length;
};

/* Made by server/web/embed.py at build time. */
extern const struct srv_web_asset srv_web_assets[]; /* [srv_web_asset_count] */
extern const int srv_web_asset_count;

/* Handlers: the page, and the file that the path names. Answers carry a policy that allows nothing from
 * elsewhere, come compressed where the client takes gzip, and are 304 for a client that has them. */
void srv_web_page(struct srv_exchange *exchange);
void srv_web_file(struct srv_exchange *exchange);

#endif
