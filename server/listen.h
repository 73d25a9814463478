/* listen.h - the listening socket. Main thread, once. */
#ifndef TRM_SERVER_LISTEN_H
#define TRM_SERVER_LISTEN_H

#include "engine/status.h"

/* Binds and listens (non-blocking, close-on-exec) on a host name or address, IPv4 or IPv6, and a port;
 * port 0 takes a free one. Stores the socket and the port it really has. The caller closes the socket. */
trm_status srv_listen(const char *host, int port, int *fd, int *actual_port, trm_error *err);

#endif
