/* shelf.c - see shelf.h. A list in order of use, the newest first: it is short. */
#include "server/shelf.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <nettle/sha2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "engine/file.h"
#include "server/log.h"

#define ENDING       ".safetensors"
#define INDEX_ENDING ".tasks" ENDING
#define DRAFT        "draft-"

struct book {
    struct book *next;
    char id[SRV_TASK_ID];
    const struct srv_model *model;
    trm_model *engine;
    struct timespec used; /* while the shelf is opened */
};

struct srv_shelf {
    char *dir;
    int limit, count;
    const struct srv_models *models;
    struct trm_model_options precision;
    struct book *first;
};

void srv_task_id(const char *model, const uint8_t *hash, char id[SRV_TASK_ID]) {
    struct sha256_ctx sha;
    uint8_t digest[SHA256_DIGEST_SIZE];
    char hex[2 * DATA_ARC_HASH + 1];
    sha256_init(&sha);
    sha256_update(&sha, strlen(model) + 1, (const uint8_t *)model);
    sha256_update(&sha, DATA_ARC_HASH, hash);
    sha256_digest(&sha, sizeof digest, digest);
    data_arc_hex(digest, hex);
    snprintf(id, SRV_TASK_ID, "%.*s", SRV_TASK_ID - 1, hex);
}

/* --- files ------------------------------------------------------------------------------------------ */

/* DIR/STEM and one of the endings, in fresh memory; NULL when there is none. */
static char *path_of(const struct srv_shelf *shelf, const char *stem, const char *ending) {
    const size_t size = strlen(shelf->dir) + strlen(stem) + strlen(ending) + 2;
    char *path = malloc(size);
    if (path) {
        snprintf(path, size, "%s/%s%s", shelf->dir, stem, ending);
    }
    return path;
}

/* The index that is beside a checkpoint. */
static char *index_beside(const char *path) {
    const size_t stem = strlen(path) - strlen(ENDING), size = stem + sizeof INDEX_ENDING;
    char *index = malloc(size);
    if (index) {
        snprintf(index, size, "%.*s%s", (int)stem, path, INDEX_ENDING);
    }
    return index;
}

void srv_shelf_discard(const char *draft) {
    char *index = index_beside(draft);
    unlink(draft);
    if (index) {
        unlink(index);
    }
    free(index);
}

char *srv_shelf_draft(const struct srv_shelf *shelf, unsigned number) {
    char stem[32];
    snprintf(stem, sizeof stem, DRAFT "%u", number);
    return path_of(shelf, stem, ENDING);
}

static void remove_files(const struct srv_shelf *shelf, const char *id) {
    char *path = path_of(shelf, id, ENDING);
    if (path) {
        srv_shelf_discard(path);
    }
    free(path);
}

/* The kernel's own "now" may be that of some milliseconds ago, and the same for several files. */
static void touch(const struct srv_shelf *shelf, const char *id) {
    struct timespec times[2];
    char *path = path_of(shelf, id, ENDING);
    clock_gettime(CLOCK_REALTIME, &times[0]);
    times[1] = times[0];
    if (path && utimensat(AT_FDCWD, path, times, AT_SYMLINK_NOFOLLOW) != 0) {
        srv_log(SRV_WARN, "the time of an adapted task's file stays as it was", "id=%s reason=%s", id, strerror(errno));
    }
    free(path);
}

/* --- the list --------------------------------------------------------------------------------------- */

static struct book **place_of(struct srv_shelf *shelf, const char *id) {
    struct book **place = &shelf->first;
    while (*place && strcmp((*place)->id, id) != 0) {
        place = &(*place)->next;
    }
    return place;
}

static void take_off(struct srv_shelf *shelf, struct book **place) {
    struct book *book = *place;
    *place = book->next;
    shelf->count--;
    trm_model_unref(book->engine);
    free(book);
}

static void make_room(struct srv_shelf *shelf) {
    while (shelf->count > shelf->limit) {
        struct book **last = &shelf->first;
        while ((*last)->next) {
            last = &(*last)->next;
        }
        srv_log(SRV_INFO, "an adapted task makes room for another", "id=%s model=%s", (*last)->id,
                (*last)->model->name);
        remove_files(shelf, (*last)->id);
        take_off(shelf, last);
    }
}

static void put_first(struct srv_shelf *shelf, struct book *book) {
    book->next = shelf->first;
    shelf->first = book;
    shelf->count++;
}

int srv_shelf_count(const struct srv_shelf *shelf) {
    return shelf->count;
}

trm_model *srv_shelf_find(struct srv_shelf *shelf, const char *id, const struct srv_model **model) {
    struct book **place = shelf ? place_of(shelf, id) : NULL, *book = place ? *place : NULL;
    if (!book) {
        return NULL;
    }
    *place = book->next;
    book->next = shelf->first;
    shelf->first = book;
    touch(shelf, id);
    if (model) {
        *model = book->model;
    }
    return book->engine;
}

trm_status srv_shelf_put(struct srv_shelf *shelf, const char *id, const struct srv_model *model, const char *draft,
                         trm_model *engine, trm_error *err) {
    struct book *book = calloc(1, sizeof *book), **old = place_of(shelf, id);
    char *path = path_of(shelf, id, ENDING), *index = path_of(shelf, id, INDEX_ENDING), *from = index_beside(draft);
    trm_status status = TRM_OK;
    if (!book || !path || !index || !from) {
        status = trm_fail_memory(err, sizeof *book);
    } else if (rename(from, index) != 0 || rename(draft, path) != 0) {
        status = trm_fail(err, TRM_IO, "%.120s: %s", path, strerror(errno));
        unlink(index);
    }
    if (status == TRM_OK) {
        if (*old) {
            take_off(shelf, old);
        }
        *book = (struct book){.model = model, .engine = engine};
        snprintf(book->id, sizeof book->id, "%s", id);
        put_first(shelf, book);
        make_room(shelf);
        book = NULL;
    }
    free(book);
    free(path);
    free(index);
    free(from);
    return status;
}

