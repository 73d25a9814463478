/* comm_mpi.c - comm.h over MPI; compiled with `make MPI=1` only. Belongs to the thread that opened it: MPI is told
 * that no other calls it. */
#include <mpi.h>
#include <stdlib.h>

#include "engine/train/comm.h"

/* Counts of MPI are ints: larger arrays go in pieces. */
enum { PIECE = 1 << 28 };

struct train_comm {
    int rank, size;
};

static trm_status check(int code, const char *what, trm_error *err) {
    char text[MPI_MAX_ERROR_STRING];
    int length;
    if (code == MPI_SUCCESS)
        return TRM_OK;
    MPI_Error_string(code, text, &length);
    return trm_fail(err, TRM_IO, "MPI: %s: %s", what, text);
}

trm_status train_comm_open(train_comm **out, trm_error *err) {
    int provided;
    *out = NULL;
    trm_status status = check(MPI_Init_thread(NULL, NULL, MPI_THREAD_FUNNELED, &provided), "start", err);
    if (status != TRM_OK)
        return status;
    MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
    train_comm *comm = calloc(1, sizeof *comm);
    if (!comm)
        return trm_fail_memory(err, sizeof *comm);
    MPI_Comm_rank(MPI_COMM_WORLD, &comm->rank);
    MPI_Comm_size(MPI_COMM_WORLD, &comm->size);
    *out = comm;
    return TRM_OK;
}

void train_comm_close(train_comm *comm, bool failed) {
    if (failed && comm && comm->size > 1)
        MPI_Abort(MPI_COMM_WORLD, EXIT_FAILURE);
    free(comm);
    MPI_Finalize();
}

int train_comm_rank(const train_comm *comm) {
    return comm ? comm->rank : 0;
}

int train_comm_size(const train_comm *comm) {
    return comm ? comm->size : 1;
}

static trm_status sum(train_comm *comm, char *values, size_t count, size_t width, MPI_Datatype type, trm_error *err) {
    trm_status status = TRM_OK;
    for (size_t done = 0; comm && done < count && status == TRM_OK; done += PIECE) {
        const size_t piece = count - done < PIECE ? count - done : PIECE;
        status = check(MPI_Allreduce(MPI_IN_PLACE, values + done * width, (int)piece, type, MPI_SUM, MPI_COMM_WORLD),
                       "sum", err);
    }
    return status;
}

trm_status train_comm_sum_floats(train_comm *comm, float *values, size_t count, trm_error *err) {
    return sum(comm, (char *)values, count, sizeof *values, MPI_FLOAT, err);
}

trm_status train_comm_sum_doubles(train_comm *comm, double *values, size_t count, trm_error *err) {
    return sum(comm, (char *)values, count, sizeof *values, MPI_DOUBLE, err);
}

trm_status train_comm_spread(train_comm *comm, void *data, size_t bytes, trm_error *err) {
    trm_status status = TRM_OK;
    for (size_t done = 0; comm && done < bytes && status == TRM_OK; done += PIECE) {
        const size_t piece = bytes - done < PIECE ? bytes - done : PIECE;
        status = check(MPI_Bcast((char *)data + done, (int)piece, MPI_BYTE, 0, MPI_COMM_WORLD), "spread", err);
    }
    return status;
}

trm_status train_comm_share(train_comm *comm, void *block, size_t bytes, trm_error *err) {
    MPI_Datatype row;
    if (!comm || bytes == 0)
        return TRM_OK;
    if (bytes > PIECE)
        return trm_fail(err, TRM_INVALID, "%zu bytes are too many to share at once", bytes);
    trm_status status = check(MPI_Type_contiguous((int)bytes, MPI_BYTE, &row), "share", err);
    if (status != TRM_OK)
        return status;
    MPI_Type_commit(&row);
    status = check(MPI_Allgather(MPI_IN_PLACE, 0, MPI_DATATYPE_NULL, block, 1, row, MPI_COMM_WORLD), "share", err);
    MPI_Type_free(&row);
    return status;
}
