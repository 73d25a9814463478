/* scheduler.c - the queue, the worker threads and their batches.
 *
 * Everything in struct srv_scheduler is protected by `lock`, but for the constants set before the
 * threads start. A struct worker and its benches belong to its thread alone, but for `fresh`. */
#include "server/scheduler.h"

#include <stdlib.h>
#include <uv.h>

#include "server/bench.h"
#include "server/line.h"
#include "server/log.h"
#include "server/rate.h"

struct worker {
    struct srv_scheduler *scheduler;
    uv_thread_t thread;
    bool has_thread;
    uv_sem_t ready; /* posted once, when `status` is known */
    trm_status status;
    trm_error error;
    struct srv_bench **benches; /* [models] newest first; only the newest takes puzzles */
    struct srv_bench **fresh;   /* [models] a bench to begin with, or NULL; under the lock */
};

struct srv_scheduler {
    struct srv_scheduler_config config;
    struct worker *workers; /* [config.workers] */
    uv_mutex_t lock;
    uv_cond_t work; /* something waits, or it is time to stop */
    bool has_lock, has_work;
    int idle;               /* workers that wait for work */
    struct srv_line *lines; /* [models] */
    struct srv_rate rate;
    uint64_t reduced_rollouts, reduced_steps; /* puzzles, see stats.h */
    struct srv_job *updated_first, *updated_last;
    bool has_news; /* the loop thread is to be woken */
    bool stop;
};

/* Who is woken while the lock is held wakes only to wait for it. */
static void unlock(struct srv_scheduler *s) {
    bool has_news = s->has_news;
    s->has_news = false;
    uv_mutex_unlock(&s->lock);
    if (has_news) {
        s->config.notify(s->config.arg);
    }
}

/* --- under the lock ------------------------------------------------------------------------------ */

/* Puts a job into the list of updated ones; unlock() wakes the loop thread for the first of a list. */
static void publish(struct srv_scheduler *s, struct srv_job *job) {
    if (job->updated) {
        return;
    }
    job->updated = true;
    job->next_updated = NULL;
    if (s->updated_last) {
        s->updated_last->next_updated = job;
    } else {
        s->updated_first = job;
        s->has_news = true;
    }
    s->updated_last = job;
}

static struct srv_line *line_of(struct srv_scheduler *s, const struct srv_job *job) {
    return &s->lines[job->group->config.model->index];
}

static void end(struct srv_scheduler *s, struct srv_job *job, enum srv_outcome outcome) {
    srv_line_end(line_of(s, job), job, outcome);
    srv_rate_add(&s->rate, job->shared.ended_ns, 1, 0);
    publish(s, job);
}

/* The other rollouts of a solved puzzle are not needed: those that wait end here, those that run
 * before their next step. */
static void end_waiting(struct srv_scheduler *s, struct srv_group *group, int puzzle) {
    for (int r = 0; r < group->config.rollouts; r++) {
        struct srv_job *job = &group->jobs[r * group->config.puzzles + puzzle];
        if (srv_queue_holds(job)) {
            end(s, job, SRV_CANCELLED);
        }
    }
}

static int waiting(const struct srv_scheduler *s) {
    int sum = 0;
    for (int m = 0; m < s->config.models->count; m++) {
        sum += s->lines[m].queue.waiting;
    }
    return sum;
}

/* A worker takes no more than its share, rounded up, of what waits and runs. */
static int share(const struct srv_scheduler *s, const struct srv_line *line) {
    return (line->queue.waiting + line->stats.running + s->config.workers - 1) / s->config.workers;
}

/* Begins with the benches that srv_scheduler_replace() has left. */
static void take_fresh(struct worker *w) {
    for (int m = 0; m < w->scheduler->config.models->count; m++) {
        if (w->fresh[m]) {
            w->fresh[m]->next = w->benches[m];
            w->benches[m] = w->fresh[m];
            w->fresh[m] = NULL;
        }
    }
}

