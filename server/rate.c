/* rate.c - a ring of seconds. Lives under the scheduler's lock. */
#include "server/rate.h"

#include <math.h>

enum { LONGEST_WAIT_S = 120 };

/* Makes the present second the newest; those that have passed without a word are empty. */
static void advance(struct srv_rate *rate, uint64_t now_ns) {
    uint64_t now = now_ns / 1000000000;
    for (int i = 0; i < SRV_RATE_SPAN && rate->second < now; i++) {
        uint64_t next = rate->second + SRV_RATE_SPAN < now ? now - SRV_RATE_SPAN + 1 : rate->second + 1;
        rate->second = next;
        rate->ended[next % SRV_RATE_SPAN] = 0;
        rate->busy_s[next % SRV_RATE_SPAN] = 0;
    }
}

void srv_rate_add(struct srv_rate *rate, uint64_t now_ns, int ended, double busy_s) {
    advance(rate, now_ns);
    rate->ended[rate->second % SRV_RATE_SPAN] += (uint32_t)ended;
    rate->busy_s[rate->second % SRV_RATE_SPAN] += busy_s;
}

double srv_rate_per_worker(struct srv_rate *rate, uint64_t now_ns) {
    double ended = 0, busy_s = 0;
    advance(rate, now_ns);
    for (int i = 0; i < SRV_RATE_SPAN; i++) {
        ended += rate->ended[i];
        busy_s += rate->busy_s[i];
    }
    return busy_s > 0 ? ended / busy_s : 0;
}

int srv_rate_wait_s(struct srv_rate *rate, uint64_t now_ns, int waiting, int workers) {
    double per_second = srv_rate_per_worker(rate, now_ns) * workers;
    double seconds = per_second > 0 ? ceil(waiting / per_second) : SRV_RATE_SPAN;
    return seconds < 1 ? 1 : seconds > LONGEST_WAIT_S ? LONGEST_WAIT_S : (int)seconds;
}
