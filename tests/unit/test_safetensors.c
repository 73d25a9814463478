/* test_safetensors.c - files survive a round trip, hostile files are refused, writes are atomic. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "engine/model/safetensors.h"

#include <dirent.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

/* Every test gets an empty directory and the path of a file in it. */
struct place {
    char directory[64];
    char path[96];
};

static int make_place(void **state) {
    struct place *place = calloc(1, sizeof *place);
    if (!place)
        return -1;
    *state = place;
    strcpy(place->directory, "/tmp/test_safetensors.XXXXXX");
    if (!mkdtemp(place->directory))
        return -1;
    snprintf(place->path, sizeof place->path, "%s/file.safetensors", place->directory);
    return 0;
}

static int remove_place(void **state) {
    struct place *place = *state;
    unlink(place->path);
    int failed = rmdir(place->directory); /* fails if a test left anything else behind */
    free(place);
    return failed;
}

static void write_bytes(const char *path, const void *bytes, size_t size) {
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, size, file), size);
    assert_int_equal(fclose(file), 0);
}

/* Reads a whole file; the caller frees it. */
static uint8_t *read_bytes(const char *path, size_t *size) {
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    assert_int_equal(fseek(file, 0, SEEK_END), 0);
    long end = ftell(file);
    assert_true(end > 0);
    rewind(file);
    uint8_t *bytes = malloc((size_t)end);
    assert_non_null(bytes);
    assert_int_equal(fread(bytes, 1, (size_t)end, file), (size_t)end);
    fclose(file);
    *size = (size_t)end;
    return bytes;
}

/* Writes a file of a header, padded to 8 bytes, and `data_size` zero bytes. */
static void write_header(const char *path, const char *header, size_t data_size) {
    size_t padded = (strlen(header) + 7) / 8 * 8;
    char *bytes = calloc(1, 8 + padded + data_size + 1);
    assert_non_null(bytes);
    uint64_t prefix = padded;
    memcpy(bytes, &prefix, 8);
    snprintf(bytes + 8, padded + 1, "%-*s", (int)padded, header);
    write_bytes(path, bytes, 8 + padded + data_size);
    free(bytes);
}

static st_writer *new_writer(void) {
    st_writer *writer;
    assert_int_equal(st_writer_create(&writer, NULL), TRM_OK);
    return writer;
}

static const float matrix[] = {1, -2, 3.5f, 0, 1e-30f, 6};

/* A small file with one matrix and one metadata string. */
static void write_small(const char *path) {
    st_writer *writer = new_writer();
    assert_int_equal(st_add_metadata(writer, "kind", "small", NULL), TRM_OK);
    assert_int_equal(st_add(writer, "matrix", ST_F32, 2, (size_t[]){3, 2}, matrix, NULL), TRM_OK);
    assert_int_equal(st_write(writer, path, NULL), TRM_OK);
    st_writer_destroy(writer);
}

