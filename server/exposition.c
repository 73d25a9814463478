/* exposition.c - see exposition.h. No state. */
#include "server/exposition.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { MOST_LABELS = 6 };

void srv_family(struct proto_text *text, const char *name, const char *type, const char *help) {
    proto_text_addf(text, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

/* A value of a label: \, " and newline are escaped. */
static void add_value(struct proto_text *text, const char *value) {
    while (*value) {
        size_t plain = strcspn(value, "\\\"\n");
        proto_text_add(text, value, plain);
        value += plain;
        if (*value) {
            proto_text_add_literal(text, *value == '\n' ? "\\n" : *value == '"' ? "\\\"" : "\\\\");
            value++;
        }
    }
}

void srv_sample(struct proto_text *text, const char *name, const struct srv_label *labels, int count, double value) {
    proto_text_add_literal(text, name);
    for (int i = 0; i < count; i++) {
        proto_text_add_literal(text, i ? "," : "{");
        proto_text_add_literal(text, labels[i].name);
        proto_text_add_literal(text, "=\"");
        add_value(text, labels[i].value);
        proto_text_add_literal(text, "\"");
    }
    proto_text_add_literal(text, count ? "} " : " ");
    proto_text_addf(text, value == trunc(value) && fabs(value) < 0x1p53 ? "%.0f\n" : "%.15g\n", value);
}

void srv_sample_histogram(struct proto_text *text, const char *name, const struct srv_label *labels, int count,
                          const struct srv_histogram *histogram) {
    struct srv_label all[MOST_LABELS + 1];
    char full[96], bound[32];
    uint64_t below = 0;
    for (int i = 0; i < count; i++) {
        all[i] = labels[i];
    }
    all[count] = (struct srv_label){"le", bound};
    snprintf(full, sizeof full, "%s_bucket", name);
    for (int i = 0; i <= histogram->bound_count; i++) {
        below += histogram->counts[i];
        if (i < histogram->bound_count) {
            snprintf(bound, sizeof bound, "%.10g", histogram->bounds[i]);
        } else {
            snprintf(bound, sizeof bound, "+Inf");
        }
        srv_sample(text, full, all, count + 1, (double)below);
    }
    snprintf(full, sizeof full, "%s_sum", name);
    srv_sample(text, full, labels, count, histogram->sum);
    snprintf(full, sizeof full, "%s_count", name);
    srv_sample(text, full, labels, count, (double)below);
}
