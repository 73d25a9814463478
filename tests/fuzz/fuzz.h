/* fuzz.h - what the targets share. A target is a file fuzz_<subject>.c that has LLVMFuzzerTestOneInput();
 * it must not crash, leak or hang whatever the bytes. Its seeds are in corpus/<subject>/. */
#ifndef TRM_TESTS_FUZZ_H
#define TRM_TESTS_FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

/* The entry that libFuzzer calls, or replay.c where there is no libFuzzer. Always 0. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* For readers of files: puts the bytes into one, always the same, that is in memory only; returns its
 * path. Ends the process if it cannot: a target that tests nothing must not pass. */
const char *fuzz_file(const uint8_t *data, size_t size);

/* Ends the process, as a finding, unless `good`. */
static inline void fuzz_require(int good, const char *what) {
    if (!good) {
        fprintf(stderr, "fuzz: %s\n", what);
        abort();
    }
}

#endif
