/* kserve.h - the Open Inference Protocol v2 of KServe and Triton, over the same scheduler as /solve.
 *
 * Each model has one version, "1"; its paths work with and without it. Errors under /v2 are
 * {"error": "..."} (reply.c). Handlers: loop thread. */
#ifndef TRM_SERVER_KSERVE_H
#define TRM_SERVER_KSERVE_H

#include "server/exchange.h"

void srv_kserve_server(struct srv_exchange *exchange);      /* GET /v2 */
void srv_kserve_live(struct srv_exchange *exchange);        /* GET /v2/health/live */
void srv_kserve_ready(struct srv_exchange *exchange);       /* GET /v2/health/ready */
void srv_kserve_model(struct srv_exchange *exchange);       /* GET /v2/models/{model} */
void srv_kserve_model_ready(struct srv_exchange *exchange); /* GET /v2/models/{model}/ready */
void srv_kserve_infer(struct srv_exchange *exchange);       /* POST /v2/models/{model}/infer */

#endif
