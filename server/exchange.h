/* exchange.h - one request and its answer.
 *
 * Its route's handler is called once the body is there and either answers at once, or suspends the
 * exchange and answers in `resumed`, or answers with a stream. All of it happens on the loop thread. */
#ifndef TRM_SERVER_EXCHANGE_H
#define TRM_SERVER_EXCHANGE_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>
#include <uv.h>

#include "proto/problem.h"
#include "proto/text.h"
#include "server/auth.h"
#include "server/trace.h"

struct MHD_Connection;
struct srv_exchange;
struct srv_http;
struct srv_server;

struct srv_route {
    const char *path;    /* "{...}" stands for one segment: "/models/{model}/reload" */
    const char *methods; /* for the Allow header: "GET, HEAD" or "POST" */
    void (*handle)(struct srv_exchange *exchange);
    enum srv_access access; /* auth.h; 0 is SRV_KEYED */
    /* NULL, or asked when the head is there: false with a problem saves reading the body and all that follows. */
    bool (*has_room)(struct srv_server *server, struct proto_problem *problem);
};

struct srv_exchange {
    struct srv_server *server;
    const char *body; /* [body_length]; NULL if empty. For `handle` only */
    size_t body_length;
    uint64_t began_ns; /* uv_hrtime() when the head had arrived */
    char path[256];    /* without the query; a longer one is no path of ours and stands here cut */
    char method[16];   /* cut, if need be */
    struct srv_trace trace;
    const struct srv_route *route; /* NULL: there is none for this path */

    /* What came of it so far. */
    int status;        /* of the answer, 0: none yet */
    uint64_t received; /* bytes of the body */
    uint64_t sent;     /* bytes of the answer's body */

    /* For the handler to set. */
    void *data;
    void (*resumed)(struct srv_exchange *exchange); /* must answer */
    void (*ended)(struct srv_exchange *exchange);   /* answered or the client is gone: no more calls */
    ssize_t (*read)(struct srv_exchange *exchange, char *buffer, size_t size); /* of a stream */
    void (*alarm)(struct srv_exchange *exchange);
    void (*ping)(struct srv_exchange *exchange); /* of a stream: say something soon */

    /* Private. */
    struct srv_http *http;
    struct MHD_Connection *connection;
    char *buffer; /* [capacity], the body */
    size_t capacity;
    struct proto_problem problem; /* when `refused`: the answer once the body is over */
    const char *allow;            /* for 405 and OPTIONS */
    const char *challenge;        /* for 401 */
    const char *origin;           /* the page that may read the answer; NULL: no answer for pages */
    int retry_after_s;            /* for 429 and 503, 0: no such header */
    char location[64];            /* "": no such header */
    bool refused, preflight, complete, suspended, gone, linger;
    bool constant; /* the answer may be kept, and asked for again by its ETag */
    uv_timer_t timer;
    uv_poll_t watch; /* notices that the client of a suspended exchange goes away */
    bool has_watch;
    bool half_closed; /* the client has finished speaking, and may still listen */
    bool is_http_1_1;
    int open_handles;
    struct srv_exchange *previous, *next; /* in the daemon's list of suspended ones */
};

/* Answers; for `handle` and `resumed` only. The text is taken over. */
void srv_reply(struct srv_exchange *exchange, int status, const char *type, struct proto_text *text);
void srv_reply_problem(struct srv_exchange *exchange, const struct proto_problem *problem);

/* Answers with `data` ([length]), which is never freed, and headers of its own ([header_count], one of them
 * an ETag). A client may keep the answer, but has to ask each time whether it still holds. */
struct srv_header {
    const char *name, *value;
};
void srv_reply_constant(struct srv_exchange *exchange, int status, const void *data, size_t length,
                        const struct srv_header *headers, int header_count);

/* Answers with a stream of unknown length. `read` fills a buffer: the number of bytes, or 0 to be
 * asked again after srv_exchange_resume(), or one of these. */
enum { SRV_STREAM_END = -1, SRV_STREAM_BROKEN = -2 };
void srv_reply_stream(struct srv_exchange *exchange, const char *type);

/* The address of the client, "" when it has none; `text` is [size]. */
void srv_exchange_client(const struct srv_exchange *exchange, char *text, size_t size);

/* The value of a request header or NULL; valid as long as the exchange. */
const char *srv_exchange_header(const struct srv_exchange *exchange, const char *name);

/* The segment of the path that stands for the route's first "{...}", into `text` ([size]), cut if need be. */
void srv_exchange_segment(const struct srv_exchange *exchange, char *text, size_t size);

/* In `handle`: answers later, in `resumed`. */
void srv_exchange_suspend(struct srv_exchange *exchange);

/* Outside of handlers: goes on with a suspended exchange; nothing happens if it is not. */
void srv_exchange_resume(struct srv_exchange *exchange);

/* Says something that means nothing to a client that waits: a stream by its `ping`, which keeps proxies
 * from closing it; another one only if it has closed its side, to find out whether it still listens. */
void srv_exchange_ping(struct srv_exchange *exchange);

/* Calls `alarm` once, `ms` from now. */
void srv_exchange_set_alarm(struct srv_exchange *exchange, uint64_t ms);

#endif