static void what_is_written_is_read_back(void **state) {
    const struct place *place = *state;
    const uint8_t bytes[] = {1, 2, 3};
    const int64_t scalar = -5;
    const int32_t ints[] = {7, -100};
    const double wide[] = {0.1, -0.2};
    const uint16_t halves[] = {0x3c00};
    const char *text = "{\"quote\": \"\\u00e9 \xc3\xa9\"}\n";
    trm_error err;

    st_writer *writer = new_writer();
    assert_int_equal(st_add_metadata(writer, "json", text, &err), TRM_OK);
    assert_int_equal(st_add_metadata(writer, "empty", "", &err), TRM_OK);
    /* The narrow types come first, so data in this order would be misaligned. */
    assert_int_equal(st_add(writer, "bytes", ST_U8, 1, (size_t[]){3}, bytes, &err), TRM_OK);
    assert_int_equal(st_add(writer, "half", ST_F16, 1, (size_t[]){1}, halves, &err), TRM_OK);
    assert_int_equal(st_add(writer, "matrix", ST_F32, 2, (size_t[]){3, 2}, matrix, &err), TRM_OK);
    assert_int_equal(st_add(writer, "none", ST_F32, 2, (size_t[]){0, 4}, NULL, &err), TRM_OK);
    assert_int_equal(st_add(writer, "ints", ST_I32, 1, (size_t[]){2}, ints, &err), TRM_OK);
    assert_int_equal(st_add(writer, "scalar", ST_I64, 0, NULL, &scalar, &err), TRM_OK);
    assert_int_equal(st_add(writer, "wide", ST_F64, 1, (size_t[]){2}, wide, &err), TRM_OK);
    assert_int_equal(st_add(writer, "half too", ST_BF16, 1, (size_t[]){1}, halves, &err), TRM_OK);
    assert_int_equal(st_write(writer, place->path, &err), TRM_OK);
    st_writer_destroy(writer);

    const struct {
        const char *name;
        enum st_dtype dtype;
        int rank;
        size_t shape[2], count;
        const void *data;
    } expected[] = {
        {"bytes", ST_U8, 1, {3}, 3, bytes},       {"half", ST_F16, 1, {1}, 1, halves},
        {"matrix", ST_F32, 2, {3, 2}, 6, matrix}, {"none", ST_F32, 2, {0, 4}, 0, NULL},
        {"ints", ST_I32, 1, {2}, 2, ints},        {"scalar", ST_I64, 0, {0}, 1, &scalar},
        {"wide", ST_F64, 1, {2}, 2, wide},        {"half too", ST_BF16, 1, {1}, 1, halves},
    };
    const size_t count = sizeof expected / sizeof expected[0];
    st_file *file;
    assert_int_equal(st_open(place->path, &file, &err), TRM_OK);
    assert_int_equal(st_count(file), count);
    assert_string_equal(st_metadata(file, "json"), text);
    assert_string_equal(st_metadata(file, "empty"), "");
    assert_null(st_metadata(file, "other"));
    for (size_t i = 0; i < count; i++) {
        const struct st_tensor *tensor = st_find(file, expected[i].name);
        assert_non_null(tensor);
        assert_string_equal(tensor->name, expected[i].name);
        assert_int_equal(tensor->dtype, expected[i].dtype);
        assert_int_equal(tensor->rank, expected[i].rank);
        assert_int_equal(tensor->count, expected[i].count);
        for (int d = 0; d < tensor->rank; d++)
            assert_int_equal(tensor->shape[d], expected[i].shape[d]);
        assert_int_equal((uintptr_t)tensor->data % st_dtype_size(tensor->dtype), 0);
        if (tensor->count)
            assert_memory_equal(tensor->data, expected[i].data, tensor->count * st_dtype_size(tensor->dtype));
    }
    assert_null(st_find(file, "matri"));
    assert_null(st_find(file, "__metadata__"));
    assert_null(st_at(file, count));
    for (size_t i = 1; i < count; i++)
        assert_true(st_at(file, i - 1)->data <= st_at(file, i)->data);
    st_close(file);
}

/* A tensor of which value i is i + first; reading ends with an error behind `limit` bytes. */
struct ramp {
    size_t first, limit, read;
};

static trm_status read_ramp(void *context, size_t offset, void *bytes, size_t size, trm_error *err) {
    struct ramp *ramp = context;
    assert_int_equal(offset, ramp->read);
    assert_int_equal(size % sizeof(int64_t), 0);
    if (offset + size > ramp->limit)
        return trm_fail(err, TRM_FULL, "behind the limit");
    for (size_t i = 0; i < size / sizeof(int64_t); i++)
        ((int64_t *)bytes)[i] = (int64_t)(ramp->first + offset / sizeof(int64_t) + i);
    ramp->read += size;
    return TRM_OK;
}

