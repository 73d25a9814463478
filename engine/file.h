/* file.h - whole files: mapped to read, replaced atomically to write. Paths are the caller's;
 * a struct belongs to one thread at a time. */
#ifndef TRM_ENGINE_FILE_H
#define TRM_ENGINE_FILE_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "engine/status.h"

struct trm_file {
    const uint8_t *bytes; /* [size], read-only; NULL when the file is empty */
    size_t size;
};

/* Maps the regular file `path`, which nobody may cut short meanwhile; TRM_IO names it. trm_file_unmap() also takes a
 * zeroed struct. */
trm_status trm_file_map(const char *path, struct trm_file *file, trm_error *err);
void trm_file_unmap(struct trm_file *file);

/* A file being written beside its final place:
 *     trm_output_open(), fprintf to `stream` ..., trm_output_commit(); trm_output_close() always.
 * Until the commit the old file, if any, stays as it was; readers see the old one or the new one. */
struct trm_output {
    FILE *stream;
    char *path, *temporary; /* the final name; the one until the commit, NULL after it */
};

trm_status trm_output_open(struct trm_output *out, const char *path, trm_error *err);

/* Ends `stream`, brings it to disk, gives it the final name and brings that to disk. TRM_IO if any of this or any
 * earlier write to `stream` failed: the old file is still there, unless the message says that the new one was written.
 */
trm_status trm_output_commit(struct trm_output *out, trm_error *err);

/* Releases everything and removes what was not committed. Fine on a zeroed struct, and twice. */
void trm_output_close(struct trm_output *out);

/* Makes the directory `path` and its parents unless they exist. */
trm_status trm_make_directory(const char *path, trm_error *err);

/* "directory/name" in fresh memory that the caller frees; NULL when there is none. */
char *trm_path_join(const char *directory, const char *name);

#endif
