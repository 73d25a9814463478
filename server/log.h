/* log.h - one line a fact on stderr: key=value pairs or a JSON object.
 *
 * Any thread. A line that cannot be written at once (a full disk, a pipe that nobody reads, a closed
 * stderr) is dropped and counted: the log neither stops nor slows the server. */
#ifndef TRM_SERVER_LOG_H
#define TRM_SERVER_LOG_H

#include <stdint.h>

enum srv_log_level { SRV_DEBUG, SRV_INFO, SRV_WARN, SRV_ERROR };
enum srv_log_format { SRV_LOG_TEXT, SRV_LOG_JSON };

/* Lines below `level` are left out. Call before there are threads. */
void srv_log_setup(enum srv_log_level level, enum srv_log_format format);

/* `fields` is a printf format of "name=%d other=%s ...": names of letters, digits and _, one space
 * between fields, conversions %s, %d, %u, %f with flags and %ld, %lu, %zu. Strings are quoted as need
 * be; a field whose string is NULL or empty is left out. A string is cut at about 500 bytes, and what
 * does not fit into a line of 2 KiB is left out. */
void srv_log(enum srv_log_level level, const char *message, const char *fields, ...)
    __attribute__((format(printf, 3, 4)));

/* Lines that were dropped since the start. */
uint64_t srv_log_dropped(void);

#endif