static void data_that_is_read_while_it_is_written_comes_in_order(void **state) {
    const struct place *place = *state;
    enum { COUNT = 100003 }; /* several pieces and a rest */
    struct ramp big = {.first = 5, .limit = SIZE_MAX}, small = {.first = 7, .limit = SIZE_MAX};
    trm_error err;
    st_writer *writer = new_writer();
    assert_int_equal(st_add(writer, "matrix", ST_F32, 2, (size_t[]){3, 2}, matrix, &err), TRM_OK);
    assert_int_equal(st_add_stream(writer, "big", ST_I64, 1, (size_t[]){COUNT}, read_ramp, &big, &err), TRM_OK);
    assert_int_equal(st_add_stream(writer, "small", ST_I64, 0, NULL, read_ramp, &small, &err), TRM_OK);
    assert_int_equal(st_add_stream(writer, "none", ST_I64, 1, (size_t[]){0}, NULL, NULL, &err), TRM_OK);
    assert_int_equal(st_add_stream(writer, "big", ST_I64, 0, NULL, read_ramp, &big, &err), TRM_INVALID);
    if (st_write(writer, place->path, &err) != TRM_OK)
        fail_msg("%s", err.text);
    st_writer_destroy(writer);

    st_file *file;
    assert_int_equal(st_open(place->path, &file, &err), TRM_OK);
    const int64_t *values = st_find(file, "big")->data;
    for (int64_t i = 0; i < COUNT; i++)
        assert_int_equal(values[i], 5 + i);
    assert_int_equal(*(const int64_t *)st_find(file, "small")->data, 7);
    assert_int_equal(st_find(file, "none")->count, 0);
    assert_memory_equal(st_find(file, "matrix")->data, matrix, sizeof matrix);
    st_close(file);
}

static void data_that_cannot_be_read_leaves_the_old_file(void **state) {
    const struct place *place = *state;
    struct ramp ramp = {.limit = 400000};
    trm_error err;
    write_small(place->path);
    st_writer *writer = new_writer();
    assert_int_equal(st_add_stream(writer, "big", ST_I64, 1, (size_t[]){100000}, read_ramp, &ramp, &err), TRM_OK);
    assert_int_equal(st_write(writer, place->path, &err), TRM_FULL);
    assert_string_equal(err.text, "behind the limit");
    st_writer_destroy(writer);
    st_file *file;
    assert_int_equal(st_open(place->path, &file, &err), TRM_OK);
    assert_non_null(st_find(file, "matrix"));
    st_close(file);
}

static void a_file_without_tensors_is_valid(void **state) {
    const struct place *place = *state;
    st_writer *writer = new_writer();
    assert_int_equal(st_write(writer, place->path, NULL), TRM_OK);
    st_writer_destroy(writer);
    st_file *file;
    assert_int_equal(st_open(place->path, &file, NULL), TRM_OK);
    assert_int_equal(st_count(file), 0);
    assert_null(st_find(file, "x"));
    assert_null(st_metadata(file, "x"));
    st_close(file);
}

static void written_bytes_follow_the_format(void **state) {
    const struct place *place = *state;
    write_small(place->path);
    const char *header = "{\"__metadata__\":{\"kind\":\"small\"},"
                         "\"matrix\":{\"dtype\":\"F32\",\"shape\":[3,2],\"data_offsets\":[0,24]}}";
    size_t size, padded = (strlen(header) + 7) / 8 * 8;
    uint8_t *bytes = read_bytes(place->path, &size);
    assert_int_equal(size, 8 + padded + sizeof matrix);
    assert_int_equal(bytes[0], padded);
    for (int i = 1; i < 8; i++)
        assert_int_equal(bytes[i], 0);
    assert_memory_equal(bytes + 8, header, strlen(header));
    for (size_t i = 8 + strlen(header); i < 8 + padded; i++)
        assert_int_equal(bytes[i], ' ');
    assert_memory_equal(bytes + 8 + padded, matrix, sizeof matrix);
    free(bytes);
}

