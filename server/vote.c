/* vote.c - see vote.h. Loop thread. */
#include "server/vote.h"

#include <stdlib.h>
#include <string.h>

/* --- which task it is --------------------------------------------------------------------------------- */

/* How it could be known; `adapts`: here. */
static void unknown(struct proto_problem *problem, const char *pointer, const char *why, const char *model,
                    bool adapts) {
    proto_problem_set(problem, PROTO_UNKNOWN_TASK, pointer,
                      "%s model '%.60s'. %s, or add it to the data (trm-data arc) and train", why, model,
                      adapts ? "POST it to /tasks, which adapts the model to it"
                             : "Adapt one to it: trm-train --adapt makes a checkpoint for this task alone");
}

/* The only task of the checkpoint that was adapted to the request's; NULL if there is none, or no shelf. */
static const struct data_arc_entry *find_adapted(struct srv_vote *vote, const struct srv_model *model,
                                                 struct srv_shelf *shelf, const struct proto_request *request) {
    const struct srv_model *adapted = NULL;
    uint8_t hash[DATA_ARC_HASH];
    char id[SRV_TASK_ID];
    data_arc_pairs_hash(request->task.pairs, request->task.train_count, hash);
    srv_task_id(model->name, hash, id);
    if (request->task_id && request->task.train_count > 0 && strcmp(request->task_id, id) != 0) {
        return NULL;
    }
    trm_model *engine = srv_shelf_find(shelf, request->task_id ? request->task_id : id, &adapted);
    if (!engine || adapted != model) {
        return NULL;
    }
    trm_model_unref(vote->engine);
    vote->engine = trm_model_ref(engine);
    return data_arc_index_at(trm_model_tasks(engine), 0);
}

/* Finds the task by its id or its demonstrations; both must mean the same if both are there. NULL: see the problem. */
static const struct data_arc_entry *find_trained(const struct srv_vote *vote, const struct srv_model *model,
                                                 bool adapts, const struct proto_request *request,
                                                 struct proto_problem *problem) {
    const data_arc_index *index = trm_model_tasks(vote->engine);
    const struct data_arc_entry *named = NULL, *same = NULL;
    if (!index) {
        proto_problem_set(problem, PROTO_UNKNOWN_TASK, "",
                          "model '%.60s' does not say which tasks it was trained on: put its tasks.safetensors "
                          "(trm-data arc) beside the checkpoint%s",
                          model->name, adapts ? ", or POST the task to /tasks" : "");
        return NULL;
    }
    const char *id = request->task_id;
    if (id && !(named = data_arc_index_find(index, id))) {
        unknown(problem, "/task_id", "there is no such task among those of", model->name, adapts);
        return NULL;
    }
    if ((!id || request->task.train_count > 0) && !(same = data_arc_index_recognise(index, &request->task))) {
        unknown(problem, "/task/train", "these demonstrations are of no task of", model->name, adapts);
        return NULL;
    }
    if (named && same && memcmp(named->hash, same->hash, DATA_ARC_HASH) != 0) {
        proto_problem_set(problem, PROTO_INVALID, "/task_id", "these are the demonstrations of task '%.63s'",
                          same->name);
        return NULL;
    }
    return named ? named : same;
}

/* --- its memory --------------------------------------------------------------------------------------- */

static bool open_ballots(struct srv_vote *vote, struct proto_problem *problem) {
    vote->ballots = calloc((size_t)vote->tests, sizeof *vote->ballots);
    vote->votes = calloc((size_t)vote->tests, sizeof *vote->votes);
    bool complete = vote->ballots && vote->votes;
    for (int t = 0; complete && t < vote->tests; t++) {
        vote->votes[t] = (struct proto_vote){.augment = vote->augment, .poll = data_arc_poll_create()};
        complete = vote->votes[t].poll != NULL;
    }
    return complete || proto_problem_set(problem, PROTO_INTERNAL, "", "out of memory");
}

struct srv_vote *srv_vote_create(const struct srv_model *model, struct srv_shelf *shelf,
                                 const struct proto_request *request, struct proto_problem *problem) {
    struct srv_vote *vote = calloc(1, sizeof *vote);
    if (!vote) {
        proto_problem_set(problem, PROTO_INTERNAL, "", "out of memory");
        return NULL;
    }
    vote->engine = trm_model_ref(model->engine);
    vote->side = model->form.side;
    vote->tests = vote->open = request->task.test_count;
    vote->to_the_end = request->options.no_halt;
    vote->entry = shelf ? find_adapted(vote, model, shelf, request) : NULL;
    if (!vote->entry) {
        vote->entry = find_trained(vote, model, shelf != NULL, request, problem);
    }
    vote->known_by = request->task_id ? "task_id" : "content";
    bool good = vote->entry != NULL;
    if (good) {
        const int there = vote->entry->count, wanted = request->options.augment;
        vote->augment = wanted < there ? wanted : there;
        good = open_ballots(vote, problem);
    }
    if (!good) {
        srv_vote_destroy(vote);
        return NULL;
    }
    return vote;
}

void srv_vote_destroy(struct srv_vote *vote) {
    if (!vote) {
        return;
    }
    for (int t = 0; vote->votes && t < vote->tests; t++) {
        data_arc_poll_destroy(vote->votes[t].poll);
    }
    free(vote->votes);
    free(vote->ballots);
    trm_model_unref(vote->engine);
    free(vote);
}

/* --- puzzles and votes -------------------------------------------------------------------------------- */

static int identifier_of(const struct srv_vote *vote, int puzzle) {
    return vote->entry->first + puzzle / vote->tests;
}

static const struct data_arc_augment *augment_of(const struct srv_vote *vote, int puzzle) {
    return data_arc_index_augment(trm_model_tasks(vote->engine), identifier_of(vote, puzzle));
}

void srv_vote_fill(const struct srv_vote *vote, const struct data_arc_task *task, struct srv_group *group) {
    for (int p = 0; p < group->config.puzzles; p++) {
        struct data_arc_grid image;
        uint8_t tokens[DATA_ARC_CELLS];
        data_arc_apply(augment_of(vote, p), &task->pairs[task->train_count + p % vote->tests].input, &image);
        data_arc_tokens(&image, vote->side, 0, 0, tokens);
        for (int i = 0; i < vote->side * vote->side; i++) {
            group->puzzles[p].tokens[i] = tokens[i];
        }
        group->puzzles[p].identifier = identifier_of(vote, p);
    }
}

static bool has_answer(const struct srv_track *track) {
    return track->steps > 0 && track->outcome != SRV_CANCELLED && track->outcome != SRV_FAILED;
}

bool srv_vote_count(struct srv_vote *vote, struct srv_group *group, int puzzle) {
    const int test = puzzle % vote->tests;
    struct proto_vote *shown = &vote->votes[test];
    const struct srv_track *track = &srv_group_leader(group, puzzle)->seen;
    if (shown->decided || group->puzzles[puzzle].counted) {
        return false;
    }
    group->puzzles[puzzle].counted = true;
    if (has_answer(track)) {
        struct data_arc_grid image, answer;
        data_arc_crop(srv_track_answer(group, track, track->steps), vote->side, &image);
        data_arc_undo(augment_of(vote, puzzle), &image, &answer);
        vote->failed |= data_arc_poll_vote(shown->poll, &answer, track->q_halt[track->steps - 1], NULL) != TRM_OK;
        shown->voted++;
    }
    const int left = vote->augment - ++vote->ballots[test].ended;
    shown->decided = left > 0 && !vote->to_the_end && data_arc_poll_is_decided(shown->poll, left);
    vote->open -= left == 0 || shown->decided;
    return shown->decided;
}
