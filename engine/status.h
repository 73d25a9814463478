/* status.h - how every function of this project says that it failed.
 *
 * A fallible function returns a trm_status and takes a trm_error to fill in with one
 * sentence for people; `err` may be NULL when the caller does not care. Nothing below
 * main() prints an error or ends the process. Safe from any thread. */
#ifndef TRM_ENGINE_STATUS_H
#define TRM_ENGINE_STATUS_H

typedef enum trm_status {
    TRM_OK = 0,
    TRM_NO_MEMORY,   /* an allocation failed */
    TRM_IO,          /* the operating system refused: open, read, write, rename ... */
    TRM_FORMAT,      /* a file or text is not what it claims to be */
    TRM_INVALID,     /* an argument or a setting is out of its range */
    TRM_UNSUPPORTED, /* valid, but this build or machine cannot do it */
    TRM_FULL,        /* no free slot or queue place: try later */
    TRM_CANCELLED    /* whoever asked for it does not want it any more */
} trm_status;

typedef struct trm_error {
    char text[256];
} trm_error;

/* Writes the sentence into `err` (if not NULL) and returns `status`:
 *     return trm_fail(err, TRM_FORMAT, "%s: header is cut short", path); */
trm_status trm_fail(trm_error *err, trm_status status, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* trm_fail() for a failed allocation of `bytes`. */
trm_status trm_fail_memory(trm_error *err, unsigned long bytes);

#endif
