/* safetensors.c - the one place that turns bytes of a safetensors file into tensors and back.
 *
 * Layout of a file: 8 bytes little-endian header length, that many bytes of JSON
 * ({"__metadata__": {key: string}, name: {"dtype", "shape", "data_offsets": [begin, end]}}), data.
 * As in the reference implementation the tensors cover the data exactly, without holes, overlaps or
 * a tail; beyond it, every tensor must be aligned for its type, so that it can be used in place.
 *
 * An st_file is read-only after st_open(): any thread. A writer belongs to the thread that uses it. */
#include "engine/model/safetensors.h"

#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/file.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "safetensors data is used in place: little-endian only");

enum {
    PREFIX_SIZE = 8,
    /* Room for 100,000 tensors; parsed JSON takes many times its text, so a hostile file gets no more. */
    HEADER_MAX = 16 * 1024 * 1024
};

#define METADATA_KEY "__metadata__"

static const struct {
    const char *name;
    size_t size;
} dtypes[] = {
    [ST_F32] = {"F32", 4}, [ST_BF16] = {"BF16", 2}, [ST_F16] = {"F16", 2}, [ST_F64] = {"F64", 8},
    [ST_I32] = {"I32", 4}, [ST_I64] = {"I64", 8},   [ST_U8] = {"U8", 1},
};

enum { DTYPES = sizeof dtypes / sizeof dtypes[0] };

struct st_file {
    struct trm_file map;
    json_t *header;                   /* owns all names and metadata strings */
    const json_t *metadata;           /* inside header; NULL if there is none */
    struct st_tensor *tensors;        /* [count] by position in the file */
    const struct st_tensor **by_name; /* [count] the same, sorted by name */
    size_t count;
};

size_t st_dtype_size(enum st_dtype dtype) {
    return dtypes[dtype].size;
}

/* Stores the number of elements of a shape and of their bytes; false if they do not fit a size_t. */
static bool shape_size(int rank, const size_t *shape, enum st_dtype dtype, size_t *count, size_t *bytes) {
    size_t n = 1;
    for (int i = 0; i < rank; i++)
        if (__builtin_mul_overflow(n, shape[i], &n))
            return false;
    *count = n;
    return !__builtin_mul_overflow(n, st_dtype_size(dtype), bytes);
}

static bool parse_size(const json_t *value, size_t *out) {
    if (!json_is_integer(value) || json_integer_value(value) < 0)
        return false;
    *out = (size_t)json_integer_value(value);
    return true;
}

static bool parse_dtype(const char *name, enum st_dtype *out) {
    for (int i = 0; name && i < DTYPES; i++)
        if (!strcmp(name, dtypes[i].name)) {
            *out = (enum st_dtype)i;
            return true;
        }
    return false;
}

/* One header entry. `data` is the start of the data part, `data_size` its length. */
static trm_status parse_tensor(const char *name, const json_t *info, const uint8_t *data, size_t data_size,
                               struct st_tensor *tensor, trm_error *err) {
    tensor->name = name;
    if (!parse_dtype(json_string_value(json_object_get(info, "dtype")), &tensor->dtype))
        return trm_fail(err, TRM_FORMAT, "tensor \"%.80s\": no dtype, or one that is not supported", name);

    const json_t *shape = json_object_get(info, "shape");
    if (!json_is_array(shape) || json_array_size(shape) > ST_MAX_RANK)
        return trm_fail(err, TRM_FORMAT, "tensor \"%.80s\": shape is not an array of at most %d sizes", name,
                        ST_MAX_RANK);
    tensor->rank = (int)json_array_size(shape);
    for (int i = 0; i < tensor->rank; i++)
        if (!parse_size(json_array_get(shape, (size_t)i), &tensor->shape[i]))
            return trm_fail(err, TRM_FORMAT, "tensor \"%.80s\": shape[%d] is not a size", name, i);

    size_t bytes;
    if (!shape_size(tensor->rank, tensor->shape, tensor->dtype, &tensor->count, &bytes))
        return trm_fail(err, TRM_FORMAT, "tensor \"%.80s\": shape is too large", name);

    const json_t *offsets = json_object_get(info, "data_offsets");
    size_t begin, end;
    if (json_array_size(offsets) != 2 || !parse_size(json_array_get(offsets, 0), &begin) ||
        !parse_size(json_array_get(offsets, 1), &end))
        return trm_fail(err, TRM_FORMAT, "tensor \"%.80s\": data_offsets is not [begin, end]", name);
    if (begin > end || end > data_size)
        return trm_fail(err, TRM_FORMAT, "tensor \"%.80s\": data_offsets [%zu, %zu] outside the %zu bytes of data",
                        name, begin, end, data_size);
    if (end - begin != bytes)
        return trm_fail(err, TRM_FORMAT, "tensor \"%.80s\": %zu bytes of data, its shape needs %zu", name, end - begin,
                        bytes);
    tensor->data = data + begin;
    if ((uintptr_t)tensor->data % st_dtype_size(tensor->dtype))
        return trm_fail(err, TRM_FORMAT, "tensor \"%.80s\": data is not aligned for %s", name,
                        dtypes[tensor->dtype].name);
    return TRM_OK;
}

