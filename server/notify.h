/* notify.h - what a service manager is told: the protocol of sd_notify(3), without libsystemd.
 * Loop thread. */
#ifndef TRM_SERVER_NOTIFY_H
#define TRM_SERVER_NOTIFY_H

#include <stdint.h>

/* Sends "READY=1", "STOPPING=1" ... to NOTIFY_SOCKET; nothing happens without one, and nobody waits. */
void srv_notify(const char *state);

/* Milliseconds within which the manager wants to hear "WATCHDOG=1", 0: it does not. */
uint64_t srv_notify_watchdog_ms(void);

#endif
