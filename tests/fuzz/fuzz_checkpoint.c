/* fuzz_checkpoint.c - a file that claims to be a checkpoint: safetensors first, then the model in it.
 * Every byte of every tensor that is accepted must be readable. */
#include <stdlib.h>
#include <string.h>

#include "engine/data/arc_index.h"
#include "engine/model/checkpoint.h"
#include "engine/model/safetensors.h"
#include "tests/fuzz/fuzz.h"

enum { MOST_VALUES = 1 << 20 };

static void read_tensor(const st_file *file, const struct st_tensor *tensor) {
    unsigned sum = 0;
    trm_error err;
    for (size_t i = 0; i < tensor->count * st_dtype_size(tensor->dtype); i++) {
        sum += ((const uint8_t *)tensor->data)[i];
    }
    fuzz_require(sum + 1 > 0 && st_find(file, tensor->name) == tensor, "a tensor that is not found by its name");
    if (tensor->count > 0 && tensor->count <= MOST_VALUES) {
        float *values = malloc(tensor->count * sizeof *values);
        fuzz_require(values != NULL, "out of memory");
        (void)st_copy_f32(tensor, values, &err);
        free(values);
    }
}

/* The index of ARC tasks, if there is one: all that it says must be usable. */
static void read_index(const model_checkpoint *checkpoint) {
    const int identifiers = model_checkpoint_config(checkpoint)->num_puzzle_identifiers;
    data_arc_index *index;
    trm_error err = {.text = ""};
    if (data_arc_index_open(model_checkpoint_file(checkpoint), identifiers, &index, &err) != TRM_OK) {
        fuzz_require(err.text[0] != '\0', "a refusal without a reason");
        return;
    }
    for (size_t t = 0; index && t < data_arc_index_tasks(index); t++) {
        const struct data_arc_entry *entry = data_arc_index_at(index, t);
        const struct data_arc_entry *found = data_arc_index_find(index, entry->name);
        fuzz_require(found && found <= entry, "a task that is not found by its name");
        for (int i = entry->first; i < entry->first + entry->count; i++) {
            fuzz_require(i < identifiers && data_arc_augment_is_valid(data_arc_index_augment(index, i)),
                         "an identifier without an augmentation");
        }
    }
    data_arc_index_close(index);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const char *path = fuzz_file(data, size);
    st_file *file;
    model_checkpoint *checkpoint;
    trm_error err = {.text = ""};
    if (st_open(path, &file, &err) != TRM_OK) {
        fuzz_require(err.text[0] != '\0', "a refusal without a reason");
        return 0; /* no checkpoint either */
    }
    for (size_t i = 0; i < st_count(file); i++) {
        read_tensor(file, st_at(file, i));
    }
    (void)st_metadata(file, "config");
    st_close(file);
    if (model_checkpoint_open(path, &checkpoint, &err) == TRM_OK) {
        fuzz_require(model_checkpoint_config(checkpoint)->tokens > 0, "a model without tokens");
        read_index(checkpoint);
        model_checkpoint_close(checkpoint);
    } else {
        fuzz_require(err.text[0] != '\0', "a refusal without a reason");
    }
    return 0;
}
