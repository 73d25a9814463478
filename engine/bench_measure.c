/* bench_measure.c - see bench_measure.h.
 *
 * What is compared is measured by turns, in rounds of short windows, and of each figure the best
 * round counts: whatever else the machine does can only slow a round down, so that the best of
 * many is the nearest to what the code can do, for the peak and for the model alike. The peak's
 * windows are never longer than the model's: it has the better chance of an undisturbed one, so
 * the fraction of the peak errs on the low side. One core is measured in CPU time, or a neighbour that
 * takes turns on the core would count as slowness; threads together are measured by the clock.
 * The inputs are random tokens and nothing halts: only the speed means anything. */
#include "engine/bench_measure.h"

#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "engine/cli.h"
#include "engine/data/rng.h"
#include "engine/model_internal.h"

enum { MIN_ROUNDS = 5, MAX_ROUNDS = 25, PROFILE_ROUNDS = 3, WINDOWS_OF_A_ROUND = 4 };

trm_status trm_bench_batch(trm_model *model, int puzzles, uint64_t seed, trm_batch **batch, trm_error *err) {
    const struct trm_model_info *info = trm_model_info(model);
    const struct trm_solve_options forever = {.max_steps = INT_MAX, .no_halt = true};
    struct data_rng rng;
    data_rng_seed(&rng, seed);

    *batch = NULL;
    int32_t *tokens = calloc((size_t)info->seq_len, sizeof *tokens); /* [seq_len] */
    if (!tokens)
        return trm_fail_memory(err, (size_t)info->seq_len * sizeof *tokens);
    trm_status status = trm_batch_create(model, puzzles, batch, err);
    for (int i = 0; i < puzzles && status == TRM_OK; i++) {
        for (int cell = 0; cell < info->seq_len; cell++)
            tokens[cell] = data_rng_below(&rng, info->vocab_size);
        int slot;
        status = trm_batch_admit(*batch, tokens, 0, &forever, &slot, err);
    }
    if (status == TRM_OK)
        status = trm_batch_step(*batch, err);
    if (status != TRM_OK) {
        trm_batch_destroy(*batch);
        *batch = NULL;
    }
    free(tokens);
    return status;
}

/* What a window of steps took; steps are counted per puzzle. */
struct window {
    double steps, wall_seconds, cpu_seconds;
};

/* Steps for about `seconds`, at least once. */
static trm_status run_window(trm_batch *batch, double seconds, struct window *window, trm_error *err) {
    const double wall = trm_clock(), cpu = trm_cpu_clock();
    *window = (struct window){0};
    do {
        trm_status status = trm_batch_step(batch, err);
        if (status != TRM_OK)
            return status;
        window->steps += trm_batch_busy(batch);
        window->wall_seconds = trm_clock() - wall;
    } while (window->wall_seconds < seconds);
    window->cpu_seconds = trm_cpu_clock() - cpu;
    return TRM_OK;
}

/* ---- one core ---- */

/* The same figure of every round. */
struct samples {
    double values[MAX_ROUNDS];
};

