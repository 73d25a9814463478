/* report.c - what a training run tells: JSON lines in files, a progress line to the person.
 * Called by the run's thread only. */
#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/cli.h"
#include "engine/train/run.h"

static const double REDRAW_INTERVAL = 0.2; /* seconds between progress lines */

static const char log_name[] = "log.jsonl", timing_name[] = "timing.jsonl";

/* ---- files ---- */

/* The length of the log's part that a run resumed after `updates` keeps: whole lines, none later. */
static trm_status kept_length(FILE *file, int64_t updates, long *length, trm_error *err) {
    char *line = NULL;
    size_t size = 0;
    ssize_t read;
    *length = 0;
    while ((read = getline(&line, &size, file)) > 0 && line[read - 1] == '\n') {
        json_t *object = json_loads(line, 0, NULL);
        const json_t *step = json_object_get(object, "step");
        const bool keep = json_is_integer(step) && json_integer_value(step) <= updates;
        json_decref(object);
        if (!keep)
            break;
        *length += (long)read;
    }
    const bool failed = ferror(file);
    free(line);
    return failed ? trm_fail(err, TRM_IO, "cannot read the log: %s", strerror(errno)) : TRM_OK;
}

/* Opens DIR/name for appending; a resumed run's lines beyond its state are cut off, a new run's all. */
static trm_status open_log(const struct train_run *run, const char *name, bool resumed, FILE **file, trm_error *err) {
    char path[4096];
    long length = 0;
    trm_status status = train_path(run, name, path, sizeof path, err);
    if (status != TRM_OK)
        return status;
    *file = fopen(path, "a+");
    if (!*file)
        return trm_fail(err, TRM_IO, "%s: %s", path, strerror(errno));
    rewind(*file);
    if (resumed)
        status = kept_length(*file, *train_core_updates(run->core), &length, err);
    if (status == TRM_OK && ftruncate(fileno(*file), length) != 0)
        status = trm_fail(err, TRM_IO, "%s: %s", path, strerror(errno));
    return status;
}

trm_status train_open_logs(struct train_run *run, bool resumed, trm_error *err) {
    trm_status status = open_log(run, log_name, resumed, &run->log, err);
    if (status == TRM_OK)
        status = open_log(run, timing_name, resumed, &run->timing, err);
    return status;
}

void train_close_logs(struct train_run *run) {
    if (run->log)
        fclose(run->log);
    if (run->timing)
        fclose(run->timing);
    run->log = run->timing = NULL;
}

/* Writes `object` (taken over) as one line. */
static trm_status write_line(FILE *file, json_t *object, trm_error *err) {
    const size_t flags = JSON_COMPACT | JSON_PRESERVE_ORDER | JSON_REAL_PRECISION(7);
    const bool written =
        object && json_dumpf(object, file, flags) == 0 && fputc('\n', file) != EOF && fflush(file) == 0;
    json_decref(object);
    return written ? TRM_OK : trm_fail(err, TRM_IO, "cannot write the log: %s", strerror(errno));
}

static double rate(const struct train_run *run) {
    const double seconds = trm_clock() - run->started;
    const double puzzles = (double)(*train_core_updates(run->core) - run->started_at) * run->conf->batch_size;
    return seconds > 0.0 ? puzzles / seconds : 0.0;
}

/* Of the matrix products, forward and backward, in units of 1e9 a second; evaluations take time and count nothing. */
static double gflops(const struct train_run *run) {
    const double seconds = trm_clock() - run->started;
    return seconds > 0.0 ? 1e-9 * run->flops / seconds : 0.0;
}

static trm_status write_timing(struct train_run *run, trm_error *err) {
    return write_line(run->timing,
                      json_pack("{s:I, s:f, s:f, s:f, s:f}", "step", (json_int_t)*train_core_updates(run->core),
                                "seconds", run->seconds_before + trm_clock() - run->started, "cpu_seconds",
                                run->cpu_before + trm_cpu_clock(), "puzzles_per_second", rate(run), "gflops",
                                gflops(run)),
                      err);
}

/* ---- the person ---- */

