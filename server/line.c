/* line.c - see line.h. Under the scheduler's lock. */
#include "server/line.h"

#include <uv.h>

static double seconds_since(uint64_t then_ns) {
    return (double)(uv_hrtime() - then_ns) / 1e9;
}

void srv_line_init(struct srv_line *line) {
    *line = (struct srv_line){0};
    srv_model_stats_init(&line->stats);
}

void srv_line_add(struct srv_line *line, struct srv_group *group) {
    group->submitted_ns = uv_hrtime();
    line->stats.accepted += (uint64_t)group->config.puzzles;
    srv_queue_add(&line->queue, group);
}

static size_t bytes_of(const trm_parked *parked) {
    return trm_slot_bytes(trm_parked_model(parked));
}

/* A parked job waits no more. The time that it did so was no computing. */
static void unpark(struct srv_line *line, struct srv_job *job) {
    line->parked_bytes -= bytes_of(job->parked);
    line->stats.parked--;
    job->shared.started_ns += uv_hrtime() - job->parked_ns;
}

struct srv_job *srv_line_take(struct srv_line *line) {
    struct srv_job *job = srv_queue_take(&line->queue);
    if (!job) {
        return NULL;
    }
    struct srv_puzzle *puzzle = srv_job_puzzle(job);
    if (job->parked) {
        unpark(line, job);
    } else {
        job->shared.started_ns = uv_hrtime();
        line->stats.rollouts++;
    }
    job->steps_before = job->shared.steps;
    line->stats.running++;
    if (!puzzle->started) {
        puzzle->started = true;
        srv_histogram_add(&line->stats.wait, seconds_since(job->group->submitted_ns));
    }
    return job;
}

void srv_line_step(struct srv_line *line, struct srv_job *job, const struct trm_report *report) {
    struct srv_puzzle *puzzle = srv_job_puzzle(job);
    srv_track_add(job->group, &job->shared, report->answer, report->q_halt, report->confidence);
    line->stats.steps++;
    if (!puzzle->stepped) {
        puzzle->stepped = true;
        srv_histogram_add(&line->stats.first_step, seconds_since(job->group->submitted_ns));
    }
}

bool srv_line_has_had_share(const struct srv_job *job) {
    int share = job->group->config.share;
    return share > 0 && job->shared.steps - job->steps_before >= share;
}

void srv_line_yield(struct srv_line *line, struct srv_job *job, trm_parked *parked) {
    job->parked = parked;
    job->parked_ns = uv_hrtime();
    line->parked_bytes += bytes_of(parked);
    line->stats.parked++;
    line->stats.yields++;
    line->stats.running--;
    srv_queue_yield(&line->queue, job);
}

/* The last rollout of a puzzle has ended. */
static void count_puzzle(struct srv_line *line, const struct srv_job *last) {
    const struct srv_group *group = last->group;
    const struct srv_track *best = &group->jobs[last->puzzle].shared;
    for (int r = 1; r < group->config.rollouts; r++) {
        const struct srv_track *track = &group->jobs[r * group->config.puzzles + last->puzzle].shared;
        best = srv_track_leads(track, best) ? track : best;
    }
    line->stats.outcomes[best->outcome]++;
    line->stats.unstarted += !srv_job_puzzle(last)->started;
    if (best->outcome == SRV_VERIFIED || best->outcome == SRV_Q_HEAD) {
        srv_histogram_add(&line->stats.solving, best->steps);
    }
}

void srv_line_end(struct srv_line *line, struct srv_job *job, enum srv_outcome outcome) {
    struct srv_puzzle *puzzle = srv_job_puzzle(job);
    bool waits = srv_queue_holds(job);
    if (waits && job->parked) {
        unpark(line, job);
    }
    trm_parked_destroy(job->parked);
    job->parked = NULL;
    job->shared.outcome = job->group->end != SRV_RUNNING ? job->group->end : outcome;
    job->shared.ended_ns = uv_hrtime();
    if (waits) {
        srv_queue_drop(&line->queue, job);
    } else {
        srv_queue_left(&line->queue, job->group);
        line->stats.running--;
    }
    puzzle->solved = puzzle->solved || job->shared.outcome == SRV_VERIFIED;
    if (--puzzle->pending == 0) {
        count_puzzle(line, job);
    }
}

void srv_line_count_round(struct srv_line *line, int busy, int slots, double seconds) {
    line->stats.rounds++;
    line->stats.busy_seconds += seconds;
    srv_histogram_add(&line->stats.occupancy, (double)busy / slots);
}

bool srv_line_is_needless(const struct srv_job *job) {
    return job->group->end != SRV_RUNNING || srv_job_puzzle(job)->solved;
}
