/* file.h - whole files: mapped to read, replaced atomically to write. Paths are the caller's;
 * a struct belongs to one thread at a time. */
#ifndef TRM_ENGINE_DATA_FILE_H
#define TRM_ENGINE_DATA_FILE_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "engine/status.h"

struct data_file {
    const uint8_t *bytes; /* [size], read-only; NULL when the file is empty */
    size_t size;
};

/* Maps the regular file `path`, which nobody may cut short meanwhile; TRM_IO names it. data_file_unmap() also takes a
 * zeroed struct. */
trm_status data_file_map(const char *path, struct data_file *file, trm_error *err);
void data_file_unmap(struct data_file *file);

/* A file being written beside its final place:
 *     data_output_open(), fprintf to `stream` ..., data_output_commit(); data_output_close() always.
 * Until the commit the old file, if any, stays as it was. */
struct data_output {
    FILE *stream;
    char *path, *temporary;
};

trm_status data_output_open(struct data_output *out, const char *path, trm_error *err);

/* Flushes to disk and takes the final name; TRM_IO if this or any earlier write to `stream` failed. */
trm_status data_output_commit(struct data_output *out, trm_error *err);

/* Releases everything and removes what was not committed. Fine on a zeroed struct, and twice. */
void data_output_close(struct data_output *out);

/* Makes the directory `path` and its parents unless they exist. */
trm_status data_make_directory(const char *path, trm_error *err);

/* "directory/name" in fresh memory that the caller frees; NULL when there is none. */
char *data_path_join(const char *directory, const char *name);

#endif