static bool has_room_to_park(const struct srv_scheduler *s, const struct srv_bench *bench) {
    size_t held = 0;
    for (int m = 0; m < s->config.models->count; m++) {
        held += s->lines[m].parked_bytes;
    }
    return held < s->config.parked_memory && trm_slot_bytes(bench->engine) <= s->config.parked_memory - held;
}

/* When all slots are taken and others wait, those that have had their share leave theirs: no more than wait, who may
 * be taken again at once if they are the next. */
static void give_way(struct worker *w, int m) {
    struct srv_scheduler *s = w->scheduler;
    struct srv_line *line = &s->lines[m];
    trm_parked *parked;
    int wanted = srv_benches_busy(w->benches[m]) < s->config.slots ? 0 : line->queue.waiting;
    for (struct srv_bench *bench = w->benches[m]; bench && wanted > 0; bench = bench->next) {
        for (int slot = 0; slot < s->config.slots && wanted > 0; slot++) {
            struct srv_job *job = bench->seats[slot];
            if (job && srv_line_has_had_share(job) && has_room_to_park(s, bench) &&
                srv_bench_park(bench, slot, &parked, NULL) == TRM_OK) {
                srv_line_yield(line, job, parked);
                wanted--;
            }
        }
    }
}

static void take_jobs(struct worker *w) {
    struct srv_scheduler *s = w->scheduler;
    for (int m = 0; m < s->config.models->count; m++) {
        give_way(w, m);
        struct srv_bench *bench = w->benches[m];
        int most = share(s, &s->lines[m]), held = srv_benches_busy(bench);
        struct srv_job *job;
        for (; held < s->config.slots && held < most && (job = srv_line_take(&s->lines[m])); held++) {
            bench->incoming[bench->incoming_count++] = job;
            bench->busy++;
        }
    }
}

static void leave(struct srv_scheduler *s, struct srv_bench *bench, int slot, enum srv_outcome outcome) {
    struct srv_job *job = bench->seats[slot];
    srv_bench_leave(bench, slot);
    end(s, job, outcome);
    if (outcome == SRV_VERIFIED) {
        end_waiting(s, job->group, job->puzzle);
    }
}

/* Frees the seats of jobs that nobody needs; of all jobs when it is time to stop. */
static void drop_needless(struct worker *w) {
    struct srv_scheduler *s = w->scheduler;
    for (int m = 0; m < s->config.models->count; m++) {
        for (struct srv_bench *bench = w->benches[m]; bench; bench = bench->next) {
            for (int slot = 0; slot < s->config.slots && bench->busy > 0; slot++) {
                const struct srv_job *job = bench->seats[slot];
                if (job && (s->stop || srv_line_is_needless(job))) {
                    leave(s, bench, slot, SRV_CANCELLED);
                }
            }
        }
    }
}

static enum srv_outcome outcome_of(enum trm_halt halt) {
    switch (halt) {
    case TRM_RUNNING:
        return SRV_RUNNING;
    case TRM_HALT_Q_HEAD:
        return SRV_Q_HEAD;
    case TRM_HALT_VERIFIED:
        return SRV_VERIFIED;
    case TRM_HALT_MAX_STEPS:
        return SRV_MAX_STEPS;
    }
    return SRV_FAILED;
}

/* Takes over what a step has left in each slot. */
static void report_step(struct srv_scheduler *s, int m, struct srv_bench *bench, trm_status status) {
    for (int slot = 0; slot < s->config.slots; slot++) {
        struct srv_job *job = bench->seats[slot];
        if (!job) {
            continue;
        }
        if (status != TRM_OK) {
            leave(s, bench, slot, SRV_FAILED);
            continue;
        }
        const struct trm_report *now = trm_batch_report(bench->batch, slot);
        enum srv_outcome outcome = outcome_of(now->halt);
        srv_line_step(&s->lines[m], job, now);
        if (outcome != SRV_RUNNING) {
            leave(s, bench, slot, outcome);
        } else if (job->group->config.every_step) {
            publish(s, job);
        }
    }
}

