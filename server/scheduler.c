/* scheduler.c - the queue, the worker threads and their batches.
 *
 * Everything in struct srv_scheduler is protected by `lock`, but for the constants set before the
 * threads start. A struct worker and its benches belong to its thread alone. */
#include "server/scheduler.h"

#include <stdlib.h>
#include <uv.h>

#include "server/log.h"

/* What waits for one model. */
struct line {
    struct srv_group *last; /* of the ring: last->next is the first; NULL when nothing waits */
    int waiting;            /* jobs */
    int running;            /* jobs in slots of any worker */
};

/* One worker's batch of one model. */
struct bench {
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
    struct bench *benches; /* [models] */
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

static void finish(struct srv_scheduler *s, struct srv_job *job, enum srv_outcome outcome) {
    job->shared.outcome = outcome;
    job->shared.ended_ns = uv_hrtime();
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

static void take_jobs(struct worker *w) {
    struct srv_scheduler *s = w->scheduler;
    for (int m = 0; m < s->config.models->count; m++) {
        struct bench *bench = &w->benches[m];
        struct line *line = &s->lines[m];
        int most = share(s, line);
        while (line->last && bench->busy < s->config.slots && bench->busy < most) {
            struct srv_job *job = take(s, line);
            job->shared.started_ns = uv_hrtime();
            bench->incoming[bench->incoming_count++] = job;
            bench->busy++;
            line->running++;
        }
    }
}

static void leave(struct worker *w, int m, int slot, enum srv_outcome outcome) {
    struct bench *bench = &w->benches[m];
    finish(w->scheduler, bench->seats[slot], outcome);
    trm_batch_release(bench->batch, slot);
    bench->seats[slot] = NULL;
    bench->busy--;
    w->scheduler->lines[m].running--;
}

/* Frees the seats of cancelled jobs; of all jobs when it is time to stop. */
static void drop_cancelled(struct worker *w) {
    for (int m = 0; m < w->scheduler->config.models->count; m++) {
        struct bench *bench = &w->benches[m];
        for (int slot = 0; slot < w->scheduler->config.slots && bench->busy > 0; slot++) {
            struct srv_job *job = bench->seats[slot];
            if (job && (job->group->cancelled || w->scheduler->stop)) {
                leave(w, m, slot, SRV_CANCELLED);
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
static void report(struct worker *w, int m, trm_status status) {
    struct bench *bench = &w->benches[m];
    for (int slot = 0; slot < w->scheduler->config.slots; slot++) {
        struct srv_job *job = bench->seats[slot];
        if (!job) {
            continue;
        }
        if (status != TRM_OK) {
            leave(w, m, slot, SRV_FAILED);
            continue;
        }
        const struct trm_report *now = trm_batch_report(bench->batch, slot);
        enum srv_outcome outcome = outcome_of(now->halt);
        srv_track_add(job->group, &job->shared, now->answer, now->q_halt, now->confidence);
        if (outcome != SRV_RUNNING) {
            leave(w, m, slot, outcome);
        } else if (job->group->every_step) {
            publish(w->scheduler, job);
        }
    }
}

/* Jobs that admit() could not seat. */
static void report_refused(struct worker *w, int m) {
    struct bench *bench = &w->benches[m];
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
        sum += w->benches[m].busy;
    }
    return sum;
}

/* --- a worker's own work, without the lock -------------------------------------------------------- */

/* Seats the incoming jobs; those that the engine refuses stay in `incoming`. */
static void admit(struct bench *bench) {
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

static void step(struct worker *w, int m) {
    struct bench *bench = &w->benches[m];
    trm_error error;
    if (bench->busy == 0) {
        return;
    }
    admit(bench);
    trm_status status = trm_batch_busy(bench->batch) ? trm_batch_step(bench->batch, &error) : TRM_OK;
    if (status != TRM_OK) {
        srv_log(SRV_ERROR, "a step failed", "model=\"%s\" reason=\"%s\"", w->scheduler->config.models->items[m].name,
                error.text);
    }
    uv_mutex_lock(&w->scheduler->lock);
    report(w, m, status);
    report_refused(w, m);
    uv_mutex_unlock(&w->scheduler->lock);
}

static trm_status open_benches(struct worker *w) {
    const struct srv_scheduler_config *config = &w->scheduler->config;
    size_t slots = (size_t)config->slots;
    w->benches = calloc((size_t)config->models->count, sizeof *w->benches);
    if (!w->benches) {
        return trm_fail_memory(&w->error, (size_t)config->models->count * sizeof *w->benches);
    }
    for (int m = 0; m < config->models->count; m++) {
        struct bench *bench = &w->benches[m];
        bench->seats = calloc(slots, sizeof(struct srv_job *));
        bench->incoming = calloc(slots, sizeof(struct srv_job *));
        if (!bench->seats || !bench->incoming) {
            return trm_fail_memory(&w->error, slots * sizeof(struct srv_job *));
        }
        trm_status status = trm_batch_create(config->models->items[m].engine, config->slots, &bench->batch, &w->error);
        if (status != TRM_OK) {
            return status;
        }
    }
    return TRM_OK;
}

static void close_benches(struct worker *w) {
    for (int m = 0; w->benches && m < w->scheduler->config.models->count; m++) {
        trm_batch_destroy(w->benches[m].batch);
        free(w->benches[m].seats);
        free(w->benches[m].incoming);
    }
    free(w->benches);
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
        take_jobs(w);
        if (busy(w) == 0) {
            uv_cond_wait(&s->work, &s->lock);
            continue;
        }
        uv_mutex_unlock(&s->lock);
        for (int m = 0; m < s->config.models->count; m++) {
            step(w, m);
        }
        uv_mutex_lock(&s->lock);
    }
    if (good) {
        drop_cancelled(w);
    }
    uv_mutex_unlock(&s->lock);
    close_benches(w);
}

/* --- the loop thread ------------------------------------------------------------------------------ */

static trm_status start_worker(struct srv_scheduler *s, struct worker *w, trm_error *err) {
    w->scheduler = s;
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

void srv_scheduler_destroy(struct srv_scheduler *s) {
    if (!s) {
        return;
    }
    srv_scheduler_stop(s);
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

trm_status srv_scheduler_submit(struct srv_scheduler *s, struct srv_group *group) {
    struct line *line = &s->lines[group->model->index];
    uv_mutex_lock(&s->lock);
    bool full = group->count > s->config.max_queue - s->waiting;
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

void srv_scheduler_cancel(struct srv_scheduler *s, struct srv_group *group) {
    uv_mutex_lock(&s->lock);
    if (!group->cancelled) {
        group->cancelled = true;
        if (group->taken < group->count) {
            remove_group(s, group);
        }
        for (int i = 0; i < group->count; i++) {
            if (i >= group->taken) {
                finish(s, &group->jobs[i], SRV_CANCELLED);
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
