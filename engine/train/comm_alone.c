/* comm_alone.c - comm.h without MPI: one process, nothing to exchange. No state. */
#include "engine/train/comm.h"

trm_status train_comm_open(train_comm **comm, trm_error *err) {
    (void)err;
    *comm = NULL;
    return TRM_OK;
}

void train_comm_close(train_comm *comm, bool failed) {
    (void)comm, (void)failed;
}

int train_comm_rank(const train_comm *comm) {
    (void)comm;
    return 0;
}

int train_comm_size(const train_comm *comm) {
    (void)comm;
    return 1;
}

trm_status train_comm_sum_floats(train_comm *comm, float *values, size_t count, trm_error *err) {
    (void)comm, (void)values, (void)count, (void)err;
    return TRM_OK;
}

trm_status train_comm_sum_doubles(train_comm *comm, double *values, size_t count, trm_error *err) {
    (void)comm, (void)values, (void)count, (void)err;
    return TRM_OK;
}

trm_status train_comm_share(train_comm *comm, void *block, size_t bytes, trm_error *err) {
    (void)comm, (void)block, (void)bytes, (void)err;
    return TRM_OK;
}

trm_status train_comm_spread(train_comm *comm, void *data, size_t bytes, trm_error *err) {
    (void)comm, (void)data, (void)bytes, (void)err;
    return TRM_OK;
}