static int compare_doubles(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Sorts the samples. */
static struct trm_bench_figure figure_of(struct samples *samples, int count, bool more_is_better) {
    qsort(samples->values, (size_t)count, sizeof *samples->values, compare_doubles);
    return (struct trm_bench_figure){.best = samples->values[more_is_better ? count - 1 : 0],
                                     .median = samples->values[count / 2]};
}

trm_status trm_bench_core(trm_model *model, const struct trm_bench_plan *plan, struct trm_bench_core *core,
                          trm_error *err) {
    const double length = plan->seconds / (MAX_ROUNDS * WINDOWS_OF_A_ROUND);
    struct samples peak[TRM_PEAKS], alone, together, wall;
    struct window window;
    trm_batch *single = NULL, *batch = NULL;
    int rounds = 0;
    trm_status status = trm_bench_batch(model, 1, 1, &single, err);
    if (status == TRM_OK && plan->batch > 1)
        status = trm_bench_batch(model, plan->batch, 2, &batch, err);

    const double start = trm_clock();
    for (; status == TRM_OK && rounds < MAX_ROUNDS; rounds++) {
        if (rounds >= MIN_ROUNDS && trm_clock() - start > plan->seconds)
            break;
        for (int i = 0; i < TRM_PEAKS; i++)
            peak[i].values[rounds] = trm_peak_gflops((enum trm_peak)i, length / TRM_PEAKS);
        status = run_window(single, length, &window, err);
        if (status != TRM_OK)
            break;
        alone.values[rounds] = 1e3 * window.cpu_seconds / window.steps;
        wall.values[rounds] = 1e3 * window.wall_seconds / window.steps;
        if (batch)
            status = run_window(batch, length, &window, err);
        together.values[rounds] = 1e3 * window.cpu_seconds / window.steps; /* a batch of one is alone */
    }
    if (status == TRM_OK) {
        core->rounds = rounds;
        for (int i = 0; i < TRM_PEAKS; i++)
            core->peak_gflops[i] = figure_of(&peak[i], rounds, true);
        core->alone_ms = figure_of(&alone, rounds, false);
        core->batch_ms = figure_of(&together, rounds, false);
        core->wall_ms = figure_of(&wall, rounds, false);
    }
    trm_batch_destroy(batch);
    trm_batch_destroy(single);
    return status;
}

/* ---- one core, stage by stage ---- */

trm_status trm_bench_profile(trm_model *model, const struct trm_bench_plan *plan, struct trm_bench_profile *profile,
                             trm_error *err) {
    trm_batch *batch = NULL;
    trm_status status = trm_bench_batch(model, plan->batch, 2, &batch, err);
    *profile = (struct trm_bench_profile){0};
    for (int round = 0; status == TRM_OK && round < PROFILE_ROUNDS; round++) {
        struct trm_bench_profile this = {0};
        struct window window;
        trm_batch_profile(batch, &this.stages);
        status = run_window(batch, plan->seconds / PROFILE_ROUNDS, &window, err);
        this.steps = window.steps;
        this.seconds = window.cpu_seconds;
        if (round == 0 || this.seconds / this.steps < profile->seconds / profile->steps)
            *profile = this;
    }
    trm_batch_destroy(batch);
    return status;
}

/* ---- several threads ---- */

enum { TEAM_ROUNDS = 3 };

/* Threads that live as long as the measurement, each with its batch. They wait for a window to be
 * announced; those that take part in it step until the last of them has measured its own, so that
 * none is ever measured with the others already idle. */
struct crew {
    trm_model *model;
    int puzzles;
    double seconds;       /* of one window */
    atomic_int measuring; /* participants whose window is not over */

    pthread_mutex_t lock; /* of what follows */
    pthread_cond_t changed;
    int announced; /* windows so far */
    int active;    /* threads 0 .. active - 1 take part in this one */
    int pending;   /* threads that are not waiting for the next window */
    bool over;
};

struct member {
    struct crew *crew;
    pthread_t thread;
    int index;
    struct window window; /* the last */
    trm_status status;
    trm_error error;
};

/* Waits for a window after the one numbered *seen. False: there are no more. */
static bool next_window(struct crew *crew, int *seen, int *active) {
    pthread_mutex_lock(&crew->lock);
    if (--crew->pending == 0)
        pthread_cond_broadcast(&crew->changed);
    while (crew->announced == *seen && !crew->over)
        pthread_cond_wait(&crew->changed, &crew->lock);
    *seen = crew->announced;
    *active = crew->active;
    const bool more = !crew->over;
    pthread_mutex_unlock(&crew->lock);
    return more;
}

static void *member_main(void *arg) {
    struct member *member = arg;
    struct crew *crew = member->crew;
    trm_batch *batch = NULL;
    int seen = 0, active;
    member->status = trm_bench_batch(crew->model, crew->puzzles, 3 + (uint64_t)member->index, &batch, &member->error);
    while (next_window(crew, &seen, &active)) {
        if (member->index >= active)
            continue;
        if (member->status == TRM_OK)
            member->status = run_window(batch, crew->seconds, &member->window, &member->error);
        atomic_fetch_sub(&crew->measuring, 1);
        while (atomic_load(&crew->measuring) > 0 && member->status == TRM_OK)
            member->status = trm_batch_step(batch, &member->error);
    }
    trm_batch_destroy(batch);
    return NULL;
}

/* Announces a window of `active` threads (0: waits for all to be ready) and waits for its end. */
static void run_crew(struct crew *crew, int threads, int active) {
    pthread_mutex_lock(&crew->lock);
    if (active > 0) {
        atomic_store(&crew->measuring, active);
        crew->active = active;
        crew->pending = threads;
        crew->announced++;
        pthread_cond_broadcast(&crew->changed);
    }
    while (crew->pending > 0)
        pthread_cond_wait(&crew->changed, &crew->lock);
    pthread_mutex_unlock(&crew->lock);
}

/* Keeps the better of `team` and the window that its threads have just measured. */
static trm_status judge_window(struct trm_bench_team *team, const struct member *members, double cpu_share,
                               trm_error *err) {
    double rate = 0;
    for (int i = 0; i < team->threads; i++) {
        if (members[i].status != TRM_OK)
            return trm_fail(err, members[i].status, "%s", members[i].error.text);
        rate += members[i].window.steps / members[i].window.wall_seconds;
    }
    if (rate > team->steps_per_second) {
        team->steps_per_second = rate;
        team->cpu_share = cpu_share;
    }
    return TRM_OK;
}

static trm_status measure_teams(struct crew *crew, const struct member *members, int threads,
                                struct trm_bench_team *teams, int count, trm_error *err) {
    trm_status status = TRM_OK;
    run_crew(crew, threads, 0);
    for (int round = 0; round < TEAM_ROUNDS; round++) {
        for (int i = 0; i < count && status == TRM_OK; i++) {
            const double wall = trm_clock(), cpu = trm_cpu_clock();
            run_crew(crew, threads, teams[i].threads);
            const double wanted = (trm_clock() - wall) * teams[i].threads;
            status = judge_window(&teams[i], members, (trm_cpu_clock() - cpu) / wanted, err);
        }
    }
    return status;
}

/* 1, 2, 4 ... and `threads` itself. */
static int plan_teams(int threads, struct trm_bench_team teams[TRM_BENCH_MAX_TEAMS]) {
    int count = 0;
    for (int n = 1; n < threads && count < TRM_BENCH_MAX_TEAMS - 1; n *= 2)
        teams[count++] = (struct trm_bench_team){.threads = n};
    teams[count++] = (struct trm_bench_team){.threads = threads};
    return count;
}

trm_status trm_bench_teams(trm_model *model, const struct trm_bench_plan *plan,
                           struct trm_bench_team teams[TRM_BENCH_MAX_TEAMS], int *count, trm_error *err) {
    trm_status status = TRM_OK;
    int started = 0;
    *count = plan_teams(plan->threads, teams);
    struct crew crew = {.model = model, .puzzles = plan->batch, .seconds = plan->seconds / (TEAM_ROUNDS * *count)};
    struct member *members = calloc((size_t)plan->threads, sizeof *members); /* [threads] */
    if (!members)
        return trm_fail_memory(err, (size_t)plan->threads * sizeof *members);
    pthread_mutex_init(&crew.lock, NULL);
    pthread_cond_init(&crew.changed, NULL);

    crew.pending = plan->threads;
    for (; started < plan->threads && status == TRM_OK; started++) {
        struct member *member = &members[started];
        *member = (struct member){.crew = &crew, .index = started};
        const int code = pthread_create(&member->thread, NULL, member_main, member);
        if (code != 0) {
            status = trm_fail(err, TRM_IO, "cannot start thread %d: %s", started + 1, strerror(code));
            break;
        }
    }
    if (status == TRM_OK)
        status = measure_teams(&crew, members, plan->threads, teams, *count, err);

    pthread_mutex_lock(&crew.lock);
    crew.over = true;
    pthread_cond_broadcast(&crew.changed);
    pthread_mutex_unlock(&crew.lock);
    for (int i = 0; i < started; i++)
        pthread_join(members[i].thread, NULL);
    pthread_cond_destroy(&crew.changed);
    pthread_mutex_destroy(&crew.lock);
    free(members);
    return status;
}
