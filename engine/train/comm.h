/* comm.h - the processes that train one model together, each on its part of every batch.
 *
 * Built with `make MPI=1` they are those that mpirun starts, on one machine or several (comm_mpi.c); without it
 * there is but one (comm_alone.c). All processes make the same calls in the same order, each from the thread that
 * opened; a call returns when its work is done here. A train_comm of NULL stands for a process without others,
 * for which every call does nothing. Failures of the network are TRM_IO. */
#ifndef TRM_ENGINE_TRAIN_COMM_H
#define TRM_ENGINE_TRAIN_COMM_H

#include <stdbool.h>
#include <stddef.h>

#include "engine/status.h"

typedef struct train_comm train_comm;

/* Once in a process, before anything else. Leaves NULL in *comm when there are no others. */
trm_status train_comm_open(train_comm **comm, trm_error *err);

/* After a failure the other processes are ended too: they would wait for this one for ever. */
void train_comm_close(train_comm *comm, bool failed);

int train_comm_rank(const train_comm *comm); /* 0 .. size - 1; 0 writes files and talks to people */
int train_comm_size(const train_comm *comm);

/* Sums values [count] over all processes, in place. Every process gets the same bits. */
trm_status train_comm_sum_floats(train_comm *comm, float *values, size_t count, trm_error *err);
trm_status train_comm_sum_doubles(train_comm *comm, double *values, size_t count, trm_error *err);

/* block [size][bytes]: every process brings the row of its rank and gets those of the others. */
trm_status train_comm_share(train_comm *comm, void *block, size_t bytes, trm_error *err);

/* Everyone gets the `bytes` of rank 0. */
trm_status train_comm_spread(train_comm *comm, void *data, size_t bytes, trm_error *err);

#endif