static void conversion_to_f32_is_exact(void **state) {
    (void)state;
    const uint16_t f16[] = {0x3c00, 0xc000, 0x0000, 0x8000, 0x0001, 0x83ff, 0x0400, 0x7bff, 0x7c00, 0xfc00, 0x3555};
    const float f16_values[] = {1,        -2,    0,        -0.0f,     0x1p-24f,   -0x3ffp-24f,
                                0x1p-14f, 65504, INFINITY, -INFINITY, 0x1.554p-2f};
    const uint16_t bf16[] = {0x3f80, 0xc000, 0x8000, 0x0001, 0x7f80, 0x3eab};
    const float bf16_values[] = {1, -2, -0.0f, 0x1p-133f, INFINITY, 0x1.56p-2f};
    const double f64[] = {0.1, -0.0};
    const float f64_values[] = {0.1f, -0.0f};
    float out[11];

    struct st_tensor tensor = {.name = "t", .dtype = ST_F16, .count = 11, .data = f16};
    assert_int_equal(st_copy_f32(&tensor, out, NULL), TRM_OK);
    assert_memory_equal(out, f16_values, sizeof f16_values);
    tensor = (struct st_tensor){.name = "t", .dtype = ST_BF16, .count = 6, .data = bf16};
    assert_int_equal(st_copy_f32(&tensor, out, NULL), TRM_OK);
    assert_memory_equal(out, bf16_values, sizeof bf16_values);
    tensor = (struct st_tensor){.name = "t", .dtype = ST_F64, .count = 2, .data = f64};
    assert_int_equal(st_copy_f32(&tensor, out, NULL), TRM_OK);
    assert_memory_equal(out, f64_values, sizeof f64_values);
    const uint16_t nan_bits = 0x7e01;
    tensor = (struct st_tensor){.name = "t", .dtype = ST_F16, .count = 1, .data = &nan_bits};
    assert_int_equal(st_copy_f32(&tensor, out, NULL), TRM_OK);
    assert_true(isnan(out[0]));
}

static void integers_are_not_converted_to_f32(void **state) {
    (void)state;
    const int64_t value = 1;
    const enum st_dtype integers[] = {ST_I32, ST_I64, ST_U8};
    for (int i = 0; i < 3; i++) {
        float out = 5;
        struct st_tensor tensor = {.name = "number", .dtype = integers[i], .count = 1, .data = &value};
        trm_error err;
        assert_int_equal(st_copy_f32(&tensor, &out, &err), TRM_FORMAT);
        assert_non_null(strstr(err.text, "number"));
        assert_true(out == 5);
    }
}

#define T(dtype, shape, offsets) "{\"dtype\":\"" dtype "\",\"shape\":" shape ",\"data_offsets\":" offsets "}"

