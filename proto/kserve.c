/* kserve.c - tensors of JSON <-> requests and answers. Constant data only. */
#include "proto/kserve.h"

#include <stdlib.h>
#include <string.h>

#include "proto/body.h"

enum { MAX_CELLS = 1 << 20, MAX_RANK = 3 };

static bool invalid(struct proto_problem *problem, const char *pointer, const char *detail) {
    return proto_problem_set(problem, PROTO_INVALID, pointer, "%s", detail);
}

/* --- what goes out ---------------------------------------------------------------------------------- */

static void write_cells(struct proto_text *text, const struct proto_answer *answer) {
    const struct proto_form *form = answer->form;
    for (int i = 0; i < form->side * form->side; i++) {
        if (i) {
            proto_text_add(text, ",", 1);
        }
        proto_text_add_int(text, proto_form_integer(form, answer->answer[i]));
    }
}

static void write_valid(struct proto_text *text, const struct proto_answer *answer) {
    bool valid = proto_grid_valid(answer->form, answer->puzzle, answer->answer);
    proto_text_add_literal(text, valid ? "true" : "false");
}

static void write_steps(struct proto_text *text, const struct proto_answer *answer) {
    proto_text_add_int(text, answer->steps);
}

/* After a deadline before the first step there is no value. */
static void write_q_halt(struct proto_text *text, const struct proto_answer *answer) {
    if (answer->steps) {
        proto_text_add_float(text, answer->q_halt[answer->steps - 1]);
    } else {
        proto_text_add_literal(text, "null");
    }
}

static void write_confidence(struct proto_text *text, const struct proto_answer *answer) {
    proto_text_add_float(text, answer->confidence);
}

static void write_halted_by(struct proto_text *text, const struct proto_answer *answer) {
    proto_text_add_string(text, answer->halted_by);
}

struct output {
    const char *name, *datatype;
    bool per_cell, verified; /* [n, cells] and not [n]; only where there is a verifier */
    void (*write)(struct proto_text *text, const struct proto_answer *answer);
};

static const struct output outputs[] = {
    {"answer", "INT32", true, false, write_cells},
    {"valid", "BOOL", false, true, write_valid},
    {"steps", "INT32", false, false, write_steps},
    {"q_halt", "FP32", false, false, write_q_halt}, /* of the last step */
    {"confidence", "FP32", false, false, write_confidence},
    {"halted_by", "BYTES", false, false, write_halted_by},
};

enum { OUTPUTS = sizeof outputs / sizeof outputs[0], ALL_OUTPUTS = (1 << OUTPUTS) - 1 };

static bool has_output(const struct output *output, const struct proto_form *form) {
    return !output->verified || proto_form_has_verifier(form);
}

/* {"name","datatype","shape" - without the closing brace. */
static void open_tensor(struct proto_text *text, const char *name, const char *datatype, int count, int cells) {
    proto_text_addf(text, "{\"name\":\"%s\",\"datatype\":\"%s\",\"shape\":[%d", name, datatype, count);
    if (cells) {
        proto_text_addf(text, ",%d", cells);
    }
    proto_text_add_literal(text, "]");
}

void proto_kserve_write_answers(struct proto_text *text, const struct proto_kserve_wish *wish, const char *id,
                                const char *model, const struct proto_answer *answers, int count) {
    const struct proto_form *form = answers[0].form;
    const char *separator = "";
    proto_text_add_literal(text, "{\"model_name\":");
    proto_text_add_string(text, model);
    proto_text_add_literal(text, ",\"model_version\":\"1\",\"id\":");
    proto_text_add_string(text, wish->id[0] ? wish->id : id);
    proto_text_add_literal(text, ",\"outputs\":[");
    for (int o = 0; o < OUTPUTS; o++) {
        if (!(wish->outputs & 1u << o) || !has_output(&outputs[o], form)) {
            continue;
        }
        proto_text_add_literal(text, separator);
        open_tensor(text, outputs[o].name, outputs[o].datatype, count,
                    outputs[o].per_cell ? form->side * form->side : 0);
        proto_text_add_literal(text, ",\"data\":[");
        for (int i = 0; i < count; i++) {
            proto_text_add_literal(text, i ? "," : "");
            outputs[o].write(text, &answers[i]);
        }
        proto_text_add_literal(text, "]}");
        separator = ",";
    }
    proto_text_add_literal(text, "]}\n");
}

void proto_kserve_write_server(struct proto_text *text) {
    proto_text_add_literal(text, "{\"name\":\"trm-server\",\"version\":\"" TRM_VERSION "\",\"extensions\":[]}\n");
}