/* Jobs that could not be seated. */
static void report_refused(struct srv_scheduler *s, struct srv_bench *bench) {
    for (int i = 0; i < bench->incoming_count; i++) {
        bench->busy--;
        end(s, bench->incoming[i], SRV_FAILED);
    }
    bench->incoming_count = 0;
}

static bool has_work(const struct worker *w) {
    for (int m = 0; m < w->scheduler->config.models->count; m++) {
        if (srv_benches_busy(w->benches[m]) > 0 || srv_benches_have_idle(w->benches[m]->next)) {
            return true;
        }
    }
    return false;
}

/* --- a worker's own work, without the lock -------------------------------------------------------- */

static void step(struct worker *w, int m, struct srv_bench *bench) {
    struct srv_scheduler *s = w->scheduler;
    trm_error error;
    if (bench->busy == 0) {
        return;
    }
    uint64_t began_ns = uv_hrtime();
    trm_status status = srv_bench_step(bench, &error);
    uint64_t ended_ns = uv_hrtime();
    if (status != TRM_OK) {
        srv_log(SRV_ERROR, "a step failed", "model=%s reason=%s", s->config.models->items[m].name, error.text);
    }
    uv_mutex_lock(&s->lock);
    srv_line_count_round(&s->lines[m], bench->busy, s->config.slots, (double)(ended_ns - began_ns) / 1e9);
    srv_rate_add(&s->rate, ended_ns, 0, (double)(ended_ns - began_ns) / 1e9);
    report_step(s, m, bench, status);
    report_refused(s, bench);
    unlock(s);
}

static trm_status open_benches(struct worker *w) {
    const struct srv_scheduler_config *config = &w->scheduler->config;
    trm_status status = TRM_OK;
    for (int m = 0; m < config->models->count && status == TRM_OK; m++) {
        status = srv_bench_create(config->models->items[m].engine, config->slots, &w->benches[m], &w->error);
    }
    return status;
}

static void step_all(struct worker *w) {
    for (int m = 0; m < w->scheduler->config.models->count; m++) {
        srv_benches_sort(w->benches[m], w->scheduler->config.slots);
        for (struct srv_bench *bench = w->benches[m]; bench; bench = bench->next) {
            step(w, m, bench);
        }
        srv_benches_drop_idle(&w->benches[m]->next);
    }
}

static void work(void *arg) {
    struct worker *w = arg;
    struct srv_scheduler *s = w->scheduler;
    w->status = open_benches(w);
    bool good = w->status == TRM_OK;
    uv_sem_post(&w->ready);
    uv_mutex_lock(&s->lock);
    while (good && !s->stop) {
        drop_needless(w);
        take_fresh(w);
        take_jobs(w);
        bool idle = !has_work(w);
        if (idle && !s->has_news) {
            s->idle++;
            uv_cond_wait(&s->work, &s->lock);
            s->idle--;
            continue;
        }
        unlock(s);
        if (!idle) {
            step_all(w);
        }
        uv_mutex_lock(&s->lock);
    }
    if (good) {
        drop_needless(w);
    }
    unlock(s);
}

/* --- the loop thread ------------------------------------------------------------------------------ */

static trm_status start_worker(struct srv_scheduler *s, struct worker *w, trm_error *err) {
    size_t models = (size_t)s->config.models->count;
    w->scheduler = s;
    w->benches = calloc(models, sizeof(struct srv_bench *));
    w->fresh = calloc(models, sizeof(struct srv_bench *));
    if (!w->benches || !w->fresh) {
        return trm_fail_memory(err, models * sizeof(struct srv_bench *));
    }
    int rc = uv_sem_init(&w->ready, 0);
    if (rc != 0) {
        return trm_fail(err, TRM_NO_MEMORY, "semaphore: %s", uv_strerror(rc));
    }
    rc = uv_thread_create(&w->thread, work, w);
    if (rc != 0) {
        uv_sem_destroy(&w->ready);
        return trm_fail(err, TRM_NO_MEMORY, "thread: %s", uv_strerror(rc));
    }
    w->has_thread = true;
    return TRM_OK;
}

