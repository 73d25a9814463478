/* batch.c - trm_batch: slots that puzzles enter and leave between supervision steps.
 *
 * A batch and everything in it belong to one worker thread; it shares only the immutable model. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine/data/puzzle.h"
#include "engine/model_internal.h"
#include "engine/noise.h"
#include "engine/search.h"

struct slot {
    bool busy;
    struct trm_solve_options options; /* max_steps resolved */
    struct trm_report report;
    uint64_t variation; /* that is being tried */
    int began;          /* steps that were done when it began, */
    int lasts;          /* and how many it may take; 0: no limit but max_steps */
    int image;          /* that `input` is of the puzzle; 0: itself */
    int32_t puzzle_identifier;
    float *state;         /* [latents, tokens, hidden]; one allocation, with what follows */
    int32_t *tokens;      /* [seq_len] the puzzle */
    int32_t *input;       /* [seq_len] what the model sees */
    int32_t *answer;      /* [seq_len] */
    struct search search; /* where the model's puzzles can be guessed */
};

/* The whole of a slot, taken out of its batch. */
struct trm_parked {
    trm_model *model;
    struct slot slot;
};

struct trm_batch {
    trm_model *model;
    infer_machine *machine;
    struct slot *slots; /* [slot_count] */
    int slot_count, busy;

    /* Of the image that is being looked at; a slot keeps only its number. */
    struct data_symmetry symmetry;
    int32_t raw[PUZZLE_MAX_CELLS]; /* [seq_len] the answer to it */
};

static const struct model_config *config_of(const trm_batch *batch) {
    return batch->model->weights->plain.config;
}

/* Of a slot's arrays, in their order in memory; the last two are there where the model's puzzles can be guessed. */
struct slot_sizes {
    size_t state, tokens, nodes, kept; /* bytes */
};

static struct slot_sizes sizes_of(const trm_model *model) {
    const struct model_tensors *w = &model->weights->plain;
    const size_t values = model_state_size(w->config, w->layout);
    struct slot_sizes sizes = {.state = values * sizeof(float),
                               .tokens = 3 * (size_t)w->config->seq_len * sizeof(int32_t)};
    if (trm_model_has_guesses(model)) {
        sizes.nodes = SEARCH_NODES * sizeof(struct search_node);
        sizes.kept = SEARCH_KEPT * values * sizeof(op_bf16);
    }
    return sizes;
}

size_t trm_slot_bytes(const trm_model *model) {
    const struct slot_sizes sizes = sizes_of(model);
    return sizes.state + sizes.tokens + sizes.nodes + sizes.kept;
}

/* Memory for a slot that has none. */
static trm_status furnish(const trm_model *model, struct slot *slot, trm_error *err) {
    const struct slot_sizes sizes = sizes_of(model);
    const size_t bytes = trm_slot_bytes(model);
    const int seq_len = model->info.seq_len;
    char *memory = calloc(1, bytes);
    if (!memory)
        return trm_fail_memory(err, bytes);
    int32_t *tokens = (void *)(memory + sizes.state);
    char *nodes = memory + sizes.state + sizes.tokens;
    *slot = (struct slot){
        .state = (void *)memory, .tokens = tokens, .input = tokens + seq_len, .answer = tokens + 2 * seq_len};
    if (sizes.nodes > 0)
        slot->search = (struct search){
            .nodes = (void *)nodes, .kept = (void *)(nodes + sizes.nodes), .state_size = sizes.state / sizeof(float)};
    return TRM_OK;
}

static trm_status allocate(trm_batch *batch, trm_error *err) {
    trm_status status = TRM_OK;
    batch->slots = calloc((size_t)batch->slot_count, sizeof *batch->slots);
    if (!batch->slots)
        return trm_fail_memory(err, (size_t)batch->slot_count * sizeof *batch->slots);
    for (int i = 0; i < batch->slot_count && status == TRM_OK; i++)
        status = furnish(batch->model, &batch->slots[i], err);
    return status;
}

trm_status trm_batch_create(trm_model *model, int slots, trm_batch **out, trm_error *err) {
    if (slots < 1)
        return trm_fail(err, TRM_INVALID, "a batch needs at least one slot, not %d", slots);
    trm_batch *batch = calloc(1, sizeof *batch);
    if (!batch)
        return trm_fail_memory(err, sizeof *batch);
    batch->model = trm_model_ref(model);
    batch->slot_count = slots;
    trm_status status = allocate(batch, err);
    if (status == TRM_OK)
        status = infer_machine_create(model->weights, &batch->machine, err);
    if (status != TRM_OK) {
        trm_batch_destroy(batch);
        return status;
    }
    *out = batch;
    return TRM_OK;
}