static const uint8_t *tensor_end(const struct st_tensor *tensor) {
    return (const uint8_t *)tensor->data + tensor->count * st_dtype_size(tensor->dtype);
}

/* By position; an empty tensor comes before the one that begins at the same place. */
static int compare_position(const void *a, const void *b) {
    const struct st_tensor *x = a, *y = b;
    if (x->data != y->data)
        return x->data < y->data ? -1 : 1;
    return (tensor_end(x) > tensor_end(y)) - (tensor_end(x) < tensor_end(y));
}

static int compare_name(const void *a, const void *b) {
    const struct st_tensor *const *x = a, *const *y = b;
    return strcmp((*x)->name, (*y)->name);
}

static int compare_key(const void *key, const void *element) {
    const struct st_tensor *const *tensor = element;
    return strcmp(key, (*tensor)->name);
}

/* `tensors` are sorted by position: each must begin where the one before it ends. */
static trm_status check_coverage(const struct st_file *file, const uint8_t *data, trm_error *err) {
    const uint8_t *end = data;
    for (size_t i = 0; i < file->count; i++) {
        const struct st_tensor *tensor = &file->tensors[i];
        if (tensor->data != end)
            return trm_fail(err, TRM_FORMAT, "tensor \"%.80s\": its data %s", tensor->name,
                            (const uint8_t *)tensor->data < end ? "overlaps another tensor's" : "comes after a hole");
        end = tensor_end(tensor);
    }
    size_t tail = file->map.size - (size_t)(end - file->map.bytes);
    if (tail)
        return trm_fail(err, TRM_FORMAT, "%zu bytes after the last tensor", tail);
    return TRM_OK;
}

static trm_status parse_metadata(struct st_file *file, trm_error *err) {
    json_t *metadata = json_object_get(file->header, METADATA_KEY);
    if (!metadata)
        return TRM_OK;
    if (!json_is_object(metadata))
        return trm_fail(err, TRM_FORMAT, METADATA_KEY " is not an object");
    const char *key;
    json_t *value;
    json_object_foreach(metadata, key, value) {
        if (!json_is_string(value))
            return trm_fail(err, TRM_FORMAT, METADATA_KEY ": \"%.80s\" is not a string", key);
    }
    file->metadata = metadata;
    return TRM_OK;
}

static trm_status parse_tensors(struct st_file *file, const uint8_t *data, trm_error *err) {
    size_t entries = json_object_size(file->header);
    size_t bytes = entries * sizeof *file->tensors; /* entries < HEADER_MAX: no overflow */
    file->tensors = calloc(entries + 1, sizeof *file->tensors);
    file->by_name = calloc(entries + 1, sizeof *file->by_name);
    if (!file->tensors || !file->by_name)
        return trm_fail_memory(err, bytes);

    const char *name;
    json_t *info;
    json_object_foreach(file->header, name, info) {
        if (!strcmp(name, METADATA_KEY))
            continue;
        struct st_tensor *tensor = &file->tensors[file->count];
        trm_status status =
            parse_tensor(name, info, data, file->map.size - (size_t)(data - file->map.bytes), tensor, err);
        if (status)
            return status;
        file->count++;
    }

    qsort(file->tensors, file->count, sizeof *file->tensors, compare_position);
    for (size_t i = 0; i < file->count; i++)
        file->by_name[i] = &file->tensors[i];
    qsort(file->by_name, file->count, sizeof *file->by_name, compare_name);
    return check_coverage(file, data, err);
}

