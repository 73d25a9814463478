/* team.c - see team.h. The mutex guards every member; helpers sleep between runs. */
#include "engine/train/team.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>

struct train_team {
    pthread_mutex_t mutex;
    pthread_cond_t work, done;
    pthread_t *helpers; /* [helper_count] */
    int helper_count;
    train_task task;
    void *arg;
    int next, count, unfinished;
    bool stop;
};

/* Takes tasks until none is left; called and left with the mutex held. */
static void work_through(train_team *team) {
    while (team->next < team->count) {
        int task = team->next++;
        pthread_mutex_unlock(&team->mutex);
        team->task(team->arg, task);
        pthread_mutex_lock(&team->mutex);
        if (--team->unfinished == 0)
            pthread_cond_signal(&team->done);
    }
}

static void *helper_main(void *arg) {
    train_team *team = arg;
    pthread_mutex_lock(&team->mutex);
    while (!team->stop) {
        work_through(team);
        if (!team->stop)
            pthread_cond_wait(&team->work, &team->mutex);
    }
    pthread_mutex_unlock(&team->mutex);
    return NULL;
}

trm_status train_team_create(int threads, train_team **out, trm_error *err) {
    train_team *team = calloc(1, sizeof *team);
    if (!team)
        return trm_fail_memory(err, sizeof *team);
    pthread_mutex_init(&team->mutex, NULL);
    pthread_cond_init(&team->work, NULL);
    pthread_cond_init(&team->done, NULL);
    team->helpers = calloc((size_t)threads, sizeof *team->helpers);
    trm_status status = team->helpers ? TRM_OK : trm_fail_memory(err, (size_t)threads * sizeof *team->helpers);
    while (status == TRM_OK && team->helper_count < threads - 1) {
        if (pthread_create(&team->helpers[team->helper_count], NULL, helper_main, team) != 0)
            status = trm_fail(err, TRM_IO, "cannot start thread %d of %d", team->helper_count + 2, threads);
        else
            team->helper_count++;
    }
    if (status != TRM_OK) {
        train_team_destroy(team);
        return status;
    }
    *out = team;
    return TRM_OK;
}

void train_team_destroy(train_team *team) {
    if (!team)
        return;
    pthread_mutex_lock(&team->mutex);
    team->stop = true;
    pthread_cond_broadcast(&team->work);
    pthread_mutex_unlock(&team->mutex);
    for (int i = 0; i < team->helper_count; i++)
        pthread_join(team->helpers[i], NULL);
    pthread_cond_destroy(&team->done);
    pthread_cond_destroy(&team->work);
    pthread_mutex_destroy(&team->mutex);
    free(team->helpers);
    free(team);
}

void train_team_run(train_team *team, train_task task, void *arg, int count) {
    pthread_mutex_lock(&team->mutex);
    team->task = task;
    team->arg = arg;
    team->next = 0;
    team->count = team->unfinished = count;
    pthread_cond_broadcast(&team->work);
    work_through(team);
    while (team->unfinished > 0)
        pthread_cond_wait(&team->done, &team->mutex);
    pthread_mutex_unlock(&team->mutex);
}
