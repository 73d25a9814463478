/* log.c - the log on stderr. Level and format are set once, before threads start; the rest of the
 * state is protected by `lock`, which also makes the question whether a line can be written and the
 * writing one. */
#include "server/log.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "proto/text.h"

enum { LINE = 2048, LONGEST_STRING = 500, LAST = 2 /* the closing brace and the newline */ };

static enum srv_log_level lowest = SRV_INFO;
static enum srv_log_format format = SRV_LOG_TEXT;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static uint64_t dropped; /* lines, from the start */
static uint64_t untold;  /* of these, those that no line has told of */

struct line {
    char text[LINE];
    size_t length;
    bool full; /* something did not fit: nothing more is added */
};

void srv_log_setup(enum srv_log_level level, enum srv_log_format new_format) {
    lowest = level;
    format = new_format;
}

uint64_t srv_log_dropped(void) {
    pthread_mutex_lock(&lock);
    uint64_t count = dropped;
    pthread_mutex_unlock(&lock);
    return count;
}

/* --- a line ----------------------------------------------------------------------------------------- */

/* Adds bytes if all of them fit. */
static void put(struct line *line, const char *bytes, size_t count) {
    if (line->full || count > sizeof line->text - LAST - line->length) {
        line->full = true;
        return;
    }
    memcpy(line->text + line->length, bytes, count);
    line->length += count;
}

/* The separator, and the name. */
static void put_name(struct line *line, const char *name, size_t length) {
    if (format == SRV_LOG_JSON) {
        put(line, line->length ? ",\"" : "{\"", 2);
        put(line, name, length);
        put(line, "\":", 2);
    } else {
        put(line, " ", line->length > 0);
        put(line, name, length);
        put(line, "=", 1);
    }
}

static void put_string(struct line *line, const char *string, bool quoted) {
    put(line, "\"", quoted);
    for (size_t begin = line->length; *string;) {
        char escaped[PROTO_ESCAPE];
        size_t length;
        if (line->length - begin > LONGEST_STRING) {
            put(line, "...", 3);
            break;
        }
        string += proto_text_escape(string, escaped, &length);
        put(line, escaped, length);
    }
    put(line, "\"", quoted);
}

/* --- fields ----------------------------------------------------------------------------------------- */

/* Prints the argument of the numeric conversion `spec` ("%lu", "%.3f" with one digit of precision ...). */
static int print_number(char *text, size_t size, const char *spec, va_list *args) {
    const char *kind = spec + strcspn(spec, "lzduf");
    bool wide = *kind == 'l' || *kind == 'z';
    switch (kind[wide]) {
    case 'd':
        return wide ? snprintf(text, size, "%ld", va_arg(*args, long)) : snprintf(text, size, "%d", va_arg(*args, int));
    case 'u':
        return wide ? snprintf(text, size, "%lu", va_arg(*args, unsigned long))
                    : snprintf(text, size, "%u", va_arg(*args, unsigned));
    case 'f':
        return snprintf(text, size, "%.*f", spec[1] == '.' ? spec[2] - '0' : 6, va_arg(*args, double));
    default:
        return -1;
    }
}

/* One field "name=%conversion" of `length` characters. False if it is nothing of the kind: what follows
 * cannot be known then. */
static bool put_field(struct line *line, const char *field, size_t length, va_list *args) {
    size_t name = strcspn(field, "="), before = line->length;
    if (name + 2 >= length || field[name + 1] != '%') {
        return false;
    }
    if (field[name + 2] == 's') {
        const char *string = va_arg(*args, const char *);
        if (string && *string) {
            put_name(line, field, name);
            put_string(line, string, format == SRV_LOG_JSON || string[strcspn(string, " =\"\\")]);
        }
    } else {
        char number[64];
        int digits = print_number(number, sizeof number, field + name + 1, args);
        if (digits < 0) {
            return false;
        }
        put_name(line, field, name);
        put(line, number, (size_t)digits);
    }
    if (line->full) {
        line->length = before;
    }
    return true;
}

static void put_fields(struct line *line, const char *fields, va_list *args) {
    while (*fields && !line->full) {
        size_t length = strcspn(fields, " ");
        if (!put_field(line, fields, length, args)) {
            return;
        }
        fields += length + (fields[length] == ' ');
    }
}

/* What the line has kept room for. */
static void put_end(struct line *line) {
    if (format == SRV_LOG_JSON) {
        line->text[line->length++] = '}';
    }
    line->text[line->length++] = '\n';
}

static void put_head(struct line *line, enum srv_log_level level, const char *message) {
    static const char *const names[] = {"debug", "info", "warn", "error"};
    char stamp[40];
    struct timespec now;
    struct tm utc;
    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &utc);
    size_t length = strftime(stamp, sizeof stamp, "%Y-%m-%dT%H:%M:%S", &utc);
    snprintf(stamp + length, sizeof stamp - length, ".%03ldZ", now.tv_nsec / 1000000);
    put_name(line, "time", 4);
    put_string(line, stamp, format == SRV_LOG_JSON);
    put_name(line, "level", 5);
    put_string(line, names[level], format == SRV_LOG_JSON);
    put_name(line, "msg", 3);
    put_string(line, message, true);
}

/* --- stderr ----------------------------------------------------------------------------------------- */

/* True when stderr takes at least a page without waiting, which is more than a line. */
static bool takes_a_line(void) {
    struct pollfd out = {.fd = STDERR_FILENO, .events = POLLOUT};
    int count;
    do {
        count = poll(&out, 1, 0);
    } while (count < 0 && errno == EINTR);
    return count == 1 && (out.revents & POLLOUT);
}

static bool write_line(struct line *line) {
    put_end(line);
    return takes_a_line() && write(STDERR_FILENO, line->text, line->length) == (ssize_t)line->length;
}

/* The first line that gets through again is followed by one that says how many did not. */
static bool tell_of_dropped(void) {
    struct line line = {.length = 0};
    char count[32];
    int digits = snprintf(count, sizeof count, "%" PRIu64, untold);
    put_head(&line, SRV_WARN, "lines of the log were lost");
    put_name(&line, "lines", 5);
    put(&line, count, (size_t)digits);
    return write_line(&line);
}

void srv_log(enum srv_log_level level, const char *message, const char *fields, ...) {
    struct line line = {.length = 0};
    va_list args;
    if (level < lowest) {
        return;
    }
    put_head(&line, level, message);
    va_start(args, fields);
    put_fields(&line, fields, &args);
    va_end(args);
    pthread_mutex_lock(&lock);
    if (!write_line(&line)) {
        dropped++;
        untold++;
    } else if (untold > 0 && tell_of_dropped()) {
        untold = 0;
    }
    pthread_mutex_unlock(&lock);
}