void trm_batch_destroy(trm_batch *batch) {
    if (!batch)
        return;
    infer_machine_destroy(batch->machine);
    for (int i = 0; batch->slots && i < batch->slot_count; i++)
        free(batch->slots[i].state);
    free(batch->slots);
    trm_model_unref(batch->model);
    free(batch);
}

int trm_batch_slots(const trm_batch *batch) {
    return batch->slot_count;
}

int trm_batch_busy(const trm_batch *batch) {
    return batch->busy;
}

/* ---- admission ---- */

static trm_status check_puzzle(const trm_batch *batch, const int32_t *tokens, int id,
                               const struct trm_solve_options *options, trm_error *err) {
    const struct model_config *c = config_of(batch);
    for (int i = 0; i < c->seq_len; i++)
        if (tokens[i] < 0 || tokens[i] >= c->vocab_size)
            return trm_fail(err, TRM_INVALID, "token %d of the puzzle is %d, outside 0..%d", i, (int)tokens[i],
                            c->vocab_size - 1);
    if (c->puzzle_emb_ndim > 0 && (id < 0 || id >= c->num_puzzle_identifiers))
        return trm_fail(err, TRM_INVALID, "puzzle identifier %d is outside 0..%d", id, c->num_puzzle_identifiers - 1);
    if (options->max_steps < 0 || options->min_steps < 0)
        return trm_fail(err, TRM_INVALID, "step limits cannot be negative");
    if (options->variation < 0 || options->restart_steps < 0 || options->stride < 0)
        return trm_fail(err, TRM_INVALID, "variations and restarts cannot be negative");
    if (options->images < 0 || options->images > trm_model_images(batch->model))
        return trm_fail(err, TRM_INVALID, "%d images of a puzzle that has %d", options->images,
                        trm_model_images(batch->model));
    if (options->guesses < 0 || (options->guesses > 0 && (!options->verify || !trm_model_has_guesses(batch->model))))
        return trm_fail(err, TRM_INVALID, "guesses want a verifier");
    if (!isfinite(options->noise) || options->noise < 0)
        return trm_fail(err, TRM_INVALID, "noise must be a finite deviation from 0");
    return TRM_OK;
}

/* The first, or slot_count. */
static int free_slot(const trm_batch *batch) {
    int number = 0;
    while (number < batch->slot_count && batch->slots[number].busy)
        number++;
    return number;
}

/* Makes batch->symmetry that of the slot's image. */
static void recall_symmetry(trm_batch *batch, const struct slot *slot) {
    data_symmetry_get(batch->model->info.puzzle, config_of(batch)->seq_len, slot->image,
                      slot->options.seed + slot->variation, &batch->symmetry);
}

/* The model is to see an image of the slot's puzzle. */
static void show_image(trm_batch *batch, struct slot *slot) {
    const int cells = config_of(batch)->seq_len;
    if (slot->image > 0) {
        recall_symmetry(batch, slot);
        data_symmetry_apply(&batch->symmetry, cells, slot->tokens, slot->input);
    } else {
        memcpy(slot->input, slot->tokens, (size_t)cells * sizeof *slot->input);
    }
}

/* Begins with a variation of the slot's puzzle: its input, and latents at their initial values. */
static void begin(trm_batch *batch, struct slot *slot, uint64_t variation) {
    slot->variation = variation;
    slot->began = slot->report.step;
    slot->image = slot->options.images > 1 ? (int)(variation % (uint64_t)slot->options.images) : 0;
    show_image(batch, slot);
    model_state_reset(&batch->model->weights->plain, slot->state);
}

trm_status trm_batch_admit(trm_batch *batch, const int32_t *tokens, int puzzle_identifier,
                           const struct trm_solve_options *options, int *slot_number, trm_error *err) {
    trm_status status = check_puzzle(batch, tokens, puzzle_identifier, options, err);
    if (status != TRM_OK)
        return status;
    int number = free_slot(batch);
    if (number == batch->slot_count)
        return trm_fail(err, TRM_FULL, "all %d slots are taken", batch->slot_count);

    struct slot *slot = &batch->slots[number];
    const size_t bytes = (size_t)config_of(batch)->seq_len * sizeof *tokens;
    slot->busy = true;
    slot->options = *options;
    if (slot->options.max_steps == 0)
        slot->options.max_steps = config_of(batch)->halt_max_steps;
    if (slot->options.stride == 0)
        slot->options.stride = 1;
    slot->puzzle_identifier = puzzle_identifier;
    slot->report = (struct trm_report){.halt = TRM_RUNNING, .answer = slot->answer};
    memcpy(slot->tokens, tokens, bytes);
    memcpy(slot->answer, tokens, bytes); /* the best answer before the first step */
    slot->lasts = options->restart_steps;
    begin(batch, slot, (uint64_t)options->variation);
    if (options->guesses > 0)
        trm_search_begin(&slot->search);
    batch->busy++;
    *slot_number = number;
    return TRM_OK;
}

