/* cli.c - see cli.h. No state. */
#include "engine/cli.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

bool trm_parse_number(const char *text, long low, long high, long *value) {
    char *end;
    errno = 0;
    *value = strtol(text, &end, 10);
    return errno == 0 && end != text && *end == '\0' && *value >= low && *value <= high;
}

/* The place of `text` in `words` [count], or -1. */
static int find_word(const char *text, const char *const *words, int count) {
    for (int i = 0; i < count; i++)
        if (strcmp(text, words[i]) == 0)
            return i;
    return -1;
}

bool trm_parse_backend(const char *text, enum trm_backend *backend) {
    static const char *const words[] = {[TRM_BACKEND_ONEDNN] = "onednn", [TRM_BACKEND_REFERENCE] = "reference"};
    const int found = find_word(text, words, 2);
    *backend = found < 0 ? TRM_BACKEND_ONEDNN : (enum trm_backend)found;
    return found >= 0;
}

bool trm_parse_dtype(const char *text, enum trm_dtype *dtype) {
    const char *name;
    for (*dtype = TRM_DTYPE_AUTO; (name = trm_dtype_name(*dtype)); (*dtype)++)
        if (strcmp(text, name) == 0)
            return true;
    *dtype = TRM_DTYPE_AUTO;
    return false;
}

const char *trm_run_option(int option, const char *value, struct trm_run_options *options) {
    long number;
    switch (option) {
    case 'k':
        return trm_parse_backend(value, &options->model.backend) ? NULL : "--backend is onednn or reference, not ";
    case 'y':
        return trm_parse_dtype(value, &options->model.dtype) ? NULL : "--dtype is auto, f32, bf16 or int8, not ";
    default:
        if (!trm_parse_number(value, 1, 1024, &number))
            return "--threads wants a number from 1 to 1024, not ";
        options->threads = (int)number;
        return NULL;
    }
}

int trm_core_count(void) {
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    return cores > 0 ? (int)cores : 1;
}

static double read_clock(clockid_t clock) {
    struct timespec now;
    clock_gettime(clock, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

double trm_clock(void) {
    return read_clock(CLOCK_MONOTONIC);
}

double trm_cpu_clock(void) {
    return read_clock(CLOCK_PROCESS_CPUTIME_ID);
}
