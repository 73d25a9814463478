/* routes.h - which path does what. Loop thread. */
#ifndef TRM_SERVER_ROUTES_H
#define TRM_SERVER_ROUTES_H

#include "server/http.h"

/* The table of all routes, [*count]. */
const struct srv_route *srv_routes(int *count);

/* NULL if there is no such path. */
const struct srv_route *srv_route_find(const char *path);

#endif
