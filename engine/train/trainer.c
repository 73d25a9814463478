/* trainer.c - the loop of a training run. One thread, which the core's helpers serve. */
#include "engine/train/trainer.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/cli.h"
#include "engine/data/generate.h"
#include "engine/file.h"
#include "engine/model/program.h"
#include "engine/model_memory.h"
#include "engine/train/grow.h"
#include "engine/train/init.h"
#include "engine/train/run.h"
#include "engine/train/schedule.h"

enum { BATCHES_AHEAD = 2 }; /* of puzzles that a stream keeps ready: twice what an update can take */

/* ---- data ---- */

/* Leaves of `set` the puzzles whose rating is wanted. */
static trm_status select_ratings(const struct conf_source *s, struct data_set *set, trm_error *err) {
    if (s->min_rating == 0 && s->max_rating == INT_MAX)
        return TRM_OK;
    bool *keep = calloc(set->count, sizeof *keep);
    size_t kept = 0;
    if (!keep)
        return trm_fail_memory(err, set->count);
    for (size_t row = 0; row < set->count; row++) {
        keep[row] = set->ratings[row] >= s->min_rating && set->ratings[row] <= s->max_rating;
        kept += keep[row];
    }
    if (kept > 0)
        data_set_keep(set, keep);
    free(keep);
    return kept > 0 ? TRM_OK
                    : trm_fail(err, TRM_INVALID, "%s: no puzzle has a rating from %d to %d", s->path, s->min_rating,
                               s->max_rating);
}

static struct data_generate_options puzzles_of(const struct conf_source *s) {
    return (struct data_generate_options){.maze = strcmp(s->generate, "maze") == 0,
                                          .size = s->size,
                                          .min_moves = s->min_moves,
                                          .count = (size_t)s->count,
                                          .shares = s->classes,
                                          .seed = (uint64_t)s->seed,
                                          .threads = trm_core_count()};
}

static trm_status open_set(const struct conf_source *s, struct data_set **set, trm_error *err) {
    if (s->path) {
        trm_status status = data_set_load(s->path, (size_t)s->limit, set, err);
        return status == TRM_OK ? select_ratings(s, *set, err) : status;
    }
    const struct data_generate_options options = puzzles_of(s);
    return data_generate(&options, set, err);
}

static int threads_of(const struct conf_train *conf) {
    return conf->threads > 0 ? conf->threads : trm_core_count();
}

/* Opens a set, or a stream if the source has no end. A stream's puzzles are decided by the run's seed and its own
 * place among the supplies: no two streams of a run are alike. */
static trm_status open_supply(struct train_run *run, const struct conf_source *s, int place, trm_error *err) {
    struct train_supply *supply = &run->supplies[place];
    if (s->path || s->count > 0)
        return open_set(s, &supply->set, err);
    struct data_generate_options options = puzzles_of(s);
    struct data_rng rng;
    data_rng_seed(&rng, (uint64_t)run->conf->seed);
    options.seed = data_rng_next(&rng) + (uint64_t)place;
    options.threads = threads_of(run->conf);
    return data_stream_create(&options, BATCHES_AHEAD * run->conf->batch_size, &supply->stream, err);
}

static void close_supply(struct train_supply *supply) {
    data_set_destroy(supply->set);
    data_stream_destroy(supply->stream);
}

/* A part of weight 1 that draws from it. */
static struct data_source_part part_of(const struct train_supply *supply) {
    return (struct data_source_part){.set = supply->set, .stream = supply->stream, .weight = 1.0, .final_weight = 1.0};
}

static trm_status check_fit(const struct train_run *run, int seq_len, int vocab_size, int identifiers, trm_error *err) {
    const struct model_config *c = &run->conf->model;
    if (seq_len != c->seq_len || vocab_size > c->vocab_size)
        return trm_fail(err, TRM_INVALID, "the data has %d cells and %d tokens, the model %d and %d", seq_len,
                        vocab_size, c->seq_len, c->vocab_size);
    if (c->puzzle_emb_ndim > 0 && identifiers > c->num_puzzle_identifiers)
        return trm_fail(err, TRM_INVALID, "the data has %d puzzle identifiers, the model %d", identifiers,
                        c->num_puzzle_identifiers);
    return TRM_OK;
}

static bool is_given(const struct conf_source *s) {
    return s->path || s->generate;
}

