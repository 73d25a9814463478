/* main.c - load: requests at a constant rate for a server that solves puzzles, and what became of them.
 *
 * Open loop: a request is sent when it is due, whether those before it are answered or not, as those of
 * many clients that know nothing of each other. One thread. */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/cli.h"
#include "engine/data/dataset.h"
#include "tests/load/load.h"

enum { EXIT_USAGE = 2 };

struct settings {
    const char *url, *puzzles, *options, *stream, *key;
    long rate, seconds, connections, timeout_s, bytes_per_s;
    int keep_alive, json;
};

static const char usage_text[] =
    "usage: load [options]\n"
    "\n"
    "Sends puzzles to a trm-server at a constant rate. Times run from the moment a request was due.\n"
    "Ends with status 1 if a request got no whole response (any status will do) or a 200 no answer.\n"
    "\n"
    "  --url URL           of the server (default http://127.0.0.1:8080)\n"
    "  --rate N            requests a second (default 50)\n"
    "  --seconds N         for how long (default 10)\n"
    "  --puzzles FILE      CSV to take puzzles from (default tests/behaviour/puzzles.csv)\n"
    "  --options JSON      of every request, as in '{\"max_steps\": 16}'\n"
    "  --stream sse|ndjson asks for every step\n"
    "  --read-rate N       reads each answer at N bytes a second (default: at once)\n"
    "  --connections N     open at once, at most (default 1000); a request that finds none free waits\n"
    "  --no-keep-alive     a connection for each request\n"
    "  --timeout N         seconds after which a request is given up (default 60)\n"
    "  --key KEY           API key\n"
    "  --json              print one JSON object\n"
    "  --help, --version\n";

static int usage_error(const char *problem, const char *what) {
    fprintf(stderr, "load: %s%s\nTry 'load --help'.\n", problem, what);
    return EXIT_USAGE;
}

/* Fills in `settings`. Returns -1 to go on, or the exit code of a program that ends here. */
static int parse_arguments(int argc, char **argv, struct settings *settings) {
    const struct option options[] = {
        {"url", required_argument, NULL, 'u'},
        {"rate", required_argument, NULL, 'r'},
        {"seconds", required_argument, NULL, 's'},
        {"puzzles", required_argument, NULL, 'p'},
        {"options", required_argument, NULL, 'o'},
        {"stream", required_argument, NULL, 'e'},
        {"read-rate", required_argument, NULL, 'b'},
        {"connections", required_argument, NULL, 'c'},
        {"no-keep-alive", no_argument, NULL, 'n'},
        {"timeout", required_argument, NULL, 't'},
        {"key", required_argument, NULL, 'k'},
        {"json", no_argument, NULL, 'j'},
        {"help", no_argument, NULL, 'h'},
        {"version", no_argument, NULL, 'v'},
        {0},
    };
    int option;
    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        bool good = true;
        switch (option) {
        case 'u':
            settings->url = optarg;
            break;
        case 'r':
            good = trm_parse_number(optarg, 1, 100000, &settings->rate);
            break;
        case 's':
            good = trm_parse_number(optarg, 1, 86400, &settings->seconds);
            break;
        case 'p':
            settings->puzzles = optarg;
            break;
        case 'o':
            settings->options = optarg;
            break;
        case 'e':
            good = strcmp(optarg, "sse") == 0 || strcmp(optarg, "ndjson") == 0;
            settings->stream = optarg;
            break;
        case 'b':
            good = trm_parse_number(optarg, 1, 1 << 30, &settings->bytes_per_s);
            break;
        case 'c':
            good = trm_parse_number(optarg, 1, 100000, &settings->connections);
            break;
        case 'n':
            settings->keep_alive = false;
            break;
        case 't':
            good = trm_parse_number(optarg, 1, 86400, &settings->timeout_s);
            break;
        case 'k':
            settings->key = optarg;
            break;
        case 'j':
            settings->json = true;
            break;
        case 'h':
            fputs(usage_text, stdout);
            return EXIT_SUCCESS;
        case 'v':
            puts("load " TRM_VERSION);
            return EXIT_SUCCESS;
        default: /* getopt_long has said what is wrong */
            fputs("Try 'load --help'.\n", stderr);
            return EXIT_USAGE;
        }
        if (!good) {
            return usage_error("out of range: ", optarg);
        }
    }
    return optind < argc ? usage_error("unexpected argument ", argv[optind]) : -1;
}

static const char *type_of(const char *stream) {
    return !stream ? "application/json" : strcmp(stream, "sse") == 0 ? "text/event-stream" : "application/x-ndjson";
}

