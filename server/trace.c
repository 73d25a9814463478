/* trace.c - see trace.h. No state. */
#include "server/trace.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

static bool is_good_id(const char *id) {
    size_t length = 0;
    for (; id[length]; length++) {
        if (length == SRV_ID_LENGTH || id[length] <= ' ' || id[length] > '~' || strchr("\"'\\", id[length])) {
            return false;
        }
    }
    return length > 0;
}

/* Whether `text` begins with `count` lower-case hex digits, not all of them 0 if `not_zero`. */
static bool is_hex(const char *text, size_t count, bool not_zero) {
    return strspn(text, "0123456789abcdef") >= count && !(not_zero && strspn(text, "0") >= count);
}

/* version "-" trace-id "-" parent-id "-" flags; versions after 00 may add "-" and more. */
static bool is_traceparent(const char *t) {
    return is_hex(t, 2, false) && strncmp(t, "ff", 2) != 0 && t[2] == '-' && is_hex(t + 3, 32, true) && t[35] == '-' &&
           is_hex(t + 36, 16, true) && t[52] == '-' && is_hex(t + 53, 2, false) &&
           (t[55] == '\0' || (t[55] == '-' && strncmp(t, "00", 2) != 0));
}

void srv_trace_read(struct srv_trace *trace, const char *request_id, const char *traceparent, const char *made) {
    *trace = (struct srv_trace){0};
    snprintf(trace->id, sizeof trace->id, "%s", request_id && is_good_id(request_id) ? request_id : made);
    if (traceparent && is_traceparent(traceparent)) {
        memcpy(trace->trace_id, traceparent + 3, sizeof trace->trace_id - 1);
        memcpy(trace->parent_id, traceparent + 36, sizeof trace->parent_id - 1);
    }
}
