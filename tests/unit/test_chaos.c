/* test_chaos.c - memory runs out at every place where it can: in the manner of jansson's own chaos test each
 * allocation of a request's way fails in turn, alone, then with all that follow. Nothing may crash or leak,
 * and the client is told 500 or nothing, never that it was at fault.
 *
 * The linker turns our code's malloc and its kin into those below (--wrap, see the Makefile); jansson is
 * given some too, which are told apart: version 2.14 finds an invalid token when its lexer gets no memory,
 * and we cannot know; and it writes past the buffer of a token that cannot grow (its issue 362; proto/body.c
 * keeps tokens short), so that one is spared. The files that answer through libmicrohttpd are replaced by
 * the fakes here. Only the loop thread's part, this thread's, fails: workers do not allocate. */
#include <errno.h>
#include <jansson.h>
#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "config/train_config.h"
#include "engine/data/stream.h"
#include "engine/model/safetensors.h"
#include "server/auth.h"
#include "server/cors.h"
#include "server/kserve.h"
#include "server/server.h"
#include "server/solve.h"
#include "server/tasks.h"

#define TINY_MODEL  "tests/fuzz/corpus/checkpoint/model" /* 4x4 Sudoku */
#define ARC_MODEL   "tests/fuzz/corpus/checkpoint/arc"
#define OTHER_MODEL "server/models/sudoku.safetensors"

enum { MOST_ALLOCATIONS = 10000, PATIENCE_MS = 20000 };

/* --- allocations ------------------------------------------------------------------------------------ */

static _Thread_local struct {
    bool armed, forever; /* `forever`: those after the failed one fail too */
    long countdown;      /* allocations that still succeed */
    long refused;        /* so many did fail, */
    long refused_json;   /* of which jansson's own */
} chaos;

static atomic_long live; /* blocks that were taken and not given back */

/* NOLINTBEGIN(bugprone-reserved-identifier,cert-dcl37-c,cert-dcl51-cpp): the names that --wrap asks for */
void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *block, size_t size);
void __real_free(void *block);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *block, size_t size);
char *__wrap_strdup(const char *text);
char *__wrap_strndup(const char *text, size_t size);
void __wrap_free(void *block);

static bool refuses(void) {
    if (!chaos.armed || chaos.countdown-- > 0 || (chaos.refused > 0 && !chaos.forever)) {
        return false;
    }
    chaos.refused++;
    errno = ENOMEM;
    return true;
}

static void *taken(void *block) {
    live += block != NULL;
    return block;
}

void *__wrap_malloc(size_t size) {
    return refuses() ? NULL : taken(__real_malloc(size));
}

void *__wrap_calloc(size_t count, size_t size) {
    return refuses() ? NULL : taken(__real_calloc(count, size));
}

void *__wrap_realloc(void *block, size_t size) {
    if (refuses()) {
        return NULL;
    }
    return block ? __real_realloc(block, size) : taken(__real_malloc(size));
}

char *__wrap_strndup(const char *text, size_t size) {
    size_t length = 0;
    while (length < size && text[length] != '\0') {
        length++;
    }
    char *copy = __wrap_malloc(length + 1);
    if (copy) {
        memcpy(copy, text, length);
        copy[length] = '\0';
    }
    return copy;
}

char *__wrap_strdup(const char *text) {
    return __wrap_strndup(text, SIZE_MAX);
}

void __wrap_free(void *block) {
    live -= block != NULL;
    __real_free(block);
}
/* NOLINTEND(bugprone-reserved-identifier,cert-dcl37-c,cert-dcl51-cpp) */

/* The sizes of the lexer's buffer as it grows; those of hash tables, from 128, are among them. */
static bool may_be_token(size_t size) {
    return size >= 32 && (size & (size - 1)) == 0;
}

static void *json_malloc(size_t size) {
    long before = chaos.refused;
    void *block = may_be_token(size) ? taken(__real_malloc(size)) : __wrap_malloc(size);
    chaos.refused_json += chaos.refused - before;
    return block;
}

