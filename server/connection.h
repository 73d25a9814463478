/* connection.h - what is known of a connection between its requests: how long its next head may take.
 *
 * libmicrohttpd's own timeout is of silence: a client that sends a byte now and then never meets it. So
 * each connection without an exchange has a deadline; at it the socket is shut down, and
 * libmicrohttpd sees an end. Private to HTTP; loop thread. */
#ifndef TRM_SERVER_CONNECTION_H
#define TRM_SERVER_CONNECTION_H

struct MHD_Connection;
struct srv_http;
struct srv_tls;

/* A connection begins (*context becomes ours) and ends. */
void srv_connection_opened(struct srv_http *http, struct MHD_Connection *connection, void **context);
void srv_connection_closed(void **context);

/* The head of a request is there; its exchange is over. */
void srv_connection_busy(struct MHD_Connection *connection);
void srv_connection_idle(struct MHD_Connection *connection);

/* The TLS of its server, for a handshake; NULL if that is not to be known. */
struct srv_tls *srv_connection_tls(struct MHD_Connection *connection);

#endif
