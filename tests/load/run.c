/* run.c - sends requests when they are due, by libcurl in a libuv loop. A request and its curl handle are
 * used again when it is over; a timer of the kernel says when the next is due, as libuv's know no
 * less than a millisecond. One thread. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>
#include <uv.h>

#include "tests/load/load.h"

enum { MOST_BODY = 64 << 10, SLOW_ROOM = 4 << 10, SLOW_PIECE = 1 << 10, SLOW_MS = 50, NS_A_SECOND = 1000000000 };

struct request {
    struct run *run;
    CURL *easy;
    uint64_t due_ns, first_ns; /* uv_hrtime(); first_ns is 0 until a byte has come */
    char *body;                /* [length] the end of what was received */
    size_t length, capacity;
    size_t received;           /* of the body, in all */
    bool paused;               /* for it is ahead of plan->bytes_per_s */
    struct request *next;      /* of all */
    struct request *next_free; /* of those that are not under way */
};

struct run {
    const struct load_plan *plan;
    struct load_tally *tally;
    uv_loop_t loop;
    uv_timer_t timer;  /* curl's */
    uv_poll_t pacer;   /* of `clock_fd` */
    uv_timer_t reader; /* lets slow readers go on */
    int clock_fd;
    CURLM *multi;
    struct curl_slist *headers;
    struct request *all, *unused;
    uint64_t began_ns;
    size_t begun, over;
    trm_status status; /* what stopped it, if anything */
    trm_error *err;
};

/* A connection's place in the loop. */
struct watch {
    uv_poll_t poll;
    struct run *run;
    curl_socket_t socket;
};

static double ms_since(uint64_t begin_ns, uint64_t end_ns) {
    return ((double)end_ns - (double)begin_ns) / 1e6;
}

static void stop(struct run *run, trm_status status) {
    run->status = status;
    uv_stop(&run->loop);
}

/* --- requests ---------------------------------------------------------------------------------------- */

/* Whether a slow reader has read enough for now. */
static bool is_ahead(const struct request *r) {
    double rate = r->run->plan->bytes_per_s;
    return rate > 0 && (double)r->received > rate * ms_since(r->first_ns, uv_hrtime()) / 1e3;
}

static size_t on_body(char *data, size_t size, size_t count, void *arg) {
    struct request *r = arg;
    count *= size;
    if (!r->first_ns) {
        r->first_ns = uv_hrtime();
    }
    r->paused = is_ahead(r);
    if (r->paused) {
        return CURL_WRITEFUNC_PAUSE; /* the same data comes again */
    }
    r->received += count;
    if (count > MOST_BODY) {
        return 0;
    }
    if (r->length + count > MOST_BODY) { /* of a long stream the end is enough */
        memmove(r->body, r->body + r->length - MOST_BODY / 4, MOST_BODY / 4);
        r->length = MOST_BODY / 4;
    }
    if (r->length + count > r->capacity) {
        size_t capacity = 2 * (r->length + count);
        char *body = realloc(r->body, capacity);
        if (!body) {
            return 0;
        }
        r->body = body;
        r->capacity = capacity;
    }
    memcpy(r->body + r->length, data, count);
    r->length += count;
    return count;
}

/* Nor does the kernel read ahead for a slow reader. */
static int on_socket(void *arg, curl_socket_t fd, curlsocktype purpose) {
    int room = SLOW_ROOM;
    (void)arg;
    (void)purpose;
    return setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &room, sizeof room) == 0 ? CURL_SOCKOPT_OK : CURL_SOCKOPT_ERROR;
}

static void release(struct request *r) {
    curl_easy_cleanup(r->easy);
    free(r->body);
    free(r);
}

static struct request *create(struct run *run) {
    const struct load_plan *plan = run->plan;
    struct request *r = calloc(1, sizeof *r);
    CURL *easy = curl_easy_init();
    if (!r || !easy) {
        curl_easy_cleanup(easy);
        free(r);
        return NULL;
    }
    r->run = run;
    r->easy = easy;
    bool good = curl_easy_setopt(easy, CURLOPT_URL, plan->url) == CURLE_OK &&
                curl_easy_setopt(easy, CURLOPT_HTTPHEADER, run->headers) == CURLE_OK;
    curl_easy_setopt(easy, CURLOPT_PRIVATE, r);
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(easy, CURLOPT_WRITEDATA, r);
    curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(easy, CURLOPT_TIMEOUT, (long)plan->timeout_s);
    curl_easy_setopt(easy, CURLOPT_FORBID_REUSE, plan->keep_alive ? 0L : 1L);
    if (plan->bytes_per_s) {
        curl_easy_setopt(easy, CURLOPT_SOCKOPTFUNCTION, on_socket);
        curl_easy_setopt(easy, CURLOPT_BUFFERSIZE, (long)SLOW_PIECE);
    }
    if (!good) {
        release(r);
        return NULL;
    }
    r->next = run->all;
    run->all = r;
    return r;
}

