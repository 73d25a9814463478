/* tally.c - see tally.h. Belongs to the thread that runs the load. */
#define _GNU_SOURCE /* memrchr */
#include "tests/load/tally.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SERIES = 5, PERCENTILES = 5 };

static const struct {
    const char *name;
    double part;
} percentiles[PERCENTILES] = {{"p50", 0.5}, {"p90", 0.9}, {"p99", 0.99}, {"p99.9", 0.999}, {"max", 1}};

static const char *const series_names[SERIES] = {"latency_ms", "first_byte_ms", "beside_compute_ms", "refused_ms",
                                                 "generator_ms"};
static const char *const series_titles[SERIES] = {"answers", "first byte", "less computing", "refusals", "generator"};

/* In the order of the names. */
static struct load_series *series_of(struct load_tally *tally, int index) {
    struct load_series *const all[SERIES] = {&tally->answered, &tally->first, &tally->beside, &tally->refused,
                                             &tally->sent};
    return all[index];
}

trm_status load_tally_open(struct load_tally *tally, size_t requests, trm_error *err) {
    *tally = (struct load_tally){0};
    for (int i = 0; i < SERIES; i++) {
        struct load_series *series = series_of(tally, i);
        series->ms = calloc(requests, sizeof *series->ms);
        if (!series->ms) {
            return trm_fail_memory(err, requests * sizeof *series->ms);
        }
    }
    return TRM_OK;
}

void load_tally_close(struct load_tally *tally) {
    for (int i = 0; i < SERIES; i++) {
        free(series_of(tally, i)->ms);
    }
}

void load_series_add(struct load_series *series, double ms) {
    series->ms[series->count++] = (float)ms;
}

/* The JSON of the last line: of an answer, of the last event of a stream, of the last line of NDJSON. */
static json_t *last_message(const char *body, size_t length) {
    static const char field[] = "data: ";
    while (length > 0 && body[length - 1] == '\n') {
        length--;
    }
    const char *before = memrchr(body, '\n', length);
    const char *line = before ? before + 1 : body;
    size_t left = length - (size_t)(line - body);
    if (left >= strlen(field) && memcmp(line, field, strlen(field)) == 0) {
        line += strlen(field);
        left -= strlen(field);
    }
    return json_loadb(line, left, 0, NULL);
}

void load_tally_response(struct load_tally *tally, long status, const char *body, size_t length, double ms) {
    tally->statuses[status >= 0 && status < LOAD_STATUSES ? status : 0]++;
    if (status != 200) {
        load_series_add(&tally->refused, ms);
        return;
    }
    json_t *answer = last_message(body, length);
    const json_t *compute = json_object_get(json_object_get(answer, "timing_ms"), "compute");
    if (json_object_get(answer, "halted_by") && json_is_number(compute)) {
        load_series_add(&tally->answered, ms);
        load_series_add(&tally->beside, ms - json_number_value(compute));
        tally->solved += json_is_true(json_object_get(answer, "valid"));
    } else if (json_object_get(answer, "problem")) {
        tally->failed++;
    } else {
        tally->cut++;
    }
    json_decref(answer);
}

bool load_tally_is_whole(const struct load_tally *tally) {
    return tally->answered.count + tally->refused.count == tally->sent.count && tally->failed == 0 && tally->cut == 0;
}

/* --- reports ----------------------------------------------------------------------------------------- */

static int by_value(const void *a, const void *b) {
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

/* Of a sorted series that is not empty: the smallest time that `part` of them do not exceed. */
static double percentile(const struct load_series *series, double part) {
    size_t rank = (size_t)(part * (double)series->count);
    return series->ms[rank < series->count ? rank : series->count - 1];
}

static double per_second(const struct load_tally *tally, size_t count) {
    return tally->elapsed_s > 0 ? (double)count / tally->elapsed_s : 0;
}

static json_t *series_json(const struct load_series *series) {
    json_t *object = json_object();
    for (int p = 0; p < PERCENTILES; p++) {
        json_object_set_new(object, percentiles[p].name, json_real(percentile(series, percentiles[p].part)));
    }
    return object;
}

json_t *load_tally_json(struct load_tally *tally) {
    json_t *statuses = json_object(), *errors = json_object();
    char number[16];
    for (int i = 0; i < LOAD_STATUSES; i++) {
        if (tally->statuses[i]) {
            snprintf(number, sizeof number, "%d", i);
            json_object_set_new(statuses, number, json_integer((json_int_t)tally->statuses[i]));
        }
    }
    for (int i = 0; i < CURL_LAST; i++) {
        if (tally->errors[i]) {
            json_object_set_new(errors, curl_easy_strerror((CURLcode)i), json_integer((json_int_t)tally->errors[i]));
        }
    }
    json_t *object = json_pack("{s:I, s:f, s:o, s:o, s:I, s:I, s:I, s:f}", "requests", (json_int_t)tally->sent.count,
                               "elapsed_s", tally->elapsed_s, "statuses", statuses, "errors", errors, "failed",
                               (json_int_t)tally->failed, "cut", (json_int_t)tally->cut, "solved",
                               (json_int_t)tally->solved, "goodput_per_s", per_second(tally, tally->answered.count));
    for (int i = 0; i < SERIES; i++) {
        struct load_series *series = series_of(tally, i);
        if (series->count) {
            qsort(series->ms, series->count, sizeof *series->ms, by_value);
            json_object_set_new(object, series_names[i], series_json(series));
        }
    }
    return object;
}

static void print_count(const struct load_tally *tally, const char *what, size_t count) {
    if (count) {
        printf("%-26s %10zu %10.1f/s\n", what, count, per_second(tally, count));
    }
}

void load_tally_print(struct load_tally *tally) {
    char title[32];
    print_count(tally, "requests", tally->sent.count);
    for (int i = 0; i < LOAD_STATUSES; i++) {
        snprintf(title, sizeof title, "status %d", i);
        print_count(tally, title, tally->statuses[i]);
    }
    print_count(tally, "ended by an error", tally->failed);
    print_count(tally, "cut short", tally->cut);
    for (int i = 0; i < CURL_LAST; i++) {
        print_count(tally, curl_easy_strerror((CURLcode)i), tally->errors[i]);
    }
    print_count(tally, "solved", tally->solved);
    printf("%-16s", "milliseconds");
    for (int p = 0; p < PERCENTILES; p++) {
        printf(" %10s", percentiles[p].name);
    }
    putchar('\n');
    for (int i = 0; i < SERIES; i++) {
        struct load_series *series = series_of(tally, i);
        if (series->count) {
            qsort(series->ms, series->count, sizeof *series->ms, by_value);
            printf("%-16s", series_titles[i]);
            for (int p = 0; p < PERCENTILES; p++) {
                printf(" %10.2f", percentile(series, percentiles[p].part));
            }
            putchar('\n');
        }
    }
}