trm_status srv_scheduler_create(const struct srv_scheduler_config *config, struct srv_scheduler **scheduler,
                                trm_error *err) {
    trm_status status = TRM_OK;
    struct srv_scheduler *s = calloc(1, sizeof *s);
    if (!s) {
        return trm_fail_memory(err, sizeof *s);
    }
    s->config = *config;
    s->workers = calloc((size_t)config->workers, sizeof *s->workers);
    s->lines = calloc((size_t)config->models->count, sizeof *s->lines);
    for (int m = 0; s->lines && m < config->models->count; m++) {
        srv_line_init(&s->lines[m]);
    }
    s->has_lock = uv_mutex_init(&s->lock) == 0;
    s->has_work = uv_cond_init(&s->work) == 0;
    if (!s->workers || !s->lines || !s->has_lock || !s->has_work) {
        status = trm_fail(err, TRM_NO_MEMORY, "out of memory for the scheduler");
    }
    for (int i = 0; i < config->workers && status == TRM_OK; i++) {
        status = start_worker(s, &s->workers[i], err);
    }
    for (int i = 0; i < config->workers && status == TRM_OK; i++) {
        uv_sem_wait(&s->workers[i].ready);
        if (s->workers[i].status != TRM_OK) {
            status = trm_fail(err, s->workers[i].status, "worker %d: %.200s", i, s->workers[i].error.text);
        }
    }
    if (status != TRM_OK) {
        srv_scheduler_destroy(s);
        return status;
    }
    *scheduler = s;
    return TRM_OK;
}

void srv_scheduler_stop(struct srv_scheduler *s) {
    if (s->has_lock && s->has_work) {
        uv_mutex_lock(&s->lock);
        s->stop = true;
        uv_cond_broadcast(&s->work);
        uv_mutex_unlock(&s->lock);
    }
    for (int i = 0; s->workers && i < s->config.workers; i++) {
        if (s->workers[i].has_thread) {
            uv_thread_join(&s->workers[i].thread);
            uv_sem_destroy(&s->workers[i].ready);
            s->workers[i].has_thread = false;
        }
    }
    for (int m = 0; s->lines && m < s->config.models->count; m++) {
        for (struct srv_job *job; (job = srv_line_take(&s->lines[m]));) {
            end(s, job, SRV_CANCELLED);
        }
    }
}

/* What is left of a worker whose thread has ended. */
static void release_worker(struct srv_scheduler *s, struct worker *w) {
    for (int m = 0; w->benches && w->fresh && m < s->config.models->count; m++) {
        srv_benches_destroy(w->benches[m]);
        srv_benches_destroy(w->fresh[m]);
    }
    free(w->benches);
    free(w->fresh);
}

void srv_scheduler_destroy(struct srv_scheduler *s) {
    if (!s) {
        return;
    }
    srv_scheduler_stop(s);
    for (int i = 0; s->workers && i < s->config.workers; i++) {
        release_worker(s, &s->workers[i]);
    }
    if (s->has_work) {
        uv_cond_destroy(&s->work);
    }
    if (s->has_lock) {
        uv_mutex_destroy(&s->lock);
    }
    free(s->lines);
    free(s->workers);
    free(s);
}

trm_status srv_benches_create(const struct srv_scheduler *s, trm_model *engine, struct srv_bench **benches,
                              trm_error *err) {
    struct srv_bench *first = NULL;
    for (int i = 0; i < s->config.workers; i++) {
        struct srv_bench *bench = NULL;
        trm_status status = srv_bench_create(engine, s->config.slots, &bench, err);
        if (status != TRM_OK) {
            srv_benches_destroy(first);
            return status;
        }
        bench->next = first;
        first = bench;
    }
    *benches = first;
    return TRM_OK;
}

void srv_scheduler_replace(struct srv_scheduler *s, int model, struct srv_bench *benches) {
    struct srv_bench *unused = NULL; /* of a replacement that some worker did not get to */
    uv_mutex_lock(&s->lock);
    for (int i = 0; i < s->config.workers; i++) {
        struct srv_bench *next = benches->next, *former = s->workers[i].fresh[model];
        benches->next = NULL;
        s->workers[i].fresh[model] = benches;
        benches = next;
        if (former) {
            former->next = unused;
            unused = former;
        }
    }
    uv_cond_broadcast(&s->work);
    uv_mutex_unlock(&s->lock);
    srv_benches_destroy(unused);
}