/* A request for row `row` of the set; NULL when memory is short. */
static char *make_body(const struct data_set *set, size_t row, json_t *options) {
    char *body = NULL;
    size_t cells = (size_t)set->seq_len;
    const uint8_t *tokens = set->inputs + row * cells;
    char *grid = malloc(cells);
    if (grid) {
        for (size_t i = 0; i < cells; i++) {
            grid[i] = (char)('0' + tokens[i] - 1); /* a token is a value and one */
        }
        json_t *request = json_pack("{s:s%, s:O}", "grid", grid, cells, "options", options);
        body = json_dumps(request, JSON_COMPACT);
        json_decref(request);
        free(grid);
    }
    return body;
}

/* `bodies` is [set->count], zeroed. */
static trm_status make_bodies(const struct data_set *set, const char *text, char **bodies, trm_error *err) {
    json_error_t reason;
    json_t *options = json_loads(text, 0, &reason);
    trm_status status = TRM_OK;
    if (!json_is_object(options)) {
        status = trm_fail(err, TRM_INVALID, "--options is no JSON object: %s", options ? text : reason.text);
    }
    for (size_t i = 0; i < set->count && status == TRM_OK; i++) {
        bodies[i] = make_body(set, i, options);
        status = bodies[i] ? TRM_OK : trm_fail(err, TRM_NO_MEMORY, "out of memory");
    }
    json_decref(options);
    return status;
}

/* Runs it and prints what became of it; *whole says if nothing was lost. */
static trm_status report(const struct settings *settings, const struct load_plan *plan, bool *whole, trm_error *err) {
    struct load_tally tally;
    trm_status status = load_tally_open(&tally, plan->requests, err);
    if (status == TRM_OK) {
        status = load_run(plan, &tally, err);
    }
    if (status == TRM_OK && settings->json) {
        json_t *object = load_tally_json(&tally);
        json_dumpf(object, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(6));
        putchar('\n');
        json_decref(object);
    } else if (status == TRM_OK) {
        load_tally_print(&tally);
    }
    *whole = load_tally_is_whole(&tally);
    load_tally_close(&tally);
    return status;
}

static trm_status run(const struct settings *settings, bool *whole, trm_error *err) {
    char url[1024];
    char **bodies = NULL;
    struct data_set *set = NULL;
    int length = snprintf(url, sizeof url, "%s/solve", settings->url);
    if (length < 0 || (size_t)length >= sizeof url) {
        return trm_fail(err, TRM_INVALID, "--url is too long");
    }
    trm_status status = data_set_load(settings->puzzles, 0, &set, err);
    if (status != TRM_OK) {
        return status;
    }
    bodies = calloc(set->count, sizeof *bodies);
    status = bodies ? make_bodies(set, settings->options, bodies, err) : trm_fail(err, TRM_NO_MEMORY, "out of memory");
    if (status == TRM_OK) {
        const struct load_plan plan = {
            .url = url,
            .accept = type_of(settings->stream),
            .key = settings->key,
            .rate = (double)settings->rate,
            .requests = (size_t)settings->rate * (size_t)settings->seconds,
            .connections = (int)settings->connections,
            .timeout_s = (int)settings->timeout_s,
            .bytes_per_s = (int)settings->bytes_per_s,
            .keep_alive = settings->keep_alive,
            .bodies = bodies,
            .body_count = set->count,
        };
        status = report(settings, &plan, whole, err);
    }
    for (size_t i = 0; bodies && i < set->count; i++) {
        free(bodies[i]);
    }
    free(bodies);
    data_set_destroy(set);
    return status;
}

int main(int argc, char **argv) {
    struct settings settings = {
        .url = "http://127.0.0.1:8080",
        .puzzles = "tests/behaviour/puzzles.csv",
        .options = "{}",
        .rate = 50,
        .seconds = 10,
        .connections = 1000,
        .timeout_s = 60,
        .keep_alive = true,
    };
    int code = parse_arguments(argc, argv, &settings);
    if (code >= 0) {
        return code;
    }
    bool whole = false;
    trm_error err = {0};
    curl_global_init(CURL_GLOBAL_DEFAULT);
    trm_status status = run(&settings, &whole, &err);
    curl_global_cleanup();
    if (status != TRM_OK) {
        fprintf(stderr, "load: %s\n", err.text);
        return EXIT_FAILURE;
    }
    return whole ? EXIT_SUCCESS : EXIT_FAILURE;
}
