/* schedule.h - the learning rate over a run: warm-up, full rate, cosine. Pure: any thread. */
#ifndef TRM_ENGINE_TRAIN_SCHEDULE_H
#define TRM_ENGINE_TRAIN_SCHEDULE_H

struct train_schedule {
    int warmup;               /* optimizer steps of linear rise; step == warmup has the full rate */
    int total;                /* optimizer steps of the run */
    double constant_fraction; /* of `total`, warm-up included: the fall begins after it; 0 is the original */
    double min_ratio;         /* the last step's rate over the full one; 1 means no fall */
};

/* What every learning rate is multiplied by at `step` = 1, 2, ...: step / warmup while step < warmup, then
 * 1 until start = max(warmup, constant_fraction * total), then min_ratio + (1 - min_ratio) *
 * (1 + cos(pi * progress)) / 2 with progress = (step - start) / max(1, total - start). Stays at
 * min_ratio beyond `total`. */
double train_schedule_factor(const struct train_schedule *schedule, int step);

#endif
