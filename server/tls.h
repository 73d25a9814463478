/* tls.h - the certificate and key of HTTPS, given to libmicrohttpd. TLS 1.2 and 1.3. Loop thread. */
#ifndef TRM_SERVER_TLS_H
#define TRM_SERVER_TLS_H

#include <microhttpd.h>
#include <stdbool.h>
#include <stddef.h>

#include "engine/status.h"

struct srv_tls;

/* Reads a PEM certificate chain and its key. TRM_UNSUPPORTED if this libmicrohttpd was built without
 * TLS; TRM_INVALID or TRM_IO with the file at fault. Warns of a key that others can read. */
trm_status srv_tls_open(const char *cert_file, const char *key_file, struct srv_tls **tls, trm_error *err);
void srv_tls_close(struct srv_tls *tls); /* after the daemon that uses it; NULL is fine */

/* Reads both files again, for handshakes from now on. On failure the old ones stay. */
trm_status srv_tls_reload(struct srv_tls *tls, trm_error *err);

/* The options for MHD_start_daemon(), ended by MHD_OPTION_END; they live as long as `tls`. */
struct MHD_OptionItem *srv_tls_options(struct srv_tls *tls);

/* Sends on a connection past libmicrohttpd, without waiting. False if nothing could be sent. */
bool srv_tls_send(struct MHD_Connection *connection, const char *data, size_t size);

#endif