/* The puzzles that probes are drawn from, if they have their own. */
static trm_status open_probes(struct train_run *run, trm_error *err) {
    const struct conf_train *conf = run->conf;
    if (conf->probe.rows == 0 || !is_given(&conf->probe.source))
        return TRM_OK;
    trm_status status = open_supply(run, &conf->probe.source, conf->data_count, err);
    const struct data_source_part part = part_of(&run->supplies[conf->data_count]);
    if (status == TRM_OK)
        status = data_source_create(&part, 1, conf->augment, &run->probe_source, err);
    if (status == TRM_OK)
        status = check_fit(run, data_source_seq_len(run->probe_source), data_source_vocab_size(run->probe_source),
                           data_source_identifiers(run->probe_source), err);
    return status;
}

static trm_status open_data(struct train_run *run, trm_error *err) {
    const struct conf_train *conf = run->conf;
    const size_t count = (size_t)conf->data_count;
    struct data_source_part *parts = calloc(count, sizeof *parts);
    run->supplies = calloc(count + 1, sizeof *run->supplies);
    run->drawn = calloc(2, (size_t)conf->model.seq_len);
    int used = 0;
    trm_status status = parts && run->supplies && run->drawn ? TRM_OK : trm_fail_memory(err, count * sizeof *parts);
    for (int i = 0; i < conf->data_count && status == TRM_OK; i++) {
        const struct conf_source *source = &conf->data[i];
        status = open_supply(run, source, i, err);
        struct data_source_part part = part_of(&run->supplies[i]);
        part.weight = source->weight;
        part.final_weight = source->final_weight;
        part.reveal = source->reveal;
        if (status == TRM_OK && part.weight + part.final_weight > 0.0)
            parts[used++] = part;
    }
    if (status == TRM_OK)
        status = data_source_create(parts, used, conf->augment, &run->source, err);
    if (status == TRM_OK)
        status = check_fit(run, data_source_seq_len(run->source), data_source_vocab_size(run->source),
                           data_source_identifiers(run->source), err);
    if (status == TRM_OK)
        status = open_probes(run, err);
    if (status == TRM_OK && is_given(&conf->eval.source))
        status = open_set(&conf->eval.source, &run->eval_set, err);
    if (status == TRM_OK && run->eval_set)
        status = check_fit(run, run->eval_set->seq_len, run->eval_set->vocab_size, run->eval_set->num_identifiers, err);
    free(parts);
    return status;
}

/* The names of ARC's identifiers, which trm-data writes beside DIR/train: without them nobody can ask a checkpoint for
 * a task. Identifiers are of one data set only. */
static trm_status open_tasks(struct train_run *run, trm_error *err) {
    const struct conf_train *conf = run->conf;
    const char *data = conf->data[0].path;
    if (strcmp(conf->puzzle, "arc") != 0 || !data)
        return TRM_OK;
    if (conf->data_count > 1)
        return trm_fail(err, TRM_INVALID, "ARC data is one data set: the identifiers of several are not the same");
    char *path = trm_path_join(data, "../tasks.safetensors");
    trm_status status = path ? TRM_OK : trm_fail_memory(err, strlen(data));
    if (status == TRM_OK && access(path, F_OK) == 0) {
        status = st_open(path, &run->tasks_file, err);
        if (status == TRM_OK)
            status = data_arc_index_open(run->tasks_file, conf->model.num_puzzle_identifiers, &run->tasks, err);
    }
    free(path);
    return status;
}

/* How much of the run is done, in 0 .. 1. */
static double progress(const struct train_run *run) {
    return (double)*train_core_updates(run->core) / run->conf->steps;
}

/* How far the weights of the data have moved, in 0 .. 1. */
static double curriculum(const struct train_run *run) {
    const double from = run->conf->curriculum.from, to = run->conf->curriculum.to, at = progress(run);
    return at >= to ? 1.0 : at <= from ? 0.0 : (at - from) / (to - from);
}

/* train_next: draws a puzzle into a row; label 0 of a data set means "not judged". */
static void next_example(void *arg, struct train_row *row) {
    struct train_run *run = arg;
    const size_t seq_len = (size_t)run->conf->model.seq_len;
    uint8_t *inputs = run->drawn, *labels = run->drawn + seq_len;
    int set;
    size_t index;
    const data_source *source = row->probe && run->probe_source ? run->probe_source : run->source;
    data_source_next(source, curriculum(run), &run->rng, inputs, labels, &row->id, &set, &index);
    for (size_t i = 0; i < seq_len; i++) {
        row->inputs[i] = inputs[i];
        row->labels[i] = labels[i] ? labels[i] : TRAIN_LABEL_IGNORED;
    }
}

