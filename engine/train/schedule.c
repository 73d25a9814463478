/* schedule.c - one formula, so that a resumed run needs nothing but its step number. Owns no data. */
#include "engine/train/schedule.h"

#include <math.h>

double train_schedule_factor(const struct train_schedule *schedule, int step) {
    if (step < schedule->warmup)
        return (double)step / schedule->warmup;
    double start = fmax(schedule->warmup, schedule->constant_fraction * schedule->total);
    double progress = (step - start) / fmax(1.0, schedule->total - start);
    double falling = 0.5 * (1.0 + cos(M_PI * fmin(fmax(progress, 0.0), 1.0)));
    return schedule->min_ratio + (1.0 - schedule->min_ratio) * falling;
}
