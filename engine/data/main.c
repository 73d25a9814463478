/* main.c - trm-data: turns puzzle collections into data sets, makes new puzzles and checks them. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/data/commands.h"

static const char HELP[] =
    "usage: trm-data sudoku --csv FILE --out DIR [--split train|test] [--limit N] [--augment N] [--seed S]\n"
    "                [--test FILE_OR_DIR ...] [--json]\n"
    "       trm-data maze --csv FILE --out DIR [--split train|test] [--limit N] [--augment N] [--seed S] [--json]\n"
    "       trm-data generate sudoku --count N [--size 4|6|9] [--class CLASS] [--seed S] [--threads N]\n"
    "                [--test FILE_OR_DIR ...] [--out FILE] [--json]\n"
    "       trm-data generate maze --count N [--size 5..64] [--min-moves N] [--seed S] [--threads N]\n"
    "                [--out FILE] [--json]\n"
    "       trm-data clean --csv FILE --test FILE_OR_DIR ... --out FILE [--limit N] [--json]\n"
    "       trm-data verify --csv FILE [--limit N] [--json]\n"
    "       trm-data import CHECKPOINT --config FILE --out FILE [--puzzle sudoku|maze|arc] [--json]\n"
    "       trm-data arc --from PREFIX --subsets A,B --out DIR [--test A] [--augment N] [--seed S]\n"
    "                [--size 1..30] [--without FILE] [--json]\n"
    "       trm-data arc --from PREFIX --subsets A,B --out DIR --identifiers FILE [--json]\n"
    "       trm-data --help | --version\n"
    "\n"
    "sudoku     writes the puzzles of a CSV file in the layout of the original scripts: DIR/identifiers.json and\n"
    "maze       DIR/train (or DIR/test) with dataset.json and all__*.npy. --augment N adds N random symmetric\n"
    "           images of every Sudoku, or N of the 7 other images of every maze.\n"
    "generate   makes puzzles with one solution as CSV, to standard output unless --out is given. CLASS is easy,\n"
    "           medium (singles only), hard (1 to 3 guesses), very-hard (more) or mixed (the default: all that\n"
    "           the size has, in equal parts). Mazes (side 30 unless said otherwise) have one shortest path, of\n"
    "           at least --min-moves moves: by default 111 at side 30, as many in proportion to the cells at\n"
    "           others. The same seed gives the same puzzles.\n"
    "clean      copies a CSV file without the puzzles that are in a test set.\n"
    "verify     checks that every line has a right answer and no other, and counts sources and ratings.\n"
    "import     converts a checkpoint that PyTorch wrote to safetensors. --config describes the model as\n"
    "           config/models/ does; nothing that the checkpoint may contain is run.\n"
    "arc        writes the ARC tasks of PREFIX_A_challenges.json and PREFIX_A_solutions.json, B and so on, each with\n"
    "           up to N augmentations, in the layout of the original scripts: DIR/train with all demonstrations,\n"
    "           DIR/test with the tests of the subsets named by --test, on which nothing trains. "
    "DIR/tasks.safetensors\n"
    "           tells servers which task each identifier is; with --identifiers it alone is written, for a data set\n"
    "           that the original's script made. --without FILE leaves out the tasks that it names, one a line,\n"
    "           --size N those with a grid of more rows or columns: puzzles then have N x N cells, not 30 x 30.\n"
    "\n"
    "CSV files have the lines source,question,answer,rating, that one first; blanks are dots or zeros;\n"
    "mazes are written with # (wall), space, S (start), G (goal) and o (path).\n"
    "--test names a set that Sudokus will be judged by: every puzzle that is one of it in disguise (digits renamed,\n"
    "rows, columns, bands or stacks exchanged, transposed) is dropped, and their number printed.\n"
    "--limit N takes the first N puzzles. --json prints results for programs.\n"
    "Exit status: 0 done, 1 failed, 2 wrong usage.\n";

static const struct {
    const char *name;
    int (*run)(int argc, char **argv);
} COMMANDS[] = {
    {"sudoku", data_run_convert}, {"maze", data_run_convert},  {"generate", data_run_generate},
    {"clean", data_run_clean},    {"verify", data_run_verify}, {"import", data_run_import},
    {"arc", data_run_arc},
};

int main(int argc, char **argv) {
    const char *command = argc > 1 ? argv[1] : "";
    if (strcmp(command, "--help") == 0) {
        fputs(HELP, stdout);
        return EXIT_SUCCESS;
    }
    if (strcmp(command, "--version") == 0) {
        puts("trm-data " TRM_VERSION);
        return EXIT_SUCCESS;
    }
    for (size_t i = 0; i < sizeof COMMANDS / sizeof *COMMANDS; i++)
        if (strcmp(command, COMMANDS[i].name) == 0)
            return COMMANDS[i].run(argc - 1, argv + 1);
    return argc > 1 ? data_usage_error("%s is not a command", command) : data_usage_error("a command is missing");
}
