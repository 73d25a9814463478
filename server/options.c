/* options.c - the table of options and its four readers. Runs on the main thread before any other. */
#include "server/options.h"

#include <ctype.h>
#include <errno.h>
#include <jansson.h>
#include <limits.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum kind { NUMBER, SWITCH, WORD, MODELS };

struct option {
    const char *name; /* "max-queue": --max-queue, TRM_MAX_QUEUE, "max_queue" */
    enum kind kind;
    size_t offset;           /* of the member in struct srv_options */
    const char *preset;      /* the default, NULL for none */
    int low, high;           /* NUMBER */
    const char *choices;     /* WORD: "a|b|c", NULL for any text */
    const char *placeholder; /* in --help */
    const char *help;
};

#define AT(member) offsetof(struct srv_options, member)

static const struct option table[] = {
    {"model", MODELS, AT(models), NULL, 0, 0, NULL, "[NAME=]PATH",
     "checkpoint to serve (again for more); the name is that of the file unless given"},
    {"host", WORD, AT(host), "127.0.0.1", 0, 0, NULL, "ADDRESS", "address to listen on"},
    {"port", NUMBER, AT(port), "8080", 0, 65535, NULL, "N", "port to listen on; 0 takes a free one and logs it"},
    {"workers", NUMBER, AT(workers), "0", 0, 1024, NULL, "N", "threads that compute; 0 is one for each core"},
    {"slots", NUMBER, AT(slots), "16", 1, 4096, NULL, "N", "puzzles of a model that a worker steps at once"},
    {"parked-memory", NUMBER, AT(parked_memory), "268435456", 0, INT_MAX, NULL, "BYTES",
     "for puzzles that have had their share of steps and gave their slot to others; 0: none does"},
    {"max-queue", NUMBER, AT(max_queue), "1024", 1, 1000000, NULL, "N",
     "puzzles (with rollouts, each of them) that may wait, also the most in one request; more are answered 429"},
    {"max-body", NUMBER, AT(max_body), "1048576", 1024, 1 << 30, NULL, "BYTES", "largest request body"},
    {"body-memory", NUMBER, AT(body_memory), "67108864", 1024, INT_MAX, NULL, "BYTES",
     "for all bodies that are on their way; more are answered 429"},
    {"max-connections", NUMBER, AT(max_connections), "4096", 1, 100000, NULL, "N",
     "open connections; when nearly all are, answers close theirs"},
    {"max-per-address", NUMBER, AT(max_per_address), "0", 0, 100000, NULL, "N",
     "open connections from one address; 0 is as many as in all (as behind a proxy)"},
    {"step-limit", NUMBER, AT(step_limit), "256", 1, 1000000, NULL, "N", "largest max_steps of a request"},
    {"rollout-limit", NUMBER, AT(rollout_limit), "64", 1, 1024, NULL, "N", "largest number of rollouts of a request"},
    {"adapt", SWITCH, AT(adapt), "false", 0, 0, NULL, "true|false",
     "while the queue is long, give requests fewer rollouts, then fewer steps, before refusing any"},
    {"verify", SWITCH, AT(verify), "true", 0, 0, NULL, "true|false",
     "halt when the answer passes the verifier, unless the request says otherwise"},
    {"dtype", WORD, AT(dtype), "auto", 0, 0, "auto|f32|bf16|int8", "auto|f32|bf16|int8",
     "operands of matrix products; auto is bf16 where the CPU is faster with it"},
    {"backend", WORD, AT(backend), "onednn", 0, 0, "onednn|reference", "onednn|reference", "how to compute"},
    {"tasks-dir", WORD, AT(tasks_dir), NULL, 0, 0, NULL, "DIR",
     "adapts ARC models to the tasks of POST /tasks, and keeps what comes of it here, for this server alone"},
    {"tasks-limit", NUMBER, AT(tasks_limit), "16", 1, 10000, NULL, "N",
     "adapted tasks that are kept, on disk and in memory; the longest unused one makes room"},
    {"tasks-queue", NUMBER, AT(tasks_queue), "8", 1, 1000, NULL, "N",
     "tasks that may wait for their adaptation; more are answered 429"},
    {"tasks-seconds", NUMBER, AT(tasks_seconds), "600", 1, 86400, NULL, "SECONDS",
     "the most that one adaptation may take, of which there is one at a time, at the lowest priority"},
    {"tasks-threads", NUMBER, AT(tasks_threads), "1", 1, 8, NULL, "N", "threads that an adaptation uses"},
    {"idle-timeout", NUMBER, AT(idle_timeout), "60", 1, 86400, NULL, "SECONDS", "closes connections that do nothing"},
    {"head-timeout", NUMBER, AT(head_timeout), "10", 1, 86400, NULL, "SECONDS",
     "the time the head of a request has to arrive"},
    {"body-timeout", NUMBER, AT(body_timeout), "30", 1, 86400, NULL, "SECONDS",
     "the time a body has to arrive, and each megabyte of an answer to be read"},
    {"drain-timeout", NUMBER, AT(drain_timeout), "30", 0, 86400, NULL, "SECONDS",
     "time to finish accepted work after SIGTERM or SIGINT"},
    {"api-keys-file", WORD, AT(api_keys_file), NULL, 0, 0, NULL, "FILE",
     "API keys that clients need then, one a line; read again on SIGHUP"},
    {"api-keys", WORD, AT(api_keys), NULL, 0, 0, NULL, "KEY,...",
     "the same as a list; better in TRM_API_KEYS or a file: everyone on this machine sees command lines"},
    {"public-metrics", SWITCH, AT(public_metrics), "false", 0, 0, NULL, "true|false", "/metrics without an API key"},
    {"cors-origin", WORD, AT(cors_origin), NULL, 0, 0, NULL, "ORIGIN,...|*",
     "web pages that may read answers, as in https://example.org"},
    {"tls-cert", WORD, AT(tls_cert), NULL, 0, 0, NULL, "FILE", "serve HTTPS with this certificate chain (PEM)"},
    {"tls-key", WORD, AT(tls_key), NULL, 0, 0, NULL, "FILE", "and its private key (PEM)"},
    {"log-level", WORD, AT(log_level), "info", 0, 0, "debug|info|warn|error", "debug|info|warn|error",
     "what to log on stderr"},
    {"log-format", WORD, AT(log_format), "text", 0, 0, "text|json", "text|json",
     "a line is key=value pairs or a JSON object"},
    {"access-log", SWITCH, AT(access_log), "true", 0, 0, NULL, "true|false", "logs a line for each request"},
    {"metrics", SWITCH, AT(metrics), "true", 0, 0, NULL, "true|false", "serves GET /metrics for Prometheus"},
    {"admin-key", WORD, AT(admin_key), NULL, 0, 0, NULL, "KEY",
     "what POST /models/M/reload asks for as a bearer token; a flag can be seen by other users of the machine"},
    {"admin-key-file", WORD, AT(admin_key_file), NULL, 0, 0, NULL, "FILE",
     "file with that key, or several, one a line"},
    {"config", WORD, AT(config), NULL, 0, 0, NULL, "FILE", "JSON file with these options as members (max_queue ...)"},
};

