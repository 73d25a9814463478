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
    static const char *const words[] = {[TRM_DTYPE_AUTO] = "auto", [TRM_DTYPE_F32] = "f32", [TRM_DTYPE_BF16] = "bf16"};
    const int found = find_word(text, words, 3);
    *dtype = found < 0 ? TRM_DTYPE_AUTO : (enum trm_dtype)found;
    return found >= 0;
}

int trm_core_count(void) {
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    return cores > 0 ? (int)cores : 1;
}

double trm_clock(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}
