/* adapter.c - see adapter.h. `lock` protects the queue and every adaptation's `shared`; the rest is constant, or the
 * thread's. */
#include "server/adapter.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <uv.h>

#include "server/log.h"

enum { NICEST = 19 };

struct srv_adapter {
    struct srv_adapter_config config;
    uv_mutex_t lock;
    uv_cond_t work; /* something waits, or it is time to stop */
    uv_thread_t thread;
    bool has_lock, has_work, has_thread;
    struct srv_adaptation *first, *last; /* that wait */
    struct srv_adaptation *running;
    bool stop;
    unsigned drafts; /* the thread's */
};

/* --- the thread ------------------------------------------------------------------------------------- */

/* What the callbacks of one adaptation need. */
struct run {
    struct srv_adapter *adapter;
    struct srv_adaptation *job;
};

static void tell(struct srv_adapter *adapter) {
    adapter->config.notify(adapter->config.arg);
}

static bool on_progress(void *arg, const struct train_adapt_progress *progress) {
    const struct run *run = arg;
    uv_mutex_lock(&run->adapter->lock);
    run->job->shared.progress = *progress;
    uv_mutex_unlock(&run->adapter->lock);
    tell(run->adapter);
    return true;
}

/* Also on the threads that help. */
static bool is_cancelled(void *arg) {
    const struct run *run = arg;
    return atomic_load(&run->job->cancelled);
}

/* Makes the checkpoint and opens it. */
static trm_status adapt(struct run *run, const char *draft, trm_model **engine, trm_error *err) {
    const struct srv_adaptation *job = run->job;
    const struct train_adapt_options options = {.model = job->model->path,
                                                .out = draft,
                                                .command = "trm-server, POST /tasks",
                                                .augment = job->augment,
                                                .seconds = job->seconds,
                                                .lr = job->lr,
                                                .seed = job->seed,
                                                .threads = job->threads,
                                                .progress = on_progress,
                                                .cancelled = is_cancelled,
                                                .arg = run};
    struct train_adapt_progress result;
    trm_status status = train_adapt(&job->task, &options, &result, err);
    return status == TRM_OK ? trm_model_open(draft, &run->adapter->config.precision, engine, err) : status;
}

static void run_one(struct srv_adapter *adapter, struct srv_adaptation *job) {
    struct run run = {adapter, job};
    struct srv_adaptation_view end = {.draft = srv_shelf_draft(adapter->config.shelf, ++adapter->drafts)};
    trm_status status =
        end.draft ? adapt(&run, end.draft, &end.engine, &end.error) : trm_fail_memory(&end.error, SRV_TASK_ID);
    if (status != TRM_OK && end.draft) {
        srv_shelf_discard(end.draft);
        free(end.draft);
        end.draft = NULL;
    }
    end.state = status == TRM_OK ? PROTO_TASK_DONE : status == TRM_CANCELLED ? PROTO_TASK_CANCELLED : PROTO_TASK_FAILED;
    uv_mutex_lock(&adapter->lock);
    end.progress = job->shared.progress;
    job->shared = end;
    adapter->running = NULL;
}

/* The first that waits, which runs from now on; NULL when it is time to stop. With the lock. */
static struct srv_adaptation *next_job(struct srv_adapter *adapter) {
    while (!adapter->first && !adapter->stop) {
        uv_cond_wait(&adapter->work, &adapter->lock);
    }
    struct srv_adaptation *job = adapter->stop ? NULL : adapter->first;
    if (job) {
        adapter->first = job->next_waiting;
        adapter->last = adapter->first ? adapter->last : NULL;
        adapter->running = job;
        job->shared.state = PROTO_TASK_RUNNING;
    }
    return job;
}

