/* safetensors.h - reads (mapped, validated before use) and writes (atomically) safetensors files.
 *
 * Knows nothing of models. A file is hostile until proved otherwise: header size, JSON, dtypes,
 * shapes, offsets, overlaps and the length of the file are all checked by st_open(), so that a
 * tensor's bytes may be used without further checks. An open file is immutable: any thread. */
#ifndef TRM_ENGINE_MODEL_SAFETENSORS_H
#define TRM_ENGINE_MODEL_SAFETENSORS_H

#include <stddef.h>
#include <stdint.h>

#include "engine/status.h"

enum st_dtype { ST_F32, ST_BF16, ST_F16, ST_F64, ST_I32, ST_I64, ST_U8 };
enum { ST_MAX_RANK = 8 };

struct st_tensor {
    const char *name;
    enum st_dtype dtype;
    int rank;
    size_t shape[ST_MAX_RANK];
    size_t count;     /* product of the shape */
    const void *data; /* count elements inside the mapping, aligned for dtype */
};

typedef struct st_file st_file;

/* Maps `path` read-only. Errors: TRM_IO, TRM_FORMAT (message says what is wrong), TRM_NO_MEMORY.
 * An open file may be replaced (st_write() renames over it) but not be cut short in place. */
trm_status st_open(const char *path, st_file **file, trm_error *err);
void st_close(st_file *file); /* NULL is fine; tensors and strings obtained from it die with it */

/* NULL if there is no such tensor or metadata key. */
const struct st_tensor *st_find(const st_file *file, const char *name);
const char *st_metadata(const st_file *file, const char *key);

/* All tensors, in the order of their data. st_at(): NULL beyond the last. */
size_t st_count(const st_file *file);
const struct st_tensor *st_at(const st_file *file, size_t index);

size_t st_dtype_size(enum st_dtype dtype);

/* Copies a F32, BF16, F16 or F64 tensor into `out` as f32 [count]. TRM_FORMAT for integer tensors. */
trm_status st_copy_f32(const struct st_tensor *tensor, float *out, trm_error *err);

/* Writing: names, shapes and pointers are collected, then one atomic write (temporary file in the
 * same directory, fsync, rename, fsync of the directory): readers see the old file or the new one,
 * and a failed write leaves the old one. Names and metadata are copied; added data must live until
 * st_write(). A writer may be written several times. Errors: TRM_INVALID for a name given twice,
 * reserved or not UTF-8 and for an impossible shape; TRM_IO; TRM_NO_MEMORY. One owner at a time. */
typedef struct st_writer st_writer;

trm_status st_writer_create(st_writer **writer, trm_error *err);
void st_writer_destroy(st_writer *writer);
trm_status st_add_metadata(st_writer *writer, const char *key, const char *value, trm_error *err);
trm_status st_add(st_writer *writer, const char *name, enum st_dtype dtype, int rank, const size_t *shape,
                  const void *data, trm_error *err);

/* A tensor whose data is made while it is written, so that it need not fit into memory: st_write() calls `read` for
 * the `size` bytes that begin at `offset` of the tensor, front to back. What it fails with st_write() fails with. */
typedef trm_status st_read(void *context, size_t offset, void *bytes, size_t size, trm_error *err);
trm_status st_add_stream(st_writer *writer, const char *name, enum st_dtype dtype, int rank, const size_t *shape,
                         st_read *read, void *context, trm_error *err);

trm_status st_write(st_writer *writer, const char *path, trm_error *err);

#endif
