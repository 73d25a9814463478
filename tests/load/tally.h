/* tally.h - what became of the requests: counts, and times of which percentiles are exact. */
#ifndef TRM_TESTS_LOAD_TALLY_H
#define TRM_TESTS_LOAD_TALLY_H

#include <curl/curl.h>
#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "engine/status.h"

enum { LOAD_STATUSES = 600 };

struct load_series {
    float *ms; /* [count] */
    size_t count;
};

/* Times are milliseconds from the moment a request was due, so that waiting for a generator or a connection
 * counts as waiting for the server: no coordinated omission. */
struct load_tally {
    size_t statuses[LOAD_STATUSES]; /* of responses that came to their end */
    size_t errors[CURL_LAST];       /* requests without a whole response, by curl's reason */
    size_t failed;                  /* status 200, but the stream ends with an error */
    size_t cut;                     /* status 200, but nothing of that kind at the end of it */
    size_t solved;                  /* answers that the server's verifier accepted */
    struct load_series
        sent; /* when a request was handed to the network: waits for a connection, the generator's own delay */
    struct load_series first;    /* the first byte of a 200's body */
    struct load_series answered; /* the end of a 200 */
    struct load_series beside;   /* the same less the time of computing that the answer states */
    struct load_series refused;  /* the end of any other response */
    double elapsed_s;            /* from the first request to the last response */
};

/* Room for `requests`; load_tally_close() frees it, also after a failure. */
trm_status load_tally_open(struct load_tally *tally, size_t requests, trm_error *err);
void load_tally_close(struct load_tally *tally);

void load_series_add(struct load_series *series, double ms);

/* A whole response. `body` [length] is its last part, with at least the last message of a stream. */
void load_tally_response(struct load_tally *tally, long status, const char *body, size_t length, double ms);

/* Whether every request has a whole response, and every 200 its answer. */
bool load_tally_is_whole(const struct load_tally *tally);

/* A new object; NULL when memory is short. Sorts the series. */
json_t *load_tally_json(struct load_tally *tally);
void load_tally_print(struct load_tally *tally);

#endif
