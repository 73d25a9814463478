/* eval_csv.c - see eval_csv.h. No state. */
#include "engine/train/eval_csv.h"

#include "engine/data/generate.h"
#include "engine/file.h"

static void print_group(FILE *stream, const char *kind, const char *name, const struct train_eval_group *group,
                        int max_steps) {
    const double puzzles = (double)group->puzzles;
    for (int step = 0; step < max_steps && group->puzzles > 0; step++)
        fprintf(stream, "%s%s,%d,%zu,%.6f,%.6f\n", kind, name, step + 1, group->puzzles,
                (double)group->exact_by_step[step] / puzzles, (double)group->ended_by_step[step] / puzzles);
}

trm_status train_eval_save_csv(const struct train_eval_result *result, const struct data_set *set, const char *path,
                               trm_error *err) {
    struct trm_output out;
    trm_status status = trm_output_open(&out, path, err);
    if (status == TRM_OK) {
        fputs("group,step,puzzles,exact,ended\n", out.stream);
        print_group(out.stream, "all", "", &result->all, result->max_steps);
        for (int i = 0; i < result->source_count; i++)
            print_group(out.stream, "source ", set->source_names[i], &result->by_source[i], result->max_steps);
        for (int i = 0; i < SUDOKU_CLASSES; i++)
            print_group(out.stream, "class ", data_class_name(i), &result->by_class[i], result->max_steps);
        status = trm_output_commit(&out, err);
    }
    trm_output_close(&out);
    return status;
}
