/* npy.h - NumPy's array files, as far as data sets need them: little-endian integers in C order.
 *
 * Reads versions 1, 2 and 3 (mapped, validated before use), writes version 1. An open array is
 * immutable: any thread. Format: numpy/lib/format.py. */
#ifndef TRM_ENGINE_DATA_NPY_H
#define TRM_ENGINE_DATA_NPY_H

#include <stdbool.h>

#include "engine/file.h"

enum { DATA_NPY_MAX_RANK = 2 };

struct data_npy {
    struct trm_file file;
    const uint8_t *items; /* [shape[0], ...] of item_size bytes, inside the mapping, unaligned */
    bool is_signed;
    int item_size; /* 1, 2, 4 or 8 */
    int rank;      /* 1 or 2 */
    size_t shape[DATA_NPY_MAX_RANK];
    size_t count; /* product of the shape */
};

/* Opens `path` and checks that it holds exactly the array that its header tells of. TRM_IO, TRM_FORMAT,
 * or TRM_UNSUPPORTED for other types, orders and ranks. Close it with data_npy_close() (zeroed is fine). */
trm_status data_npy_open(const char *path, struct data_npy *array, trm_error *err);
void data_npy_close(struct data_npy *array);

/* Item `index` < count. An unsigned value above INT64_MAX comes out negative. */
int64_t data_npy_at(const struct data_npy *array, size_t index);

enum data_npy_type { DATA_NPY_U8, DATA_NPY_I32 };

/* Begins to replace `path` by an array: opens `out` and writes the header. The caller writes the items to its stream,
 * then commits, and closes it whatever the status. */
trm_status data_npy_begin(struct trm_output *out, const char *path, enum data_npy_type type, int rank,
                          const size_t *shape, trm_error *err);

/* Replaces `path` atomically by `items` of the given type and shape [rank]. */
trm_status data_npy_save(const char *path, enum data_npy_type type, int rank, const size_t *shape, const void *items,
                         trm_error *err);

#endif
