/* fuzz_import.c - what a published checkpoint may be: the pickle in it, to which a fuzzer finds no way through the
 * archive's checksums, and the archive. Every value that the list of tensors promises must be readable or refused. */
#include <string.h>

#include "engine/data/torch_file.h"
#include "tests/fuzz/fuzz.h"

enum { PIECE = 4096, MOST_VALUES = 1 << 20 };

static void check_tensor(const struct data_pickled_tensor *tensor) {
    size_t count = 1;
    fuzz_require(tensor->name[0] != '\0' && tensor->storage[0] != '\0', "a tensor without a name");
    fuzz_require(strspn(tensor->storage, "0123456789") == strlen(tensor->storage), "a storage that is no number");
    fuzz_require(tensor->rank >= 0 && tensor->rank <= ST_MAX_RANK, "a rank out of bounds");
    for (int i = 0; i < tensor->rank; i++)
        count *= tensor->shape[i];
    fuzz_require(count == tensor->count && count > 0, "a count that is not the product of the shape");
}

static void read_pickle(const uint8_t *data, size_t size) {
    struct data_pickled_tensor *tensors;
    size_t count;
    trm_error err = {.text = ""};
    if (data_unpickle(data, size, &tensors, &count, &err) != TRM_OK) {
        fuzz_require(err.text[0] != '\0', "a refusal without a reason");
        return;
    }
    for (size_t i = 0; i < count; i++)
        check_tensor(&tensors[i]);
    free(tensors);
}

static void read_archive(const char *path) {
    float values[PIECE];
    data_torch_file *file;
    trm_error err = {.text = ""};
    if (data_torch_open(path, &file, &err) != TRM_OK) {
        fuzz_require(err.text[0] != '\0', "a refusal without a reason");
        return;
    }
    size_t left = MOST_VALUES; /* of an archive whose tensors share their values */
    for (size_t i = 0; i < data_torch_count(file); i++) {
        const struct data_pickled_tensor *tensor = data_torch_at(file, i);
        trm_status status = TRM_OK;
        check_tensor(tensor);
        for (size_t done = 0; status == TRM_OK && done < tensor->count && left > PIECE; left -= PIECE) {
            const size_t count = tensor->count - done < PIECE ? tensor->count - done : PIECE;
            status = data_torch_read(file, i, done, values, count, &err);
            done += count;
        }
    }
    data_torch_close(file);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    read_pickle(data, size);
    read_archive(fuzz_file(data, size));
    return 0;
}
