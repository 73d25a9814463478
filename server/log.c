/* log.c - the log on stderr. The level is set once, before threads start. */
#include "server/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

static enum srv_log_level lowest = SRV_INFO;

void srv_log_set_level(enum srv_log_level level) {
    lowest = level;
}

/* snprintf's result as the bytes really written. */
static size_t written(int result, size_t room) {
    return result < 0 ? 0 : (size_t)result < room ? (size_t)result : room - 1;
}

void srv_log(enum srv_log_level level, const char *message, const char *fields, ...) {
    static const char *const names[] = {"debug", "info", "warn", "error"};
    char line[1024];
    struct timespec now;
    struct tm utc;
    if (level < lowest) {
        return;
    }
    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &utc);
    size_t room = sizeof line - 1; /* one byte stays for the newline */
    size_t length = strftime(line, room, "time=%Y-%m-%dT%H:%M:%S", &utc);
    length += written(snprintf(line + length, room - length, ".%03ldZ level=%s msg=\"%s\" ", now.tv_nsec / 1000000,
                               names[level], message),
                      room - length);
    va_list args;
    va_start(args, fields);
    length += written(vsnprintf(line + length, room - length, fields, args), room - length);
    va_end(args);
    for (size_t i = 0; i < length; i++) {
        if ((unsigned char)line[i] < 0x20 || line[i] == 0x7f) {
            line[i] = '?';
        }
    }
    line[length++] = '\n';
    if (write(STDERR_FILENO, line, length) < 0) {
        return; /* nobody is left to be told */
    }
}
