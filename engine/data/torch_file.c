/* torch_file.c - see torch_file.h. libzip finds the entries (zip64 too) and checks their checksums; a compressed
 * one is refused before it is opened, so nothing comes out larger than it is in the file. */
#include "engine/data/torch_file.h"

#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zip.h>

#define PICKLE "/data.pkl"

struct data_torch_file {
    char *path;
    zip_t *zip;
    char prefix[256];                    /* of every entry's name: "checkpoint_step_100" */
    struct data_pickled_tensor *tensors; /* [count] */
    size_t count;
    zip_file_t *entry; /* of the tensor that is being read, or NULL */
};

/* ---- entries ---- */

/* The entry `prefix/name`, stored and of `size` bytes. */
static trm_status open_entry(const data_torch_file *file, const char *name, size_t size, zip_file_t **entry,
                             trm_error *err) {
    char full[sizeof file->prefix + 64];
    zip_stat_t info;
    snprintf(full, sizeof full, "%s%s", file->prefix, name);
    const zip_int64_t index = zip_name_locate(file->zip, full, ZIP_FL_ENC_RAW);
    if (index < 0 || zip_stat_index(file->zip, (zip_uint64_t)index, 0, &info) != 0)
        return trm_fail(err, TRM_FORMAT, "no entry %s", full);
    const zip_uint64_t needed = ZIP_STAT_SIZE | ZIP_STAT_COMP_SIZE | ZIP_STAT_COMP_METHOD | ZIP_STAT_ENCRYPTION_METHOD;
    if ((info.valid & needed) != needed || info.comp_method != ZIP_CM_STORE || info.encryption_method != ZIP_EM_NONE ||
        info.comp_size != info.size)
        return trm_fail(err, TRM_FORMAT, "%s is compressed or encrypted, which torch.save() does not do", full);
    if (info.size != size)
        return trm_fail(err, TRM_FORMAT, "%s has %llu bytes, its tensor %zu", full, (unsigned long long)info.size,
                        size);
    *entry = zip_fopen_index(file->zip, (zip_uint64_t)index, 0);
    return *entry ? TRM_OK : trm_fail(err, TRM_FORMAT, "%s: %s", full, zip_strerror(file->zip));
}

static trm_status read_bytes(zip_file_t *entry, void *out, size_t size, trm_error *err) {
    for (size_t done = 0; done < size;) {
        const zip_int64_t got = zip_fread(entry, (char *)out + done, size - done);
        if (got < 0)
            return trm_fail(err, TRM_FORMAT, "%s", zip_file_strerror(entry));
        if (got == 0)
            return trm_fail(err, TRM_FORMAT, "an entry is cut short");
        done += (size_t)got;
    }
    return TRM_OK;
}

/* At the end of an entry: the checksum is compared when there is nothing more to read. */
static trm_status check_end(zip_file_t *entry, trm_error *err) {
    char more;
    const zip_int64_t got = zip_fread(entry, &more, 1);
    if (got < 0)
        return trm_fail(err, TRM_FORMAT, "%s", zip_file_strerror(entry));
    return got == 0 ? TRM_OK : trm_fail(err, TRM_FORMAT, "an entry is longer than the archive says");
}

/* ---- opening ---- */

static trm_status open_zip(const char *path, zip_t **zip, trm_error *err) {
    int code = 0;
    *zip = zip_open(path, ZIP_RDONLY, &code);
    if (*zip)
        return TRM_OK;
    zip_error_t error;
    zip_error_init_with_code(&error, code);
    const bool unread = code == ZIP_ER_NOENT || code == ZIP_ER_OPEN || code == ZIP_ER_READ;
    trm_fail(err, unread ? TRM_IO : TRM_FORMAT, "as a zip archive: %s", zip_error_strerror(&error));
    zip_error_fini(&error);
    return unread ? TRM_IO : TRM_FORMAT;
}

/* Finds the one pickle; what is before "/data.pkl" in its name is the prefix of all others. */
static trm_status find_pickle(data_torch_file *file, size_t *size, trm_error *err) {
    const zip_int64_t entries = zip_get_num_entries(file->zip, 0);
    int pickles = 0;
    for (zip_int64_t i = 0; i < entries; i++) {
        const char *name = zip_get_name(file->zip, (zip_uint64_t)i, ZIP_FL_ENC_RAW);
        const size_t length = name ? strlen(name) : 0, end = strlen(PICKLE);
        zip_stat_t info;
        if (length < end || length - end >= sizeof file->prefix || strcmp(name + length - end, PICKLE) != 0)
            continue;
        if (zip_stat_index(file->zip, (zip_uint64_t)i, 0, &info) != 0 || !(info.valid & ZIP_STAT_SIZE))
            continue;
        memcpy(file->prefix, name, length - end);
        file->prefix[length - end] = '\0';
        *size = info.size;
        pickles++;
    }
    if (pickles != 1)
        return trm_fail(err, TRM_FORMAT, "%s a checkpoint of PyTorch has one data.pkl",
                        pickles ? "several pickles;" : "no pickle;");
    return *size <= DATA_PICKLE_MAX
               ? TRM_OK
               : trm_fail(err, TRM_FORMAT, "a pickle of %zu bytes, more than %d", *size, DATA_PICKLE_MAX);
}