static void begin(struct run *run, uint64_t due_ns) {
    struct request *r = run->unused;
    if (r) {
        run->unused = r->next_free;
    } else {
        r = create(run);
    }
    if (!r) {
        stop(run, trm_fail(run->err, TRM_NO_MEMORY, "out of memory for request %zu", run->begun + 1));
        return;
    }
    r->due_ns = due_ns;
    r->first_ns = 0;
    r->length = r->received = 0;
    curl_easy_setopt(r->easy, CURLOPT_POSTFIELDS, run->plan->bodies[run->begun % run->plan->body_count]);
    curl_multi_add_handle(run->multi, r->easy);
    load_series_add(&run->tally->sent, ms_since(due_ns, uv_hrtime()));
    run->begun++;
}

static void end(struct request *r, CURLcode code) {
    struct run *run = r->run;
    uint64_t now_ns = uv_hrtime();
    long status = 0;
    curl_easy_getinfo(r->easy, CURLINFO_RESPONSE_CODE, &status);
    curl_multi_remove_handle(run->multi, r->easy);
    run->tally->elapsed_s = ms_since(run->began_ns, now_ns) / 1e3;
    if (code != CURLE_OK) {
        run->tally->errors[code]++;
    } else {
        if (status == 200 && r->first_ns) {
            load_series_add(&run->tally->first, ms_since(r->due_ns, r->first_ns));
        }
        load_tally_response(run->tally, status, r->body, r->length, ms_since(r->due_ns, now_ns));
    }
    r->paused = false;
    r->next_free = run->unused;
    run->unused = r;
    run->over++;
    if (run->over == run->plan->requests) {
        uv_stop(&run->loop);
    }
}

/* True if there were any. */
static bool end_those_done(struct run *run) {
    size_t over = run->over;
    CURLMsg *message;
    int left;
    while ((message = curl_multi_info_read(run->multi, &left))) {
        struct request *r;
        if (message->msg == CURLMSG_DONE && curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &r) == CURLE_OK) {
            end(r, message->data.result);
        }
    }
    return run->over > over;
}

static void on_reader(uv_timer_t *timer) {
    struct run *run = timer->data;
    for (struct request *r = run->all; r; r = r->next) {
        if (r->paused && !is_ahead(r)) {
            r->paused = false;
            curl_easy_pause(r->easy, CURLPAUSE_CONT);
        }
    }
}

/* --- when they are due ------------------------------------------------------------------------------- */

static uint64_t due_ns(const struct run *run, size_t index) {
    return run->began_ns + (uint64_t)((double)index * NS_A_SECOND / run->plan->rate);
}

/* Begins what is due and has a connection; arms the clock for what becomes due next. */
static void pace(struct run *run) {
    const struct load_plan *plan = run->plan;
    uint64_t now_ns = uv_hrtime(), next_ns = 0;
    while (run->status == TRM_OK && run->begun < plan->requests && (next_ns = due_ns(run, run->begun)) <= now_ns) {
        if (run->begun - run->over == (size_t)plan->connections) {
            return; /* the end of a request goes on from here */
        }
        begin(run, next_ns);
    }
    struct itimerspec next = {
        .it_value = {.tv_sec = (time_t)(next_ns / NS_A_SECOND), .tv_nsec = (long)(next_ns % NS_A_SECOND)}};
    if (run->status == TRM_OK && run->begun < plan->requests &&
        timerfd_settime(run->clock_fd, TFD_TIMER_ABSTIME, &next, NULL) != 0) {
        stop(run, trm_fail(run->err, TRM_IO, "timerfd_settime: %s", strerror(errno)));
    }
}

static void on_due(uv_poll_t *poll, int status, int events) {
    struct run *run = poll->data;
    uint64_t ticks;
    (void)status;
    (void)events;
    if (read(run->clock_fd, &ticks, sizeof ticks) == sizeof ticks) {
        pace(run);
    }
}

/* --- curl in the loop -------------------------------------------------------------------------------- */

static void act(struct run *run, curl_socket_t socket, int flags) {
    int running;
    curl_multi_socket_action(run->multi, socket, flags, &running);
    if (end_those_done(run)) {
        pace(run);
    }
}

static void on_timer(uv_timer_t *timer) {
    act(timer->data, CURL_SOCKET_TIMEOUT, 0);
}

static int set_timer(CURLM *multi, long ms, void *arg) {
    struct run *run = arg;
    (void)multi;
    return ms < 0 ? uv_timer_stop(&run->timer) : uv_timer_start(&run->timer, on_timer, (uint64_t)ms, 0);
}