/* Runs `scenario` with each allocation failing in turn, until it comes to its end without a failure. */
static void run_chaos(void (*scenario)(const void *arg), const void *arg) {
    for (int forever = 0; forever <= 1; forever++) {
        long n = 0, refused = 1;
        for (; n < MOST_ALLOCATIONS && refused > 0; n++) {
            long before = live;
            chaos.forever = forever;
            chaos.countdown = n;
            chaos.refused = chaos.refused_json = 0;
            scenario(arg);
            refused = chaos.refused;
            assert_int_equal(live, before);
        }
        assert_int_equal(refused, 0);
        assert_true(n > 1); /* there was something to fail */
    }
}

/* --- exchanges without HTTP ------------------------------------------------------------------------- */

static struct {
    struct srv_options options;
    struct srv_models models;
    struct srv_server server;
    sem_t news; /* from the scheduler */
} world;

static struct {
    const char *accept;
    bool suspended, streaming;
    bool over;  /* answered, or given up */
    int status; /* 0: none was sent */
} fake;

const char *srv_exchange_header(const struct srv_exchange *x, const char *name) {
    (void)x;
    return strcmp(name, "Accept") == 0 ? fake.accept : NULL;
}

void srv_exchange_segment(const struct srv_exchange *x, char *text, size_t size) {
    (void)x;
    snprintf(text, size, "tiny");
}

void srv_exchange_suspend(struct srv_exchange *x) {
    (void)x;
    fake.suspended = true;
}

void srv_exchange_resume(struct srv_exchange *x) {
    (void)x;
    fake.suspended = false;
}

void srv_exchange_set_alarm(struct srv_exchange *x, uint64_t ms) {
    (void)x;
    (void)ms;
}

static void check_json(const char *data, size_t length) {
    bool was_armed = chaos.armed;
    chaos.armed = false;
    json_t *document = json_loadb(data, length, 0, NULL);
    assert_non_null(document);
    json_decref(document);
    chaos.armed = was_armed;
}

void srv_reply(struct srv_exchange *x, int status, const char *type, struct proto_text *text) {
    (void)x;
    (void)type;
    if (!text->failed) {
        check_json(text->data, text->length);
        fake.status = status;
    }
    proto_text_release(text);
    fake.over = true;
}

void srv_reply_problem(struct srv_exchange *x, const struct proto_problem *problem) {
    struct proto_text text = {0};
    proto_problem_write(problem, &text);
    srv_reply(x, proto_problem_status(problem->kind), "application/problem+json", &text);
}

void srv_reply_stream(struct srv_exchange *x, const char *type) {
    (void)x;
    (void)type;
    fake.streaming = true;
    fake.status = 200;
}

/* No model is adapted to tasks here. */
struct srv_shelf *srv_tasks_shelf(struct srv_tasks *tasks) {
    (void)tasks;
    return NULL;
}

static void on_news(void *arg) {
    sem_post(arg);
}

/* Waits a little for the scheduler and takes what it has. */
static void collect(void) {
    struct timespec end;
    clock_gettime(CLOCK_REALTIME, &end);
    end.tv_nsec += 10 * 1000 * 1000;
    end.tv_sec += end.tv_nsec / 1000000000;
    end.tv_nsec %= 1000000000;
    sem_timedwait(&world.news, &end);
    srv_scheduler_collect(world.server.scheduler, srv_solve_update, NULL);
}

static void read_stream(struct srv_exchange *x) {
    char buffer[1024];
    ssize_t got = x->read(x, buffer, sizeof buffer);
    fake.suspended = got == 0;
    if (got < 0) {
        fake.over = true;
        fake.status = got == SRV_STREAM_END ? 200 : 0;
    }
}

struct request {
    void (*handle)(struct srv_exchange *x);
    const char *accept, *body;
};

