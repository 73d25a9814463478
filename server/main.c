/* main.c - trm-server: options, models, then the loop until a signal. Exit status 0, 1 (failed) or
 * 2 (usage). */
#include <fcntl.h>
#include <malloc.h>
#include <microhttpd.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "engine/cli.h"
#include "engine/ops/matmul.h"
#include "server/log.h"
#include "server/models.h"
#include "server/options.h"
#include "server/server.h"

static enum srv_log_level level_of(const char *name) {
    return strcmp(name, "debug") == 0   ? SRV_DEBUG
           : strcmp(name, "warn") == 0  ? SRV_WARN
           : strcmp(name, "error") == 0 ? SRV_ERROR
                                        : SRV_INFO;
}

static trm_status serve(const struct srv_options *options, trm_error *err) {
    struct trm_model_options precision;
    struct srv_models models;
    char onednn[64];
    srv_log(SRV_INFO, "starting", "version=%s onednn=%s libmicrohttpd=%s libuv=%s", TRM_VERSION,
            op_library_version(onednn, sizeof onednn), MHD_get_version(), uv_version_string());
    trm_parse_backend(options->backend, &precision.backend); /* options.c has checked the words */
    trm_parse_dtype(options->dtype, &precision.dtype);
    trm_status status = srv_models_open(options->models, options->model_count, &precision, &models, err);
    if (status != TRM_OK) {
        return status;
    }
    for (int i = 0; i < models.count; i++) {
        const struct trm_model_info *info = trm_model_info(models.items[i].engine);
        srv_log(SRV_INFO, "model", "name=%s arch=%s puzzle=%s cells=%d parameters=%zu dtype=%s", models.items[i].name,
                info->arch, info->puzzle_name, info->seq_len, info->parameters, trm_dtype_name(info->dtype));
    }
    status = srv_server_run(options, &precision, &models, err);
    srv_models_close(&models);
    return status;
}

/* Descriptors 0 to 2 shall not become sockets, into which the log would go. */
static void hold_standard_files(void) {
    int fd;
    do {
        fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    } while (fd >= 0 && fd <= STDERR_FILENO);
    if (fd >= 0) {
        close(fd);
    }
}

/* Bytes from which on a block is the system's again as soon as it is freed, as those of a model that is
 * replaced. Left alone, glibc raises this to the largest block ever freed, and reloads tear its heap. */
enum { LARGE_BLOCK = 128 << 10 };

int main(int argc, char **argv) {
    struct srv_options options;
    enum srv_wish wish;
    trm_error error;
    hold_standard_files();
    mallopt(M_MMAP_THRESHOLD, LARGE_BLOCK);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN); /* a log that may not grow any more is no reason to end */
    if (srv_options_read(argc, argv, &options, &wish, &error) != TRM_OK) {
        fprintf(stderr, "trm-server: %s\n", error.text);
        return 2;
    }
    int result = 0;
    if (wish == SRV_HELP) {
        srv_options_print_help();
    } else if (wish == SRV_HELP_MARKDOWN) {
        srv_options_print_markdown();
    } else if (wish == SRV_VERSION) {
        printf("trm-server %s\n", TRM_VERSION);
    } else {
        srv_log_setup(level_of(options.log_level),
                      strcmp(options.log_format, "json") == 0 ? SRV_LOG_JSON : SRV_LOG_TEXT);
        if (serve(&options, &error) != TRM_OK) {
            srv_log(SRV_ERROR, "failed", "reason=%s", error.text);
            result = 1;
        }
    }
    srv_options_release(&options);
    return result;
}