static trm_status parse_file(struct st_file *file, trm_error *err) {
    uint64_t length = 0;
    if (file->map.size < PREFIX_SIZE)
        return trm_fail(err, TRM_FORMAT, "too short for a safetensors file");
    for (int i = 0; i < PREFIX_SIZE; i++)
        length |= (uint64_t)file->map.bytes[i] << (8 * i);
    if (length > HEADER_MAX || length > file->map.size - PREFIX_SIZE)
        return trm_fail(err, TRM_FORMAT, "a header of %llu bytes is too long%s", (unsigned long long)length,
                        length > HEADER_MAX ? "" : ": the file is cut short");

    json_error_t json_error;
    file->header = json_loadb((const char *)file->map.bytes + PREFIX_SIZE, length, JSON_REJECT_DUPLICATES, &json_error);
    if (!file->header)
        return trm_fail(err, TRM_FORMAT, "header is not JSON: %s", json_error.text);
    if (!json_is_object(file->header))
        return trm_fail(err, TRM_FORMAT, "header is not a JSON object");

    trm_status status = parse_metadata(file, err);
    if (status)
        return status;
    return parse_tensors(file, file->map.bytes + PREFIX_SIZE + length, err);
}

trm_status st_open(const char *path, st_file **out, trm_error *err) {
    *out = NULL;
    struct st_file *file = calloc(1, sizeof *file);
    if (!file)
        return trm_fail_memory(err, sizeof *file);

    trm_error why;
    trm_status status = trm_file_map(path, &file->map, err);
    if (status == TRM_OK) {
        status = parse_file(file, &why);
        if (status != TRM_OK)
            trm_fail(err, status, "%s: %s", path, why.text);
    }
    if (status != TRM_OK) {
        st_close(file);
        return status;
    }
    *out = file;
    return TRM_OK;
}

void st_close(st_file *file) {
    if (!file)
        return;
    free(file->by_name);
    free(file->tensors);
    json_decref(file->header);
    trm_file_unmap(&file->map);
    free(file);
}

const struct st_tensor *st_find(const st_file *file, const char *name) {
    const struct st_tensor **found = bsearch(name, file->by_name, file->count, sizeof *file->by_name, compare_key);
    return found ? *found : NULL;
}

const char *st_metadata(const st_file *file, const char *key) {
    return json_string_value(json_object_get(file->metadata, key));
}

size_t st_count(const st_file *file) {
    return file->count;
}

const struct st_tensor *st_at(const st_file *file, size_t index) {
    return index < file->count ? &file->tensors[index] : NULL;
}