static bool is_slot(const trm_batch *batch, int slot) {
    return slot >= 0 && slot < batch->slot_count && batch->slots[slot].busy;
}

const struct trm_report *trm_batch_report(const trm_batch *batch, int slot) {
    return is_slot(batch, slot) ? &batch->slots[slot].report : NULL;
}

void trm_batch_release(trm_batch *batch, int slot) {
    if (!is_slot(batch, slot))
        return;
    batch->slots[slot].busy = false;
    batch->busy--;
}

/* ---- parking: slots are handed over whole, nothing is copied ---- */

trm_status trm_batch_park(trm_batch *batch, int number, trm_parked **out, trm_error *err) {
    struct slot empty;
    if (!is_slot(batch, number))
        return trm_fail(err, TRM_INVALID, "slot %d has no puzzle", number);
    trm_parked *parked = malloc(sizeof *parked);
    trm_status status = parked ? furnish(batch->model, &empty, err) : trm_fail_memory(err, sizeof *parked);
    if (status != TRM_OK) {
        free(parked);
        return status;
    }
    *parked = (trm_parked){trm_model_ref(batch->model), batch->slots[number]};
    batch->slots[number] = empty;
    batch->busy--;
    *out = parked;
    return TRM_OK;
}

trm_status trm_batch_resume(trm_batch *batch, trm_parked *parked, int *slot_number, trm_error *err) {
    int number = free_slot(batch);
    if (parked->model != batch->model)
        return trm_fail(err, TRM_INVALID, "the puzzle was parked by another model");
    if (number == batch->slot_count)
        return trm_fail(err, TRM_FULL, "all %d slots are taken", batch->slot_count);
    free(batch->slots[number].state);
    batch->slots[number] = parked->slot;
    batch->busy++;
    trm_model_unref(parked->model);
    free(parked);
    *slot_number = number;
    return TRM_OK;
}

trm_model *trm_parked_model(const trm_parked *parked) {
    return parked->model;
}

void trm_parked_destroy(trm_parked *parked) {
    if (!parked)
        return;
    trm_model_unref(parked->model);
    free(parked->slot.state);
    free(parked);
}

/* ---- what a step says ---- */

/* The most likely token of each cell, and the mean of their softmax probabilities. */
static float read_answer(const float *logits, int seq_len, int vocab, int32_t *answer) {
    double confidence = 0.0;
    for (int t = 0; t < seq_len; t++) {
        const float *row = logits + (size_t)t * (size_t)vocab;
        int best = 0;
        for (int v = 1; v < vocab; v++)
            if (row[v] > row[best])
                best = v;
        float total = 0.0f;
        for (int v = 0; v < vocab; v++)
            total += expf(row[v] - row[best]);
        answer[t] = best;
        confidence += 1.0 / (double)total;
    }
    return (float)(confidence / seq_len);
}

static enum trm_halt decide(const trm_batch *batch, const struct slot *slot) {
    const struct trm_solve_options *o = &slot->options;
    const struct trm_report *r = &slot->report;
    const struct model_config *c = config_of(batch);
    if (!o->no_halt && r->step - slot->began >= o->min_steps) {
        if (o->verify && trm_model_has_verifier(batch->model)) {
            if (data_puzzle_verify(batch->model->info.puzzle, c->seq_len, slot->tokens, slot->answer))
                return TRM_HALT_VERIFIED;
        } else {
            float q = c->no_ACT_continue ? r->q_halt : r->q_halt - r->q_continue;
            if (q > o->halt_threshold)
                return TRM_HALT_Q_HEAD;
        }
    }
    return r->step >= o->max_steps ? TRM_HALT_MAX_STEPS : TRM_RUNNING;
}

/* ---- stepping ---- */

static bool is_over(const struct slot *slot) {
    return slot->lasts > 0 && slot->report.step - slot->began >= slot->lasts;
}

