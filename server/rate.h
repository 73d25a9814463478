/* rate.h - how fast work is done when there is work: rollouts that end per second of the workers' time,
 * over the last seconds. Idle time does not count, so the first second of a rush knows what the last
 * one was like. Times are uv_hrtime(). Whoever owns a rate protects it. */
#ifndef TRM_SERVER_RATE_H
#define TRM_SERVER_RATE_H

#include <stdint.h>

enum { SRV_RATE_SPAN = 8 }; /* seconds */

struct srv_rate {                  /* all zero: nothing known */
    uint64_t second;               /* the newest of the last SRV_RATE_SPAN */
    uint32_t ended[SRV_RATE_SPAN]; /* in second s at s % SRV_RATE_SPAN */
    double busy_s[SRV_RATE_SPAN];  /* that workers computed, all of them together */
};

void srv_rate_add(struct srv_rate *rate, uint64_t now_ns, int ended, double busy_s);

/* Rollouts per second of one worker's time; 0 when none ended lately. */
double srv_rate_per_worker(struct srv_rate *rate, uint64_t now_ns);

/* Seconds until `waiting` rollouts are worked off by `workers`, rounded up, from 1 to 120: what a
 * refused client is told. */
int srv_rate_wait_s(struct srv_rate *rate, uint64_t now_ns, int waiting, int workers);

#endif
