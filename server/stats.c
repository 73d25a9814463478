/* stats.c - histograms with fixed bounds. The scheduler's own live under its lock. */
#include "server/stats.h"

#include <assert.h>

static const double seconds[] = {0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1,
                                 0.25,   0.5,   1,      2.5,   5,    10,    30,   60};
static const double steps[] = {1, 2, 3, 4, 5, 6, 8, 10, 12, 16, 24, 32, 48, 64, 128, 256};
static const double parts[] = {0.0625, 0.125, 0.25, 0.375, 0.5, 0.625, 0.75, 0.875, 1};

#define HISTOGRAM(bounds) ((struct srv_histogram){bounds, sizeof(bounds) / sizeof *(bounds), {0}, 0})

static_assert(sizeof seconds / sizeof *seconds < SRV_BUCKETS, "too many bounds");
static_assert(sizeof steps / sizeof *steps < SRV_BUCKETS, "too many bounds");
static_assert(sizeof parts / sizeof *parts < SRV_BUCKETS, "too many bounds");

void srv_model_stats_init(struct srv_model_stats *stats) {
    *stats = (struct srv_model_stats){
        .wait = HISTOGRAM(seconds),
        .first_step = HISTOGRAM(seconds),
        .solving = HISTOGRAM(steps),
        .occupancy = HISTOGRAM(parts),
    };
}

struct srv_histogram srv_histogram_of_seconds(void) {
    return HISTOGRAM(seconds);
}

void srv_histogram_add(struct srv_histogram *histogram, double value) {
    int i = 0;
    while (i < histogram->bound_count && value > histogram->bounds[i]) {
        i++;
    }
    histogram->counts[i]++;
    histogram->sum += value;
}
