/* admission.h - what a request gets: by what it asks for, what the server and the model allow, and how
 * long the queue is. Pure functions: any thread. */
#ifndef TRM_SERVER_ADMISSION_H
#define TRM_SERVER_ADMISSION_H

#include "proto/options.h"
#include "proto/problem.h"
#include "server/job.h"
#include "server/options.h"

/* Fills in *plan (but for every_step) for `puzzles` puzzles of `model` while `waiting` rollouts wait.
 * False with *problem filled in for options that this model cannot have, and for more rollouts than
 * the queue could ever hold.
 *
 * With settings->adapt a request gets less than it asks for while the queue is long, and plan->asked
 * keeps what that was: from a quarter to a half of the queue ever fewer rollouts, down to one; from
 * there on ever fewer steps, down to a quarter of max_steps (but min_steps). Before a request is
 * refused it also loses the rollouts that the queue has no room for. */
bool srv_admission_plan(const struct srv_options *settings, const struct srv_model *model,
                        const struct proto_options *wanted, int puzzles, int waiting, struct srv_group_config *plan,
                        struct proto_problem *problem);

#endif
