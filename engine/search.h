/* search.h - guesses: which cells of a puzzle are taken for known when the model does not solve it as it is.
 *
 * A tree over one puzzle. A node is the puzzle with some guesses as clues, its root the puzzle itself. A node that the
 * model was given without success gets children: of its open cells the one whose second digit is likeliest, once
 * with each digit that the model gives a chance and the rules allow. Next comes, of all nodes that wait, the one whose
 * guesses are few and most probably right: nothing is tried twice, and no cell for good. (Measured: a right guess
 * helps as much as it was improbable, so that cells hardly differ in what a try of them is worth; config/train/LOG.md.)
 * Latents go on from a parent to its children, which need fewer steps then, as long as the few kept ones last.
 *
 * Tokens and logits are of what the model sees, be it the puzzle or an image of it. A search belongs to the thread that
 * uses it; nothing here allocates. */
#ifndef TRM_ENGINE_SEARCH_H
#define TRM_ENGINE_SEARCH_H

#include "engine/engine.h"
#include "engine/ops/bf16.h"

enum { SEARCH_NODES = 4096, SEARCH_KEPT = 16 };

struct search_node {
    float logp;     /* logarithm of the probability of its guesses, each as its parent saw it */
    float key;      /* the node with the largest is tried next: logp less a penalty for each guess, perhaps noise */
    int16_t parent; /* index; the root's is its own */
    uint16_t cell;  /* of its last guess, */
    uint8_t token;  /* which is that this token stands there */
    uint8_t depth;  /* guesses */
    bool tried, branched;
};

/* The memory is the owner's. */
struct search {
    struct search_node *nodes;    /* [SEARCH_NODES] */
    op_bf16 *kept;                /* [SEARCH_KEPT, state_size] latents that nodes were left with, */
    int16_t kept_of[SEARCH_KEPT]; /* the node, or -1 */
    size_t state_size;
    int count, current;
};

/* Begins at the root, which counts as tried. Nodes, kept and state_size must be set. */
void trm_search_begin(struct search *search);

/* What the model was given for the current node, and what it made of it. */
struct search_view {
    enum trm_puzzle puzzle;
    int cells, vocab;
    const int32_t *tokens; /* [cells] */
    const float *logits;   /* [cells, vocab] */
};

/* The model does not solve the current node: adds its children, unless they are there, it has `most` guesses already
 * or the memory is full. */
void trm_search_branch(struct search *search, const struct search_view *view, int most);

/* The same with nodes in a random order, likely ones more often first: an order of its own for each seed. */
void trm_search_branch_at_random(struct search *search, const struct search_view *view, int most, uint64_t seed);

/* Keeps the latents that the current node is left with, once it has children, if no better ones would have to go. */
void trm_search_keep(struct search *search, const float *state);

enum search_step {
    SEARCH_OVER,   /* no node waits */
    SEARCH_ONWARD, /* latents are those of the node's parent */
    SEARCH_ANEW    /* latents are lost: they begin again */
};

/* Goes to the next node. `state` has the latents of the node before, and SEARCH_ONWARD those to go on from. */
enum search_step trm_search_next(struct search *search, float *state);

/* Puts the current node's guesses into `tokens`, the puzzle itself. */
void trm_search_apply(const struct search *search, int32_t *tokens);

#endif