trm_status srv_scheduler_submit(struct srv_scheduler *s, struct srv_group *group) {
    struct srv_line *line = &s->lines[group->config.model->index];
    uv_mutex_lock(&s->lock);
    bool full = group->count > s->config.max_queue - waiting(s);
    if (!full) {
        const struct srv_group_config *config = &group->config;
        s->reduced_rollouts += config->rollouts < config->asked_rollouts ? (uint64_t)config->puzzles : 0;
        s->reduced_steps += config->options.max_steps < config->asked_steps ? (uint64_t)config->puzzles : 0;
        srv_line_add(line, group);
    }
    /* No more workers than there are jobs: one that wakes for nothing is in the way of those that compute. */
    int wanted = full ? 0 : group->count < s->idle ? group->count : s->idle;
    uv_mutex_unlock(&s->lock);
    for (int i = 0; i < wanted; i++) {
        uv_cond_signal(&s->work);
    }
    return full ? TRM_FULL : TRM_OK;
}

int srv_scheduler_waiting(struct srv_scheduler *s) {
    uv_mutex_lock(&s->lock);
    int count = waiting(s);
    uv_mutex_unlock(&s->lock);
    return count;
}

int srv_scheduler_wait_s(struct srv_scheduler *s) {
    uv_mutex_lock(&s->lock);
    int seconds = srv_rate_wait_s(&s->rate, uv_hrtime(), waiting(s), s->config.workers);
    uv_mutex_unlock(&s->lock);
    return seconds;
}

void srv_scheduler_cancel(struct srv_scheduler *s, struct srv_group *group, enum srv_outcome why) {
    uv_mutex_lock(&s->lock);
    if (group->end == SRV_RUNNING) {
        group->end = why;
        for (int i = 0; i < group->count; i++) {
            if (srv_queue_holds(&group->jobs[i])) {
                end(s, &group->jobs[i], why);
            } else if (group->jobs[i].shared.outcome == SRV_RUNNING) {
                publish(s, &group->jobs[i]);
            }
        }
    }
    unlock(s);
}

void srv_scheduler_drop(struct srv_scheduler *s, struct srv_group *group, int puzzle) {
    uv_mutex_lock(&s->lock);
    group->puzzles[puzzle].solved = true;
    end_waiting(s, group, puzzle);
    unlock(s);
}

void srv_scheduler_collect(struct srv_scheduler *s, void (*update)(struct srv_job *job, void *arg), void *arg) {
    uv_mutex_lock(&s->lock);
    struct srv_job *first = s->updated_first;
    for (struct srv_job *job = first; job; job = job->next_updated) {
        srv_track_copy(job->group, &job->seen, &job->shared);
        job->next_seen = job->next_updated;
        job->updated = false;
    }
    s->updated_first = s->updated_last = NULL;
    uv_mutex_unlock(&s->lock);
    for (struct srv_job *job = first, *next; job; job = next) {
        next = job->next_seen;
        update(job, arg);
    }
}

void srv_scheduler_stats(struct srv_scheduler *s, struct srv_stats *stats, struct srv_model_stats *models) {
    uv_mutex_lock(&s->lock);
    *stats = (struct srv_stats){
        .workers = s->config.workers,
        .max_queue = s->config.max_queue,
        .rollouts_per_second = srv_rate_per_worker(&s->rate, uv_hrtime()) * s->config.workers,
        .reduced_rollouts = s->reduced_rollouts,
        .reduced_steps = s->reduced_steps,
    };
    for (int m = 0; m < s->config.models->count; m++) {
        models[m] = s->lines[m].stats;
        models[m].waiting = s->lines[m].queue.waiting;
        models[m].slots = s->config.slots * s->config.workers;
    }
    uv_mutex_unlock(&s->lock);
}