/* Goes on with the next guesses; without any left as it is. */
static void guess(trm_batch *batch, struct slot *slot) {
    const enum search_step way = trm_search_next(&slot->search, slot->state);
    if (way == SEARCH_OVER)
        return;
    const int lasts = slot->options.restart_steps / (way == SEARCH_ANEW ? 2 : 4);
    slot->lasts = lasts > 1 ? lasts : 1;
    slot->began = slot->report.step;
    show_image(batch, slot);
    trm_search_apply(&slot->search, slot->input);
    if (way == SEARCH_ANEW)
        model_state_reset(&batch->model->weights->plain, slot->state);
}

/* Before a step: another try if it is time for that, and the noise of the one there is. */
static void prepare(trm_batch *batch, struct slot *slot, size_t state_size) {
    const struct trm_solve_options *o = &slot->options;
    if (is_over(slot) && o->guesses > 0)
        guess(batch, slot);
    else if (is_over(slot))
        begin(batch, slot, slot->variation + (uint64_t)o->stride);
    if (o->noise > 0 && slot->variation >= (uint64_t)(o->images > 1 ? o->images : 1))
        trm_noise_add(o->noise, o->seed + slot->variation, slot->report.step - slot->began, state_size, slot->state);
}

/* Sets guesses apart from symmetries and noise, which are drawn by the same numbers. */
static const uint64_t GUESS_SEED = 0x6775657373000000;

/* After a step that did not solve the puzzle, when it is time for guesses: makes them of what the model says. */
static void branch(trm_batch *batch, struct slot *slot, const float *logits) {
    const struct trm_solve_options *o = &slot->options;
    const struct search_view view = {.puzzle = batch->model->info.puzzle,
                                     .cells = config_of(batch)->seq_len,
                                     .vocab = config_of(batch)->vocab_size,
                                     .tokens = slot->input,
                                     .logits = logits};
    if (slot->variation == 0)
        trm_search_branch(&slot->search, &view, o->guesses);
    else
        trm_search_branch_at_random(&slot->search, &view, o->guesses, (o->seed + slot->variation) ^ GUESS_SEED);
    trm_search_keep(&slot->search, slot->state);
}

/* After a step: what chunk member i says of its puzzle. */
static void take_answer(trm_batch *batch, struct slot *slot, int i) {
    const struct model_config *c = config_of(batch);
    struct trm_report *report = &slot->report;
    report->step++;
    report->q_halt = infer_q(batch->machine, i)[0];
    report->q_continue = infer_q(batch->machine, i)[1];
    report->confidence = read_answer(infer_logits(batch->machine, i), c->seq_len, c->vocab_size,
                                     slot->image > 0 ? batch->raw : slot->answer);
    if (slot->image > 0) {
        recall_symmetry(batch, slot);
        data_symmetry_undo(&batch->symmetry, c->seq_len, batch->raw, slot->answer);
    }
    if (slot->options.keep_given)
        data_puzzle_keep_given(batch->model->info.puzzle, c->seq_len, slot->tokens, slot->answer);
    report->halt = decide(batch, slot);
    if (slot->options.guesses > 0 && report->halt == TRM_RUNNING && is_over(slot))
        branch(batch, slot, infer_logits(batch->machine, i));
}

static trm_status step_chunk(trm_batch *batch, struct slot *const *members, int count, trm_error *err) {
    const size_t state_size = model_state_size(config_of(batch), batch->model->weights->plain.layout);
    struct infer_puzzle puzzles[INFER_MAX_CHUNK];
    for (int i = 0; i < count; i++) {
        prepare(batch, members[i], state_size);
        puzzles[i] = (struct infer_puzzle){members[i]->input, members[i]->puzzle_identifier, members[i]->state};
    }
    trm_status status = infer_step(batch->machine, puzzles, count, err);
    for (int i = 0; i < count && status == TRM_OK; i++)
        take_answer(batch, members[i], i);
    return status;
}

trm_status trm_batch_step(trm_batch *batch, trm_error *err) {
    struct slot *members[INFER_MAX_CHUNK];
    trm_status status = TRM_OK;
    int count = 0;
    for (int i = 0; i < batch->slot_count && status == TRM_OK; i++) {
        if (batch->slots[i].busy && batch->slots[i].report.halt == TRM_RUNNING)
            members[count++] = &batch->slots[i];
        if (count == batch->model->weights->chunk || (count > 0 && i == batch->slot_count - 1)) {
            status = step_chunk(batch, members, count, err);
            count = 0;
        }
    }
    return status;
}

void trm_batch_profile(trm_batch *batch, struct model_profile *profile) {
    infer_profile(batch->machine, profile);
}