enum { OPTIONS = sizeof table / sizeof table[0] };

static trm_status set_number(const struct option *option, const char *value, const char *origin, int *place,
                             trm_error *err) {
    char *end;
    errno = 0;
    long number = strtol(value, &end, 10);
    if (end == value || *end || errno || number < option->low || number > option->high) {
        return trm_fail(err, TRM_INVALID, "%s: '%.60s' is not an integer from %d to %d", origin, value, option->low,
                        option->high);
    }
    *place = (int)number;
    return TRM_OK;
}

static trm_status set_switch(const char *value, const char *origin, bool *place, trm_error *err) {
    bool on = strcmp(value, "true") == 0 || strcmp(value, "1") == 0;
    if (!on && strcmp(value, "false") != 0 && strcmp(value, "0") != 0) {
        return trm_fail(err, TRM_INVALID, "%s: '%.60s' is neither true nor false", origin, value);
    }
    *place = on;
    return TRM_OK;
}

static bool is_choice(const char *choices, const char *value) {
    size_t length = strlen(value);
    for (const char *c = choices; c; c = strchr(c, '|') ? strchr(c, '|') + 1 : NULL) {
        if (strncmp(c, value, length) == 0 && (c[length] == '|' || c[length] == '\0')) {
            return true;
        }
    }
    return false;
}