/* One request from its body to the end of its answer, as HTTP would lead it. */
static void serve(const void *arg) {
    const struct request *request = arg;
    struct srv_exchange x = {
        .server = &world.server, .body = request->body, .body_length = strlen(request->body), .began_ns = uv_hrtime()};
    long before = live;
    memset(&fake, 0, sizeof fake);
    fake.accept = request->accept;
    chaos.armed = true;
    request->handle(&x);
    for (int waited = 0; !fake.over && waited < PATIENCE_MS; waited += 10) {
        if (fake.suspended) {
            collect();
        } else if (fake.streaming) {
            read_stream(&x);
        } else {
            x.resumed(&x);
        }
    }
    if (x.ended) {
        x.ended(&x);
    }
    for (int waited = 0; live != before && waited < PATIENCE_MS; waited += 10) {
        collect(); /* puzzles that were given up come back yet */
    }
    chaos.armed = false;
    assert_true(fake.over);
    bool is_ours = fake.status == 500 || fake.status == 0;
    assert_true(fake.status == 200 || (chaos.refused > 0 && is_ours) || chaos.refused_json > 0);
}

static void open_world(void) {
    static char *const specs[] = {(char *)"tiny=" TINY_MODEL, (char *)"other=" OTHER_MODEL, (char *)"arc=" ARC_MODEL};
    static char *const arguments[] = {(char *)"trm-server", (char *)"--model=unused", NULL};
    const struct trm_model_options precision = {.backend = TRM_BACKEND_ONEDNN, .dtype = TRM_DTYPE_F32};
    enum srv_wish wish;
    trm_error err;
    assert_int_equal(srv_options_read(2, (char **)arguments, &world.options, &wish, &err), TRM_OK);
    assert_int_equal(srv_models_open(specs, 3, &precision, &world.models, &err), TRM_OK);
    world.server.options = &world.options;
    world.server.models = &world.models;
    sem_init(&world.news, 0, 0);
    const struct srv_scheduler_config config = {
        .models = &world.models, .workers = 1, .slots = 4, .max_queue = 64, .notify = on_news, .arg = &world.news};
    assert_int_equal(srv_scheduler_create(&config, &world.server.scheduler, &err), TRM_OK);
}

static int setup(void **state) {
    (void)state;
    json_set_alloc_funcs(json_malloc, __wrap_free);
    open_world();
    return 0;
}

static int teardown(void **state) {
    (void)state;
    srv_scheduler_destroy(world.server.scheduler);
    srv_models_close(&world.models);
    srv_options_release(&world.options);
    sem_destroy(&world.news);
    return 0;
}

#define GRID     "\"1...............\""
#define INTEGERS "[[1,0,0,0],[0,0,0,0],[0,0,0,0],[0,0,0,0]]"
#define TASK                                                                                                           \
    "\"task\":{\"train\":[{\"input\":[[3]],\"output\":[[4]]},{\"input\":[[1,2]],\"output\":[[2],[1]]}],"               \
    "\"test\":[{\"input\":[[5,1],[2,2]]},{\"input\":[[7]]}]}"
#define FOUR_STEPS "\"options\":{\"max_steps\":4,\"no_halt\":true,\"verify\":false}"

