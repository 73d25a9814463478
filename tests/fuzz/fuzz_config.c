/* fuzz_config.c - the files that people write: models, training runs, the options of the server. What is
 * accepted must be accepted again as it is written. */
#define _GNU_SOURCE /* memmem */
#include <stdlib.h>
#include <string.h>

#include "config/train_config.h"
#include "engine/model/config.h"
#include "server/options.h"
#include "tests/fuzz/fuzz.h"

static void read_model(const uint8_t *data, size_t size) {
    struct model_config config, again = {0};
    trm_error err;
    char *text = strndup((const char *)data, size);
    fuzz_require(text != NULL, "out of memory");
    if (model_config_parse(text, &config, &err) == TRM_OK) {
        char *line = model_config_format(&config);
        fuzz_require(line && model_config_parse(line, &again, &err) == TRM_OK, "a model that is not read again");
        fuzz_require(config.tokens == again.tokens && config.inter == again.inter, "a model that is read differently");
        free(line);
    }
    free(text);
}

static void read_run(const char *path) {
    static const char *const overrides[] = {"optimizer.lr=1e-3", "data.0.weight=2"};
    struct conf_train conf;
    trm_error err;
    if (conf_train_load(path, overrides, 2, &conf, &err) == TRM_OK) {
        char *line = conf_train_format(&conf);
        fuzz_require(line != NULL, "a run that is not written");
        conf_train_destroy(&conf);
        const char *copy = fuzz_file((const uint8_t *)line, strlen(line));
        fuzz_require(conf_train_load(copy, NULL, 0, &conf, &err) == TRM_OK, "a run that is not read again");
        conf_train_destroy(&conf);
        free(line);
    }
}

static void read_options(const char *path) {
    char *arguments[] = {(char *)"trm-server", (char *)"--config", (char *)path, NULL};
    struct srv_options options;
    enum srv_wish wish;
    trm_error err;
    if (srv_options_read(3, arguments, &options, &wish, &err) == TRM_OK) {
        fuzz_require(options.model_count > 0 && options.port >= 0, "options without a model");
        srv_options_release(&options);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (memmem(data, size, "/dev", 4)) {
        return 0; /* "model" may be a path: a terminal would be waited for */
    }
    read_model(data, size);
    read_options(fuzz_file(data, size));
    read_run(fuzz_file(data, size));
    return 0;
}
