/* arc_score.c - see arc_score.h. One thread. */
#include "engine/train/arc_score.h"

#include <stdlib.h>
#include <string.h>

const int train_arc_ks[TRAIN_ARC_KS] = {1, 2, 5, 10, 100, 1000};

struct train_arc_score {
    const struct data_arc_tasks *tasks;
    const json_t *names;
    size_t *first;         /* [tasks->count] the poll of each task's first test */
    data_arc_poll **polls; /* [poll_count] */
    size_t poll_count;
};

trm_status train_arc_create(const struct data_arc_tasks *tasks, const json_t *names, train_arc_score **out,
                            trm_error *err) {
    train_arc_score *score = calloc(1, sizeof *score);
    if (!score)
        return trm_fail_memory(err, sizeof *score);
    score->tasks = tasks;
    score->names = names;
    score->first = calloc(tasks->count + 1, sizeof *score->first);
    for (size_t t = 0; score->first && t < tasks->count; t++) {
        score->first[t] = score->poll_count;
        score->poll_count += (size_t)tasks->items[t].test_count;
    }
    score->polls = calloc(score->poll_count + 1, sizeof(data_arc_poll *));
    bool complete = score->first && score->polls;
    for (size_t i = 0; complete && i < score->poll_count; i++)
        complete = (score->polls[i] = data_arc_poll_create()) != NULL;
    if (!complete) {
        train_arc_destroy(score);
        return trm_fail(err, TRM_NO_MEMORY, "out of memory for the votes of %zu tasks", tasks->count);
    }
    *out = score;
    return TRM_OK;
}

void train_arc_destroy(train_arc_score *score) {
    if (!score)
        return;
    for (size_t i = 0; score->polls && i < score->poll_count; i++)
        data_arc_poll_destroy(score->polls[i]);
    free(score->polls);
    free(score->first);
    free(score);
}

data_arc_poll *train_arc_poll(const train_arc_score *score, size_t task, int test) {
    return score->polls[score->first[task] + (size_t)test];
}

/* The vote on the test with this input, NULL if there is none. */
static data_arc_poll *find_poll(const train_arc_score *score, const char *name, const struct data_arc_grid *input) {
    for (size_t t = 0; t < score->tasks->count; t++) {
        const struct data_arc_task *task = &score->tasks->items[t];
        if (strcmp(task->name, name) != 0)
            continue;
        for (int i = 0; i < task->test_count; i++)
            if (data_arc_equal(&task->pairs[task->train_count + i].input, input))
                return train_arc_poll(score, t, i);
    }
    return NULL;
}

/* The grid that tokens of an augmented puzzle stand for. */
static void bring_back(const int32_t *tokens, int side, const struct data_arc_augment *augment,
                       struct data_arc_grid *grid) {
    struct data_arc_grid augmented;
    data_arc_crop(tokens, side, &augmented);
    data_arc_undo(augment, &augmented, grid);
}

trm_status train_arc_vote(train_arc_score *score, int identifier, int side, const int32_t *input, const int32_t *answer,
                          float q_halt, trm_error *err) {
    struct data_arc_augment augment;
    struct data_arc_grid grid;
    char name[DATA_ARC_NAME];
    if (identifier == 0)
        return TRM_OK;
    const char *full = json_string_value(json_array_get(score->names, (size_t)identifier));
    if (!full || !data_arc_name_parse(full, name, &augment))
        return trm_fail(err, TRM_FORMAT, "identifier %d has no name", identifier);
    bring_back(input, side, &augment, &grid);
    data_arc_poll *poll = find_poll(score, name, &grid);
    if (!poll)
        return TRM_OK;
    bring_back(answer, side, &augment, &grid);
    return data_arc_poll_vote(poll, &grid, q_halt, err);
}

/* The place, from 0, of `grid` in the ranking of a vote; INT32_MAX if it has none. */
static int place_of(data_arc_poll *poll, const struct data_arc_grid *grid) {
    int count;
    const struct data_arc_choice *const *ranked = data_arc_poll_rank(poll, &count);
    for (int i = 0; i < count; i++)
        if (data_arc_equal(&ranked[i]->grid, grid))
            return i;
    return INT32_MAX;
}

void train_arc_count(const train_arc_score *score, struct train_arc_result *result) {
    *result = (struct train_arc_result){.tasks = score->tasks->count, .tests = score->poll_count};
    for (size_t t = 0; t < score->tasks->count; t++) {
        const struct data_arc_task *task = &score->tasks->items[t];
        int right[TRAIN_ARC_KS] = {0};
        for (int i = 0; i < task->test_count; i++) {
            data_arc_poll *poll = train_arc_poll(score, t, i);
            const int place = place_of(poll, &task->pairs[task->train_count + i].output);
            int choices;
            data_arc_poll_rank(poll, &choices);
            result->voted += choices > 0;
            for (int k = 0; k < TRAIN_ARC_KS; k++)
                right[k] += place < train_arc_ks[k];
        }
        for (int k = 0; k < TRAIN_ARC_KS; k++)
            result->pass[k] += (double)right[k] / task->test_count / (double)score->tasks->count;
    }
}
