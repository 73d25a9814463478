/* arc_eval.c - see arc_eval.h. One thread, but for train_arc_eval_answered(): each try has its own place. */
#include "engine/train/arc_eval.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/file.h"

struct train_arc_eval {
    struct data_arc_tasks tasks;
    json_t *names;
    const struct data_set *set;
    int side;
    size_t rollouts;
    uint8_t *answers; /* [set->count, rollouts, set->seq_len] */
    float *q_halt;    /* [set->count, rollouts] */
};

/* Opens DIR, whose test_puzzles.json is at `tasks`. */
static trm_status open_dir(const char *dir, const char *tasks, train_arc_eval **out, char **rows, trm_error *err) {
    json_error_t json_err;
    char *path = trm_path_join(dir, "identifiers.json");
    *rows = trm_path_join(dir, "test");
    *out = calloc(1, sizeof **out);
    trm_status status = path && *rows && *out ? data_arc_tasks_load_file(tasks, &(*out)->tasks, err)
                                              : trm_fail_memory(err, sizeof **out);
    if (status == TRM_OK) {
        (*out)->names = json_load_file(path, 0, &json_err);
        if (!json_is_array((*out)->names))
            status = trm_fail(err, TRM_FORMAT, "%s: not a list of names", path);
    }
    free(path);
    return status;
}

/* Whether both paths lead to the same directory. */
static bool is_same(const char *a, const char *b) {
    struct stat x, y;
    return stat(a, &x) == 0 && stat(b, &y) == 0 && x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

/* Opens what is in DIR, data/level, if it is such a data set and `data` is DIR or DIR/test. */
static trm_status try_level(const char *data, const char *level, train_arc_eval **eval, char **rows, trm_error *err) {
    trm_status status = TRM_OK;
    char *dir = trm_path_join(data, level);
    char *tasks = dir ? trm_path_join(dir, "test_puzzles.json") : NULL;
    char *test = dir ? trm_path_join(dir, "test") : NULL;
    if (!tasks || !test)
        status = trm_fail_memory(err, strlen(data));
    else if (access(tasks, F_OK) == 0 && (is_same(data, dir) || is_same(data, test)))
        status = open_dir(dir, tasks, eval, rows, err);
    free(test);
    free(tasks);
    free(dir);
    return status;
}

trm_status train_arc_eval_open(const char *data, train_arc_eval **eval, char **rows, trm_error *err) {
    *eval = NULL;
    *rows = NULL;
    trm_status status = try_level(data, ".", eval, rows, err);
    if (status == TRM_OK && !*eval)
        status = try_level(data, "..", eval, rows, err);
    if (status != TRM_OK) {
        train_arc_eval_destroy(*eval);
        free(*rows);
        *eval = NULL;
        *rows = NULL;
    }
    return status;
}

void train_arc_eval_destroy(train_arc_eval *eval) {
    if (!eval)
        return;
    data_arc_tasks_release(&eval->tasks);
    json_decref(eval->names);
    free(eval->answers);
    free(eval->q_halt);
    free(eval);
}

trm_status train_arc_eval_begin(train_arc_eval *eval, const struct data_set *set, int rollouts, trm_error *err) {
    eval->side = data_arc_side_of(set->seq_len);
    if (eval->side == 0 || set->vocab_size != DATA_ARC_VOCABULARY)
        return trm_fail(err, TRM_INVALID, "the rows are not of ARC: %d cells of %d tokens", set->seq_len,
                        set->vocab_size);
    eval->set = set;
    eval->rollouts = rollouts > 0 ? (size_t)rollouts : 1;
    eval->answers = calloc(set->count, eval->rollouts * (size_t)set->seq_len);
    eval->q_halt = calloc(set->count, eval->rollouts * sizeof *eval->q_halt);
    if (!eval->answers || !eval->q_halt)
        return trm_fail_memory(err, set->count * eval->rollouts * (size_t)set->seq_len);
    return TRM_OK;
}

void train_arc_eval_answered(void *arg, size_t row, int rollout, const struct trm_report *report) {
    train_arc_eval *eval = arg;
    const size_t place = row * eval->rollouts + (size_t)rollout;
    const size_t cells = (size_t)eval->set->seq_len;
    for (size_t i = 0; i < cells; i++)
        eval->answers[place * cells + i] = (uint8_t)report->answer[i];
    eval->q_halt[place] = report->q_halt;
}

static void widen(const uint8_t *bytes, size_t count, int32_t *tokens) {
    for (size_t i = 0; i < count; i++)
        tokens[i] = bytes[i];
}

trm_status train_arc_eval_count(train_arc_eval *eval, struct train_arc_result *result, trm_error *err) {
    train_arc_score *score;
    const size_t cells = (size_t)eval->set->seq_len;
    trm_status status = train_arc_create(&eval->tasks, eval->names, &score, err);
    if (status != TRM_OK)
        return status;
    for (size_t row = 0; row < eval->set->count && status == TRM_OK; row++) {
        int32_t input[DATA_ARC_CELLS], answer[DATA_ARC_CELLS];
        widen(eval->set->inputs + row * cells, cells, input);
        for (size_t r = 0; r < eval->rollouts && status == TRM_OK; r++) {
            const size_t place = row * eval->rollouts + r;
            widen(eval->answers + place * cells, cells, answer);
            status =
                train_arc_vote(score, eval->set->identifiers[row], eval->side, input, answer, eval->q_halt[place], err);
        }
    }
    if (status == TRM_OK)
        train_arc_count(score, result);
    train_arc_destroy(score);
    return status;
}
