/* test_engine_memory.c - who allocates when: a supervision step does not, and running out of memory is survived.
 *
 * This program replaces malloc and its kin, and stands between the engine and oneDNN's one call that runs something
 * (hence the only include of its header outside of ops/matmul.c), so that it can tell whose an allocation is. */
#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <oneapi/dnnl/dnnl.h>

#include "tests/unit/engine_fixture.h"

/* ---- allocations that are counted, and fail when asked to ---- */

#if defined(__GLIBC__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
enum { OWNS_ALLOCATIONS = 1 };

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
    bool in_library; /* inside of dnnl_primitive_execute() */
    long countdown;  /* allocations that still succeed */
    long live;       /* blocks taken since it was armed, less those given back */
    long ours;       /* allocations since it was armed outside of the library */
    long library;    /* inside */
} memory;

static bool refuses(void) {
    if (!memory.armed)
        return false;
    *(memory.in_library ? &memory.library : &memory.ours) += 1;
    return memory.countdown-- <= 0;
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
    memory.live = memory.ours = memory.library = 0;
    memory.armed = true;
}

/* Blocks that were not given back. */
static long grant_allocations(void) {
    memory.armed = false;
    return memory.live;
}

static void watch_allocations(void) {
    refuse_allocations_after(LONG_MAX);
}

/* Allocations of the engine and of oneDNN since watch_allocations(). */
static long allocations(void) {
    return memory.ours;
}

static long library_allocations(void) {
    return memory.library;
}

dnnl_status_t dnnl_primitive_execute(const_dnnl_primitive_t primitive, dnnl_stream_t stream, int count,
                                     const dnnl_exec_arg_t *args) {
    static dnnl_status_t (*execute)(const_dnnl_primitive_t, dnnl_stream_t, int, const dnnl_exec_arg_t *);
    if (!execute) /* at the first packing of weights, long before anything is counted */
        *(void **)&execute = dlsym(RTLD_NEXT, "dnnl_primitive_execute");
    memory.in_library = true;
    const dnnl_status_t status = execute(primitive, stream, count, args);
    memory.in_library = false;
    return status;
}
#else
enum { OWNS_ALLOCATIONS = 0 }; /* a sanitizer owns them */

static void refuse_allocations_after(long count) {
    (void)count;
}

static long grant_allocations(void) {
    return 0;
}

static void watch_allocations(void) {
}

static long allocations(void) {
    return 0;
}

static long library_allocations(void) {
    return 0;
}
#endif

static void need_allocations(void) {
    if (!OWNS_ALLOCATIONS) {
        print_message("allocations cannot be watched in this build\n");
        skip();
    }
}

/* ---- a supervision step ---- */

/* Admission and steps of a batch that was just created. oneDNN makes tables of a product's arguments and frees them
 * in every call; it must do that in the first step as in all others, and keep nothing. */
static void check_steps(trm_model *model, const int32_t *puzzle) {
    enum { SLOTS = 3 };
    const struct trm_solve_options options = {.no_halt = true, .variation = 1, .noise = 0.1f};
    trm_batch *batch = batch_of(model, SLOTS);
    trm_error err;
    long usual = 0;
    for (int n = 0; n < 2 * SLOTS; n++) {
        int slot = n % SLOTS;
        trm_batch_release(batch, slot);
        watch_allocations();
        const trm_status admitted = trm_batch_admit(batch, puzzle, 0, &options, &slot, &err);
        const trm_status stepped = trm_batch_step(batch, &err);
        const long kept = grant_allocations();
        if (admitted != TRM_OK || stepped != TRM_OK)
            fail_msg("%s", err.text);
        if (allocations() != 0 || kept != 0)
            fail_msg("%s, step %d: %ld allocations, %ld blocks kept", trm_dtype_name(trm_model_info(model)->dtype),
                     n + 1, allocations(), kept);
        const long each = library_allocations() / trm_batch_busy(batch);
        if (n > 0)
            assert_int_equal(each, usual);
        usual = each;
    }
    trm_batch_destroy(batch);
}

/* The first test of this program: what a library makes once is not made yet. */
static void neither_admission_nor_step_allocates(void **state) {
    (void)state;
    need_allocations();
    const int32_t bundled_puzzle[81] = {0};
    for (enum trm_dtype dtype = TRM_DTYPE_F32; trm_dtype_name(dtype); dtype++) {
        const struct trm_model_options options = {.dtype = dtype};
        trm_model *models[] = {random_model(false, &options), random_model(true, &options),
                               open_model(BUNDLED, &options)};
        for (int i = 0; i < 3; i++) {
            if (models[i])
                check_steps(models[i], i == 2 ? bundled_puzzle : PUZZLE);
            trm_model_unref(models[i]);
        }
    }
}

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
    need_allocations();
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
        cmocka_unit_test(neither_admission_nor_step_allocates),
        cmocka_unit_test(every_failed_allocation_is_an_error_and_leaks_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