static void hostile_headers_are_refused_with_a_reason(void **state) {
    const struct place *place = *state;
    static const struct {
        const char *header;
        size_t data_size;
        const char *reason; /* part of the message */
    } files[] = {
        {"", 0, "not JSON"},
        {"{\"a\":", 0, "not JSON"},
        {"{} x", 0, "not JSON"},
        {"[]", 0, "not a JSON object"},
        {"{\"a\":3}", 0, "dtype"},
        {"{\"a\":{}}", 0, "dtype"},
        {"{\"a\":" T("F33", "[1]", "[0,4]") "}", 4, "dtype"},
        {"{\"a\":" T("f32", "[1]", "[0,4]") "}", 4, "dtype"},
        {"{\"a\":{\"dtype\":7,\"shape\":[1],\"data_offsets\":[0,4]}}", 4, "dtype"},
        {"{\"a\":{\"dtype\":\"F32\",\"data_offsets\":[0,4]}}", 4, "shape"},
        {"{\"a\":" T("F32", "1", "[0,4]") "}", 4, "shape"},
        {"{\"a\":" T("F32", "[-1]", "[0,4]") "}", 4, "shape[0]"},
        {"{\"a\":" T("F32", "[1.0]", "[0,4]") "}", 4, "shape[0]"},
        {"{\"a\":" T("F32", "[1,\"1\"]", "[0,4]") "}", 4, "shape[1]"},
        {"{\"a\":" T("F32", "[1,1,1,1,1,1,1,1,1]", "[0,4]") "}", 4, "shape"},
        {"{\"a\":" T("F32", "[4294967296,4294967296]", "[0,0]") "}", 0, "too large"},
        {"{\"a\":" T("F32", "[4611686018427387905]", "[0,4]") "}", 4, "too large"},
        {"{\"a\":" T("F32", "[9223372036854775807,9223372036854775807,0]", "[0,0]") "}", 0, "too large"},
        {"{\"a\":" T("F32", "[99999999999999999999]", "[0,4]") "}", 4, "not JSON"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1]}}", 4, "data_offsets"},
        {"{\"a\":" T("F32", "[1]", "[0]") "}", 4, "data_offsets"},
        {"{\"a\":" T("F32", "[1]", "[0,4,8]") "}", 8, "data_offsets"},
        {"{\"a\":" T("F32", "[1]", "[-4,0]") "}", 4, "data_offsets"},
        {"{\"a\":" T("F32", "[1]", "[0,4.0]") "}", 4, "data_offsets"},
        {"{\"a\":" T("F32", "[1]", "[4,0]") "}", 4, "outside"},
        {"{\"a\":" T("F32", "[2]", "[0,8]") "}", 4, "outside"},
        {"{\"a\":" T("F32", "[0]", "[9223372036854775807,9223372036854775807]") "}", 4, "outside"},
        {"{\"a\":" T("F32", "[2]", "[0,4]") "}", 4, "its shape needs 8"},
        {"{\"a\":" T("F32", "[]", "[0,8]") "}", 8, "its shape needs 4"},
        {"{\"a\":" T("U8", "[2]", "[0,2]") ",\"b\":" T("F32", "[1]", "[2,6]") "}", 6, "not aligned"},
        {"{\"a\":" T("F32", "[2]", "[0,8]") ",\"b\":" T("F32", "[2]", "[4,12]") "}", 12, "overlaps"},
        {"{\"a\":" T("F32", "[2]", "[0,8]") ",\"b\":" T("F32", "[2]", "[0,8]") "}", 8, "overlaps"},
        {"{\"a\":" T("F32", "[2]", "[0,8]") ",\"b\":" T("F32", "[0]", "[4,4]") "}", 8, "overlaps"},
        {"{\"a\":" T("F32", "[1]", "[4,8]") "}", 8, "hole"},
        {"{\"a\":" T("F32", "[1]", "[0,4]") ",\"b\":" T("F32", "[1]", "[8,12]") "}", 12, "hole"},
        {"{\"a\":" T("F32", "[1]", "[0,4]") "}", 5, "1 bytes after"},
        {"{\"a\":" T("F32", "[1]", "[0,4]") ",\"a\":" T("F32", "[1]", "[0,4]") "}", 4, "duplicate"},
        {"{\"a\":{\"dtype\":\"F32\",\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", 4, "duplicate"},
        {"{\"a\\u0000b\":" T("F32", "[1]", "[0,4]") "}", 4, "not JSON"},
        {"{\"\xff\":" T("F32", "[1]", "[0,4]") "}", 4, "not JSON"},
        {"{\"__metadata__\":[]}", 0, "__metadata__"},
        {"{\"__metadata__\":{\"steps\":3}}", 0, "steps"},
    };
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        write_header(place->path, files[i].header, files[i].data_size);
        st_file *file;
        trm_error err;
        trm_status status = st_open(place->path, &file, &err);
        if (status != TRM_FORMAT || !strstr(err.text, files[i].reason) || !strstr(err.text, place->path))
            fail_msg("header %s: status %d, message \"%s\", expected \"%s\"", files[i].header, status,
                     status ? err.text : "", files[i].reason);
        assert_null(file);
    }
}

static void deeply_nested_headers_are_refused(void **state) {
    const struct place *place = *state;
    enum { DEPTH = 1 << 20 };
    char *header = malloc(DEPTH + 1);
    assert_non_null(header);
    memset(header, '[', DEPTH);
    header[DEPTH] = '\0';
    write_header(place->path, header, 0);
    free(header);
    st_file *file;
    assert_int_equal(st_open(place->path, &file, NULL), TRM_FORMAT);
}

static void giant_header_lengths_are_refused(void **state) {
    const struct place *place = *state;
    static const uint64_t lengths[] = {3, 1 << 24, (1 << 24) + 1, UINT32_MAX, INT64_MAX, UINT64_MAX - 7, UINT64_MAX};
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        char bytes[] = {0, 0, 0, 0, 0, 0, 0, 0, '{', '}'};
        memcpy(bytes, &lengths[i], 8);
        write_bytes(place->path, bytes, sizeof bytes);
        st_file *file;
        trm_error err;
        assert_int_equal(st_open(place->path, &file, &err), TRM_FORMAT);
        assert_non_null(strstr(err.text, "too long"));
    }
}