void proto_kserve_write_model(struct proto_text *text, const char *name, const struct proto_form *form) {
    const int cells = form->side * form->side;
    const char *separator = "";
    proto_text_add_literal(text, "{\"name\":");
    proto_text_add_string(text, name);
    proto_text_add_literal(text, ",\"versions\":[\"1\"],\"platform\":\"trm_safetensors\",\"inputs\":[");
    open_tensor(text, "grid", "INT32", -1, cells);
    proto_text_add_literal(text, "}],\"outputs\":[");
    for (int o = 0; o < OUTPUTS; o++) {
        if (has_output(&outputs[o], form)) {
            proto_text_add_literal(text, separator);
            open_tensor(text, outputs[o].name, outputs[o].datatype, -1, outputs[o].per_cell ? cells : 0);
            proto_text_add_literal(text, "}");
            separator = ",";
        }
    }
    proto_text_add_literal(text, "]}\n");
}

void proto_kserve_write_problem(const struct proto_problem *problem, struct proto_text *text) {
    static const char options[] = "/options/"; /* the parameters of this protocol */
    char sentence[sizeof problem->detail + sizeof problem->pointer + sizeof "/parameters/: "];
    bool renamed = strncmp(problem->pointer, options, sizeof options - 1) == 0;
    snprintf(sentence, sizeof sentence, "%s%s%s%s", renamed ? "/parameters/" : "",
             problem->pointer + (renamed ? sizeof options - 1 : 0), problem->pointer[0] ? ": " : "", problem->detail);
    proto_text_add_literal(text, "{\"error\":");
    proto_text_add_string(text, sentence);
    proto_text_add_literal(text, "}");
}

/* --- what comes in ---------------------------------------------------------------------------------- */

struct shape {
    json_int_t dims[MAX_RANK];
    int rank;
    json_int_t total;
};

/* [n, cells] or [n, rows, columns]; `most` elements at most. */
static bool read_shape(const json_t *value, const struct proto_limits *limits, size_t most, struct shape *shape,
                       struct proto_problem *problem) {
    size_t rank = json_array_size(value);
    shape->rank = (int)rank;
    if (rank < 2 || rank > MAX_RANK) {
        return invalid(problem, "/inputs/0/shape", "must be [n, cells] or [n, rows, columns]");
    }
    for (size_t i = 0; i < rank; i++) {
        const json_t *dim = json_array_get(value, i);
        shape->dims[i] = json_integer_value(dim);
        if (!json_is_integer(dim) || shape->dims[i] < 1 || shape->dims[i] > MAX_CELLS) {
            return invalid(problem, "/inputs/0/shape", "a dimension is an integer from 1");
        }
        shape->total *= shape->dims[i]; /* at most 2^60 */
    }
    if (shape->dims[0] > limits->max_grids) {
        return proto_problem_set(problem, PROTO_INVALID, "/inputs/0/shape", "at most %d puzzles in a request",
                                 limits->max_grids);
    }
    if ((size_t)shape->total > most) {
        return invalid(problem, "/inputs/0/data", "has fewer elements than the shape");
    }
    return true;
}

/* Reads `data`, nested as `dims` ([rank]) say, to *place, which moves on. */
static bool read_data(const json_t *data, const json_int_t *dims, int rank, int32_t **place,
                      struct proto_problem *problem) {
    if (!json_is_array(data) || json_array_size(data) != (size_t)dims[0]) {
        return proto_problem_set(problem, PROTO_INVALID, "/inputs/0/data", "must be nested as the shape says, or flat");
    }
    for (size_t i = 0; i < (size_t)dims[0]; i++) {
        const json_t *element = json_array_get(data, i);
        json_int_t value = json_integer_value(element);
        if (rank > 1) {
            if (!read_data(element, dims + 1, rank - 1, place, problem)) {
                return false;
            }
        } else if (!json_is_integer(element) || value < INT32_MIN || value > INT32_MAX) {
            return invalid(problem, "/inputs/0/data", "the elements must be integers of 32 bits");
        } else {
            *(*place)++ = (int32_t)value;
        }
    }
    return true;
}

