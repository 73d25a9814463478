/* arc_index.h - which task each puzzle identifier of a checkpoint belongs to, and in which augmentation.
 *
 * Tensors beside the weights, or in a file of their own: "arc.names" U8 [tasks, 64], zero-padded; "arc.hashes"
 * U8 [tasks, 32], data_arc_pairs_hash() of the demonstrations; "arc.rows" I32 [tasks, 2], first identifier and
 * number of them; "arc.augments" U8 [identifiers, 11], struct data_arc_augment. A name that several collections use may
 * have several entries. Immutable: any thread. */
#ifndef TRM_ENGINE_DATA_ARC_INDEX_H
#define TRM_ENGINE_DATA_ARC_INDEX_H

#include "engine/data/arc.h"
#include "engine/data/arc_task.h"
#include "engine/model/safetensors.h"

typedef struct data_arc_index data_arc_index;

struct data_arc_entry {
    const char *name;
    const uint8_t *hash; /* [DATA_ARC_HASH] */
    int first, count;    /* identifiers first .. first + count - 1 are its augmentations */
};

/* Reads the index in `file`, which must outlive it, for a model with `identifiers` of them. *index is NULL when there
 * is none; TRM_FORMAT when it is broken. */
trm_status data_arc_index_open(const st_file *file, int identifiers, data_arc_index **index, trm_error *err);
void data_arc_index_close(data_arc_index *index); /* NULL is fine */

/* The first entry of that name, or with the hash of these demonstrations; NULL if there is none. */
const struct data_arc_entry *data_arc_index_find(const data_arc_index *index, const char *name);
const struct data_arc_entry *data_arc_index_recognise(const data_arc_index *index, const struct data_arc_task *task);

/* Whether all that `old` says is said by `index` too: identifiers mean the same. Either may be NULL. */
bool data_arc_index_extends(const data_arc_index *index, const data_arc_index *old);

size_t data_arc_index_tasks(const data_arc_index *index);
const struct data_arc_entry *data_arc_index_at(const data_arc_index *index, size_t task);
const struct data_arc_augment *data_arc_index_augment(const data_arc_index *index, int identifier);

/* Adds a copy to `writer`; the file of `index` must live until it is written. */
trm_status data_arc_index_add(const data_arc_index *index, st_writer *writer, trm_error *err);

/* Writes the index of `identifiers` identifiers, of which row i has the name names(arg, i, full) ("<blank>" for none),
 * to a file. Tasks have the hashes of those in `tasks`, the first of each name; TRM_FORMAT when one is not there. */
trm_status data_arc_index_write(const char *path, const struct data_arc_tasks *tasks, int identifiers,
                                const char *(*names)(void *arg, int identifier), void *arg, trm_error *err);

#endif