static void a_file_cut_at_any_byte_is_refused(void **state) {
    const struct place *place = *state;
    write_small(place->path);
    size_t size;
    uint8_t *bytes = read_bytes(place->path, &size);
    for (size_t cut = 0; cut < size; cut++) {
        write_bytes(place->path, bytes, cut);
        st_file *file;
        assert_int_equal(st_open(place->path, &file, NULL), TRM_FORMAT);
        assert_null(file);
    }
    free(bytes);
}

/* Whatever a damaged byte does, a file that still opens has all its data inside the file. */
static void no_damaged_byte_leads_outside_the_file(void **state) {
    const struct place *place = *state;
    static const uint8_t damage[] = {0, '9', '"', '[', '}', ',', '-', 0xff};
    write_small(place->path);
    size_t size, opened = 0;
    uint8_t *bytes = read_bytes(place->path, &size);
    for (size_t at = 0; at < size; at++) {
        for (size_t d = 0; d < sizeof damage; d++) {
            uint8_t kept = bytes[at];
            bytes[at] = damage[d];
            write_bytes(place->path, bytes, size);
            bytes[at] = kept;
            st_file *file;
            trm_status status = st_open(place->path, &file, NULL);
            assert_true(status == TRM_OK || status == TRM_FORMAT);
            if (status)
                continue;
            opened++;
            size_t total = 0;
            for (size_t i = 0; i < st_count(file); i++) {
                const struct st_tensor *tensor = st_at(file, i);
                for (size_t b = 0; b < tensor->count * st_dtype_size(tensor->dtype); b++)
                    total += ((const uint8_t *)tensor->data)[b] != 0x5a;
            }
            assert_true(total <= sizeof matrix);
            st_close(file);
        }
    }
    assert_true(opened >= sizeof matrix * sizeof damage); /* damaged data is still data */
    free(bytes);
}

static void what_is_not_a_file_is_refused(void **state) {
    const struct place *place = *state;
    st_file *file;
    trm_error err;
    assert_int_equal(st_open(place->path, &file, &err), TRM_IO);
    assert_non_null(strstr(err.text, place->path));
    assert_int_equal(st_open(place->directory, &file, &err), TRM_IO);
    assert_non_null(strstr(err.text, "regular"));
}

static void the_writer_refuses_what_the_format_cannot_hold(void **state) {
    const struct place *place = *state;
    const size_t one[ST_MAX_RANK + 1] = {1, 1, 1, 1, 1, 1, 1, 1, 1};
    trm_error err;
    st_writer *writer = new_writer();
    assert_int_equal(st_add(writer, "a", ST_F32, 1, one, matrix, &err), TRM_OK);
    assert_int_equal(st_add(writer, "a", ST_F32, 1, one, matrix, &err), TRM_INVALID);
    assert_non_null(strstr(err.text, "\"a\""));
    assert_int_equal(st_add(writer, "__metadata__", ST_F32, 1, one, matrix, &err), TRM_INVALID);
    assert_int_equal(st_add(writer, "b", ST_F32, ST_MAX_RANK + 1, one, matrix, &err), TRM_INVALID);
    assert_int_equal(st_add(writer, "b", ST_F32, -1, one, matrix, &err), TRM_INVALID);
    assert_int_equal(st_add(writer, "b", ST_F32, 2, (size_t[]){SIZE_MAX, 2}, matrix, &err), TRM_INVALID);
    assert_int_equal(st_add(writer, "b", ST_F64, 1, (size_t[]){SIZE_MAX / 4}, matrix, &err), TRM_INVALID);
    assert_int_equal(st_add_metadata(writer, "key", "\xff", &err), TRM_INVALID);
    assert_int_equal(st_add(writer, "\xff", ST_F32, 1, one, matrix, &err), TRM_OK);
    assert_int_equal(st_write(writer, place->path, &err), TRM_INVALID);
    assert_int_equal(access(place->path, F_OK), -1);
    st_writer_destroy(writer);
}

