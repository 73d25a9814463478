/* notify.c - see notify.h. No state but the environment, which nobody changes while it is used. */
#define _GNU_SOURCE /* SOCK_CLOEXEC */
#include "server/notify.h"

#include <errno.h>
#include <limits.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "engine/cli.h"
#include "server/log.h"

/* Sends to the path or, after an @, the abstract name. 0, or -1 with errno set. */
static int send_to(const char *name, const char *state) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    size_t length = strlen(name);
    if (length == 0 || length >= sizeof address.sun_path) {
        errno = ENAMETOOLONG;
        return -1;
    }
    memcpy(address.sun_path, name, length);
    if (name[0] == '@') {
        address.sun_path[0] = '\0';
    }
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) {
        return -1;
    }
    socklen_t size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length);
    ssize_t sent = sendto(fd, state, strlen(state), MSG_NOSIGNAL, (struct sockaddr *)&address, size);
    int reason = errno;
    close(fd);
    errno = reason;
    return sent < 0 ? -1 : 0;
}

void srv_notify(const char *state) {
    const char *name = getenv("NOTIFY_SOCKET");
    if (name && *name && send_to(name, state) != 0) {
        srv_log(SRV_WARN, "the service manager does not hear us", "socket=%s reason=%s", name, strerror(errno));
    }
}

uint64_t srv_notify_watchdog_ms(void) {
    const char *interval = getenv("WATCHDOG_USEC"), *process = getenv("WATCHDOG_PID");
    long microseconds, id;
    if (!interval || !trm_parse_number(interval, 1000, LONG_MAX, &microseconds)) {
        return 0;
    }
    if (process && (!trm_parse_number(process, 1, LONG_MAX, &id) || id != getpid())) {
        return 0;
    }
    return (uint64_t)microseconds / 1000;
}
