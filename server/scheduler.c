/* scheduler.c - the queue, the worker threads and their batches.
 *
 * Everything in struct srv_scheduler is protected by `lock`, but for the constants set before the
 * threads start. A struct worker and its benches belong to its thread alone, but for `fresh`. */
#include "server/scheduler.h"

#include <stdlib.h>
#include <uv.h>

#include "server/log.h"
#include "server/stats.h"

/* What waits for one model. */
struct line {
    struct srv_group *last; /* of the ring: last->next is the first; NULL when nothing waits */
    int waiting;            /* jobs */
    int running;            /* jobs in slots of any worker */
    struct srv_model_stats stats;
};

/* One worker's batch of one model. After srv_scheduler_replace() the former bench stays until its
 * puzzles are done. */
struct srv_bench {
    struct srv_bench *next; /* an older bench of the same model; in a set: that of the next worker */
    trm_batch *batch;
    struct srv_job **seats;    /* [slots] who sits where, NULL for free */
    struct srv_job **incoming; /* [slots] taken from the queue, not admitted yet */
    int incoming_count;
    int busy; /* jobs in seats and incoming */
};

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
    struct line *lines; /* [models] */
    int waiting;        /* jobs in all lines */
    struct srv_job *updated_first, *updated_last;
    bool stop;
};

/* --- under the lock ------------------------------------------------------------------------------ */

/* Puts a job into the list of updated ones; the first of a list wakes the loop thread. */
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
        s->config.notify(s->config.arg);
    }
    s->updated_last = job;
}

static double seconds_since(uint64_t then_ns) {
    return (double)(uv_hrtime() - then_ns) / 1e9;
}

static void finish(struct srv_scheduler *s, struct srv_job *job, enum srv_outcome outcome) {
    struct srv_model_stats *stats = &s->lines[job->group->model->index].stats;
    job->shared.outcome = outcome;
    job->shared.ended_ns = uv_hrtime();
    stats->outcomes[outcome]++;
    stats->unstarted += job->shared.started_ns == 0;
    if (outcome == SRV_VERIFIED || outcome == SRV_Q_HEAD) {
        srv_histogram_add(&stats->solving, job->shared.steps);
    }
    publish(s, job);
}

/* The next waiting job: one from each group in turn. */
static struct srv_job *take(struct srv_scheduler *s, struct line *line) {
    struct srv_group *first = line->last->next;
    struct srv_job *job = &first->jobs[first->taken++];
    if (first->taken < first->count) {
        line->last = first; /* to the end of the ring */
    } else if (first == line->last) {
        line->last = NULL;
    } else {
        line->last->next = first->next;
    }
    line->waiting--;
    s->waiting--;
    return job;
}

static void remove_group(struct srv_scheduler *s, struct srv_group *group) {
    struct line *line = &s->lines[group->model->index];
    struct srv_group *before = line->last;
    while (before->next != group) {
        before = before->next;
    }
    before->next = group->next;
    if (line->last == group) {
        line->last = before == group ? NULL : before;
    }
    line->waiting -= group->count - group->taken;
    s->waiting -= group->count - group->taken;
}

