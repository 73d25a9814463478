/* arc.c - see arc.h. No state. */
#include "engine/data/arc.h"

#include <nettle/sha2.h>
#include <stdio.h>
#include <string.h>

#include "engine/square.h"

enum { PADDING = 0, END = 1, FIRST_COLOUR = 2 };

static const char SEPARATOR[] = "|||";

const struct data_arc_augment DATA_ARC_IDENTITY = {0, {0, 1, 2, 3, 4, 5, 6, 7, 8, 9}};

bool data_arc_equal(const struct data_arc_grid *a, const struct data_arc_grid *b) {
    return a->rows == b->rows && a->cols == b->cols && memcmp(a->cells, b->cells, (size_t)a->rows * a->cols) == 0;
}

/* ---- tokens ---- */

int data_arc_side_of(int cells) {
    const int side = trm_square_side(cells);
    return side <= DATA_ARC_SIDE ? side : 0;
}

void data_arc_tokens(const struct data_arc_grid *grid, int side, int top, int left, uint8_t *tokens) {
    const int bottom = top + grid->rows, right = left + grid->cols;
    memset(tokens, PADDING, (size_t)side * (size_t)side);
    for (int r = 0; r < grid->rows; r++) {
        for (int c = 0; c < grid->cols; c++)
            tokens[(top + r) * side + left + c] = (uint8_t)(grid->cells[r * grid->cols + c] + FIRST_COLOUR);
        if (right < side)
            tokens[(top + r) * side + right] = END;
    }
    if (bottom < side)
        memset(tokens + bottom * side + left, END, grid->cols);
}

static int larger(int a, int b) {
    return a > b ? a : b;
}

void data_arc_draw_place(const struct data_arc_grid *input, const struct data_arc_grid *output, int side,
                         struct data_rng *rng, int *top, int *left) {
    *top = data_rng_below(rng, side - larger(input->rows, output->rows) + 1);
    *left = data_rng_below(rng, side - larger(input->cols, output->cols) + 1);
}

static bool is_colour(int32_t token) {
    return token >= FIRST_COLOUR && token < FIRST_COLOUR + DATA_ARC_COLOURS;
}

void data_arc_crop(const int32_t *tokens, int side, struct data_arc_grid *grid) {
    int width = side, rows = 0, cols = 0; /* width: colours at the left of every row so far */
    for (int r = 0; r < side; r++) {
        int run = 0;
        while (run < width && is_colour(tokens[r * side + run]))
            run++;
        width = run;
        if ((r + 1) * width > rows * cols) {
            rows = r + 1;
            cols = width;
        }
    }
    grid->rows = (uint8_t)rows;
    grid->cols = (uint8_t)cols;
    for (int r = 0; r < rows; r++)
        for (int c = 0; c < cols; c++)
            grid->cells[r * cols + c] = (uint8_t)(tokens[r * side + c] - FIRST_COLOUR);
}

/* ---- augmentation ---- */

bool data_arc_augment_is_valid(const struct data_arc_augment *augment) {
    unsigned seen = 0;
    for (int c = 0; c < DATA_ARC_COLOURS; c++)
        if (augment->colours[c] < DATA_ARC_COLOURS)
            seen |= 1u << augment->colours[c];
    return augment->transform < DATA_ARC_TRANSFORMS && augment->colours[0] == 0 && seen == (1u << DATA_ARC_COLOURS) - 1;
}

void data_arc_augment_draw(struct data_rng *rng, struct data_arc_augment *augment) {
    int order[DATA_ARC_COLOURS - 1];
    augment->transform = (uint8_t)data_rng_below(rng, DATA_ARC_TRANSFORMS);
    data_rng_permute(rng, DATA_ARC_COLOURS - 1, order);
    augment->colours[0] = 0;
    for (int c = 1; c < DATA_ARC_COLOURS; c++)
        augment->colours[c] = (uint8_t)(order[c - 1] + 1);
}

/* Where cell (r, c) of the result comes from, in a grid of R x C. */
static int origin(int transform, int r, int c, int R, int C) {
    switch (transform) {
    case 1: /* a quarter turn to the left */
        return c * C + (C - 1 - r);
    case 2:
        return (R - 1 - r) * C + (C - 1 - c);
    case 3:
        return (R - 1 - c) * C + r;
    case 4: /* left becomes right */
        return r * C + (C - 1 - c);
    case 5: /* up becomes down */
        return (R - 1 - r) * C + c;
    case 6: /* transposed */
        return c * C + r;
    case 7: /* transposed along the other diagonal: 1, then 4 */
        return (R - 1 - c) * C + (C - 1 - r);
    default:
        return r * C + c;
    }
}