static trm_status set_word(const struct option *option, const char *value, const char *origin, char **place,
                           trm_error *err) {
    if (option->choices && !is_choice(option->choices, value)) {
        return trm_fail(err, TRM_INVALID, "%s: '%.60s' is not one of %s", origin, value, option->choices);
    }
    char *copy = strdup(value);
    if (!copy) {
        return trm_fail_memory(err, strlen(value) + 1);
    }
    free(*place);
    *place = copy;
    return TRM_OK;
}

static trm_status add_model(struct srv_options *options, const char *value, const char *origin, trm_error *err) {
    if (!*value) {
        return trm_fail(err, TRM_INVALID, "%s: a model needs a path", origin);
    }
    size_t bytes = (size_t)(options->model_count + 1) * sizeof *options->models;
    char **models = realloc(options->models, bytes);
    if (!models) {
        return trm_fail_memory(err, bytes);
    }
    options->models = models;
    models[options->model_count] = strdup(value);
    if (!models[options->model_count]) {
        return trm_fail_memory(err, strlen(value) + 1);
    }
    options->model_count++;
    return TRM_OK;
}

static void forget_models(struct srv_options *options) {
    for (int i = 0; i < options->model_count; i++) {
        free(options->models[i]);
    }
    options->model_count = 0;
}

static trm_status set(struct srv_options *options, const struct option *option, const char *value, const char *origin,
                      trm_error *err) {
    void *place = (char *)options + option->offset;
    switch (option->kind) {
    case NUMBER:
        return set_number(option, value, origin, place, err);
    case SWITCH:
        return set_switch(value, origin, place, err);
    case WORD:
        return set_word(option, value, origin, place, err);
    case MODELS:
        return add_model(options, value, origin, err);
    }
    return trm_fail(err, TRM_INVALID, "%s: no such kind of option", origin);
}

/* `length` characters of `name`, with _ for -, against the table. */
static const struct option *find(const char *name, size_t length) {
    for (int i = 0; i < OPTIONS; i++) {
        if (strlen(table[i].name) == length && strncmp(table[i].name, name, length) == 0) {
            return &table[i];
        }
    }
    return NULL;
}

/* "TRM_MAX_QUEUE" (prefix "TRM_", upper) or "max_queue" of "max-queue". */
static void spell(char *text, size_t size, const char *prefix, const char *name, bool upper) {
    size_t length = (size_t)snprintf(text, size, "%s", prefix);
    for (; *name && length + 1 < size; name++) {
        text[length++] = *name == '-' ? '_' : upper ? (char)toupper((unsigned char)*name) : *name;
    }
    text[length] = '\0';
}

static trm_status read_presets(struct srv_options *options, trm_error *err) {
    for (int i = 0; i < OPTIONS; i++) {
        trm_status status = table[i].preset ? set(options, &table[i], table[i].preset, table[i].name, err) : TRM_OK;
        if (status != TRM_OK) {
            return status;
        }
    }
    return TRM_OK;
}

static trm_status set_from_json(struct srv_options *options, const struct option *option, const json_t *value,
                                const char *origin, trm_error *err) {
    char number[32];
    if (json_is_string(value)) {
        return set(options, option, json_string_value(value), origin, err);
    }
    if (json_is_boolean(value)) {
        return set(options, option, json_is_true(value) ? "true" : "false", origin, err);
    }
    if (json_is_integer(value)) {
        snprintf(number, sizeof number, "%lld", (long long)json_integer_value(value));
        return set(options, option, number, origin, err);
    }
    return trm_fail(err, TRM_INVALID, "%s: must be a string, an integer, true or false", origin);
}

