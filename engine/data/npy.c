/* npy.c - reads and writes .npy files: a magic, a header that is a Python dictionary, the items.
 * No state of its own. */
#include "engine/data/npy.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

static const uint8_t MAGIC[6] = {0x93, 'N', 'U', 'M', 'P', 'Y'};
enum { MAX_HEADER = 4096 }; /* one dictionary of three short entries; NumPy writes about 100 bytes */

/* The text after `key` and spaces in a dictionary, or NULL. */
static const char *value_of(const char *dictionary, const char *key) {
    const char *at = strstr(dictionary, key);
    if (!at)
        return NULL;
    at += strlen(key);
    return at + strspn(at, " ");
}

/* Reads 'descr': such as '<i4' or '|u1'. */
static trm_status parse_type(const char *path, const char *header, struct data_npy *array, trm_error *err) {
    const char *text = value_of(header, "'descr':");
    if (!text || text[0] != '\'')
        return trm_fail(err, TRM_FORMAT, "%s: the header has no 'descr'", path);
    const bool known = (text[1] == '<' || text[1] == '|') && (text[2] == 'i' || text[2] == 'u') &&
                       (text[3] == '1' || text[3] == '2' || text[3] == '4' || text[3] == '8') && text[4] == '\'';
    if (!known || (text[1] == '|' && text[3] != '1'))
        return trm_fail(err, TRM_UNSUPPORTED, "%s: not an array of little-endian integers", path);
    array->is_signed = text[2] == 'i';
    array->item_size = text[3] - '0';
    return TRM_OK;
}

/* Reads 'shape': such as (3,) or (3, 81). */
static trm_status parse_shape(const char *path, const char *header, struct data_npy *array, trm_error *err) {
    const char *text = value_of(header, "'shape':");
    if (!text || *text++ != '(')
        return trm_fail(err, TRM_FORMAT, "%s: the header has no 'shape'", path);
    array->count = 1;
    while (isdigit((unsigned char)*text)) {
        if (array->rank == DATA_NPY_MAX_RANK)
            return trm_fail(err, TRM_UNSUPPORTED, "%s: more than %d dimensions", path, DATA_NPY_MAX_RANK);
        size_t extent = 0;
        for (; isdigit((unsigned char)*text); text++) {
            if (__builtin_mul_overflow(extent, 10, &extent) ||
                __builtin_add_overflow(extent, (size_t)(*text - '0'), &extent))
                return trm_fail(err, TRM_FORMAT, "%s: an impossible shape", path);
        }
        if (__builtin_mul_overflow(array->count, extent, &array->count))
            return trm_fail(err, TRM_FORMAT, "%s: an impossible shape", path);
        array->shape[array->rank++] = extent;
        text += strspn(text, " L");
        if (*text == ',')
            text += 1 + strspn(text + 1, " ");
        else
            break;
    }
    if (*text != ')' || array->rank == 0)
        return trm_fail(err, TRM_FORMAT, "%s: the shape is malformed", path);
    return TRM_OK;
}

static trm_status parse_header(const char *path, struct data_npy *array, trm_error *err) {
    const uint8_t *bytes = array->file.bytes;
    const size_t size = array->file.size;
    if (size < 12 || memcmp(bytes, MAGIC, sizeof MAGIC) != 0)
        return trm_fail(err, TRM_FORMAT, "%s: not a .npy file", path);
    const int version = bytes[6];
    if (version < 1 || version > 3)
        return trm_fail(err, TRM_UNSUPPORTED, "%s: .npy version %d", path, version);

    const size_t start = version == 1 ? 10 : 12;
    size_t length = bytes[8] | (size_t)bytes[9] << 8;
    if (version > 1)
        length |= (size_t)bytes[10] << 16 | (size_t)bytes[11] << 24;
    if (length > size - start || length > MAX_HEADER)
        return trm_fail(err, TRM_FORMAT, "%s: the header is cut short or too long", path);
    char header[MAX_HEADER + 1];
    memcpy(header, bytes + start, length);
    header[length] = '\0';

    trm_status status = parse_type(path, header, array, err);
    if (status == TRM_OK)
        status = parse_shape(path, header, array, err);
    if (status != TRM_OK)
        return status;
    const char *order = value_of(header, "'fortran_order':");
    if (!order || strncmp(order, "False", 5) != 0)
        return trm_fail(err, TRM_UNSUPPORTED, "%s: not in C order", path);

    size_t wanted;
    if (__builtin_mul_overflow(array->count, (size_t)array->item_size, &wanted) || wanted != size - start - length)
        return trm_fail(err, TRM_FORMAT, "%s: the shape and the size of the file disagree", path);
    array->items = bytes + start + length;
    return TRM_OK;
}

trm_status data_npy_open(const char *path, struct data_npy *array, trm_error *err) {
    *array = (struct data_npy){0};
    trm_status status = trm_file_map(path, &array->file, err);
    if (status == TRM_OK)
        status = parse_header(path, array, err);
    if (status != TRM_OK)
        data_npy_close(array);
    return status;
}

void data_npy_close(struct data_npy *array) {
    trm_file_unmap(&array->file);
    *array = (struct data_npy){0};
}

int64_t data_npy_at(const struct data_npy *array, size_t index) {
    const uint8_t *item = array->items + index * (size_t)array->item_size;
    const int bits = 8 * array->item_size;
    uint64_t value = 0;
    for (int i = 0; i < array->item_size; i++)
        value |= (uint64_t)item[i] << (8 * i);
    if (array->is_signed && bits < 64 && value >> (bits - 1))
        value |= ~(uint64_t)0 << bits;
    return (int64_t)value;
}

trm_status data_npy_begin(struct trm_output *out, const char *path, enum data_npy_type type, int rank,
                          const size_t *shape, trm_error *err) {
    char header[128], extents[64];
    if (rank == 1)
        snprintf(extents, sizeof extents, "(%zu,)", shape[0]);
    else
        snprintf(extents, sizeof extents, "(%zu, %zu)", shape[0], shape[1]);
    /* Padded with spaces to a line end, so that the items begin at byte 128. */
    const int length = (int)sizeof header - 10;
    char entry[sizeof header];
    snprintf(entry, sizeof entry, "{'descr': '%s', 'fortran_order': False, 'shape': %s, }",
             type == DATA_NPY_U8 ? "|u1" : "<i4", extents);
    snprintf(header, sizeof header, "%-*s", length - 1, entry);

    const trm_status status = trm_output_open(out, path, err);
    if (status == TRM_OK) {
        fwrite(MAGIC, 1, sizeof MAGIC, out->stream);
        fwrite((const uint8_t[]){1, 0, (uint8_t)length, 0}, 1, 4, out->stream);
        fprintf(out->stream, "%s\n", header);
    }
    return status;
}

trm_status data_npy_save(const char *path, enum data_npy_type type, int rank, const size_t *shape, const void *items,
                         trm_error *err) {
    struct trm_output out = {0};
    trm_status status = data_npy_begin(&out, path, type, rank, shape, err);
    if (status == TRM_OK) {
        fwrite(items, type == DATA_NPY_U8 ? 1 : 4, shape[0] * (rank == 2 ? shape[1] : 1), out.stream);
        status = trm_output_commit(&out, err);
    }
    trm_output_close(&out);
    return status;
}
