/* linger.c - see linger.h. The list belongs to the loop thread. */
#define _GNU_SOURCE /* F_DUPFD_CLOEXEC */
#include "server/linger.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

enum { MOST = 64, PATIENCE_MS = 2000, MOST_BYTES = 64 << 20, READS_A_TURN = 16 };

struct srv_lingering {
    struct srv_linger *linger;
    struct srv_lingering *previous, *next;
    int fd;
    size_t bytes; /* thrown away so far */
    uv_poll_t poll;
    uv_timer_t timer;
    int open_handles;
    bool closing;
};

static void on_closed(uv_handle_t *handle) {
    struct srv_lingering *one = handle->data;
    if (--one->open_handles == 0) {
        free(one);
    }
}

static void close_one(struct srv_lingering *one) {
    if (one->closing) {
        return;
    }
    one->closing = true;
    if (one->previous) {
        one->previous->next = one->next;
    } else {
        one->linger->first = one->next;
    }
    if (one->next) {
        one->next->previous = one->previous;
    }
    one->linger->count--;
    uv_close((uv_handle_t *)&one->poll, on_closed);
    uv_close((uv_handle_t *)&one->timer, on_closed);
    close(one->fd);
}

static void on_readable(uv_poll_t *handle, int status, int events) {
    struct srv_lingering *one = handle->data;
    char waste[16384];
    ssize_t got = 1;
    (void)events;
    for (int i = 0; i < READS_A_TURN && got > 0; i++) {
        got = recv(one->fd, waste, sizeof waste, MSG_DONTWAIT);
        one->bytes += got > 0 ? (size_t)got : 0;
    }
    bool more = got > 0 || (got < 0 && (errno == EAGAIN || errno == EINTR));
    if (status < 0 || !more || one->bytes > MOST_BYTES) {
        close_one(one);
    }
}

static void on_timeout(uv_timer_t *handle) {
    close_one(handle->data);
}

void srv_linger_init(struct srv_linger *linger, uv_loop_t *loop) {
    *linger = (struct srv_linger){.loop = loop};
}

void srv_linger_on(struct srv_linger *linger, int fd) {
    struct srv_lingering *one = linger->count < MOST ? calloc(1, sizeof *one) : NULL;
    if (!one) {
        return;
    }
    one->fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    if (one->fd < 0 || uv_poll_init(linger->loop, &one->poll, one->fd) != 0) {
        if (one->fd >= 0) {
            close(one->fd);
        }
        free(one);
        return;
    }
    uv_timer_init(linger->loop, &one->timer);
    one->poll.data = one->timer.data = one;
    one->open_handles = 2;
    one->linger = linger;
    one->next = linger->first;
    if (one->next) {
        one->next->previous = one;
    }
    linger->first = one;
    linger->count++;
    uv_timer_start(&one->timer, on_timeout, PATIENCE_MS, 0);
    if (uv_poll_start(&one->poll, UV_READABLE, on_readable) != 0) {
        close_one(one);
    }
}

void srv_linger_close(struct srv_linger *linger) {
    while (linger->first) {
        close_one(linger->first);
    }
}
