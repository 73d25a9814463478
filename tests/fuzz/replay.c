/* replay.c - the main of a target where the compiler has no libFuzzer: runs it on every file that is
 * named, or in a directory that is. Words that begin with - are libFuzzer's and passed over. */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "tests/fuzz/fuzz.h"

static int runs;

/* False, with a line on stderr, if the file cannot be read. */
static int run_file(const char *path) {
    FILE *file = fopen(path, "rb");
    uint8_t *data = NULL;
    size_t size = 0, room = 0, got = 1;
    while (file && got > 0) {
        if (size == room) {
            room = room ? 2 * room : 65536;
            uint8_t *grown = realloc(data, room);
            if (!grown) {
                break;
            }
            data = grown;
        }
        got = fread(data + size, 1, room - size, file);
        size += got;
    }
    int good = file && got == 0 && !ferror(file);
    if (file) {
        fclose(file);
    }
    if (good) {
        /* A copy of its own, so that a sanitizer sees a read past the end. */
        uint8_t *exact = malloc(size ? size : 1);
        good = exact != NULL;
        if (good) {
            memcpy(exact, data, size);
            LLVMFuzzerTestOneInput(exact, size);
            runs++;
        }
        free(exact);
    }
    free(data);
    if (!good) {
        fprintf(stderr, "cannot read %s\n", path);
    }
    return good;
}

static int run_directory(const char *path) {
    DIR *directory = opendir(path);
    int good = directory != NULL;
    for (struct dirent *entry; good && (entry = readdir(directory));) {
        char file[4096];
        if (entry->d_name[0] != '.') {
            snprintf(file, sizeof file, "%s/%s", path, entry->d_name);
            good = run_file(file);
        }
    }
    if (directory) {
        closedir(directory);
    }
    return good;
}

int main(int argc, char **argv) {
    int good = 1;
    for (int i = 1; i < argc && good; i++) {
        struct stat info;
        if (argv[i][0] == '-') {
            continue;
        }
        good = stat(argv[i], &info) == 0 && (S_ISDIR(info.st_mode) ? run_directory(argv[i]) : run_file(argv[i]));
    }
    printf("replayed %d inputs\n", runs);
    return good && runs > 0 ? 0 : 1;
}
