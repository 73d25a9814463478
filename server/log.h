/* log.h - one line a fact on stderr: time=... level=... msg="..." key=value ...
 *
 * Any thread; a line is one write(). The level is the only global of the server. */
#ifndef TRM_SERVER_LOG_H
#define TRM_SERVER_LOG_H

enum srv_log_level { SRV_DEBUG, SRV_INFO, SRV_WARN, SRV_ERROR };

/* Lines below `level` are dropped. Call before there are threads. */
void srv_log_set_level(enum srv_log_level level);

/* `fields`, a printf format, is written after the message as it is: "port=%d model=\"%s\"".
 * Control characters become '?'; a line is cut at 1 KiB. */
void srv_log(enum srv_log_level level, const char *message, const char *fields, ...)
    __attribute__((format(printf, 3, 4)));

#endif