static trm_status read_member(struct srv_options *options, const char *file, const char *key, const json_t *value,
                              trm_error *err) {
    char origin[160], name[32];
    snprintf(origin, sizeof origin, "%.100s: %.50s", file, key);
    if (strcmp(key, "config") == 0) {
        return trm_fail(err, TRM_INVALID, "%s: a file cannot name another", origin);
    }
    for (int i = 0; i < OPTIONS; i++) {
        spell(name, sizeof name, "", table[i].name, false);
        if (strcmp(name, key) != 0) {
            continue;
        }
        if (table[i].kind != MODELS || !json_is_array(value)) {
            return set_from_json(options, &table[i], value, origin, err);
        }
        for (size_t k = 0; k < json_array_size(value); k++) {
            trm_status status = set_from_json(options, &table[i], json_array_get(value, k), origin, err);
            if (status != TRM_OK) {
                return status;
            }
        }
        return TRM_OK;
    }
    return trm_fail(err, TRM_INVALID, "%s: there is no such option", origin);
}

static trm_status read_file(struct srv_options *options, const char *file, trm_error *err) {
    json_error_t error;
    json_t *root = json_load_file(file, JSON_REJECT_DUPLICATES, &error);
    if (!root) {
        return trm_fail(err, json_error_code(&error) == json_error_cannot_open_file ? TRM_IO : TRM_FORMAT,
                        "%.100s: line %d: %s", file, error.line, error.text);
    }
    trm_status status = TRM_OK;
    const char *key;
    json_t *value;
    if (!json_is_object(root)) {
        status = trm_fail(err, TRM_FORMAT, "%.100s: must hold a JSON object", file);
    }
    json_object_foreach(root, key, value) {
        if (status == TRM_OK) {
            status = read_member(options, file, key, value, err);
        }
    }
    json_decref(root);
    return status;
}

/* Models in TRM_MODEL are separated by commas. */
static trm_status read_models_variable(struct srv_options *options, const struct option *option, const char *value,
                                       const char *origin, trm_error *err) {
    char *list = strdup(value), *rest = list;
    trm_status status = list ? TRM_OK : trm_fail_memory(err, strlen(value) + 1);
    forget_models(options);
    for (char *item; status == TRM_OK && (item = strsep(&rest, ",")) != NULL;) {
        status = set(options, option, item, origin, err);
    }
    free(list);
    return status;
}

static trm_status read_environment(struct srv_options *options, trm_error *err) {
    for (int i = 0; i < OPTIONS; i++) {
        char variable[32];
        spell(variable, sizeof variable, "TRM_", table[i].name, true);
        const char *value = getenv(variable);
        if (!value || !*value) {
            continue;
        }
        trm_status status = table[i].kind == MODELS ? read_models_variable(options, &table[i], value, variable, err)
                                                    : set(options, &table[i], value, variable, err);
        if (status != TRM_OK) {
            return status;
        }
    }
    return TRM_OK;
}

/* Whether `flag` asks for something else than to serve. */
static bool is_wish(const char *flag, enum srv_wish *wish) {
    static const struct {
        const char *flag;
        enum srv_wish wish;
    } wishes[] = {
        {"--help", SRV_HELP}, {"-h", SRV_HELP}, {"--help-markdown", SRV_HELP_MARKDOWN}, {"--version", SRV_VERSION}};
    for (size_t i = 0; i < sizeof wishes / sizeof *wishes; i++) {
        if (strcmp(flag, wishes[i].flag) == 0) {
            *wish = wishes[i].wish;
            return true;
        }
    }
    return false;
}