static trm_status read_list(data_torch_file *file, trm_error *err) {
    zip_file_t *entry = NULL;
    size_t size = 0;
    trm_status status = find_pickle(file, &size, err);
    uint8_t *pickle = status == TRM_OK ? malloc(size + 1) : NULL;
    if (status == TRM_OK && !pickle)
        status = trm_fail_memory(err, size);
    if (status == TRM_OK)
        status = open_entry(file, PICKLE, size, &entry, err);
    if (status == TRM_OK)
        status = read_bytes(entry, pickle, size, err);
    if (status == TRM_OK)
        status = check_end(entry, err);
    if (status == TRM_OK)
        status = data_unpickle(pickle, size, &file->tensors, &file->count, err);
    if (entry)
        zip_fclose(entry);
    free(pickle);
    return status;
}

static trm_status open_tensor(const data_torch_file *file, const struct data_pickled_tensor *tensor, zip_file_t **entry,
                              trm_error *err) {
    char name[32];
    snprintf(name, sizeof name, "/data/%s", tensor->storage);
    return open_entry(file, name, tensor->count * st_dtype_size(tensor->dtype), entry, err);
}

/* Newer versions of PyTorch say in which order bytes are. */
static trm_status check_byte_order(const data_torch_file *file, trm_error *err) {
    static const char LITTLE[] = "little";
    char text[sizeof LITTLE] = "", name[sizeof file->prefix + 16];
    zip_file_t *entry;
    snprintf(name, sizeof name, "%s/byteorder", file->prefix);
    if (zip_name_locate(file->zip, name, ZIP_FL_ENC_RAW) < 0)
        return TRM_OK;
    trm_status status = open_entry(file, "/byteorder", strlen(LITTLE), &entry, err);
    if (status != TRM_OK)
        return status;
    status = read_bytes(entry, text, strlen(LITTLE), err);
    zip_fclose(entry);
    if (status == TRM_OK && strcmp(text, LITTLE) != 0)
        status = trm_fail(err, TRM_UNSUPPORTED, "values that are not little-endian");
    return status;
}

static trm_status open_file(data_torch_file *file, trm_error *err) {
    trm_status status = open_zip(file->path, &file->zip, err);
    if (status == TRM_OK)
        status = read_list(file, err);
    if (status == TRM_OK)
        status = check_byte_order(file, err);
    for (size_t i = 0; status == TRM_OK && i < file->count; i++) {
        zip_file_t *entry;
        status = open_tensor(file, &file->tensors[i], &entry, err);
        if (status == TRM_OK)
            zip_fclose(entry);
    }
    return status;
}

trm_status data_torch_open(const char *path, data_torch_file **out, trm_error *err) {
    *out = NULL;
    data_torch_file *file = calloc(1, sizeof *file);
    if (!file || !(file->path = strdup(path))) {
        free(file);
        return trm_fail_memory(err, sizeof *file);
    }
    trm_error why;
    trm_status status = open_file(file, &why);
    if (status != TRM_OK) {
        data_torch_close(file);
        return trm_fail(err, status, "%s: %s", path, why.text);
    }
    *out = file;
    return TRM_OK;
}

void data_torch_close(data_torch_file *file) {
    if (!file)
        return;
    if (file->entry)
        zip_fclose(file->entry);
    if (file->zip)
        zip_discard(file->zip);
    free(file->tensors);
    free(file->path);
    free(file);
}

size_t data_torch_count(const data_torch_file *file) {
    return file->count;
}

const struct data_pickled_tensor *data_torch_at(const data_torch_file *file, size_t index) {
    return &file->tensors[index];
}

/* ---- values ---- */

static trm_status begin(data_torch_file *file, const struct data_pickled_tensor *tensor, trm_error *err) {
    if (file->entry)
        zip_fclose(file->entry);
    file->entry = NULL;
    return open_tensor(file, tensor, &file->entry, err);
}

/* The next `count` values of the entry. */
static trm_status read_values(data_torch_file *file, const struct data_pickled_tensor *tensor, float *out, size_t count,
                              trm_error *err) {
    enum { PIECE = 2048 };
    double raw[PIECE]; /* the widest type */
    trm_status status = TRM_OK;
    for (size_t done = 0; status == TRM_OK && done < count;) {
        const size_t n = count - done < PIECE ? count - done : PIECE;
        const struct st_tensor piece = {.name = tensor->name, .dtype = tensor->dtype, .count = n, .data = raw};
        status = read_bytes(file->entry, raw, n * st_dtype_size(tensor->dtype), err);
        if (status == TRM_OK)
            status = st_copy_f32(&piece, out + done, err);
        for (size_t i = done; status == TRM_OK && i < done + n; i++)
            if (!isfinite(out[i]))
                status = trm_fail(err, TRM_FORMAT, "a value that is not finite");
        done += n;
    }
    return status;
}

trm_status data_torch_read(data_torch_file *file, size_t index, size_t first, float *out, size_t count,
                           trm_error *err) {
    const struct data_pickled_tensor *tensor = &file->tensors[index];
    trm_error why;
    trm_status status = first == 0 ? begin(file, tensor, &why) : TRM_OK;
    if (status == TRM_OK)
        status = read_values(file, tensor, out, count, &why);
    if (status == TRM_OK && first + count == tensor->count)
        status = check_end(file->entry, &why);
    return status == TRM_OK ? TRM_OK : trm_fail(err, status, "%s: %s: %s", file->path, tensor->name, why.text);
}
