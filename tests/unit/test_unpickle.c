/* test_unpickle.c - what a state dict needs is understood, as torch.save() writes it and as Python may; all else is
 * refused with its place, and nothing grows without bound. tests/behaviour/test_trm_import.py has whole files. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "engine/data/unpickle.h"

#include <stdlib.h>
#include <string.h>

/* Pieces of pickles. Literals with their size, as there are zero bytes in them. */
#define BYTES(literal) (literal), sizeof(literal) - 1

#define ORDERED_DICT "ccollections\nOrderedDict\n)R"
#define STORAGE                                                                                                        \
    "(X\7\0\0\0storagectorch\nFloatStorage\nX\1\0\0\0"                                                                 \
    "7X\3\0\0\0cpuK\6tQ"
#define TENSOR       "ctorch._utils\n_rebuild_tensor_v2\n(" STORAGE "K\0K\2K\3\x86K\3K\1\x86\x89" ORDERED_DICT "tR"
#define NAMED_TENSOR "X\1\0\0\0w" TENSOR

struct text {
    uint8_t *bytes; /* [TEXT_ROOM] */
    size_t size;
};

enum { TEXT_ROOM = DATA_PICKLE_MAX + 4096 };

static void append(struct text *text, const char *bytes, size_t size) {
    assert_true(size <= TEXT_ROOM - text->size);
    memcpy(text->bytes + text->size, bytes, size);
    text->size += size;
}

static void refuses(const char *bytes, size_t size, const char *reason) {
    struct data_pickled_tensor *tensors;
    size_t count;
    trm_error err = {""};
    assert_int_equal(data_unpickle((const uint8_t *)bytes, size, &tensors, &count, &err), TRM_FORMAT);
    assert_null(tensors);
    if (!strstr(err.text, reason))
        fail_msg("\"%s\" instead of \"%s\"", err.text, reason);
    assert_int_equal(data_unpickle((const uint8_t *)bytes, size, &tensors, &count, NULL), TRM_FORMAT);
}

static void refuses_text(const struct text *text, const char *reason) {
    refuses((const char *)text->bytes, text->size, reason);
}

static void reads_one_tensor(const char *bytes, size_t size) {
    struct data_pickled_tensor *tensors;
    size_t count;
    trm_error err = {""};
    if (data_unpickle((const uint8_t *)bytes, size, &tensors, &count, &err) != TRM_OK)
        fail_msg("%s", err.text);
    assert_int_equal(count, 1);
    assert_string_equal(tensors->name, "w");
    assert_string_equal(tensors->storage, "7");
    assert_int_equal(tensors->dtype, ST_F32);
    assert_int_equal(tensors->rank, 2);
    assert_int_equal(tensors->shape[0], 2);
    assert_int_equal(tensors->shape[1], 3);
    assert_int_equal(tensors->count, 6);
    free(tensors);
}

static void a_state_dict_is_read_in_every_form(void **state) {
    (void)state;
    reads_one_tensor(BYTES("\x80\2" ORDERED_DICT NAMED_TENSOR "s."));
    reads_one_tensor(BYTES("\x80\2}" NAMED_TENSOR "s."));
    reads_one_tensor(BYTES("\x80\2" ORDERED_DICT "q\0(" NAMED_TENSOR "u."));
    /* Its _metadata, a memo that is put again, integers of other widths, a dict that is filled later. */
    reads_one_tensor(BYTES("\x80\2" ORDERED_DICT "q\0" NAMED_TENSOR "s}X\x9\0\0\0_metadata}sb."));
    reads_one_tensor(BYTES("\x80\2}r\0\0\0\0" NAMED_TENSOR "q\1q\1s."));
    reads_one_tensor(BYTES("\x80\2}"
                           "X\1\0\0\0wctorch._utils\n_rebuild_tensor_v2\n(" STORAGE
                           "J\0\0\0\0M\2\0\x8a\1\3\x86K\3K\1\x86\x88}tRs."));
}

static void a_state_dict_cut_anywhere_is_refused(void **state) {
    (void)state;
    static const char whole[] = "\x80\2" ORDERED_DICT "q\0(" NAMED_TENSOR "u}X\x9\0\0\0_metadata}sb.";
    for (size_t size = 0; size < sizeof whole - 1; size++) {
        char *exact = malloc(size + 1);
        assert_non_null(exact);
        memcpy(exact, whole, size);
        refuses(exact, size, "byte");
        free(exact);
    }
    refuses(BYTES("\x80\2}" NAMED_TENSOR "s.."), "after its end");
}

static void names_that_no_state_dict_needs_are_refused(void **state) {
    (void)state;
    refuses(BYTES("\x80\2cos\nsystem\n(X\2\0\0\0lstR."), "byte 2 of the pickle: it asks for os.system");
    refuses(BYTES("\x80\2c__builtin__\neval\n."), "__builtin__.eval");
    refuses(BYTES("\x80\2ctorch\nFloatStorage."), "no state dict has");
    refuses(BYTES("\x80\2ctorch\n\x1b[2Jx\n."), "no state dict has");
    refuses(BYTES("\x80\2(ios\nsystem\n."), "instruction 0x69");
    refuses(BYTES("\x80\2(cos\nsystem\no."), "os.system");
    refuses(BYTES("\x80\2\x82\1."), "instruction 0x82");
    refuses(BYTES("\x80\4\x95."), "protocol 4");
}

