/* listen.h - the listening socket. Main thread, once. */
#ifndef TRM_SERVER_LISTEN_H
#define TRM_SERVER_LISTEN_H

#include "engine/status.h"

/* The listening socket that a service manager has opened for this process (LISTEN_FDS, as systemd does
 * it), and its port; *fd is -1 if there is none. TRM_INVALID if there are several, or it is none that
 * listens. The caller closes it. */
trm_status srv_listen_inherited(int *fd, int *port, trm_error *err);

/* Binds and listens (non-blocking, close-on-exec) on a host name or address, IPv4 or IPv6, and a port;
 * port 0 takes a free one. Stores the socket and the port it really has. The caller closes the socket. */
trm_status srv_listen(const char *host, int port, int *fd, int *actual_port, trm_error *err);

#endif
