/* options.h - everything the server can be told: flag > environment > config file > default.
 *
 * One table (options.c) holds every option: --max-queue is also TRM_MAX_QUEUE and "max_queue" in the
 * JSON file of --config. Read once at the start, read-only afterwards: any thread. */
#ifndef TRM_SERVER_OPTIONS_H
#define TRM_SERVER_OPTIONS_H

#include <stdbool.h>

#include "engine/status.h"

struct srv_options {
    char **models; /* [model_count] "PATH" or "NAME=PATH" */
    int model_count;
    char *host, *backend, *dtype, *log_level, *log_format, *config;
    char *api_keys_file, *api_keys, *admin_key_file, *admin_key, *cors_origin, *tls_cert, *tls_key;
    bool access_log, metrics, public_metrics;
    int port;          /* 0: any free one */
    int workers;       /* 0: one for each core */
    int slots;         /* puzzles a worker steps at once, for each model */
    int parked_memory; /* bytes of puzzles that have given way */
    int max_queue;     /* puzzles that wait for a slot; also the most in one request */
    int max_body;      /* bytes */
    int body_memory;   /* bytes of all bodies that are on their way */
    int max_connections, max_per_address;
    int step_limit;                 /* the largest max_steps of a request */
    int rollout_limit;              /* the largest rollouts of a request */
    bool adapt;                     /* less work for each request while the queue is long */
    bool verify;                    /* what a request that says nothing gets */
    char *tasks_dir;                /* of checkpoints that are adapted to ARC tasks; NULL: none are */
    int tasks_limit;                /* of them */
    int tasks_queue;                /* adaptations that wait */
    int tasks_seconds;              /* the largest budget of one */
    int tasks_threads;              /* that one uses */
    int idle_timeout;               /* seconds */
    int head_timeout, body_timeout; /* seconds */
    int drain_timeout;              /* seconds */
};

/* What the command line asks for. */
enum srv_wish { SRV_RUN, SRV_HELP, SRV_HELP_MARKDOWN, SRV_VERSION };

/* Fills *options from all four sources. TRM_INVALID (TRM_IO, TRM_FORMAT for the file) with a message
 * that names the flag, variable or member; nothing is left to release then. */
trm_status srv_options_read(int argc, char **argv, struct srv_options *options, enum srv_wish *wish, trm_error *err);
void srv_options_release(struct srv_options *options);

/* Prints the table to stdout, for --help. */
void srv_options_print_help(void);

/* The same as a table in Markdown, for the README. */
void srv_options_print_markdown(void);

#endif