static void calls_are_only_those_of_a_state_dict(void **state) {
    (void)state;
    refuses(BYTES("\x80\2ctorch\nFloatStorage\n)R."), "a call");
    refuses(BYTES("\x80\2ccollections\nOrderedDict\nK\1\x85R."), "a call");
    refuses(BYTES("\x80\2ctorch._utils\n_rebuild_tensor_v2\n)R."), "a call");
    refuses(BYTES("\x80\2K\1)R."), "cannot be called");
    refuses(BYTES("\x80\2)R."), "cannot be called");
    refuses(BYTES("\x80\2)Q."), "outside of the pickle");
    refuses(BYTES("\x80\2K\1Q."), "outside of the pickle");
    refuses(BYTES("\x80\2K\1}b."), "attributes");
    refuses(BYTES("\x80\2}K\1X\0\0\0\0s."), "a key");
    refuses(BYTES("\x80\2K\1X\0\0\0\0K\1s."), "no dict");
    refuses(BYTES("\x80\2}(X\0\0\0\0u."), "no dict");
    refuses(BYTES("\x80\2}(s."), "no dict");
    refuses(BYTES("\x80\2}u."), "no mark");
    refuses(BYTES("\x80\2(q\0."), "no value");
    refuses(BYTES("\x80\2h\0."), "was not put");
    refuses(BYTES("\x80\2K\1\x87."), "fewer values");
    refuses(BYTES("\x80\2K\1(K\1\x87."), "a mark");
    refuses(BYTES("\x80\2}}."), "no state dict");
    refuses(BYTES("\x80\2)."), "no state dict");
}

static void a_pickle_gets_no_more_than_its_bounds(void **state) {
    (void)state;
    struct text text = {.bytes = malloc(TEXT_ROOM)};
    assert_non_null(text.bytes);

    append(&text, BYTES("\x80\2"));
    for (int i = 0; i < 5000; i++)
        append(&text, BYTES("("));
    refuses_text(&text, "values on the stack");

    text.size = 2;
    append(&text, BYTES("K\1r\xff\xff\xff\x7f"));
    refuses_text(&text, "memo 2147483647 after 0 others");

    text.size = 2;
    for (int i = 0; i < 70000; i++) /* each holds the one before */
        append(&text, BYTES("K\1\x85"));
    refuses_text(&text, "on the stack");
    text.size = 2;
    append(&text, BYTES("K\1"));
    for (int i = 0; i < 70000; i++)
        append(&text, BYTES("\x85"));
    refuses_text(&text, "values in tuples");

    text.size = 2;
    append(&text, BYTES("}"));
    for (int i = 0; i < 20000; i++)
        append(&text, BYTES("X\0\0\0\0K\1s"));
    refuses_text(&text, "entries in dicts");

    text.size = 2;
    append(&text, BYTES("}" NAMED_TENSOR "q\0s"));
    for (int i = 0; i < 2000; i++)
        append(&text, BYTES("X\1\0\0\0wh\0s"));
    append(&text, BYTES("."));
    refuses_text(&text, "more than 1024 tensors");

    text.size = 2;
    while (text.size <= DATA_PICKLE_MAX)
        append(&text, BYTES("X\x00\x10\0\0"));
    refuses_text(&text, "more than 1048576");
    free(text.bytes);
}

static void names_and_keys_are_what_a_model_and_an_archive_have(void **state) {
    (void)state;
    refuses(BYTES("\x80\2}X\0\0\0\0" TENSOR "s."), "without a name");
    refuses(BYTES("\x80\2}X\2\0\0\0w\0" TENSOR "s."), "without a name");
    refuses(BYTES("\x80\2}X\4\0\0\0\xff\xff\xff\xff" TENSOR "s."), "without a name");
    refuses(
        BYTES("\x80\2}X\1\0\0\0wctorch._utils\n_rebuild_tensor_v2\n((X\7\0\0\0storagectorch\nFloatStorage\nX\5\0\0\0"
              "../.7X\3\0\0\0cpuK\6tQK\0K\2K\3\x86K\3K\1\x86\x89}tRs."),
        "no number");
    refuses(BYTES("\x80\2}X\1\0\0\0w(X\7\0\0\0storagectorch\nIntStorage\n"), "torch.IntStorage");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_state_dict_is_read_in_every_form),
        cmocka_unit_test(a_state_dict_cut_anywhere_is_refused),
        cmocka_unit_test(names_that_no_state_dict_needs_are_refused),
        cmocka_unit_test(calls_are_only_those_of_a_state_dict),
        cmocka_unit_test(a_pickle_gets_no_more_than_its_bounds),
        cmocka_unit_test(names_and_keys_are_what_a_model_and_an_archive_have),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
