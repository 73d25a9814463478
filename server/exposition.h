/* exposition.h - the text format of Prometheus, version 0.0.4: families of samples with labels.
 * Pure writers into a text: any thread. */
#ifndef TRM_SERVER_EXPOSITION_H
#define TRM_SERVER_EXPOSITION_H

#include "proto/text.h"
#include "server/stats.h"

struct srv_label {
    const char *name, *value; /* any UTF-8 value: it is escaped */
};

/* Begins a family: all of its samples follow. `type` is "counter", "gauge" or "histogram". */
void srv_family(struct proto_text *text, const char *name, const char *type, const char *help);

/* A sample of a counter or gauge; `labels` is [count]. */
void srv_sample(struct proto_text *text, const char *name, const struct srv_label *labels, int count, double value);

/* All samples of a histogram: cumulative buckets, sum and count. At most 6 labels. */
void srv_sample_histogram(struct proto_text *text, const char *name, const struct srv_label *labels, int count,
                          const struct srv_histogram *histogram);

#endif
