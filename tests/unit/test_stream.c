/* test_stream.c - puzzles that threads make ahead: the same ones in the same order, whoever makes them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "engine/data/stream.h"

enum { SIDE = 8, CELLS = SIDE * SIDE };

static const struct data_generate_options MAZES = {.maze = true, .size = SIDE, .seed = 3, .threads = 3};

static data_stream *open_stream(const struct data_generate_options *options, int ahead) {
    data_stream *stream;
    trm_error err = {""};
    if (data_stream_create(options, ahead, &stream, &err) != TRM_OK)
        fail_msg("%s", err.text);
    return stream;
}

/* Takes the next puzzle, which must be number `number` of the generator's. */
static void take(data_stream *stream, const data_generator *generator, uint64_t number) {
    uint8_t inputs[CELLS], labels[CELLS], expected[CELLS], answer[CELLS];
    assert_true(data_stream_position(stream) == number);
    data_stream_next(stream, inputs, labels);
    data_generator_make(generator, number, expected, answer);
    assert_memory_equal(inputs, expected, CELLS);
    assert_memory_equal(labels, answer, CELLS);
}

static void puzzles_come_in_order_whatever_threads_and_room_there_are(void **state) {
    static const int threads[] = {1, 3, 8}, ahead[] = {1, 2, 32};
    const data_generator *generator = *state;
    for (int i = 0; i < 3; i++)
        for (int k = 0; k < 3; k++) {
            struct data_generate_options options = MAZES;
            options.threads = threads[i];
            data_stream *stream = open_stream(&options, ahead[k]);
            assert_int_equal(data_stream_seq_len(stream), CELLS);
            assert_int_equal(data_stream_vocab_size(stream), data_generator_vocab_size(generator));
            for (uint64_t number = 0; number < 100; number++)
                take(stream, generator, number);
            data_stream_destroy(stream);
        }
}

static void a_stream_goes_on_where_another_was_left(void **state) {
    const data_generator *generator = *state;
    data_stream *first = open_stream(&MAZES, 4), *second = open_stream(&MAZES, 4);
    for (uint64_t number = 0; number < 7; number++)
        take(first, generator, number);
    data_stream_begin_at(second, data_stream_position(first));
    for (uint64_t number = 7; number < 20; number++)
        take(second, generator, number);
    data_stream_begin_at(second, 3); /* too late */
    take(second, generator, 20);
    data_stream_destroy(second);
    data_stream_destroy(first);
}

/* The place comes from a file: any number must do. */
static void numbers_may_be_as_large_as_they_can_be_written(void **state) {
    const data_generator *generator = *state;
    data_stream *stream = open_stream(&MAZES, 3);
    data_stream_begin_at(stream, UINT64_MAX - 5);
    for (int i = 0; i < 12; i++)
        take(stream, generator, UINT64_MAX - 5 + (uint64_t)i);
    data_stream_destroy(stream);
}

static void a_stream_can_end_before_anything_was_taken(void **state) {
    (void)state;
    data_stream_destroy(open_stream(&MAZES, 2));
    data_stream_destroy(NULL);
}

static void a_stream_of_what_there_is_not_is_refused(void **state) {
    (void)state;
    const struct data_generate_options none = {.size = 4, .wanted = SUDOKU_VERY_HARD, .threads = 1};
    const struct data_generate_options idle = {.size = 4, .wanted = SUDOKU_EASY};
    data_stream *stream = (void *)&none;
    assert_int_equal(data_stream_create(&none, 1, &stream, NULL), TRM_UNSUPPORTED);
    assert_null(stream);
    assert_int_equal(data_stream_create(&idle, 1, &stream, NULL), TRM_INVALID);
    assert_int_equal(data_stream_create(&MAZES, 0, &stream, NULL), TRM_INVALID);
}

/* The generator that streams are held against. */
static int setup(void **state) {
    data_generator *generator;
    if (data_generator_create(&MAZES, &generator, NULL) != TRM_OK)
        return -1;
    *state = generator;
    return 0;
}

static int teardown(void **state) {
    data_generator_destroy(*state);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(puzzles_come_in_order_whatever_threads_and_room_there_are),
        cmocka_unit_test(a_stream_goes_on_where_another_was_left),
        cmocka_unit_test(numbers_may_be_as_large_as_they_can_be_written),
        cmocka_unit_test(a_stream_can_end_before_anything_was_taken),
        cmocka_unit_test(a_stream_of_what_there_is_not_is_refused),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
