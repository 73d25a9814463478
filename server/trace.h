/* trace.h - what a request is called, in its answer, in the log and in the traces of its client.
 * Plain data, pure functions: any thread. */
#ifndef TRM_SERVER_TRACE_H
#define TRM_SERVER_TRACE_H

enum { SRV_ID_LENGTH = 64 };

struct srv_trace {
    char id[SRV_ID_LENGTH + 1]; /* X-Request-Id: the client's own, or one that was made */
    char trace_id[33];          /* of a W3C traceparent, lower-case hex; "" without */
    char parent_id[17];         /* the client's span; "" without */
};

/* Reads both headers, each of which may be NULL. An X-Request-Id of 1 to 64 printable characters
 * without spaces, quotes and backslashes is taken, else `made` is. A traceparent that is not what W3C
 * Trace Context says is ignored, as it asks for. */
void srv_trace_read(struct srv_trace *trace, const char *request_id, const char *traceparent, const char *made);

#endif