static bool read_tensor(const json_t *input, const struct shape *shape, struct proto_request *request,
                        struct proto_problem *problem) {
    const json_t *data = json_object_get(input, "data");
    bool nested = json_is_array(json_array_get(data, 0));
    request->tensor = calloc((size_t)shape->total, sizeof *request->tensor);
    if (!request->tensor) {
        return proto_problem_set(problem, PROTO_INTERNAL, "", "out of memory");
    }
    int32_t *place = request->tensor;
    request->count = (int)shape->dims[0];
    request->many = true;
    request->columns = shape->rank == MAX_RANK ? (int)shape->dims[2] : 0;
    request->cells = (int)(shape->total / shape->dims[0]);
    return nested ? read_data(data, shape->dims, shape->rank, &place, problem)
                  : read_data(data, &shape->total, 1, &place, problem);
}

/* `most` is more elements than the body can have. */
static bool read_input(const json_t *inputs, const struct proto_limits *limits, size_t most,
                       struct proto_request *request, struct proto_problem *problem) {
    const json_t *input = json_array_get(inputs, 0);
    struct shape shape = {.dims = {1, 1, 1}, .total = 1};
    if (json_array_size(inputs) != 1 || !json_is_object(input)) {
        return invalid(problem, "/inputs", "must be an array of one input");
    }
    if (json_object_get(json_object_get(input, "parameters"), "binary_data_size")) {
        return proto_problem_set(problem, PROTO_MEDIA_TYPE, "/inputs/0/parameters/binary_data_size",
                                 "the binary tensor extension is not supported: send data as JSON");
    }
    if (!proto_body_knows_members(input, "/inputs/0", "name, shape, datatype, parameters, data", problem)) {
        return false;
    }
    const char *name = json_string_value(json_object_get(input, "name"));
    const char *datatype = json_string_value(json_object_get(input, "datatype"));
    if (!name || strcmp(name, "grid") != 0) {
        return invalid(problem, "/inputs/0/name", "must be \"grid\"");
    }
    if (!datatype || strcmp(datatype, "INT32") != 0) {
        return invalid(problem, "/inputs/0/datatype", "must be \"INT32\"");
    }
    return read_shape(json_object_get(input, "shape"), limits, most, &shape, problem) &&
           read_tensor(input, &shape, request, problem);
}

static bool read_output(const json_t *output, size_t index, struct proto_kserve_wish *wish,
                        struct proto_problem *problem) {
    const char *name = json_string_value(json_object_get(output, "name"));
    for (int o = 0; name && o < OUTPUTS; o++) {
        if (strcmp(name, outputs[o].name) == 0) {
            wish->outputs |= 1u << o;
            return true;
        }
    }
    char pointer[sizeof problem->pointer];
    snprintf(pointer, sizeof pointer, "/outputs/%zu/name", index);
    return invalid(problem, pointer, "is no output of this model; see its metadata");
}

static bool read_outputs(const json_t *list, struct proto_kserve_wish *wish, struct proto_problem *problem) {
    size_t index;
    json_t *output;
    if (list && !json_is_array(list)) {
        return invalid(problem, "/outputs", "must be an array");
    }
    json_array_foreach(list, index, output) {
        if (!read_output(output, index, wish, problem)) {
            return false;
        }
    }
    wish->outputs = wish->outputs ? wish->outputs : ALL_OUTPUTS;
    return true;
}

static bool read_id(const json_t *id, struct proto_kserve_wish *wish, struct proto_problem *problem) {
    if (id && (!json_is_string(id) || json_string_length(id) >= sizeof wish->id)) {
        return proto_problem_set(problem, PROTO_INVALID, "/id", "must be a string of less than %zu bytes",
                                 sizeof wish->id);
    }
    snprintf(wish->id, sizeof wish->id, "%s", id ? json_string_value(id) : "");
    return true;
}

bool proto_kserve_read(const char *body, size_t length, const struct proto_limits *limits,
                       struct proto_request *request, struct proto_kserve_wish *wish, struct proto_problem *problem) {
    *request = (struct proto_request){0};
    *wish = (struct proto_kserve_wish){0};
    if (!proto_body_parse(body, length, &request->root, problem)) {
        return false;
    }
    struct proto_limits allowed = *limits;
    allowed.max_augment = limits->max_rollouts;
    json_t *parameters = json_object_get(request->root, "parameters");
    json_object_del(parameters, "binary_data_output"); /* a wish that is not granted */
    if (!proto_body_knows_members(request->root, "", "id, parameters, inputs, outputs", problem) ||
        !read_id(json_object_get(request->root, "id"), wish, problem) ||
        !read_outputs(json_object_get(request->root, "outputs"), wish, problem) ||
        !proto_options_read(parameters, "/parameters", &allowed, &request->options, problem) ||
        !read_input(json_object_get(request->root, "inputs"), limits, length, request, problem)) {
        proto_request_release(request);
        return false;
    }
    return true;
}
