/* fuzz_request.c - the bodies of POST /solve and of KServe's infer, for models of every kind: what is
 * accepted must be tokens of the model, and writing them back must work. */
#include <string.h>

#include "proto/answer.h"
#include "proto/kserve.h"
#include "proto/request.h"
#include "tests/fuzz/fuzz.h"

enum { MAX_CELLS = 900 };

static const struct {
    int cells, vocab_size;
    enum trm_puzzle puzzle;
} models[] = {
    {81, 11, TRM_PUZZLE_SUDOKU}, {36, 11, TRM_PUZZLE_SUDOKU}, {16, 6, TRM_PUZZLE_SUDOKU},
    {900, 6, TRM_PUZZLE_MAZE},   {900, 12, TRM_PUZZLE_ARC},   {4, 3, TRM_PUZZLE_OTHER},
};

/* What a server does with a puzzle that it has accepted and, here, not solved. */
static void answer(const struct proto_form *form, const int32_t *tokens) {
    static const float q_halt[2] = {-1, 1};
    struct proto_text text = {0};
    struct proto_kserve_wish wish = {.outputs = ~0u};
    struct proto_answer unsolved = {
        .form = form, .puzzle = tokens, .answer = tokens, .steps = 2, .halted_by = "max_steps", .q_halt = q_halt};
    proto_write_answer(&text, "id", "model", &unsolved, 1);
    proto_kserve_write_answers(&text, &wish, "id", "model", &unsolved, 1);
    fuzz_require(!text.failed && text.length > 0, "an answer could not be written");
    proto_text_release(&text);
}

static void read_puzzles(const struct proto_request *request) {
    int32_t tokens[MAX_CELLS];
    for (size_t m = 0; m < sizeof models / sizeof models[0]; m++) {
        struct proto_form form;
        struct proto_problem problem = {.pointer = ""};
        trm_error err;
        trm_status status = proto_form_of(models[m].cells, models[m].vocab_size, models[m].puzzle, &form, &err);
        fuzz_require(status == TRM_OK, err.text);
        (void)proto_request_fits(request, &form);
        for (int i = 0; i < request->count; i++) {
            if (!proto_request_tokens(request, i, &form, tokens, &problem)) {
                fuzz_require(problem.detail[0] != '\0', "a refusal without a reason");
                break;
            }
            for (int c = 0; c < form.side * form.side; c++) {
                fuzz_require(tokens[c] >= 0 && tokens[c] < form.vocab_size, "a token that the model does not have");
            }
            answer(&form, tokens);
        }
    }
}

static void check_problem(const struct proto_problem *problem) {
    struct proto_text text = {0};
    proto_problem_write(problem, &text);
    json_t *document = json_loadb(text.data, text.length, 0, NULL);
    fuzz_require(document != NULL, "a problem that is no JSON");
    json_decref(document);
    proto_text_release(&text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const struct proto_limits limits = {.max_steps = 256, .max_grids = 64, .max_rollouts = 64};
    struct proto_request request;
    struct proto_problem problem;
    struct proto_kserve_wish wish;
    if (proto_request_read((const char *)data, size, &limits, &request, &problem)) {
        (void)proto_request_cells(&request);
        read_puzzles(&request);
        proto_request_release(&request);
    } else {
        check_problem(&problem);
    }
    if (proto_kserve_read((const char *)data, size, &limits, &request, &wish, &problem)) {
        read_puzzles(&request);
        proto_request_release(&request);
    } else {
        check_problem(&problem);
    }
    return 0;
}
