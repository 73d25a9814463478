/* metrics.h - GET /metrics: what the server has done, in the text format of Prometheus.
 *
 * Counters only grow; nothing is reset by being read. HTTP is counted here, puzzles by the scheduler
 * (stats.h). Loop thread. */
#ifndef TRM_SERVER_METRICS_H
#define TRM_SERVER_METRICS_H

#include <stdbool.h>

#include "engine/status.h"
#include "server/exchange.h"

struct srv_metrics;

trm_status srv_metrics_create(struct srv_metrics **metrics, trm_error *err);
void srv_metrics_destroy(struct srv_metrics *metrics); /* NULL is fine */

/* Counts an exchange that is over; `whole` as in srv_http_config.finished. */
void srv_metrics_count(struct srv_metrics *metrics, const struct srv_exchange *exchange, bool whole);

/* How an exchange has ended, in one word: "ok", "refused" (it was wrong: 4xx), "shed" (no room or no
 * time for it: 429, 503), "failed" (5xx) or "gone" (the client left before the end of its answer). */
const char *srv_metrics_outcome(const struct srv_exchange *exchange, bool whole);

/* The handler of GET /metrics. */
void srv_metrics(struct srv_exchange *exchange);

#endif
