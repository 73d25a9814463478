/* admission.c - see admission.h. No state. */
#include "server/admission.h"

#include <math.h>

/* The noise of rollouts when a request does not choose one. */
static const float ROLLOUT_NOISE = 0.3f;

/* Parts of the queue: from here on fewer rollouts, from there on fewer steps; and what is left of the
 * steps when it is full. */
static const double FEWER_ROLLOUTS = 0.25, FEWER_STEPS = 0.5, FEWEST_STEPS = 0.25;

/* The steps of a request that does not say how many. */
static int preset_steps(const struct srv_options *settings, const struct srv_model *model) {
    int trained = trm_model_info(model->engine)->halt_max_steps;
    return trained < 1 ? 1 : trained > settings->step_limit ? settings->step_limit : trained;
}

/* Images of each puzzle; the augmentations of an ARC task are puzzles of their own. */
static int images_of(const struct srv_model *model, const struct proto_options *wanted) {
    return model->form.takes_tasks ? 1 : wanted->augment;
}

/* The engine's options: what the request says, else what the server and the model say. */
static bool engine_options(const struct srv_options *settings, const struct srv_model *model,
                           const struct proto_options *wanted, struct trm_solve_options *options,
                           struct proto_problem *problem) {
    bool verifiable = proto_form_has_verifier(&model->form);
    *options = (struct trm_solve_options){
        .max_steps = wanted->max_steps ? wanted->max_steps : preset_steps(settings, model),
        .min_steps = wanted->min_steps,
        .no_halt = wanted->no_halt,
        .halt_threshold =
            wanted->has_halt_threshold ? wanted->halt_threshold : trm_model_info(model->engine)->halt_threshold,
        .verify = wanted->has_verify ? wanted->verify : settings->verify && verifiable,
        .keep_given = wanted->has_keep_given ? wanted->keep_given : verifiable,
        .images = images_of(model, wanted),
        .noise = wanted->noise > 0 ? wanted->noise : ROLLOUT_NOISE,
        .seed = wanted->seed,
        .restart_steps = wanted->restart_steps,
        .guesses = wanted->guesses,
    };
    if (options->images > trm_model_images(model->engine)) {
        return proto_problem_set(problem, PROTO_INVALID, "/options/augment", "puzzles of model '%.100s' have %d images",
                                 model->name, trm_model_images(model->engine));
    }
    if (options->verify && !verifiable) {
        return proto_problem_set(problem, PROTO_INVALID, "/options/verify", "there is no verifier for model '%.100s'",
                                 model->name);
    }
    if (options->guesses > 0 && !(options->verify && trm_model_has_guesses(model->engine))) {
        return proto_problem_set(problem, PROTO_INVALID, "/options/guesses",
                                 "only where a verifier checks the answers of Sudoku");
    }
    if (options->min_steps > options->max_steps) {
        return proto_problem_set(problem, PROTO_INVALID, "/options/min_steps", "is above max_steps, %d",
                                 options->max_steps);
    }
    return true;
}

static int at_least(int value, int least) {
    return value > least ? value : least;
}

/* `full` of what there was when the queue is filled to `from`, `rest` of it when it is filled to `to`. */
static double fall(double fill, double from, double to, double rest) {
    double part = fill <= from ? 0 : fill >= to ? 1 : (fill - from) / (to - from);
    return 1 - part * (1 - rest);
}

static void adapt(struct srv_group_config *plan, int waiting, int max_queue) {
    struct trm_solve_options *options = &plan->options;
    double fill = (double)waiting / max_queue;
    int room = (max_queue - waiting) / plan->puzzles; /* rollouts of each puzzle */
    int rollouts = (int)floor(plan->rollouts * fall(fill, FEWER_ROLLOUTS, FEWER_STEPS, 0));
    plan->rollouts = at_least(rollouts < room ? rollouts : room, 1);
    int steps = (int)ceil(options->max_steps * fall(fill, FEWER_STEPS, 1, FEWEST_STEPS));
    options->max_steps = at_least(steps, at_least(options->min_steps, 1));
}

bool srv_admission_plan(const struct srv_options *settings, const struct srv_model *model,
                        const struct proto_options *wanted, int puzzles, int waiting, struct srv_group_config *plan,
                        struct proto_problem *problem) {
    *plan = (struct srv_group_config){
        .model = model,
        .puzzles = puzzles,
        .rollouts = wanted->rollouts * images_of(model, wanted),
        .priority = wanted->priority,
        .share = preset_steps(settings, model),
    };
    if (!engine_options(settings, model, wanted, &plan->options, problem)) {
        return false;
    }
    if (plan->rollouts > settings->rollout_limit) {
        return proto_problem_set(problem, PROTO_INVALID, "/options/augment",
                                 "%d rollouts of %d images are more than %d tries of a puzzle", wanted->rollouts,
                                 wanted->augment, settings->rollout_limit);
    }
    if (puzzles > settings->max_queue / plan->rollouts) {
        return proto_problem_set(problem, PROTO_INVALID, wanted->augment > 1 ? "/options/augment" : "/options/rollouts",
                                 "the queue holds %d rollouts, and %d puzzles with %d each are more",
                                 settings->max_queue, puzzles, plan->rollouts);
    }
    plan->asked_rollouts = plan->rollouts;
    plan->asked_steps = plan->options.max_steps;
    if (settings->adapt) {
        adapt(plan, waiting, settings->max_queue);
    }
    return true;
}
