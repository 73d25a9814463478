/* parity.c - holds the engine against values that the original PyTorch code computed.
 *
 *     parity [--backend onednn|reference] FILE.safetensors ...
 *
 * Each file says by its metadata whether it holds an inference or a training run. For every
 * quantity the worst difference is printed beside its tolerance (golden README section 6); the exit
 * code is 1 if any is exceeded. Used by `make test` and by hand on goldens of any size. */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/model/checkpoint.h"
#include "tests/parity.h"

static int usage(FILE *to, int code) {
    fputs("usage: parity [--backend onednn|reference] FILE.safetensors ...\n"
          "Compares inference and training runs with recorded ones; exits 1 beyond tolerance.\n",
          to);
    return code;
}

/* Prints one file's comparison; returns whether it passed. */
static bool check_file(const char *path, enum trm_backend backend) {
    trm_error err = {""};
    model_checkpoint *golden = NULL;
    struct parity parity = {.passed = true};
    printf("%s\n", path);
    trm_status status = model_checkpoint_open(path, &golden, &err);
    if (status == TRM_OK) {
        const char *kind = st_metadata(model_checkpoint_file(golden), "kind");
        if (kind && strcmp(kind, "infer") == 0)
            status = parity_infer(golden, backend, &parity, &err);
        else if (kind && strcmp(kind, "train") == 0)
            status = parity_train(golden, backend, &parity, &err);
        else
            status = trm_fail(&err, TRM_FORMAT, "metadata \"kind\" is neither \"infer\" nor \"train\"");
    }
    if (status != TRM_OK) {
        printf("  FAILED: %s\n", err.text);
        parity.passed = false;
    }
    model_checkpoint_close(golden);
    return parity.passed;
}

int main(int argc, char **argv) {
    static const struct option options[] = {
        {"backend", required_argument, NULL, 'b'}, {"help", no_argument, NULL, 'h'}, {NULL, 0, NULL, 0}};
    enum trm_backend backend = TRM_BACKEND_ONEDNN;
    int option, failed = 0, files = 0;
    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (option == 'h')
            return usage(stdout, 0);
        if (option != 'b')
            return usage(stderr, 2);
        if (strcmp(optarg, "reference") == 0)
            backend = TRM_BACKEND_REFERENCE;
        else if (strcmp(optarg, "onednn") != 0)
            return usage(stderr, 2);
    }
    for (int i = optind; i < argc; i++, files++)
        failed += !check_file(argv[i], backend);
    if (files == 0)
        return usage(stderr, 2);
    printf("%d passed, %d failed\n", files - failed, failed);
    return failed ? 1 : 0;
}
