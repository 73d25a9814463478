/* status.c - one place that formats failure sentences. No state; any thread. */
#include "engine/status.h"

#include <stdarg.h>
#include <stdio.h>

trm_status trm_fail(trm_error *err, trm_status status, const char *format, ...) {
    if (err) {
        va_list args;
        va_start(args, format);
        vsnprintf(err->text, sizeof err->text, format, args);
        va_end(args);
    }
    return status;
}

trm_status trm_fail_memory(trm_error *err, unsigned long bytes) {
    return trm_fail(err, TRM_NO_MEMORY, "out of memory (%lu bytes)", bytes);
}