/* ---- starting ---- */

static trm_status create_core(struct train_run *run, trm_error *err) {
    const struct conf_train *conf = run->conf;
    const struct train_core_options options = {.backend = TRM_BACKEND_ONEDNN,
                                               .dtype =
                                                   op_operand_type(op_settle_dtype(TRM_BACKEND_ONEDNN, conf->compute)),
                                               .batch_size = conf->batch_size,
                                               .pool_size = conf->pool_size,
                                               .shards = conf->shards,
                                               .threads = threads_of(conf),
                                               .carry_bf16 = conf->carry_bf16,
                                               .last_updates = conf->gradient == CONF_LAST_UPDATES,
                                               .loss = conf->loss,
                                               .halt_loss_weight = conf->halt_loss_weight,
                                               .first_weight = conf->supervision_weight.first,
                                               .last_weight = conf->supervision_weight.last,
                                               .min_halt_steps = conf->min_halt_steps,
                                               .hint_prob = conf->hint_prob,
                                               .probe_rows = conf->probe.rows,
                                               .probe_halting = conf->probe.halting,
                                               .optimizer = conf->optimizer,
                                               .puzzle_emb_lr = conf->puzzle_emb.lr,
                                               .puzzle_emb_weight_decay = conf->puzzle_emb.weight_decay,
                                               .ema_rate = conf->ema.rate,
                                               .ema_ramp = conf->ema.ramp,
                                               .comm = run->options->comm};
    trm_status status = model_layout_create(&conf->model, &run->layout, err);
    if (status == TRM_OK)
        status = train_core_create(&conf->model, run->layout, &options, &run->core, err);
    return status;
}

/* The weights of a checkpoint instead of random ones. */
static trm_status start_from(struct train_run *run, trm_error *err) {
    struct train_weights *w = train_core_weights(run->core);
    model_checkpoint *checkpoint;
    trm_status status = model_checkpoint_open(run->conf->start_from, &checkpoint, err);
    if (status != TRM_OK)
        return status;
    trm_error why;
    status =
        train_grow(checkpoint, &run->conf->model, run->layout, &run->rng, w->params, w->buffers, w->puzzle_emb, &why);
    if (status != TRM_OK)
        trm_fail(err, status, "start_from: %s: %s", run->conf->start_from, why.text);
    model_checkpoint_close(checkpoint);
    return status;
}

/* A new run: initial weights, and rows that will halt at different times. */
static trm_status start_fresh(struct train_run *run, trm_error *err) {
    struct train_weights *w = train_core_weights(run->core);
    data_rng_seed(&run->rng, (uint64_t)run->conf->seed);
    train_init_weights(&run->conf->model, run->layout, &run->rng, w->params, w->buffers);
    if (run->conf->start_from) {
        trm_status status = start_from(run, err);
        if (status != TRM_OK)
            return status;
    }
    memcpy(w->ema, w->params, run->layout->param_size * sizeof *w->ema);
    if (run->conf->random_initial_steps)
        train_core_fill(run->core, &run->rng, next_example, run);
    return train_core_refresh(run->core, err);
}

/* FNV-1a of `size` bytes, going on from `hash`. */
static uint64_t hash_bytes(uint64_t hash, const void *data, size_t size) {
    const uint8_t *bytes = data;
    for (size_t i = 0; i < size; i++)
        hash = (hash ^ bytes[i]) * 0x100000001b3;
    return hash;
}

/* Processes with other settings or puzzles than the first one would spoil the run without a word. */
static trm_status check_others(const struct train_run *run, trm_error *err) {
    uint64_t own = hash_bytes(0xcbf29ce484222325, run->settings, strlen(run->settings)), first;
    if (train_comm_size(run->options->comm) == 1)
        return TRM_OK;
    for (int i = 0; i < run->conf->data_count; i++) {
        const struct data_set *set = run->supplies[i].set;
        if (!set)
            continue; /* what a stream has depends on the settings alone */
        own = hash_bytes(own, set->inputs, set->count * (size_t)set->seq_len);
        own = hash_bytes(own, set->labels, set->count * (size_t)set->seq_len);
        own = hash_bytes(own, set->identifiers, set->count * sizeof *set->identifiers);
    }
    first = own;
    trm_status status = train_comm_spread(run->options->comm, &first, sizeof first, err);
    if (status == TRM_OK && first != own)
        status = trm_fail(err, TRM_INVALID, "process %d has other settings or data than process 0",
                          train_comm_rank(run->options->comm));
    return status;
}

