/* process.h - what this process takes of the machine. */
#ifndef TRM_SERVER_PROCESS_H
#define TRM_SERVER_PROCESS_H

struct srv_process {
    double resident_bytes, virtual_bytes;
    double cpu_seconds; /* of all threads, user and system */
    int open_files, most_files;
};

/* Reads it from the kernel; what cannot be read is 0. Any thread. */
void srv_process_read(struct srv_process *process);

#endif