/* Walks the command line. With `only` set, sets just that option (the config file is needed first). */
static trm_status read_flags(int argc, char **argv, const char *only, struct srv_options *options, enum srv_wish *wish,
                             trm_error *err) {
    bool models_given = false;
    for (int i = 1; i < argc; i++) {
        const char *flag = argv[i];
        if (is_wish(flag, wish)) {
            continue;
        }
        const char *equals = strchr(flag, '=');
        size_t length = equals ? (size_t)(equals - flag) : strlen(flag);
        const struct option *option = strncmp(flag, "--", 2) == 0 ? find(flag + 2, length - 2) : NULL;
        if (!option) {
            return trm_fail(err, TRM_INVALID, "%.60s: there is no such option (see --help)", flag);
        }
        const char *value = equals ? equals + 1 : ++i < argc ? argv[i] : NULL;
        if (!value) {
            return trm_fail(err, TRM_INVALID, "%s: needs a value", flag);
        }
        if (only && strcmp(option->name, only) != 0) {
            continue;
        }
        if (option->kind == MODELS && !models_given) { /* flags replace the models of other sources */
            forget_models(options);
            models_given = true;
        }
        char origin[40];
        snprintf(origin, sizeof origin, "--%s", option->name);
        trm_status status = set(options, option, value, origin, err);
        if (status != TRM_OK) {
            return status;
        }
    }
    return TRM_OK;
}

static trm_status read_config_name(int argc, char **argv, struct srv_options *options, enum srv_wish *wish,
                                   trm_error *err) {
    const char *variable = getenv("TRM_CONFIG");
    if (variable && *variable) {
        options->config = strdup(variable);
        if (!options->config) {
            return trm_fail_memory(err, strlen(variable) + 1);
        }
    }
    return read_flags(argc, argv, "config", options, wish, err);
}

trm_status srv_options_read(int argc, char **argv, struct srv_options *options, enum srv_wish *wish, trm_error *err) {
    *options = (struct srv_options){0};
    *wish = SRV_RUN;
    trm_status status = read_presets(options, err);
    if (status == TRM_OK) {
        status = read_config_name(argc, argv, options, wish, err);
    }
    if (status == TRM_OK && options->config && *wish == SRV_RUN) {
        status = read_file(options, options->config, err);
    }
    if (status == TRM_OK) {
        status = read_environment(options, err);
    }
    if (status == TRM_OK) {
        status = read_flags(argc, argv, NULL, options, wish, err);
    }
    if (status == TRM_OK && *wish == SRV_RUN && options->model_count == 0) {
        status = trm_fail(err, TRM_INVALID, "--model: no checkpoint to serve");
    }
    if (status != TRM_OK) {
        srv_options_release(options);
    }
    return status;
}

void srv_options_release(struct srv_options *options) {
    forget_models(options);
    free(options->models);
    for (int i = 0; i < OPTIONS; i++) {
        if (table[i].kind == WORD) {
            free(*(char **)((char *)options + table[i].offset));
        }
    }
    *options = (struct srv_options){0};
}

void srv_options_print_help(void) {
    printf("usage: trm-server --model [NAME=]PATH [options]\n\n"
           "Serves tiny recursive reasoning models over HTTP.\n\n"
           "A flag wins over its environment variable, that over the member of the --config file.\n\n");
    for (int i = 0; i < OPTIONS; i++) {
        char variable[32];
        spell(variable, sizeof variable, "TRM_", table[i].name, true);
        printf("  --%s %s  (%s%s%s)\n      %s\n", table[i].name, table[i].placeholder, variable,
               table[i].preset ? ", default " : "", table[i].preset ? table[i].preset : "", table[i].help);
    }
    printf("  --version\n  --help\n  --help-markdown\n      the options as a table, for the README\n");
}

/* In a table of Markdown, where | separates columns. */
static void print_cell(const char *text) {
    for (; *text; text++) {
        if (*text == '|') {
            putchar('\\');
        }
        putchar(*text);
    }
}

void srv_options_print_markdown(void) {
    printf("| option | default | meaning |\n|---|---|---|\n");
    for (int i = 0; i < OPTIONS; i++) {
        printf("| `--%s ", table[i].name);
        print_cell(table[i].placeholder);
        printf(table[i].preset ? "` | `%s` | " : "` | | ", table[i].preset);
        print_cell(table[i].help);
        printf(" |\n");
    }
}
