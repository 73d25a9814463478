/* test_engine_memory.c - that running out of memory is survived. */
#include <errno.h>

#include "tests/unit/engine_fixture.h"

/* ---- allocations that fail when asked to ---- */

#if defined(__GLIBC__) && !defined(__SANITIZE_ADDRESS__)
enum { CAN_FAIL_ALLOCATIONS = 1 };

/* NOLINTBEGIN(bugprone-reserved-identifier,cert-dcl37-c,cert-dcl51-cpp): the names glibc gave them */
void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *block, size_t size);
void *__libc_memalign(size_t alignment, size_t size);
void __libc_free(void *block);
/* NOLINTEND(bugprone-reserved-identifier,cert-dcl37-c,cert-dcl51-cpp) */

/* The program's own malloc has nowhere else to keep these. Used by the one thread of this program. */
static struct {
    bool armed;
    long countdown; /* allocations that still succeed */
    long live;      /* blocks taken since it was armed, less those given back */
} memory;

static bool refuses(void) {
    return memory.armed && memory.countdown-- <= 0;
}

static void *taken(void *block) {
    memory.live += memory.armed && block;
    return block;
}

void *malloc(size_t size) {
    return refuses() ? NULL : taken(__libc_malloc(size));
}

void *calloc(size_t count, size_t size) {
    return refuses() ? NULL : taken(__libc_calloc(count, size));
}

void *realloc(void *block, size_t size) {
    if (refuses())
        return NULL;
    return block ? __libc_realloc(block, size) : taken(__libc_malloc(size));
}

void *aligned_alloc(size_t alignment, size_t size) {
    return refuses() ? NULL : taken(__libc_memalign(alignment, size));
}

int posix_memalign(void **block, size_t alignment, size_t size) {
    *block = aligned_alloc(alignment, size);
    return *block ? 0 : ENOMEM;
}

void free(void *block) {
    memory.live -= memory.armed && block;
    __libc_free(block);
}

static void refuse_allocations_after(long count) {
    memory.countdown = count;
    memory.live = 0;
    memory.armed = true;
}

/* Blocks that were not given back. */
static long grant_allocations(void) {
    memory.armed = false;
    return memory.live;
}
#else
enum { CAN_FAIL_ALLOCATIONS = 0 }; /* a sanitizer owns them */

static void refuse_allocations_after(long count) {
    (void)count;
}

static long grant_allocations(void) {
    return 0;
}
#endif

/* ---- running out of memory ---- */

/* Opens, steps and closes; leaves nothing behind, whatever happens. */
static trm_status whole_life(const char *path) {
    trm_model *model = NULL;
    trm_batch *batch = NULL;
    int slot;
    trm_status status =
        trm_model_open(path, &(struct trm_model_options){.backend = TRM_BACKEND_REFERENCE}, &model, NULL);
    if (status == TRM_OK)
        status = trm_batch_create(model, 2, &batch, NULL);
    if (status == TRM_OK)
        status = trm_batch_admit(batch, PUZZLE, 0, &DEFAULTS, &slot, NULL);
    if (status == TRM_OK)
        status = trm_batch_step(batch, NULL);
    trm_batch_destroy(batch);
    trm_model_unref(model);
    return status;
}

/* The reference backend, because what oneDNN does without memory is oneDNN's. */
static void every_failed_allocation_is_an_error_and_leaks_nothing(void **state) {
    (void)state;
    if (!CAN_FAIL_ALLOCATIONS) {
        print_message("allocations cannot be made to fail in this build\n");
        skip();
    }
    for (int mlp_t = 0; mlp_t < 2; mlp_t++) {
        char path[] = "/tmp/test_engine_XXXXXX";
        struct checkpoint c;
        create_random(&c, mlp_t);
        write_checkpoint(&c, "sudoku", path);
        destroy_checkpoint(&c);
        assert_int_equal(whole_life(path), TRM_OK); /* what a library allocates once */
        trm_status status = TRM_NO_MEMORY;
        long granted = 0;
        for (; status != TRM_OK && granted < 100000; granted++) {
            refuse_allocations_after(granted);
            status = whole_life(path);
            const long leaked = grant_allocations();
            if (leaked != 0)
                fail_msg("after %ld allocations: %ld blocks were not given back", granted, leaked);
        }
        unlink(path);
        assert_int_equal(status, TRM_OK); /* with all of them granted */
        assert_true(granted > 30);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_failed_allocation_is_an_error_and_leaks_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