static float f32_of_bits(uint32_t bits) {
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static float f32_of_f16(uint16_t half) {
    uint32_t sign = (uint32_t)(half & 0x8000) << 16;
    uint32_t exponent = half >> 10 & 0x1f, fraction = half & 0x3ff;
    if (exponent == 0) /* zero and subnormals: fraction * 2^-24 */
        return copysignf(ldexpf((float)fraction, -24), f32_of_bits(sign | 0x3f800000));
    if (exponent == 31) /* infinity and NaN */
        return f32_of_bits(sign | 0x7f800000 | fraction << 13);
    return f32_of_bits(sign | (exponent + 127 - 15) << 23 | fraction << 13);
}

trm_status st_copy_f32(const struct st_tensor *tensor, float *out, trm_error *err) {
    size_t count = tensor->count;
    switch (tensor->dtype) {
    case ST_F32:
        if (count)
            memcpy(out, tensor->data, count * sizeof *out);
        return TRM_OK;
    case ST_BF16:
        for (size_t i = 0; i < count; i++)
            out[i] = f32_of_bits((uint32_t)((const uint16_t *)tensor->data)[i] << 16);
        return TRM_OK;
    case ST_F16:
        for (size_t i = 0; i < count; i++)
            out[i] = f32_of_f16(((const uint16_t *)tensor->data)[i]);
        return TRM_OK;
    case ST_F64:
        for (size_t i = 0; i < count; i++)
            out[i] = (float)((const double *)tensor->data)[i];
        return TRM_OK;
    case ST_I32:
    case ST_I64:
    case ST_U8:
        break;
    }
    return trm_fail(err, TRM_FORMAT, "tensor \"%.80s\": %s where floating-point values are expected", tensor->name,
                    dtypes[tensor->dtype].name);
}

/* Writing. */

/* What is to be written: data in memory, or read as it is written. */
struct addition {
    struct st_tensor tensor; /* the name is ours, data is not */
    st_read *read;           /* NULL: from tensor.data */
    void *context;
};

struct st_writer {
    json_t *metadata;
    struct addition *additions; /* [count] in the order they were made */
    size_t count, capacity;
};

trm_status st_writer_create(st_writer **out, trm_error *err) {
    *out = NULL;
    struct st_writer *writer = calloc(1, sizeof *writer);
    if (!writer)
        return trm_fail_memory(err, sizeof *writer);
    writer->metadata = json_object();
    if (!writer->metadata) {
        free(writer);
        return trm_fail_memory(err, sizeof *writer);
    }
    *out = writer;
    return TRM_OK;
}

void st_writer_destroy(st_writer *writer) {
    if (!writer)
        return;
    for (size_t i = 0; i < writer->count; i++)
        free((char *)writer->additions[i].tensor.name);
    free(writer->additions);
    json_decref(writer->metadata);
    free(writer);
}

trm_status st_add_metadata(st_writer *writer, const char *key, const char *value, trm_error *err) {
    if (json_object_set_new(writer->metadata, key, json_string(value)))
        return trm_fail(err, TRM_INVALID, "metadata \"%.80s\" is not UTF-8, or memory ran out", key);
    return TRM_OK;
}

static trm_status add(st_writer *writer, const char *name, enum st_dtype dtype, int rank, const size_t *shape,
                      struct addition addition, trm_error *err) {
    if (!strcmp(name, METADATA_KEY))
        return trm_fail(err, TRM_INVALID, "no tensor can be named " METADATA_KEY);
    for (size_t i = 0; i < writer->count; i++)
        if (!strcmp(writer->additions[i].tensor.name, name))
            return trm_fail(err, TRM_INVALID, "two tensors named \"%.80s\"", name);
    if (rank < 0 || rank > ST_MAX_RANK)
        return trm_fail(err, TRM_INVALID, "tensor \"%.80s\": rank %d", name, rank);

    struct st_tensor *tensor = &addition.tensor;
    tensor->dtype = dtype;
    tensor->rank = rank;
    for (int i = 0; i < rank; i++)
        tensor->shape[i] = shape[i];
    size_t bytes;
    if (!shape_size(rank, shape, dtype, &tensor->count, &bytes))
        return trm_fail(err, TRM_INVALID, "tensor \"%.80s\": shape is too large", name);

    if (writer->count == writer->capacity) {
        size_t capacity = writer->capacity ? 2 * writer->capacity : 64;
        struct addition *grown = reallocarray(writer->additions, capacity, sizeof *grown);
        if (!grown)
            return trm_fail_memory(err, capacity * sizeof *grown);
        writer->additions = grown;
        writer->capacity = capacity;
    }
    tensor->name = strdup(name);
    if (!tensor->name)
        return trm_fail_memory(err, strlen(name) + 1);
    writer->additions[writer->count++] = addition;
    return TRM_OK;
}

trm_status st_add(st_writer *writer, const char *name, enum st_dtype dtype, int rank, const size_t *shape,
                  const void *data, trm_error *err) {
    return add(writer, name, dtype, rank, shape, (struct addition){.tensor.data = data}, err);
}

trm_status st_add_stream(st_writer *writer, const char *name, enum st_dtype dtype, int rank, const size_t *shape,
                         st_read *read, void *context, trm_error *err) {
    return add(writer, name, dtype, rank, shape, (struct addition){.read = read, .context = context}, err);
}

/* The header entry of a tensor whose data begins at `begin`; NULL when memory ran out. */
static json_t *tensor_info(const struct st_tensor *tensor, size_t begin, size_t end) {
    json_t *shape = json_array();
    for (int i = 0; i < tensor->rank; i++)
        if (json_array_append_new(shape, json_integer((json_int_t)tensor->shape[i]))) {
            json_decref(shape);
            return NULL;
        }
    return json_pack("{s:s, s:o, s:[I, I]}", "dtype", dtypes[tensor->dtype].name, "shape", shape, "data_offsets",
                     (json_int_t)begin, (json_int_t)end);
}

/* The tensors in the order of their data: wide types first, so that each is aligned without holes,
 * and as they were added within a type. order: [count]. */
static void order_tensors(const struct st_writer *writer, const struct addition **order) {
    size_t n = 0;
    for (size_t size = 8; size >= 1; size /= 2)
        for (size_t i = 0; i < writer->count; i++)
            if (st_dtype_size(writer->additions[i].tensor.dtype) == size)
                order[n++] = &writer->additions[i];
}

/* Prefix and padded JSON of a file whose tensors lie in `order`. The caller frees *header. */
static trm_status build_header(const struct st_writer *writer, const struct addition **order, char **header,
                               size_t *size, trm_error *err) {
    trm_status status = TRM_OK;
    char *text = NULL;
    *header = NULL;
    json_t *root = json_object();
    if (!root)
        return trm_fail_memory(err, HEADER_MAX);
    if (json_object_size(writer->metadata) && json_object_set(root, METADATA_KEY, writer->metadata)) {
        status = trm_fail_memory(err, HEADER_MAX);
        goto cleanup;
    }
    size_t begin = 0;
    for (size_t i = 0; i < writer->count; i++) {
        const struct st_tensor *tensor = &order[i]->tensor;
        size_t end;
        if (__builtin_add_overflow(begin, tensor->count * st_dtype_size(tensor->dtype), &end)) {
            status = trm_fail(err, TRM_INVALID, "the tensors are too large for one file");
            goto cleanup;
        }
        if (json_object_set_new(root, tensor->name, tensor_info(tensor, begin, end))) {
            status = trm_fail(err, TRM_INVALID, "tensor name \"%.80s\" is not UTF-8, or memory ran out", tensor->name);
            goto cleanup;
        }
        begin = end;
    }

    text = json_dumps(root, JSON_COMPACT);
    if (!text) {
        status = trm_fail_memory(err, HEADER_MAX);
        goto cleanup;
    }
    size_t length = strlen(text), padded = (length + PREFIX_SIZE - 1) / PREFIX_SIZE * PREFIX_SIZE;
    if (padded > HEADER_MAX) {
        status = trm_fail(err, TRM_INVALID, "a header of %zu bytes is too long", padded);
        goto cleanup;
    }
    *size = PREFIX_SIZE + padded;
    *header = malloc(*size);
    if (!*header) {
        status = trm_fail_memory(err, *size);
        goto cleanup;
    }
    uint64_t prefix = padded;
    memcpy(*header, &prefix, PREFIX_SIZE);
    memcpy(*header + PREFIX_SIZE, text, length);
    memset(*header + PREFIX_SIZE + length, ' ', padded - length);

cleanup:
    free(text);
    json_decref(root);
    return status;
}

static trm_status write_stream(struct trm_output *out, const struct addition *addition, size_t size, trm_error *err) {
    enum { PIECE = 1 << 18 };
    void *piece = malloc(PIECE);
    trm_status status = piece ? TRM_OK : trm_fail_memory(err, PIECE);
    for (size_t offset = 0; status == TRM_OK && offset < size; offset += PIECE) {
        const size_t bytes = size - offset < PIECE ? size - offset : PIECE;
        status = addition->read(addition->context, offset, piece, bytes, err);
        if (status == TRM_OK && fwrite(piece, 1, bytes, out->stream) != bytes)
            status = trm_fail(err, TRM_IO, "%s: %s", out->path, strerror(errno));
    }
    free(piece);
    return status;
}

static trm_status write_content(struct trm_output *out, const char *header, size_t header_size,
                                const struct addition **order, size_t count, trm_error *err) {
    trm_status status = TRM_OK;
    bool written = fwrite(header, 1, header_size, out->stream) == header_size;
    for (size_t i = 0; written && status == TRM_OK && i < count; i++) {
        const struct st_tensor *tensor = &order[i]->tensor;
        const size_t bytes = tensor->count * st_dtype_size(tensor->dtype);
        if (order[i]->read)
            status = write_stream(out, order[i], bytes, err);
        else
            written = bytes == 0 || fwrite(tensor->data, 1, bytes, out->stream) == bytes;
    }
    return written ? status : trm_fail(err, TRM_IO, "%s: %s", out->path, strerror(errno));
}

trm_status st_write(st_writer *writer, const char *path, trm_error *err) {
    char *header = NULL;
    size_t header_size = 0;
    struct trm_output out = {0};
    const struct addition **order = calloc(writer->count + 1, sizeof *order);
    if (!order)
        return trm_fail_memory(err, (writer->count + 1) * sizeof *order);
    order_tensors(writer, order);
    trm_status status = build_header(writer, order, &header, &header_size, err);
    if (status == TRM_OK)
        status = trm_output_open(&out, path, err);
    if (status == TRM_OK)
        status = write_content(&out, header, header_size, order, writer->count, err);
    if (status == TRM_OK)
        status = trm_output_commit(&out, err);
    trm_output_close(&out);
    free(header);
    free(order);
    return status;
}
