/* file.c - the system calls behind reading and replacing data files. No state of its own. */
#include "engine/data/file.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

trm_status data_file_map(const char *path, struct data_file *file, trm_error *err) {
    *file = (struct data_file){0};
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
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
            *file = (struct data_file){.bytes = bytes, .size = (size_t)info.st_size};
    }
    close(fd);
    return status;
}

void data_file_unmap(struct data_file *file) {
    if (file->bytes)
        munmap((void *)file->bytes, file->size);
    *file = (struct data_file){0};
}

char *data_path_join(const char *directory, const char *name) {
    const size_t size = strlen(directory) + strlen(name) + 2;
    char *path = malloc(size);
    if (path)
        snprintf(path, size, "%s/%s", directory, name);
    return path;
}

trm_status data_output_open(struct data_output *out, const char *path, trm_error *err) {
    *out = (struct data_output){0};
    const size_t size = strlen(path) + 32;
    out->path = strdup(path);
    out->temporary = malloc(size);
    if (!out->path || !out->temporary) {
        free(out->path);
        free(out->temporary);
        *out = (struct data_output){0};
        return trm_fail_memory(err, size);
    }
    snprintf(out->temporary, size, "%s.tmp.%ld", path, (long)getpid());
    out->stream = fopen(out->temporary, "wbe");
    if (!out->stream) {
        trm_fail(err, TRM_IO, "%s: %s", path, strerror(errno));
        data_output_close(out);
        return TRM_IO;
    }
    return TRM_OK;
}

/* Makes a rename in the directory of `path` (which is overwritten) outlive a power cut. */
static void sync_directory_of(char *path) {
    const int fd = open(dirname(path), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0) {
        fsync(fd);
        close(fd);
    }
}

trm_status data_output_commit(struct data_output *out, trm_error *err) {
    if (ferror(out->stream) || fflush(out->stream) != 0 || fsync(fileno(out->stream)) != 0 ||
        rename(out->temporary, out->path) != 0)
        return trm_fail(err, TRM_IO, "%s: %s", out->path, strerror(errno));
    sync_directory_of(out->temporary);
    free(out->temporary);
    out->temporary = NULL;
    return TRM_OK;
}

void data_output_close(struct data_output *out) {
    if (out->stream)
        fclose(out->stream);
    if (out->temporary)
        unlink(out->temporary);
    free(out->temporary);
    free(out->path);
    *out = (struct data_output){0};
}

trm_status data_make_directory(const char *path, trm_error *err) {
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