static void format_duration(double seconds, char *text, size_t size) {
    const long s = seconds < 1e7 ? (long)(seconds + 0.5) : 9999999;
    if (s >= 3600)
        snprintf(text, size, "%ld h %02ld min", s / 3600, s / 60 % 60);
    else if (s >= 60)
        snprintf(text, size, "%ld min %02ld s", s / 60, s % 60);
    else
        snprintf(text, size, "%ld s", s);
}

enum { GLYPH_BYTES = 3 };

/* Writes one of `glyphs` for a value in [0, 1] as character `at` of `text`, and ends the text there. */
static void put_glyph(char *text, int at, double value, const char *const *glyphs, int count) {
    int level = (int)(value * count);
    level = level < 0 ? 0 : level >= count ? count - 1 : level;
    memcpy(text + (size_t)at * GLYPH_BYTES, glyphs[level], GLYPH_BYTES + 1);
}

/* "  ▁▄▆ 71.2% unseen": the evaluations so far and the last of them; empty before the first. */
static void format_history(const struct train_run *run, char *text, size_t size) {
    static const char *const heights[] = {"▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
    char chart[GLYPH_BYTES * TRAIN_HISTORY + 1] = "";
    for (int i = 0; i < run->history_count; i++)
        put_glyph(chart, i, run->history[i], heights, 8);
    text[0] = '\0';
    if (run->last_exact >= 0.0)
        snprintf(text, size, "  %s%s%.1f%% unseen", chart, run->history_count > 0 ? " " : "", 100.0 * run->last_exact);
}

void train_report_progress(struct train_run *run, double loss) {
    enum { BAR = 24 };
    static const char *const fillings[] = {"░", "█"};
    const int64_t done = *train_core_updates(run->core), total = run->conf->steps;
    const double now = trm_clock();
    run->smooth_loss = run->smooth_loss > 0.0 ? 0.98 * run->smooth_loss + 0.02 * loss : loss;
    if (!run->terminal || now - run->drawn_at < REDRAW_INTERVAL)
        return;
    run->drawn_at = now;
    const double per_second = rate(run), fraction = total > 0 ? (double)done / (double)total : 1.0;
    const double left = per_second > 0.0 ? (double)(total - done) * run->conf->batch_size / per_second : 0.0;
    char bar[GLYPH_BYTES * BAR + 1] = "", eta[32], history[96];
    for (int i = 0; i < BAR; i++)
        put_glyph(bar, i, (double)i < fraction * BAR ? 1.0 : 0.0, fillings, 2);
    format_duration(left, eta, sizeof eta);
    format_history(run, history, sizeof history);
    fprintf(stderr, "\r%s %3.0f%%  update %" PRId64 "/%" PRId64 "  loss %.3f%s  %.0f puzzles/s  %s left\033[K", bar,
            100.0 * fraction, done, total, run->smooth_loss, history, per_second, eta);
    fflush(stderr);
}

/* Keeps the newest TRAIN_HISTORY evaluations. */
static void remember(struct train_run *run, double exact) {
    if (run->history_count == TRAIN_HISTORY)
        memmove(run->history, run->history + 1, (TRAIN_HISTORY - 1) * sizeof *run->history);
    else
        run->history_count++;
    run->history[run->history_count - 1] = exact;
}

/* ---- lines ---- */

static json_t *share_or_null(double part, double whole) {
    return whole > 0.0 ? json_real(part / whole) : json_null();
}

static json_t *probes_to_json(const struct train_probes *p) {
    return json_pack("{s:I, s:o, s:o, s:I, s:o}", "halted", (json_int_t)p->count, "exact_accuracy",
                     share_or_null(p->exact, p->count), "steps_to_halt", share_or_null(p->steps, p->count), "confident",
                     (json_int_t)p->confident, "halt_precision", share_or_null(p->confident_exact, p->confident));
}

trm_status train_report_window(struct train_run *run, double lr, trm_error *err) {
    const struct train_metrics *m = &run->window.sums;
    const struct conf_train *conf = run->conf;
    const double updates_of_window = (double)run->window.updates;
    const double puzzles = updates_of_window * conf->batch_size;
    const double tokens_of = updates_of_window * (conf->batch_size - conf->probe.rows);
    const double halting_of = conf->probe.halting ? updates_of_window * conf->probe.rows : tokens_of;
    const double halted = m->count > 0.0 ? m->count : 1.0;
    const int64_t updates = *train_core_updates(run->core);
    json_t *line = json_pack("{s:I, s:I, s:f, s:f, s:f, s:f}", "step", (json_int_t)updates, "puzzle_steps",
                             (json_int_t)updates * run->conf->batch_size, "lr", lr, "loss", m->loss / puzzles,
                             "lm_loss", m->lm_loss / tokens_of, "q_halt_loss", m->q_halt_loss / halting_of);
    if (line && run->conf->model.arch == MODEL_HRM)
        json_object_set_new(line, "q_continue_loss", json_real(m->q_continue_loss / halting_of));
    json_t *halting =
        json_pack("{s:I, s:f, s:f, s:f, s:f, s:f}", "halted", (json_int_t)m->count, "accuracy", m->accuracy / halted,
                  "exact_accuracy", m->exact_accuracy / halted, "q_halt_accuracy", m->q_halt_accuracy / halted,
                  "steps_to_halt", m->steps / halted, "grad_norm", sqrt(m->grad_squares / (double)run->window.updates));
    if (line && halting)
        json_object_update(line, halting);
    json_decref(halting);
    if (line && conf->probe.rows > 0)
        json_object_set_new(line, "probe", probes_to_json(&run->window.probes));
    trm_status status = write_line(run->log, line, err);
    if (status == TRM_OK)
        status = write_timing(run, err);
    if (!run->terminal)
        fprintf(stderr, "update %" PRId64 "/%d  loss %.4f  exact %.3f  steps %.2f  %.0f puzzles/s  %.0f GFLOP/s\n",
                updates, run->conf->steps, m->loss / puzzles, m->exact_accuracy / halted, m->steps / halted, rate(run),
                gflops(run));
    run->window = (struct train_window){0};
    return status;
}

static double share(size_t part, size_t whole) {
    return whole > 0 ? (double)part / (double)whole : 0.0;
}

static json_t *classes_to_json(const struct train_eval_result *r) {
    json_t *classes = json_array();
    for (int i = 0; i < TRAIN_EVAL_CLASSES; i++)
        json_array_append_new(classes, json_pack("{s:I, s:f}", "puzzles", (json_int_t)r->by_difficulty[i].puzzles,
                                                 "exact_accuracy",
                                                 share(r->by_difficulty[i].exact, r->by_difficulty[i].puzzles)));
    return classes;
}

trm_status train_report_eval(struct train_run *run, const struct train_eval_result *full,
                             const struct train_eval_result *halting, trm_error *err) {
    const int64_t updates = *train_core_updates(run->core);
    const double exact = share(full->all.exact, full->all.puzzles);
    const double halted_exact = share(halting->all.exact, halting->all.puzzles);
    const double steps = (double)halting->all.steps / (double)(halting->all.puzzles > 0 ? halting->all.puzzles : 1);
    json_t *line = json_pack("{s:I, s:{s:I, s:f, s:f, s:o, s:{s:f, s:f, s:f}}}", "step", (json_int_t)updates, "eval",
                             "puzzles", (json_int_t)full->all.puzzles, "exact_accuracy", exact, "cell_accuracy",
                             full->cells > 0 ? (double)full->cells_right / (double)full->cells : 0.0, "by_guesses",
                             classes_to_json(full), "halting", "exact_accuracy", halted_exact, "mean_steps", steps,
                             "halt_precision", share(halting->halted_exact, halting->halted));
    trm_status status = write_line(run->log, line, err);
    remember(run, exact);
    if (run->terminal)
        fputs("\r\033[K", stderr);
    fprintf(stderr,
            "update %" PRId64 ": solves %.1f%% of %zu unseen puzzles in %d steps, %.1f%% in %.1f when it halts\n",
            updates, 100.0 * exact, full->all.puzzles, full->max_steps, 100.0 * halted_exact, steps);
    return status;
}
