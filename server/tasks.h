/* tasks.h - POST /tasks, GET and DELETE /tasks/{id}: models that are adapted to ARC tasks while the server solves, and
 * what came of it. Off unless --tasks-dir is given. Loop thread. */
#ifndef TRM_SERVER_TASKS_H
#define TRM_SERVER_TASKS_H

#include "engine/status.h"
#include "server/exchange.h"
#include "server/shelf.h"

struct srv_tasks;

/* *tasks stays NULL where they are off. Before requests come. */
trm_status srv_tasks_open(struct srv_server *server, struct srv_tasks **tasks, trm_error *err);

/* All functions take NULL. */

/* Nothing new is adapted, and what is being adapted is cancelled. */
void srv_tasks_drain(struct srv_tasks *tasks);

/* Ends the thread and closes its handle: run the loop until it is empty, then free. */
void srv_tasks_stop(struct srv_tasks *tasks);
void srv_tasks_free(struct srv_tasks *tasks);

/* What was adapted; NULL where that is off. */
struct srv_shelf *srv_tasks_shelf(struct srv_tasks *tasks);

/* As server.c's pings: to streams (every so often), and to whoever has closed the own side. */
void srv_tasks_ping(struct srv_tasks *tasks, bool streams);

void srv_tasks_write_metrics(const struct srv_tasks *tasks, struct proto_text *text);

/* Handlers, and what is asked before the body of a POST is read. */
void srv_tasks_all(struct srv_exchange *exchange); /* GET and POST /tasks */
void srv_tasks_one(struct srv_exchange *exchange); /* GET and DELETE /tasks/{id} */
bool srv_tasks_has_room(struct srv_server *server, struct proto_problem *problem);

#endif