static void work(void *arg) {
    struct srv_adapter *adapter = arg;
    /* 0 is this thread; those that it starts inherit it. */
    if (setpriority(PRIO_PROCESS, 0, NICEST) != 0) {
        srv_log(SRV_WARN, "adaptations compete with solving", "reason=%s", strerror(errno));
    }
    uv_mutex_lock(&adapter->lock);
    for (struct srv_adaptation *job; (job = next_job(adapter));) {
        uv_mutex_unlock(&adapter->lock);
        tell(adapter);
        run_one(adapter, job);
        uv_mutex_unlock(&adapter->lock);
        tell(adapter);
        uv_mutex_lock(&adapter->lock);
    }
    uv_mutex_unlock(&adapter->lock);
}

/* --- the loop thread -------------------------------------------------------------------------------- */

trm_status srv_adapter_create(const struct srv_adapter_config *config, struct srv_adapter **result, trm_error *err) {
    struct srv_adapter *adapter = calloc(1, sizeof *adapter);
    if (!adapter) {
        return trm_fail_memory(err, sizeof *adapter);
    }
    adapter->config = *config;
    adapter->has_lock = uv_mutex_init(&adapter->lock) == 0;
    adapter->has_work = uv_cond_init(&adapter->work) == 0;
    adapter->has_thread =
        adapter->has_lock && adapter->has_work && uv_thread_create(&adapter->thread, work, adapter) == 0;
    if (!adapter->has_thread) {
        srv_adapter_destroy(adapter);
        return trm_fail(err, TRM_NO_MEMORY, "no thread for adaptations");
    }
    *result = adapter;
    return TRM_OK;
}

/* Ends one that waits. With the lock. */
static void drop_waiting(struct srv_adapter *adapter, struct srv_adaptation *job) {
    struct srv_adaptation **place = &adapter->first, *before = NULL;
    while (*place && *place != job) {
        before = *place;
        place = &before->next_waiting;
    }
    if (*place) {
        *place = job->next_waiting;
        adapter->last = adapter->last == job ? before : adapter->last;
        job->shared.state = PROTO_TASK_CANCELLED;
    }
}

void srv_adapter_stop(struct srv_adapter *adapter) {
    if (!adapter || !adapter->has_thread) {
        return;
    }
    uv_mutex_lock(&adapter->lock);
    adapter->stop = true;
    while (adapter->first) {
        drop_waiting(adapter, adapter->first);
    }
    if (adapter->running) {
        atomic_store(&adapter->running->cancelled, true);
    }
    uv_cond_signal(&adapter->work);
    uv_mutex_unlock(&adapter->lock);
    uv_thread_join(&adapter->thread);
    adapter->has_thread = false;
}

void srv_adapter_destroy(struct srv_adapter *adapter) {
    if (!adapter) {
        return;
    }
    srv_adapter_stop(adapter);
    if (adapter->has_work) {
        uv_cond_destroy(&adapter->work);
    }
    if (adapter->has_lock) {
        uv_mutex_destroy(&adapter->lock);
    }
    free(adapter);
}

void srv_adapter_submit(struct srv_adapter *adapter, struct srv_adaptation *job) {
    uv_mutex_lock(&adapter->lock);
    job->next_waiting = NULL;
    if (adapter->last) {
        adapter->last->next_waiting = job;
    } else {
        adapter->first = job;
    }
    adapter->last = job;
    uv_cond_signal(&adapter->work);
    uv_mutex_unlock(&adapter->lock);
}

void srv_adapter_cancel(struct srv_adapter *adapter, struct srv_adaptation *job) {
    atomic_store(&job->cancelled, true);
    uv_mutex_lock(&adapter->lock);
    drop_waiting(adapter, job);
    uv_mutex_unlock(&adapter->lock);
}

bool srv_adapter_look(struct srv_adapter *adapter, struct srv_adaptation *job) {
    uv_mutex_lock(&adapter->lock);
    const bool changed =
        job->shared.state != job->seen.state || job->shared.progress.updates != job->seen.progress.updates;
    job->seen = job->shared;
    uv_mutex_unlock(&adapter->lock);
    return changed;
}