void data_arc_transform(int transform, const struct data_arc_grid *in, struct data_arc_grid *out) {
    const bool turned = transform == 1 || transform == 3 || transform >= 6;
    out->rows = turned ? in->cols : in->rows;
    out->cols = turned ? in->rows : in->cols;
    for (int r = 0; r < out->rows; r++)
        for (int c = 0; c < out->cols; c++)
            out->cells[r * out->cols + c] = in->cells[origin(transform, r, c, in->rows, in->cols)];
}

static void recolour(const uint8_t colours[DATA_ARC_COLOURS], struct data_arc_grid *grid) {
    for (int i = 0; i < grid->rows * grid->cols; i++)
        grid->cells[i] = colours[grid->cells[i]];
}

void data_arc_apply(const struct data_arc_augment *augment, const struct data_arc_grid *in, struct data_arc_grid *out) {
    data_arc_transform(augment->transform, in, out);
    recolour(augment->colours, out);
}

void data_arc_undo(const struct data_arc_augment *augment, const struct data_arc_grid *in, struct data_arc_grid *out) {
    static const uint8_t inverse[DATA_ARC_TRANSFORMS] = {0, 3, 2, 1, 4, 5, 6, 7};
    uint8_t colours[DATA_ARC_COLOURS];
    for (int c = 0; c < DATA_ARC_COLOURS; c++)
        colours[augment->colours[c]] = (uint8_t)c;
    data_arc_transform(inverse[augment->transform], in, out);
    recolour(colours, out);
}

/* ---- names ---- */

void data_arc_name_format(const char *name, const struct data_arc_augment *augment, char full[DATA_ARC_FULL_NAME]) {
    const int length = snprintf(full, DATA_ARC_FULL_NAME, "%.*s", DATA_ARC_NAME - 1, name);
    if (memcmp(augment, &DATA_ARC_IDENTITY, sizeof *augment) == 0)
        return;
    char digits[DATA_ARC_COLOURS + 1] = "";
    for (int c = 0; c < DATA_ARC_COLOURS; c++)
        digits[c] = (char)('0' + augment->colours[c]);
    snprintf(full + length, DATA_ARC_FULL_NAME - (size_t)length, "%st%d%s%s", SEPARATOR, augment->transform, SEPARATOR,
             digits);
}

static bool parse_augment(const char *text, struct data_arc_augment *augment) {
    const size_t separator = strlen(SEPARATOR);
    if (strlen(text) != 2 + separator + DATA_ARC_COLOURS || text[0] != 't' ||
        strncmp(text + 2, SEPARATOR, separator) != 0)
        return false;
    augment->transform = (uint8_t)(text[1] - '0');
    for (int c = 0; c < DATA_ARC_COLOURS; c++)
        augment->colours[c] = (uint8_t)(text[2 + separator + (size_t)c] - '0');
    return data_arc_augment_is_valid(augment);
}

bool data_arc_name_parse(const char *full, char name[DATA_ARC_NAME], struct data_arc_augment *augment) {
    const char *separator = strstr(full, SEPARATOR);
    const size_t length = separator ? (size_t)(separator - full) : strlen(full);
    if (length == 0 || length >= DATA_ARC_NAME)
        return false;
    for (size_t i = 0; i < length; i++)
        if (full[i] < ' ' || full[i] > '~' || strchr("\"\\/", full[i]))
            return false;
    memcpy(name, full, length);
    name[length] = '\0';
    *augment = DATA_ARC_IDENTITY;
    return !separator || parse_augment(separator + strlen(SEPARATOR), augment);
}

/* ---- hashes ---- */

void data_arc_grid_hash(const struct data_arc_grid *grid, uint8_t hash[DATA_ARC_HASH]) {
    struct sha256_ctx context;
    const uint8_t shape[2] = {grid->rows, grid->cols};
    sha256_init(&context);
    sha256_update(&context, sizeof shape, shape);
    sha256_update(&context, (size_t)grid->rows * grid->cols, grid->cells);
    sha256_digest(&context, DATA_ARC_HASH, hash);
}

void data_arc_hex(const uint8_t hash[DATA_ARC_HASH], char text[2 * DATA_ARC_HASH + 1]) {
    static const char digits[] = "0123456789abcdef";
    for (int i = 0; i < DATA_ARC_HASH; i++) {
        text[2 * i] = digits[hash[i] >> 4];
        text[2 * i + 1] = digits[hash[i] & 15];
    }
    text[2 * DATA_ARC_HASH] = '\0';
}