static size_t entries_of(const char *path) {
    DIR *directory = opendir(path);
    assert_non_null(directory);
    size_t entries = 0;
    while (readdir(directory))
        entries++;
    closedir(directory);
    return entries - 2; /* "." and ".." */
}

static void a_failed_write_leaves_the_old_file(void **state) {
    const struct place *place = *state;
    write_small(place->path);
    size_t before_size, after_size;
    uint8_t *before = read_bytes(place->path, &before_size);

    enum { BIG = 100000 };
    float *big = calloc(BIG, sizeof *big);
    assert_non_null(big);
    st_writer *writer = new_writer();
    assert_int_equal(st_add(writer, "big", ST_F32, 1, (size_t[]){BIG}, big, NULL), TRM_OK);

    struct rlimit old_limit;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old_limit), 0);
    struct rlimit limit = {.rlim_cur = 4096, .rlim_max = old_limit.rlim_max};
    void (*old_handler)(int) = signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
    trm_error err;
    trm_status status = st_write(writer, place->path, &err); /* the disk is "full" after 4 KiB */
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &old_limit), 0);
    signal(SIGXFSZ, old_handler);

    assert_int_equal(status, TRM_IO);
    assert_non_null(strstr(err.text, place->path));
    uint8_t *after = read_bytes(place->path, &after_size);
    assert_int_equal(after_size, before_size);
    assert_memory_equal(after, before, before_size);
    assert_int_equal(entries_of(place->directory), 1);

    assert_int_equal(st_write(writer, place->path, &err), TRM_OK); /* and now there is room */
    assert_int_equal(entries_of(place->directory), 1);
    st_writer_destroy(writer);
    free(before);
    free(after);
    free(big);
}

static void writing_where_one_cannot_is_an_error(void **state) {
    const struct place *place = *state;
    char path[128];
    trm_error err;
    st_writer *writer = new_writer();
    snprintf(path, sizeof path, "%s/missing/file", place->directory);
    assert_int_equal(st_write(writer, path, &err), TRM_IO);
    assert_non_null(strstr(err.text, path));
    assert_int_equal(st_write(writer, place->directory, &err), TRM_IO); /* rename over a directory */
    assert_int_equal(entries_of(place->directory), 0);
    st_writer_destroy(writer);
}

static void an_open_file_survives_being_replaced(void **state) {
    const struct place *place = *state;
    write_small(place->path);
    st_file *file;
    assert_int_equal(st_open(place->path, &file, NULL), TRM_OK);
    const struct st_tensor *tensor = st_find(file, "matrix");
    assert_non_null(tensor);

    const float other = 9;
    st_writer *writer = new_writer();
    assert_int_equal(st_add(writer, "matrix", ST_F32, 0, NULL, &other, NULL), TRM_OK);
    assert_int_equal(st_write(writer, place->path, NULL), TRM_OK);
    st_writer_destroy(writer);

    assert_memory_equal(tensor->data, matrix, sizeof matrix);
    st_close(file);
    assert_int_equal(st_open(place->path, &file, NULL), TRM_OK);
    assert_int_equal(st_find(file, "matrix")->rank, 0);
    st_close(file);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make_place, remove_place)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(what_is_written_is_read_back),
        TEST(a_file_without_tensors_is_valid),
        TEST(written_bytes_follow_the_format),
        TEST(conversion_to_f32_is_exact),
        TEST(integers_are_not_converted_to_f32),
        TEST(hostile_headers_are_refused_with_a_reason),
        TEST(deeply_nested_headers_are_refused),
        TEST(giant_header_lengths_are_refused),
        TEST(a_file_cut_at_any_byte_is_refused),
        TEST(no_damaged_byte_leads_outside_the_file),
        TEST(what_is_not_a_file_is_refused),
        TEST(the_writer_refuses_what_the_format_cannot_hold),
        TEST(a_failed_write_leaves_the_old_file),
        TEST(writing_where_one_cannot_is_an_error),
        TEST(an_open_file_survives_being_replaced),
        TEST(data_that_is_read_while_it_is_written_comes_in_order),
        TEST(data_that_cannot_be_read_leaves_the_old_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