static void test_a_request_survives_any_failed_allocation(void **state) {
    static const struct request requests[] = {
        {srv_solve, NULL, "{\"grid\":" GRID "," FOUR_STEPS "}"},
        {srv_solve, NULL, "{\"model\":\"tiny\",\"grid\":" INTEGERS ",\"options\":{\"rollouts\":3,\"noise\":0.1}}"},
        {srv_solve, NULL, "{\"grids\":[" GRID "," GRID ",[\"....\",\"..1.\",\"....\",\"....\"]]," FOUR_STEPS "}"},
        {srv_solve, "text/event-stream", "{\"grid\":" GRID "," FOUR_STEPS "}"},
        {srv_solve, "application/x-ndjson", "{\"grids\":[" GRID "," INTEGERS "]," FOUR_STEPS "}"},
        {srv_solve, NULL, "{" TASK ",\"task_id\":\"a\",\"options\":{\"augment\":4}}"},
        {srv_solve, "text/event-stream", "{" TASK ",\"options\":{\"augment\":3,\"no_halt\":true}}"},
        {srv_kserve_infer, NULL,
         "{\"id\":\"a\",\"parameters\":{\"max_steps\":2},\"inputs\":[{\"name\":\"grid\",\"shape\":[2,16],"
         "\"datatype\":\"INT32\",\"data\":[1,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0]}]}"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof requests / sizeof requests[0]; i++) {
        run_chaos(serve, &requests[i]);
    }
}

/* --- the rest of what a server reads ---------------------------------------------------------------- */

static void write_models(const void *arg) {
    struct proto_text text = {0};
    (void)arg;
    chaos.armed = true;
    srv_models_write(&world.models, &text);
    chaos.armed = false;
    assert_true(text.failed ? chaos.refused > 0 : text.length > 0);
    proto_text_release(&text);
}

static void open_guards(const void *arg) {
    const struct srv_auth_config config = {.list = "key-number-one,key-number-two", .admin_list = "the-operators-key"};
    struct srv_auth *auth;
    struct srv_cors *cors;
    trm_error err;
    (void)arg;
    chaos.armed = true;
    trm_status status = srv_auth_open(&config, &auth, &err);
    if (status == TRM_OK) {
        status = srv_cors_open("https://a.example,https://b.example", &cors, &err);
        srv_auth_close(auth);
    }
    chaos.armed = false;
    assert_int_equal(status, chaos.refused > 0 ? TRM_NO_MEMORY : TRM_OK);
    if (status == TRM_OK) {
        srv_cors_close(cors);
    }
}

/* What was refused must be told, but for what jansson does not tell. */
static void check_status(trm_status status) {
    assert_true((status == TRM_OK) == (chaos.refused == 0) || chaos.refused_json > 0);
}

/* `arg` is a path. */
static void read_options(const void *arg) {
    char *arguments[] = {(char *)"trm-server", (char *)"--config", (char *)arg, (char *)"--max-queue=7", NULL};
    struct srv_options options;
    enum srv_wish wish;
    trm_error err;
    chaos.armed = true;
    trm_status status = srv_options_read(4, arguments, &options, &wish, &err);
    chaos.armed = false;
    check_status(status);
    if (status == TRM_OK) {
        srv_options_release(&options);
    }
}

static void read_run(const void *arg) {
    struct conf_train conf;
    trm_error err;
    chaos.armed = true;
    trm_status status = conf_train_load(arg, NULL, 0, &conf, &err);
    chaos.armed = false;
    check_status(status);
    if (status == TRM_OK) {
        conf_train_destroy(&conf);
    }
}

static void open_tensors(const void *arg) {
    st_file *file;
    trm_error err;
    chaos.armed = true;
    trm_status status = st_open(arg, &file, &err);
    chaos.armed = false;
    check_status(status);
    st_close(file);
}

static void open_stream(const void *arg) {
    data_stream *stream;
    trm_error err;
    chaos.armed = true;
    trm_status status = data_stream_create(arg, 4, &stream, &err);
    chaos.armed = false;
    check_status(status);
    data_stream_destroy(stream);
}

static void test_documents_survive_any_failed_allocation(void **state) {
    (void)state;
    run_chaos(write_models, NULL);
}

static void test_keys_and_origins_survive_any_failed_allocation(void **state) {
    (void)state;
    run_chaos(open_guards, NULL);
}

static void test_settings_survive_any_failed_allocation(void **state) {
    (void)state;
    run_chaos(read_options, "tests/fuzz/corpus/config/server.json");
    run_chaos(read_run, "tests/fuzz/corpus/config/run.json");
}

static void test_a_file_of_tensors_survives_any_failed_allocation(void **state) {
    (void)state;
    run_chaos(open_tensors, TINY_MODEL);
}

static void test_puzzles_without_end_survive_any_failed_allocation(void **state) {
    (void)state;
    const struct data_generate_options mazes = {.maze = true, .size = 5, .seed = 1, .threads = 2};
    run_chaos(open_stream, &mazes);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_request_survives_any_failed_allocation),
        cmocka_unit_test(test_documents_survive_any_failed_allocation),
        cmocka_unit_test(test_keys_and_origins_survive_any_failed_allocation),
        cmocka_unit_test(test_settings_survive_any_failed_allocation),
        cmocka_unit_test(test_a_file_of_tensors_survives_any_failed_allocation),
        cmocka_unit_test(test_puzzles_without_end_survive_any_failed_allocation),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