static trm_status start(struct train_run *run, trm_error *err) {
    const struct train_run_options *o = run->options;
    bool found = false;
    char path[4096];
    if (train_leads(run) && mkdir(o->dir, 0777) != 0 && errno != EEXIST)
        return trm_fail(err, TRM_IO, "%s: %s", o->dir, strerror(errno));
    trm_status status = train_path(run, "state.safetensors", path, sizeof path, err);
    if (status == TRM_OK && train_leads(run) && !o->resume && access(path, F_OK) == 0)
        return trm_fail(err, TRM_INVALID, "%s holds a run already: --resume goes on with it", o->dir);
    if (status == TRM_OK)
        status = open_data(run, err);
    if (status == TRM_OK)
        status = check_others(run, err);
    if (status == TRM_OK)
        status = open_tasks(run, err);
    if (status == TRM_OK)
        status = create_core(run, err);
    if (status == TRM_OK && o->resume)
        status = train_load_state(run, &found, err);
    if (status == TRM_OK && !found)
        status = start_fresh(run, err);
    if (status == TRM_OK && train_leads(run))
        status = train_open_logs(run, found, err);
    run->started = trm_clock();
    run->started_at = status == TRM_OK ? *train_core_updates(run->core) : 0;
    return status;
}

static void finish(struct train_run *run) {
    train_close_logs(run);
    train_core_destroy(run->core);
    model_layout_destroy(run->layout);
    data_source_destroy(run->probe_source);
    data_source_destroy(run->source);
    data_arc_index_close(run->tasks);
    st_close(run->tasks_file);
    for (int i = 0; run->supplies && i <= run->conf->data_count; i++)
        close_supply(&run->supplies[i]);
    free(run->supplies);
    data_set_destroy(run->eval_set);
    free(run->drawn);
    free(run->settings);
}

/* ---- running ---- */

/* Solves the evaluation set twice: with all steps, and halting as a server would. */
static trm_status evaluate(struct train_run *run, trm_error *err) {
    const struct train_weights *w = train_core_weights(run->core);
    struct train_eval_options options = {
        .max_steps = run->conf->eval.max_steps,
        .threads = threads_of(run->conf),
    };
    const struct trm_model_options precision = {.backend = TRM_BACKEND_ONEDNN, .dtype = TRM_DTYPE_F32};
    struct train_eval_result full = {0}, halting = {0};
    trm_model *model = NULL;
    trm_status status = trm_model_from_memory(&run->model, run->layout, w->ema, w->buffers, w->puzzle_emb,
                                              run->conf->puzzle, &precision, &model, err);
    if (status == TRM_OK)
        status = train_evaluate(model, run->eval_set, &options, &full, err);
    options.halt = true;
    options.halt_threshold = run->conf->halt_threshold;
    options.min_steps = run->conf->min_halt_steps;
    if (options.max_steps > 0 && options.min_steps > options.max_steps)
        options.min_steps = options.max_steps;
    if (status == TRM_OK)
        status = train_evaluate(model, run->eval_set, &options, &halting, err);
    if (status == TRM_OK) {
        run->last_exact = full.all.puzzles > 0 ? (double)full.all.exact / (double)full.all.puzzles : 0.0;
        status = train_report_eval(run, &full, &halting, err);
    }
    if (status == TRM_OK && run->last_exact > run->best) {
        run->best = run->last_exact;
        status = train_save_model(run, "best.safetensors", err);
    }
    train_eval_result_destroy(&halting);
    train_eval_result_destroy(&full);
    trm_model_unref(model);
    return status;
}

static trm_status save(struct train_run *run, trm_error *err) {
    char name[64];
    trm_status status = train_core_gather(run->core, err);
    if (status != TRM_OK || !train_leads(run))
        return status;
    snprintf(name, sizeof name, "step_%" PRId64 ".safetensors", *train_core_updates(run->core));
    status = train_save_model(run, name, err);
    /* The state comes last: what it promises is already on the disk. */
    return status == TRM_OK ? train_save_state(run, err) : status;
}