static void on_ready(uv_poll_t *poll, int status, int events) {
    struct watch *watch = poll->data;
    int flags = status < 0 ? CURL_CSELECT_ERR : 0;
    flags |= events & UV_READABLE ? CURL_CSELECT_IN : 0;
    flags |= events & UV_WRITABLE ? CURL_CSELECT_OUT : 0;
    act(watch->run, watch->socket, flags);
}

static void on_unwatched(uv_handle_t *handle) {
    free(handle->data);
}

static int set_watch(CURL *easy, curl_socket_t socket, int what, void *arg, void *socket_arg) {
    struct run *run = arg;
    struct watch *watch = socket_arg;
    (void)easy;
    if (what == CURL_POLL_REMOVE) {
        if (watch) {
            uv_close((uv_handle_t *)&watch->poll, on_unwatched);
            curl_multi_assign(run->multi, socket, NULL);
        }
        return 0;
    }
    if (!watch) {
        watch = calloc(1, sizeof *watch);
        if (!watch || uv_poll_init_socket(&run->loop, &watch->poll, socket) != 0) {
            free(watch);
            return -1;
        }
        watch->run = run;
        watch->socket = socket;
        watch->poll.data = watch;
        curl_multi_assign(run->multi, socket, watch);
    }
    int events = (what & CURL_POLL_IN ? UV_READABLE : 0) | (what & CURL_POLL_OUT ? UV_WRITABLE : 0);
    return uv_poll_start(&watch->poll, events, on_ready) == 0 ? 0 : -1;
}

/* --- a run ------------------------------------------------------------------------------------------- */

/* Adds "NAME: VALUE" to the headers. */
static bool add_header(struct run *run, const char *name, const char *value) {
    char line[1024];
    int length = snprintf(line, sizeof line, "%s: %s", name, value);
    struct curl_slist *headers =
        length > 0 && (size_t)length < sizeof line ? curl_slist_append(run->headers, line) : NULL;
    run->headers = headers ? headers : run->headers;
    return headers;
}

static trm_status open_curl(struct run *run) {
    const struct load_plan *plan = run->plan;
    run->multi = curl_multi_init();
    if (!run->multi || !add_header(run, "Content-Type", "application/json") ||
        !add_header(run, "Accept", plan->accept) || (plan->key && !add_header(run, "X-Api-Key", plan->key))) {
        return trm_fail(run->err, TRM_NO_MEMORY, "curl does not start");
    }
    curl_multi_setopt(run->multi, CURLMOPT_SOCKETFUNCTION, set_watch);
    curl_multi_setopt(run->multi, CURLMOPT_SOCKETDATA, run);
    curl_multi_setopt(run->multi, CURLMOPT_TIMERFUNCTION, set_timer);
    curl_multi_setopt(run->multi, CURLMOPT_TIMERDATA, run);
    curl_multi_setopt(run->multi, CURLMOPT_MAXCONNECTS, (long)plan->connections);
    return TRM_OK;
}

static void close_curl(struct run *run) {
    for (struct request *r = run->all, *next; r; r = next) {
        next = r->next;
        curl_multi_remove_handle(run->multi, r->easy);
        release(r);
    }
    curl_multi_cleanup(run->multi);
    curl_slist_free_all(run->headers);
}

trm_status load_run(const struct load_plan *plan, struct load_tally *tally, trm_error *err) {
    struct run run = {.plan = plan, .tally = tally, .err = err};
    int rc = uv_loop_init(&run.loop);
    if (rc != 0) {
        return trm_fail(err, TRM_NO_MEMORY, "event loop: %s", uv_strerror(rc));
    }
    run.clock_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    rc = run.clock_fd >= 0 ? uv_poll_init(&run.loop, &run.pacer, run.clock_fd) : -errno;
    if (rc != 0) {
        run.status = trm_fail(err, TRM_IO, "timerfd: %s", uv_strerror(rc));
        goto close_loop;
    }
    uv_timer_init(&run.loop, &run.timer);
    uv_timer_init(&run.loop, &run.reader);
    run.timer.data = run.pacer.data = run.reader.data = &run;
    run.status = open_curl(&run);
    if (run.status == TRM_OK) {
        run.began_ns = uv_hrtime();
        uv_poll_start(&run.pacer, UV_READABLE, on_due);
        if (plan->bytes_per_s) {
            uv_timer_start(&run.reader, on_reader, SLOW_MS, SLOW_MS);
        }
        pace(&run);
        uv_run(&run.loop, UV_RUN_DEFAULT);
    }
    close_curl(&run);
    uv_close((uv_handle_t *)&run.timer, NULL);
    uv_close((uv_handle_t *)&run.pacer, NULL);
    uv_close((uv_handle_t *)&run.reader, NULL);
    uv_run(&run.loop, UV_RUN_DEFAULT);
close_loop:
    uv_loop_close(&run.loop);
    if (run.clock_fd >= 0) {
        close(run.clock_fd);
    }
    return run.status;
}
