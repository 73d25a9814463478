/* lint.h - what clang's analyzer, which sees one source file at a time, must know of engine/status.c:
 * a failure returns the status that it was given. `make lint` includes this before everything else;
 * no build does. */
#ifndef TRM_TESTS_LINT_H
#define TRM_TESTS_LINT_H

#include "engine/status.h"

#define trm_fail(err, status, ...)  (trm_fail(err, status, __VA_ARGS__), (status))
#define trm_fail_memory(err, bytes) (trm_fail_memory(err, bytes), TRM_NO_MEMORY)

#endif
