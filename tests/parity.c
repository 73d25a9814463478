/* parity.c - holds the engine against values that the original PyTorch code computed.
 *
 *     parity [--backend onednn|reference] [--dtype f32|bf16|int8] FILE.safetensors ...
 *
 * Each file says by its metadata whether it holds an inference or a training run. For every
 * quantity the worst difference is printed beside its tolerance (golden README section 6); the exit
 * code is 1 if any is exceeded. A file without weights records a bf16 run and names the file that
 * has them; it is always judged as bf16. Where the CPU lacks the dtype a file is skipped; the exit code is
 * 77 if all were. Used by `make test` and by hand on goldens of any size. */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/cli.h"
#include "engine/model/checkpoint.h"
#include "tests/parity.h"

static int usage(FILE *to, int code) {
    fputs("usage: parity [--backend onednn|reference] [--dtype f32|bf16|int8] FILE.safetensors ...\n"
          "Compares inference and training runs with recorded ones; exits 1 beyond tolerance.\n",
          to);
    return code;
}

/* A recorded bf16 run: its weights and f32 values are in `weights_file`, in the same directory. */
static trm_status check_bf16_record(const char *path, const st_file *record, const char *weights_file,
                                    enum trm_backend backend, struct parity *parity, trm_error *err) {
    const struct trm_model_options options = {.backend = backend, .dtype = TRM_DTYPE_BF16};
    const char *slash = strrchr(path, '/');
    model_checkpoint *golden = NULL;
    char weights_path[4096];
    snprintf(weights_path, sizeof weights_path, "%.*s%s", slash ? (int)(slash - path) + 1 : 0, path, weights_file);
    trm_status status = model_checkpoint_open(weights_path, &golden, err);
    if (status == TRM_OK)
        status = parity_infer_near(golden, record, &options, parity, err);
    model_checkpoint_close(golden);
    return status;
}

static trm_status check_golden(const char *path, const struct trm_model_options *options, struct parity *parity,
                               trm_error *err) {
    model_checkpoint *golden = NULL;
    trm_status status = model_checkpoint_open(path, &golden, err);
    if (status != TRM_OK)
        return status;
    const char *kind = st_metadata(model_checkpoint_file(golden), "kind");
    const bool near = options->dtype == TRM_DTYPE_BF16 || options->dtype == TRM_DTYPE_INT8;
    if (kind && strcmp(kind, "infer") == 0)
        status = near ? parity_infer_near(golden, NULL, options, parity, err)
                      : parity_infer(golden, options->backend, parity, err);
    else if (kind && strcmp(kind, "train") == 0)
        status = parity_train(golden, options->backend, parity, err);
    else
        status = trm_fail(err, TRM_FORMAT, "metadata \"kind\" is neither \"infer\" nor \"train\"");
    model_checkpoint_close(golden);
    return status;
}

enum { SKIPPED_ALL = 77 }; /* the exit code by which test runners know it */

enum verdict { PASSED, FAILED, SKIPPED };

/* Prints one file's comparison. */
static enum verdict check_file(const char *path, const struct trm_model_options *options, train_comm *comm) {
    trm_error err = {""};
    st_file *file = NULL;
    struct parity parity = {.passed = true, .comm = comm};
    bool near = options->dtype != TRM_DTYPE_F32; /* f32 every machine has */
    printf("%s\n", path);
    trm_status status = st_open(path, &file, &err);
    if (status == TRM_OK) {
        const char *weights_file = st_metadata(file, "weights_file");
        near = near || weights_file;
        status = weights_file ? check_bf16_record(path, file, weights_file, options->backend, &parity, &err)
                              : check_golden(path, options, &parity, &err);
    }
    const bool lacking = status == TRM_UNSUPPORTED && near;
    if (status != TRM_OK)
        printf("  %s: %s\n", lacking ? "SKIPPED" : "FAILED", err.text);
    st_close(file);
    return lacking ? SKIPPED : status == TRM_OK && parity.passed ? PASSED : FAILED;
}

int main(int argc, char **argv) {
    static const struct option long_options[] = {{"backend", required_argument, NULL, 'b'},
                                                 {"dtype", required_argument, NULL, 'd'},
                                                 {"help", no_argument, NULL, 'h'},
                                                 {NULL, 0, NULL, 0}};
    struct trm_model_options options = {.dtype = TRM_DTYPE_F32};
    int option, count[] = {[PASSED] = 0, [FAILED] = 0, [SKIPPED] = 0};
    while ((option = getopt_long(argc, argv, "", long_options, NULL)) != -1) {
        if (option == 'h')
            return usage(stdout, 0);
        if (!(option == 'b' && trm_parse_backend(optarg, &options.backend)) &&
            !(option == 'd' && trm_parse_dtype(optarg, &options.dtype)))
            return usage(stderr, 2);
    }
    if (optind == argc)
        return usage(stderr, 2);
    trm_error err = {""};
    train_comm *comm;
    if (train_comm_open(&comm, &err) != TRM_OK) {
        fprintf(stderr, "parity: %s\n", err.text);
        return 1;
    }
    for (int i = optind; i < argc; i++)
        count[check_file(argv[i], &options, comm)]++;
    printf("%d passed, %d failed, %d skipped\n", count[PASSED], count[FAILED], count[SKIPPED]);
    train_comm_close(comm, count[FAILED] > 0);
    return count[FAILED] ? 1 : count[PASSED] ? 0 : SKIPPED_ALL;
}
