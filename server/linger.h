/* linger.h - closing a connection whose client is still sending, politely.
 *
 * A socket closed with unread bytes makes the kernel send a reset, and the client may never see the
 * answer that says why. So the refused socket is read and thrown away until the client has closed
 * it too, for a bounded time and number of bytes. Loop thread. */
#ifndef TRM_SERVER_LINGER_H
#define TRM_SERVER_LINGER_H

#include <uv.h>

struct srv_lingering;

struct srv_linger {
    uv_loop_t *loop;
    struct srv_lingering *first;
    int count;
};

void srv_linger_init(struct srv_linger *linger, uv_loop_t *loop);

/* Duplicates `fd`, whose owner is about to close it, and lingers on the duplicate. Does nothing when
 * too many sockets linger already. */
void srv_linger_on(struct srv_linger *linger, int fd);

/* Closes them all; their memory goes with the next turn of the loop. */
void srv_linger_close(struct srv_linger *linger);

#endif