static bool due(int64_t updates, int every, int total) {
    return updates == total || (every > 0 && updates % every == 0);
}

/* What the first process tells after an update. */
static trm_status report(struct train_run *run, const struct train_metrics *metrics, double factor, trm_error *err) {
    const struct conf_train *conf = run->conf;
    const int64_t updates = *train_core_updates(run->core);
    trm_status status = TRM_OK;
    train_report_progress(run, metrics->loss / conf->batch_size);
    if (due(updates, conf->log_every, conf->steps))
        status = train_report_window(run, factor * conf->optimizer.lr, err);
    if (status == TRM_OK && run->eval_set && due(updates, conf->eval.every, conf->steps))
        status = evaluate(run, err);
    return status;
}

/* Brings the cycles of the run's present stage into force. */
static trm_status settle_cycles(struct train_run *run, trm_error *err) {
    const struct conf_train *conf = run->conf;
    int H_cycles = conf->model.H_cycles, L_cycles = conf->model.L_cycles;
    for (int i = conf->stage_count - 1; i >= 0; i--)
        if (progress(run) < conf->stages[i].until) {
            H_cycles = conf->stages[i].H_cycles;
            L_cycles = conf->stages[i].L_cycles;
        }
    if (H_cycles == run->model.H_cycles && L_cycles == run->model.L_cycles)
        return TRM_OK;
    run->model.H_cycles = H_cycles;
    run->model.L_cycles = L_cycles;
    return train_core_set_cycles(run->core, H_cycles, L_cycles, err);
}

/* One update and whatever falls due after it. */
static trm_status advance(struct train_run *run, trm_error *err) {
    const struct conf_train *conf = run->conf;
    const struct train_schedule schedule = {.warmup = conf->schedule.warmup,
                                            .total = conf->steps,
                                            .constant_fraction = conf->schedule.constant_fraction,
                                            .min_ratio = conf->schedule.min_ratio};
    const int64_t before = *train_core_updates(run->core), updates = before + 1;
    const double factor = train_schedule_factor(&schedule, (int)updates);
    const int first = (int)(before % (conf->pool_size / conf->batch_size)) * conf->batch_size;
    struct train_metrics metrics;
    trm_status status = settle_cycles(run, err);
    if (status == TRM_OK)
        status = train_core_step(run->core, first, factor, &run->rng, next_example, run, &metrics, err);
    if (status != TRM_OK)
        return status;
    train_metrics_add(&run->window.sums, &metrics);
    train_probes_add(&run->window.probes, train_core_probes(run->core));
    run->window.updates++;
    run->flops += conf->batch_size * model_flops_per_training_step(&run->model, conf->gradient == CONF_LAST_UPDATES);
    if (train_leads(run))
        status = report(run, &metrics, factor, err);
    if (status == TRM_OK && due(updates, conf->checkpoint_every, conf->steps))
        status = save(run, err);
    return status;
}

/* All processes stop after the same update, whichever got the signal. */
static trm_status ask_to_stop(struct train_run *run, bool *stop, trm_error *err) {
    double asked = run->options->stop && *run->options->stop;
    trm_status status = train_comm_sum_doubles(run->options->comm, &asked, 1, err);
    *stop = asked > 0.0;
    return status;
}

trm_status train_run(const struct conf_train *conf, const struct train_run_options *options, trm_error *err) {
    struct train_run run = {.conf = conf,
                            .model = conf->model,
                            .options = options,
                            .settings = conf_train_format(conf),
                            .best = -1.0,
                            .last_exact = -1.0,
                            .terminal = train_comm_rank(options->comm) == 0 && isatty(STDERR_FILENO)};
    bool stop = false;
    trm_status status = run.settings ? start(&run, err) : trm_fail(err, TRM_NO_MEMORY, "out of memory");
    while (status == TRM_OK && *train_core_updates(run.core) < conf->steps && !stop) {
        status = ask_to_stop(&run, &stop, err);
        if (status == TRM_OK && !stop)
            status = advance(&run, err);
    }
    if (run.terminal)
        fputc('\n', stderr);
    if (status == TRM_OK && stop) {
        status = save(&run, err);
        if (train_leads(&run))
            fprintf(stderr, "trm-train: stopped at update %" PRId64 " of %d; --resume goes on\n",
                    *train_core_updates(run.core), conf->steps);
    }
    finish(&run);
    return status;
}
