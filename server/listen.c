/* listen.c - opened here rather than by libmicrohttpd, for errors that say why and port 0 that says
 * which. No state. */
#define _GNU_SOURCE /* SOCK_NONBLOCK */
#include "server/listen.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "engine/cli.h"

static int port_of(int fd) {
    union {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
    } address = {.v6 = {0}};
    socklen_t length = sizeof address;
    if (getsockname(fd, &address.any, &length) != 0) {
        return -1;
    }
    return ntohs(address.any.sa_family == AF_INET6 ? address.v6.sin6_port : address.v4.sin_port);
}

/* Bytes that the kernel keeps for each connection in each direction (it doubles them for its own
 * bookkeeping). Connections inherit both; left alone they would grow to megabytes for a client that
 * does not read. */
enum { SOCKET_BUFFER = 64 << 10 };

static int open_socket(const struct addrinfo *address) {
    int on = 1, room = SOCKET_BUFFER;
    int fd = socket(address->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return -1;
    }
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) != 0 ||
        setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &room, sizeof room) != 0 ||
        setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &room, sizeof room) != 0 ||
        bind(fd, address->ai_addr, address->ai_addrlen) != 0 || listen(fd, SOMAXCONN) != 0) {
        int reason = errno;
        close(fd);
        errno = reason;
        return -1;
    }
    return fd;
}

trm_status srv_listen(const char *host, int port, int *fd, int *actual_port, trm_error *err) {
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE};
    struct addrinfo *list = NULL;
    char service[16];
    snprintf(service, sizeof service, "%d", port);
    int rc = getaddrinfo(host, service, &hints, &list);
    if (rc != 0) {
        return trm_fail(err, TRM_INVALID, "--host: %.100s: %s", host, gai_strerror(rc));
    }
    *fd = -1;
    errno = 0;
    for (const struct addrinfo *address = list; address && *fd < 0; address = address->ai_next) {
        *fd = open_socket(address);
    }
    int reason = errno;
    freeaddrinfo(list);
    if (*fd < 0) {
        return trm_fail(err, TRM_IO, "cannot listen on %.100s port %d: %s", host, port, strerror(reason));
    }
    *actual_port = port_of(*fd);
    return TRM_OK;
}

trm_status srv_listen_inherited(int *fd, int *port, trm_error *err) {
    enum { FIRST = 3 };
    const char *process = getenv("LISTEN_PID"), *number = getenv("LISTEN_FDS");
    long id = 0, count = 0;
    *fd = -1;
    if (!process || !number || !trm_parse_number(process, 1, LONG_MAX, &id) || id != getpid()) {
        return TRM_OK; /* it is meant for another process, or for nobody */
    }
    if (!trm_parse_number(number, 1, 1, &count)) {
        return trm_fail(err, TRM_INVALID, "LISTEN_FDS: '%.20s', but one socket is what is needed", number);
    }
    int listens = 0;
    socklen_t size = sizeof listens;
    if (getsockopt(FIRST, SOL_SOCKET, SO_ACCEPTCONN, &listens, &size) != 0 || !listens ||
        fcntl(FIRST, F_SETFL, O_NONBLOCK) != 0 || fcntl(FIRST, F_SETFD, FD_CLOEXEC) != 0) {
        return trm_fail(err, TRM_INVALID, "LISTEN_FDS: descriptor %d is no socket that listens", FIRST);
    }
    *fd = FIRST;
    *port = port_of(FIRST);
    return TRM_OK;
}
