/* reload.h - another checkpoint for a model that is being served.
 *
 * The file is opened and its batches are made on a thread of libuv's pool while the old checkpoint
 * serves; then new puzzles get the new one, and those that run finish on the one they began with. A
 * file that cannot be served, or whose puzzles have another shape, changes nothing. Loop thread. */
#ifndef TRM_SERVER_RELOAD_H
#define TRM_SERVER_RELOAD_H

#include "server/exchange.h"

/* The handler of POST /models/{model}/reload, for those who know the admin key. */
void srv_reload(struct srv_exchange *exchange);

/* Reloads every model, as SIGHUP asks for. A model that is being reloaded is so once more afterwards. */
void srv_reload_all(struct srv_server *server);

#endif
