/* reach.c - see reach.h. No state but the tables handed out. */
#include "engine/ops/reach.h"

#include <stdlib.h>

/* The sets of OP_REACH_UNITS. */
enum { BY_ROW, BY_COLUMN, BY_BOX };

static const float CLOSED = -1e30f; /* not infinite: a query in a place without a cell sees nothing else */

int op_reach_box_rows(int side) {
    int rows = 0;
    for (int i = 2; i * i <= side && side <= OP_REACH_LANES; i++)
        if (side % i == 0)
            rows = i;
    return rows;
}

/* ---- units: which group of a set a cell is in, and as which member ---- */

struct unit {
    int group, member;
};

static struct unit unit_of(int side, int set, int cell) {
    const int row = cell / side, column = cell % side, rows = op_reach_box_rows(side);
    if (set == BY_COLUMN)
        return (struct unit){column, row};
    if (set == BY_ROW || rows == 0)
        return (struct unit){row, column};
    const int columns = side / rows;
    return (struct unit){row / rows * rows + column / columns, row % rows * columns + column % columns};
}

/* ---- the definition ---- */

/* Whether two cells see each other. */
static bool together(const struct op_reach *reach, int set, int a, int b) {
    const int side = reach->side;
    if (reach->kind == OP_REACH_UNITS)
        return unit_of(side, set, a).group == unit_of(side, set, b).group;
    return abs(a / side - b / side) <= reach->radius && abs(a % side - b % side) <= reach->radius;
}

bool op_reach_sees(const struct op_reach *reach, int set, int query, int key) {
    return query < reach->prefix || key < reach->prefix ||
           together(reach, set, query - reach->prefix, key - reach->prefix);
}

/* ---- places ---- */

static int whole_lanes(int count) {
    return (count + OP_REACH_LANES - 1) / OP_REACH_LANES * OP_REACH_LANES;
}

/* One line of groups for each member: a query's keys are the same group in every line. */
static void place_units(const struct op_reach *reach, struct op_reach_table *table) {
    const int side = reach->side, line = OP_REACH_LANES;
    for (int set = 0; set < table->sets; set++)
        for (int cell = 0; cell < side * side; cell++) {
            const struct unit unit = unit_of(side, set, cell);
            table->token[set * table->places + unit.member * line + unit.group] = reach->prefix + cell;
        }
    for (int i = 0; i < side; i++)
        table->shift[i] = i * line;
}

/* The grid, its rows as far apart as the longest step to the side goes, and room for the longest step at both ends. */
static void place_near(const struct op_reach *reach, struct op_reach_table *table) {
    const int side = reach->side, line = side + reach->radius, width = 2 * reach->radius + 1;
    for (int cell = 0; cell < side * side; cell++)
        table->token[table->first + cell / side * line + cell % side] = reach->prefix + cell;
    for (int i = 0; i < table->span; i++)
        table->shift[i] = (i / width - reach->radius) * line + i % width - reach->radius;
}

/* The numbers of the layout. */
static void measure(const struct op_reach *reach, struct op_reach_table *table) {
    const int side = reach->side, radius = reach->radius;
    table->reach = *reach;
    table->tokens = reach->prefix + side * side;
    if (reach->kind == OP_REACH_UNITS) {
        table->sets = OP_REACH_UNIT_SETS;
        table->blocks = side;
        table->places = side * OP_REACH_LANES;
        table->span = side;
        return;
    }
    const int line = side + radius;
    table->sets = 1;
    table->first = radius * line + radius;
    table->blocks = whole_lanes(side * line) / OP_REACH_LANES;
    table->places = whole_lanes(table->blocks * OP_REACH_LANES + 2 * table->first);
    table->span = (2 * radius + 1) * (2 * radius + 1);
    table->relative = 1;
}

static trm_status fill(const struct op_reach *reach, struct op_reach_table *table, trm_error *err) {
    const size_t places = (size_t)table->places, all = (size_t)table->sets * places;
    table->token = calloc(all, sizeof *table->token);
    table->shift = calloc((size_t)table->span, sizeof *table->shift);
    table->closed = calloc(places, sizeof *table->closed);
    if (!table->token || !table->shift || !table->closed)
        return trm_fail_memory(err, (all + places) * sizeof(float));
    for (size_t i = 0; i < all; i++)
        table->token[i] = OP_REACH_NO_TOKEN;
    if (reach->kind == OP_REACH_UNITS)
        place_units(reach, table);
    else
        place_near(reach, table);
    for (size_t i = 0; i < places; i++) /* the same places in every set */
        table->closed[i] = table->token[i] == OP_REACH_NO_TOKEN ? CLOSED : 0.0f;
    return TRM_OK;
}

trm_status op_reach_table_create(const struct op_reach *reach, struct op_reach_table **out, trm_error *err) {
    struct op_reach_table *table = calloc(1, sizeof *table);
    if (!table)
        return trm_fail_memory(err, sizeof *table);
    measure(reach, table);
    trm_status status = fill(reach, table, err);
    if (status != TRM_OK) {
        op_reach_table_destroy(table);
        return status;
    }
    *out = table;
    return TRM_OK;
}

void op_reach_table_destroy(struct op_reach_table *table) {
    if (!table)
        return;
    free(table->token);
    free(table->shift);
    free(table->closed);
    free(table);
}
