/* load.h - what a run of the load generator is, and how it is run. One thread does everything. */
#ifndef TRM_TESTS_LOAD_LOAD_H
#define TRM_TESTS_LOAD_LOAD_H

#include <stdbool.h>
#include <stddef.h>

#include "engine/status.h"
#include "tests/load/tally.h"

struct load_plan {
    const char *url;     /* where to POST */
    const char *accept;  /* type of the answers */
    const char *key;     /* API key, or NULL */
    double rate;         /* requests that become due in a second */
    size_t requests;     /* in all */
    int connections;     /* open at once, at most; a request that finds none free waits, and its time runs */
    int timeout_s;       /* after its sending a request without a whole answer is given up */
    int bytes_per_s;     /* how slowly each answer is read; 0: at once */
    bool keep_alive;     /* else a connection for each request */
    char *const *bodies; /* [body_count] sent by turns */
    size_t body_count;
};

/* Sends every request of the plan when it is due, whatever became of those before, waits for the last answer
 * and adds all of it to `tally` (load_tally_open()). What goes wrong with a request is counted, not returned. */
trm_status load_run(const struct load_plan *plan, struct load_tally *tally, trm_error *err);

#endif