/* A worker takes no more than its share, rounded up, of what waits and runs. */
static int share(const struct srv_scheduler *s, const struct line *line) {
    return (line->waiting + line->running + s->config.workers - 1) / s->config.workers;
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

/* A worker's puzzles of one model, on all of its benches. */
static int busy_with(const struct worker *w, int m) {
    int sum = 0;
    for (const struct srv_bench *bench = w->benches[m]; bench; bench = bench->next) {
        sum += bench->busy;
    }
    return sum;
}

static void take_jobs(struct worker *w) {
    struct srv_scheduler *s = w->scheduler;
    for (int m = 0; m < s->config.models->count; m++) {
        struct srv_bench *bench = w->benches[m];
        struct line *line = &s->lines[m];
        int most = share(s, line), held = busy_with(w, m);
        for (; line->last && held < s->config.slots && held < most; held++) {
            struct srv_job *job = take(s, line);
            job->shared.started_ns = uv_hrtime();
            line->stats.rollouts++;
            srv_histogram_add(&line->stats.wait, seconds_since(job->group->submitted_ns));
            bench->incoming[bench->incoming_count++] = job;
            bench->busy++;
            line->running++;
        }
    }
}

static void leave(struct worker *w, int m, struct srv_bench *bench, int slot, enum srv_outcome outcome) {
    finish(w->scheduler, bench->seats[slot], outcome);
    trm_batch_release(bench->batch, slot);
    bench->seats[slot] = NULL;
    bench->busy--;
    w->scheduler->lines[m].running--;
}

/* Frees the seats of cancelled jobs; of all jobs when it is time to stop. */
static void drop_cancelled(struct worker *w) {
    for (int m = 0; m < w->scheduler->config.models->count; m++) {
        for (struct srv_bench *bench = w->benches[m]; bench; bench = bench->next) {
            for (int slot = 0; slot < w->scheduler->config.slots && bench->busy > 0; slot++) {
                struct srv_job *job = bench->seats[slot];
                if (job && (job->group->end != SRV_RUNNING || w->scheduler->stop)) {
                    leave(w, m, bench, slot, job->group->end != SRV_RUNNING ? job->group->end : SRV_CANCELLED);
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
static void report(struct worker *w, int m, struct srv_bench *bench, trm_status status) {
    struct srv_model_stats *stats = &w->scheduler->lines[m].stats;
    for (int slot = 0; slot < w->scheduler->config.slots; slot++) {
        struct srv_job *job = bench->seats[slot];
        if (!job) {
            continue;
        }
        if (status != TRM_OK) {
            leave(w, m, bench, slot, SRV_FAILED);
            continue;
        }
        const struct trm_report *now = trm_batch_report(bench->batch, slot);
        enum srv_outcome outcome = outcome_of(now->halt);
        srv_track_add(job->group, &job->shared, now->answer, now->q_halt, now->confidence);
        stats->steps++;
        if (job->shared.steps == 1) {
            srv_histogram_add(&stats->first_step, seconds_since(job->group->submitted_ns));
        }
        if (outcome != SRV_RUNNING) {
            leave(w, m, bench, slot, outcome);
        } else if (job->group->every_step) {
            publish(w->scheduler, job);
        }
    }
}

/* Jobs that admit() could not seat. */
static void report_refused(struct worker *w, int m, struct srv_bench *bench) {
    for (int i = 0; i < bench->incoming_count; i++) {
        finish(w->scheduler, bench->incoming[i], SRV_FAILED);
        bench->busy--;
        w->scheduler->lines[m].running--;
    }
    bench->incoming_count = 0;
}

static int busy(const struct worker *w) {
    int sum = 0;
    for (int m = 0; m < w->scheduler->config.models->count; m++) {
        sum += busy_with(w, m);
    }
    return sum;
}

/* --- a worker's own work, without the lock -------------------------------------------------------- */

/* Seats the incoming jobs; those that the engine refuses stay in `incoming`. */
static void admit(struct srv_bench *bench) {
    int refused = 0;
    for (int i = 0; i < bench->incoming_count; i++) {
        struct srv_job *job = bench->incoming[i];
        trm_error error;
        int slot;
        if (trm_batch_admit(bench->batch, job->tokens, 0, &job->group->options, &slot, &error) == TRM_OK) {
            bench->seats[slot] = job;
        } else {
            srv_log(SRV_ERROR, "a puzzle was refused", "reason=\"%s\"", error.text);
            bench->incoming[refused++] = job;
        }
    }
    bench->incoming_count = refused;
}

static void step(struct worker *w, int m, struct srv_bench *bench) {
    trm_error error;
    if (bench->busy == 0) {
        return;
    }
    uint64_t began_ns = uv_hrtime();
    admit(bench);
    trm_status status = trm_batch_busy(bench->batch) ? trm_batch_step(bench->batch, &error) : TRM_OK;
    if (status != TRM_OK) {
        srv_log(SRV_ERROR, "a step failed", "model=\"%s\" reason=\"%s\"", w->scheduler->config.models->items[m].name,
                error.text);
    }
    uv_mutex_lock(&w->scheduler->lock);
    struct srv_model_stats *stats = &w->scheduler->lines[m].stats;
    stats->rounds++;
    stats->busy_seconds += seconds_since(began_ns);
    srv_histogram_add(&stats->occupancy, (double)bench->busy / w->scheduler->config.slots);
    report(w, m, bench, status);
    report_refused(w, m, bench);
    uv_mutex_unlock(&w->scheduler->lock);
}

static void close_bench(struct srv_bench *bench) {
    if (bench) {
        trm_batch_destroy(bench->batch);
        free(bench->seats);
        free(bench->incoming);
        free(bench);
    }
}

static trm_status open_bench(trm_model *engine, int slots, struct srv_bench **result, trm_error *err) {
    struct srv_bench *bench = calloc(1, sizeof *bench);
    if (!bench) {
        return trm_fail_memory(err, sizeof *bench);
    }
    bench->seats = calloc((size_t)slots, sizeof(struct srv_job *));
    bench->incoming = calloc((size_t)slots, sizeof(struct srv_job *));
    trm_status status = bench->seats && bench->incoming
                            ? trm_batch_create(engine, slots, &bench->batch, err)
                            : trm_fail_memory(err, (size_t)slots * sizeof(struct srv_job *));
    if (status != TRM_OK) {
        close_bench(bench);
        return status;
    }
    *result = bench;
    return TRM_OK;
}

static trm_status open_benches(struct worker *w) {
    const struct srv_scheduler_config *config = &w->scheduler->config;
    trm_status status = TRM_OK;
    for (int m = 0; m < config->models->count && status == TRM_OK; m++) {
        status = open_bench(config->models->items[m].engine, config->slots, &w->benches[m], &w->error);
    }
    return status;
}

/* Whether older benches have nothing to do any more. */
static bool has_spent(const struct worker *w) {
    for (int m = 0; m < w->scheduler->config.models->count; m++) {
        for (const struct srv_bench *bench = w->benches[m]->next; bench; bench = bench->next) {
            if (bench->busy == 0) {
                return true;
            }
        }
    }
    return false;
}

static void close_spent(struct worker *w) {
    for (int m = 0; m < w->scheduler->config.models->count; m++) {
        for (struct srv_bench **place = &w->benches[m]->next; *place;) {
            struct srv_bench *bench = *place;
            if (bench->busy == 0) {
                *place = bench->next;
                close_bench(bench);
            } else {
                place = &bench->next;
            }
        }
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
        drop_cancelled(w);
        take_fresh(w);
        take_jobs(w);
        if (busy(w) == 0 && !has_spent(w)) {
            uv_cond_wait(&s->work, &s->lock);
            continue;
        }
        uv_mutex_unlock(&s->lock);
        for (int m = 0; m < s->config.models->count; m++) {
            for (struct srv_bench *bench = w->benches[m]; bench; bench = bench->next) {
                step(w, m, bench);
            }
        }
        close_spent(w);
        uv_mutex_lock(&s->lock);
    }
    if (good) {
        drop_cancelled(w);
    }
    uv_mutex_unlock(&s->lock);
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
        srv_model_stats_init(&s->lines[m].stats);
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
        while (s->lines[m].last) {
            finish(s, take(s, &s->lines[m]), SRV_CANCELLED);
        }
    }
}

void srv_benches_destroy(struct srv_bench *benches) {
    while (benches) {
        struct srv_bench *next = benches->next;
        close_bench(benches);
        benches = next;
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
        trm_status status = open_bench(engine, s->config.slots, &bench, err);
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
    struct line *line = &s->lines[group->model->index];
    uv_mutex_lock(&s->lock);
    bool full = group->count > s->config.max_queue - s->waiting;
    *(full ? &line->stats.refused : &line->stats.accepted) += (uint64_t)group->count;
    group->submitted_ns = uv_hrtime();
    if (!full) {
        if (line->last) {
            group->next = line->last->next;
            line->last->next = group;
        } else {
            group->next = group;
        }
        line->last = group;
        line->waiting += group->count;
        s->waiting += group->count;
        uv_cond_broadcast(&s->work);
    }
    uv_mutex_unlock(&s->lock);
    return full ? TRM_FULL : TRM_OK;
}

void srv_scheduler_cancel(struct srv_scheduler *s, struct srv_group *group, enum srv_outcome end) {
    uv_mutex_lock(&s->lock);
    if (group->end == SRV_RUNNING) {
        group->end = end;
        if (group->taken < group->count) {
            remove_group(s, group);
        }
        for (int i = 0; i < group->count; i++) {
            if (i >= group->taken) {
                finish(s, &group->jobs[i], end);
            } else if (group->jobs[i].shared.outcome == SRV_RUNNING) {
                publish(s, &group->jobs[i]);
            }
        }
        group->taken = group->count;
    }
    uv_mutex_unlock(&s->lock);
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
    *stats = (struct srv_stats){.workers = s->config.workers, .max_queue = s->config.max_queue};
    uv_mutex_lock(&s->lock);
    for (int m = 0; m < s->config.models->count; m++) {
        models[m] = s->lines[m].stats;
        models[m].waiting = s->lines[m].waiting;
        models[m].running = s->lines[m].running;
        models[m].slots = s->config.slots * s->config.workers;
    }
    uv_mutex_unlock(&s->lock);
}
