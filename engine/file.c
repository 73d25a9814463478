/* file.c - the system calls behind reading and replacing files. No state of its own. */
#include "engine/file.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

trm_status trm_file_map(const char *path, struct trm_file *file, trm_error *err) {
    *file = (struct trm_file){0};
    /* A pipe without a writer would otherwise be waited for, before anyone can see that it is none of ours. */
    const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return trm_fail(err, TRM_IO, "%s: %s", path, strerror(errno));

    trm_status status = TRM_OK;
    struct stat info;
    if (fstat(fd, &info) != 0) {
        status = trm_fail(err, TRM_IO, "%s: %s", path, strerror(errno));
    } else if (!S_ISREG(info.st_mode)) {
        status = trm_fail(err, TRM_IO, "%s: not a regular file", path);
    } else if (info.st_size > 0) {
        void *bytes = mmap(NULL, (size_t)info.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (bytes == MAP_FAILED)
            status = trm_fail(err, TRM_IO, "%s: %s", path, strerror(errno));
        else
            *file = (struct trm_file){.bytes = bytes, .size = (size_t)info.st_size};
    }
    close(fd);
    return status;
}

void trm_file_unmap(struct trm_file *file) {
    if (file->bytes)
        munmap((void *)file->bytes, file->size);
    *file = (struct trm_file){0};
}

char *trm_path_join(const char *directory, const char *name) {
    const size_t size = strlen(directory) + strlen(name) + 2;
    char *path = malloc(size);
    if (path)
        snprintf(path, size, "%s/%s", directory, name);
    return path;
}

trm_status trm_output_open(struct trm_output *out, const char *path, trm_error *err) {
    /* The process id keeps two writers of one path apart, and lets a restarted one reuse a leftover. */
    const size_t room = strlen(path) + sizeof ".tmp-" + 3 * sizeof(long);
    *out = (struct trm_output){.path = strdup(path), .temporary = malloc(room)};
    if (!out->path || !out->temporary) {
        free(out->path);
        free(out->temporary);
        *out = (struct trm_output){0};
        return trm_fail_memory(err, room);
    }
    snprintf(out->temporary, room, "%s.tmp-%ld", path, (long)getpid());
    const int fd = open(out->temporary, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0666);
    if (fd >= 0)
        out->stream = fdopen(fd, "w");
    if (!out->stream) {
        trm_fail(err, TRM_IO, "%s: %s", path, strerror(errno));
        if (fd >= 0)
            close(fd);
        trm_output_close(out);
        return TRM_IO;
    }
    return TRM_OK;
}

/* Makes a rename in the directory of `path` (which is overwritten) durable. False with errno set on failure. */
static bool sync_directory_of(char *path) {
    const int fd = open(dirname(path), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return false;
    const bool synced = fsync(fd) == 0 || errno == EINVAL; /* EINVAL: a filesystem that cannot sync directories */
    const int saved = errno;
    close(fd);
    errno = saved;
    return synced;
}

/* Ends the stream; false with errno set if not all that was written to it is on disk. */
static bool finish_stream(struct trm_output *out) {
    const bool failed = ferror(out->stream) || fflush(out->stream) != 0 || fsync(fileno(out->stream)) != 0;
    const int saved = errno;
    const bool closed = fclose(out->stream) == 0;
    out->stream = NULL;
    if (failed)
        errno = saved ? saved : EIO;
    return !failed && closed;
}

trm_status trm_output_commit(struct trm_output *out, trm_error *err) {
    if (!finish_stream(out) || rename(out->temporary, out->path) != 0)
        return trm_fail(err, TRM_IO, "%s: %s", out->path, strerror(errno));
    trm_status status = TRM_OK;
    if (!sync_directory_of(out->temporary))
        status =
            trm_fail(err, TRM_IO, "%s: written, but its directory could not be synced: %s", out->path, strerror(errno));
    free(out->temporary);
    out->temporary = NULL;
    return status;
}

void trm_output_close(struct trm_output *out) {
    if (out->stream)
        fclose(out->stream);
    if (out->temporary)
        unlink(out->temporary);
    free(out->temporary);
    free(out->path);
    *out = (struct trm_output){0};
}

trm_status trm_make_directory(const char *path, trm_error *err) {
    char *partial = strdup(path);
    if (!partial)
        return trm_fail_memory(err, strlen(path) + 1);
    trm_status status = TRM_OK;
    for (char *end = partial; status == TRM_OK && end;) {
        end = strchr(end + 1, '/');
        if (end)
            *end = '\0';
        struct stat info;
        if (mkdir(partial, 0777) != 0 && (errno != EEXIST || stat(partial, &info) != 0 || !S_ISDIR(info.st_mode)))
            status = trm_fail(err, TRM_IO, "%s: %s", partial, strerror(errno));
        if (end)
            *end = '/';
    }
    free(partial);
    return status;
}
