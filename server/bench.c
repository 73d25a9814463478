/* bench.c - see bench.h. */
#include "server/bench.h"

#include <stdlib.h>

#include "server/log.h"

trm_status srv_bench_create(trm_model *engine, int slots, struct srv_bench **result, trm_error *err) {
    struct srv_bench *bench = calloc(1, sizeof *bench);
    if (!bench) {
        return trm_fail_memory(err, sizeof *bench);
    }
    bench->engine = engine;
    bench->seats = calloc((size_t)slots, sizeof(struct srv_job *));
    bench->incoming = calloc((size_t)slots, sizeof(struct srv_job *));
    trm_status status = bench->seats && bench->incoming
                            ? trm_batch_create(engine, slots, &bench->batch, err)
                            : trm_fail_memory(err, (size_t)slots * sizeof(struct srv_job *));
    if (status != TRM_OK) {
        srv_bench_destroy(bench);
        return status;
    }
    *result = bench;
    return TRM_OK;
}

void srv_bench_destroy(struct srv_bench *bench) {
    if (bench) {
        trm_batch_destroy(bench->batch);
        free(bench->seats);
        free(bench->incoming);
        free(bench);
    }
}

void srv_benches_destroy(struct srv_bench *benches) {
    while (benches) {
        struct srv_bench *next = benches->next;
        srv_bench_destroy(benches);
        benches = next;
    }
}

int srv_benches_busy(const struct srv_bench *benches) {
    int sum = 0;
    for (; benches; benches = benches->next) {
        sum += benches->busy;
    }
    return sum;
}

bool srv_benches_have_idle(const struct srv_bench *benches) {
    while (benches && benches->busy > 0) {
        benches = benches->next;
    }
    return benches != NULL;
}

void srv_benches_drop_idle(struct srv_bench **place) {
    while (*place) {
        struct srv_bench *bench = *place;
        if (bench->busy == 0) {
            *place = bench->next;
            srv_bench_destroy(bench);
        } else {
            place = &bench->next;
        }
    }
}

/* The bench of `engine` in a list; the first one when there is none and none can be made. */
static struct srv_bench *bench_of(struct srv_bench *first, trm_model *engine, int slots) {
    struct srv_bench *bench = first;
    trm_error error;
    while (bench && bench->engine != engine) {
        bench = bench->next;
    }
    if (!bench && srv_bench_create(engine, slots, &bench, &error) == TRM_OK) {
        bench->next = first->next;
        first->next = bench;
    }
    return bench ? bench : first;
}

/* The checkpoint that a job must be computed with; NULL: any. */
static trm_model *engine_of(const struct srv_job *job) {
    return job->parked ? trm_parked_model(job->parked) : job->group->config.engine;
}

void srv_benches_sort(struct srv_bench *first, int slots) {
    int kept = 0;
    for (int i = 0; i < first->incoming_count; i++) {
        struct srv_job *job = first->incoming[i];
        trm_model *engine = engine_of(job);
        struct srv_bench *bench = engine ? bench_of(first, engine, slots) : first;
        if (bench == first) {
            first->incoming[kept++] = job;
        } else {
            bench->incoming[bench->incoming_count++] = job;
            bench->busy++;
            first->busy--;
        }
    }
    first->incoming_count = kept;
}

/* A new puzzle, or one that goes on. */
static trm_status seat(struct srv_bench *bench, struct srv_job *job, int *slot, trm_error *err) {
    trm_model *engine = engine_of(job);
    if (engine && engine != bench->engine) {
        return trm_fail(err, TRM_NO_MEMORY, "out of memory for a batch of another checkpoint");
    }
    if (!job->parked) {
        const struct srv_puzzle *puzzle = srv_job_puzzle(job);
        struct trm_solve_options options = srv_job_options(job);
        return trm_batch_admit(bench->batch, puzzle->tokens, puzzle->identifier, &options, slot, err);
    }
    trm_status status = trm_batch_resume(bench->batch, job->parked, slot, err);
    job->parked = status == TRM_OK ? NULL : job->parked;
    return status;
}

static void admit(struct srv_bench *bench) {
    int refused = 0;
    for (int i = 0; i < bench->incoming_count; i++) {
        struct srv_job *job = bench->incoming[i];
        trm_error error;
        int slot;
        if (seat(bench, job, &slot, &error) == TRM_OK) {
            bench->seats[slot] = job;
        } else {
            srv_log(SRV_ERROR, "a puzzle was refused", "reason=%s", error.text);
            bench->incoming[refused++] = job;
        }
    }
    bench->incoming_count = refused;
}

trm_status srv_bench_step(struct srv_bench *bench, trm_error *err) {
    admit(bench);
    return trm_batch_busy(bench->batch) ? trm_batch_step(bench->batch, err) : TRM_OK;
}

void srv_bench_leave(struct srv_bench *bench, int slot) {
    trm_batch_release(bench->batch, slot);
    bench->seats[slot] = NULL;
    bench->busy--;
}

trm_status srv_bench_park(struct srv_bench *bench, int slot, trm_parked **parked, trm_error *err) {
    trm_status status = trm_batch_park(bench->batch, slot, parked, err);
    if (status == TRM_OK) {
        bench->seats[slot] = NULL;
        bench->busy--;
    }
    return status;
}
