/* sudoku_solve.c - solves by naked and hidden singles, then branches on the most constrained cell.
 *
 * Sets of digits are bit masks: bit d - 1 for digit d. A unit (row, column or box) keeps the digits it
 * still misses; what a cell can be is the intersection of its three units. Pure; any thread. */
#include <string.h>

#include "engine/data/sudoku.h"

struct place {
    uint8_t cell, unit[SUDOKU_UNITS];
};

struct state {
    uint16_t missing[SUDOKU_UNITS][SUDOKU_MAX_SIZE];
    uint8_t grid[SUDOKU_MAX_CELLS];
    uint8_t empty_count;
    struct place empty[SUDOKU_MAX_CELLS]; /* [empty_count] in order of cells */
};

struct search {
    int size, limit, found, guesses;
    uint8_t *solution;    /* [size * size] where the first solution goes, or NULL */
    struct data_rng *rng; /* chooses the order of guesses; NULL: smallest digit first */
};

enum outcome { DEAD, SOLVED, STUCK };

static unsigned candidates(const struct state *s, struct place p) {
    return s->missing[SUDOKU_ROW][p.unit[SUDOKU_ROW]] & s->missing[SUDOKU_COL][p.unit[SUDOKU_COL]] &
           s->missing[SUDOKU_BOX][p.unit[SUDOKU_BOX]];
}

static bool is_single(unsigned set) {
    return (set & (set - 1)) == 0;
}

static void put(struct state *s, struct place p, unsigned digit) {
    s->grid[p.cell] = (uint8_t)(__builtin_ctz(digit) + 1);
    for (int kind = 0; kind < SUDOKU_UNITS; kind++)
        s->missing[kind][p.unit[kind]] &= (uint16_t)~digit;
}

/* Puts naked singles, and finds hidden ones: digits with one place left in a unit. Sets met before a
 * digit was put may be too large, never too small, so what is concluded from them holds. */
static enum outcome naked_singles(int size, struct state *s, uint16_t hidden[SUDOKU_UNITS][SUDOKU_MAX_SIZE],
                                  bool *progress) {
    uint16_t once[SUDOKU_UNITS][SUDOKU_MAX_SIZE] = {0}, twice[SUDOKU_UNITS][SUDOKU_MAX_SIZE] = {0};
    uint8_t kept = 0;
    for (int i = 0; i < s->empty_count; i++) {
        const struct place p = s->empty[i];
        const unsigned set = candidates(s, p);
        if (set == 0)
            return DEAD;
        if (is_single(set)) {
            put(s, p, set);
            *progress = true;
            continue;
        }
        s->empty[kept++] = p;
        for (int kind = 0; kind < SUDOKU_UNITS; kind++) {
            const int unit = p.unit[kind];
            twice[kind][unit] |= (uint16_t)(once[kind][unit] & set);
            once[kind][unit] |= (uint16_t)set;
        }
    }
    s->empty_count = kept;
    for (int kind = 0; kind < SUDOKU_UNITS; kind++) {
        for (int unit = 0; unit < size; unit++) {
            if (s->missing[kind][unit] & ~once[kind][unit])
                return DEAD;
            hidden[kind][unit] = (uint16_t)(s->missing[kind][unit] & ~twice[kind][unit]);
        }
    }
    return kept ? STUCK : SOLVED;
}

static enum outcome hidden_singles(struct state *s, uint16_t hidden[SUDOKU_UNITS][SUDOKU_MAX_SIZE], bool *progress) {
    uint8_t kept = 0;
    for (int i = 0; i < s->empty_count; i++) {
        const struct place p = s->empty[i];
        const unsigned forced =
            candidates(s, p) & (hidden[SUDOKU_ROW][p.unit[SUDOKU_ROW]] | hidden[SUDOKU_COL][p.unit[SUDOKU_COL]] |
                                hidden[SUDOKU_BOX][p.unit[SUDOKU_BOX]]);
        if (!is_single(forced))
            return DEAD;
        if (forced) {
            put(s, p, forced);
            *progress = true;
        } else {
            s->empty[kept++] = p;
        }
    }
    s->empty_count = kept;
    return kept ? STUCK : SOLVED;
}

/* Goes as far as singles lead. */
static enum outcome settle(int size, struct state *s) {
    for (;;) {
        uint16_t hidden[SUDOKU_UNITS][SUDOKU_MAX_SIZE];
        bool progress = false;
        enum outcome outcome = naked_singles(size, s, hidden, &progress);
        if (outcome == STUCK)
            outcome = hidden_singles(s, hidden, &progress);
        if (outcome != STUCK || !progress)
            return outcome;
    }
}

/* The first of the empty places with the fewest candidates. */
static int most_constrained(const struct state *s) {
    int best = 0, fewest = SUDOKU_MAX_SIZE + 1;
    for (int i = 0; i < s->empty_count && fewest > 2; i++) {
        const int count = __builtin_popcount(candidates(s, s->empty[i]));
        if (count < fewest) {
            fewest = count;
            best = i;
        }
    }
    return best;
}

/* The digit of `set` to guess next. */
static unsigned choose(const struct search *search, unsigned set) {
    if (search->rng) {
        for (int skip = data_rng_below(search->rng, __builtin_popcount(set)); skip > 0; skip--)
            set &= set - 1;
    }
    return set & -set;
}

static void explore(struct search *search, struct state *s) {
    const enum outcome outcome = settle(search->size, s);
    if (outcome == SOLVED) {
        if (search->found++ == 0 && search->solution)
            memcpy(search->solution, s->grid, (size_t)search->size * search->size);
        return;
    }
    if (outcome == DEAD)
        return;

    const int branch = most_constrained(s);
    const struct place p = s->empty[branch];
    unsigned set = candidates(s, p);
    memmove(&s->empty[branch], &s->empty[branch + 1], (size_t)(s->empty_count - branch - 1) * sizeof p);
    s->empty_count--;
    while (set && search->found < search->limit) {
        const unsigned digit = choose(search, set);
        struct state next = *s;
        put(&next, p, digit);
        search->guesses++;
        explore(search, &next);
        set &= ~digit;
    }
}

/* Sets up `s` for `puzzle`; false if two clues contradict each other. */
static bool start(int size, const uint8_t *puzzle, struct state *s) {
    for (int kind = 0; kind < SUDOKU_UNITS; kind++)
        for (int unit = 0; unit < size; unit++)
            s->missing[kind][unit] = (uint16_t)((1u << size) - 1);
    for (int cell = 0; cell < size * size; cell++) {
        struct place p = {.cell = (uint8_t)cell};
        data_sudoku_units(size, cell, p.unit);
        if (puzzle[cell] == 0) {
            s->empty[s->empty_count++] = p;
            continue;
        }
        const unsigned digit = 1u << (puzzle[cell] - 1);
        if (!(candidates(s, p) & digit))
            return false;
        put(s, p, digit);
    }
    return true;
}

int data_sudoku_solve(int size, const uint8_t *puzzle, int limit, uint8_t *solution, int *guesses) {
    struct search search = {.size = size, .limit = limit, .solution = solution};
    struct state s = {0};
    if (start(size, puzzle, &s))
        explore(&search, &s);
    if (guesses)
        *guesses = search.guesses;
    return search.found;
}

void data_sudoku_fill(int size, struct data_rng *rng, uint8_t *grid) {
    static const uint8_t blank[SUDOKU_MAX_CELLS];
    struct search search = {.size = size, .limit = 1, .solution = grid, .rng = rng};
    struct state s = {0};
    start(size, blank, &s);
    explore(&search, &s);
}
