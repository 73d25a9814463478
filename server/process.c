/* process.c - see process.h. No state. */
#include "server/process.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

static void read_memory(struct srv_process *process) {
    char line[128], *rest;
    double page = (double)sysconf(_SC_PAGESIZE);
    FILE *file = fopen("/proc/self/statm", "re");
    if (!file) {
        return;
    }
    if (fgets(line, sizeof line, file)) { /* pages in all, pages resident ... */
        process->virtual_bytes = (double)strtoul(line, &rest, 10) * page;
        process->resident_bytes = (double)strtoul(rest, NULL, 10) * page;
    }
    fclose(file);
}

static int count_files(void) {
    DIR *directory = opendir("/proc/self/fd");
    int count = -3; /* ".", ".." and the directory's own */
    if (!directory) {
        return 0;
    }
    while (readdir(directory)) {
        count++;
    }
    closedir(directory);
    return count;
}

void srv_process_read(struct srv_process *process) {
    struct timespec cpu;
    struct rlimit files;
    *process = (struct srv_process){.open_files = count_files()};
    read_memory(process);
    if (clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &cpu) == 0) {
        process->cpu_seconds = (double)cpu.tv_sec + (double)cpu.tv_nsec / 1e9;
    }
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        process->most_files = (int)files.rlim_cur;
    }
}