bool srv_shelf_remove(struct srv_shelf *shelf, const char *id) {
    struct book **place = place_of(shelf, id);
    if (!*place) {
        return false;
    }
    remove_files(shelf, id);
    take_off(shelf, place);
    return true;
}

/* --- opening ---------------------------------------------------------------------------------------- */

/* Whether `name` is an id and the ending of a checkpoint, which excludes those of indices. */
static bool is_checkpoint(const char *name, char id[SRV_TASK_ID]) {
    const size_t length = strspn(name, "0123456789abcdef");
    snprintf(id, SRV_TASK_ID, "%.*s", SRV_TASK_ID - 1, name);
    return length == SRV_TASK_ID - 1 && strcmp(name + length, ENDING) == 0;
}

/* The model of whose adaptation the only task of `engine` has that id; NULL: none is served. */
static const struct srv_model *model_of(const struct srv_shelf *shelf, const trm_model *engine, const char *id) {
    const data_arc_index *tasks = trm_model_tasks(engine);
    for (int i = 0; tasks && data_arc_index_tasks(tasks) == 1 && i < shelf->models->count; i++) {
        const struct srv_model *model = &shelf->models->items[i];
        char made[SRV_TASK_ID];
        srv_task_id(model->name, data_arc_index_at(tasks, 0)->hash, made);
        if (model->form.takes_tasks && strcmp(made, id) == 0) {
            return model;
        }
    }
    return NULL;
}

/* What is wrong with one file is no reason not to start. */
static struct book *open_book(const struct srv_shelf *shelf, const char *id, trm_error *err) {
    struct stat info;
    struct book *book = calloc(1, sizeof *book);
    char *path = path_of(shelf, id, ENDING);
    trm_status status = book && path ? TRM_OK : trm_fail_memory(err, sizeof *book);
    if (status == TRM_OK && (lstat(path, &info) != 0 || !S_ISREG(info.st_mode))) {
        status = trm_fail(err, TRM_FORMAT, "%.120s: not a regular file", path);
    }
    if (status == TRM_OK) {
        status = trm_model_open(path, &shelf->precision, &book->engine, err);
    }
    if (status == TRM_OK) {
        snprintf(book->id, sizeof book->id, "%s", id);
        book->used = info.st_mtim;
        book->model = model_of(shelf, book->engine, id);
        if (!book->model) {
            status = trm_fail(err, TRM_FORMAT, "%.120s: not adapted from a model that is served here", path);
        } else {
            status = srv_model_check(book->model, book->engine, path, err);
        }
    }
    if (status != TRM_OK && book) {
        trm_model_unref(book->engine);
        free(book);
        book = NULL;
    }
    free(path);
    return book;
}

static bool is_newer(const struct book *a, const struct book *b) {
    return a->used.tv_sec != b->used.tv_sec ? a->used.tv_sec > b->used.tv_sec : a->used.tv_nsec > b->used.tv_nsec;
}

static void take_in(struct srv_shelf *shelf, const char *name) {
    char id[SRV_TASK_ID];
    trm_error error = {""};
    if (strncmp(name, DRAFT, strlen(DRAFT)) == 0) {
        char *path = path_of(shelf, name, "");
        if (path) {
            unlink(path); /* of a server that was ended while it wrote */
        }
        free(path);
    } else if (is_checkpoint(name, id)) {
        struct book *book = open_book(shelf, id, &error), **place = &shelf->first;
        if (!book) {
            srv_log(SRV_WARN, "an adapted task is left out", "reason=%s", error.text);
            return;
        }
        while (*place && is_newer(*place, book)) {
            place = &(*place)->next;
        }
        book->next = *place;
        *place = book;
        shelf->count++;
        make_room(shelf);
    }
}

trm_status srv_shelf_open(const char *dir, int limit, const struct srv_models *models,
                          const struct trm_model_options *precision, struct srv_shelf **result, trm_error *err) {
    struct srv_shelf *shelf = calloc(1, sizeof *shelf);
    DIR *stream = NULL;
    trm_status status = shelf ? trm_make_directory(dir, err) : trm_fail_memory(err, sizeof *shelf);
    if (status == TRM_OK) {
        *shelf = (struct srv_shelf){.dir = strdup(dir), .limit = limit, .models = models, .precision = *precision};
        stream = opendir(dir);
        if (!shelf->dir || !stream) {
            status = trm_fail(err, TRM_IO, "%.150s: %s", dir, strerror(errno));
        }
    }
    for (struct dirent *entry; status == TRM_OK && (entry = readdir(stream));) {
        take_in(shelf, entry->d_name);
    }
    if (stream) {
        closedir(stream);
    }
    if (status != TRM_OK) {
        srv_shelf_close(shelf);
        return status;
    }
    *result = shelf;
    return TRM_OK;
}

void srv_shelf_close(struct srv_shelf *shelf) {
    while (shelf && shelf->first) {
        take_off(shelf, &shelf->first);
    }
    if (shelf) {
        free(shelf->dir);
    }
    free(shelf);
}
