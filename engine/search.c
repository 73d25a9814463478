/* search.c - see search.h. The tree is the caller's; no state here. */
#include "engine/search.h"

#include <math.h>

#include "engine/data/puzzle.h"
#include "engine/data/rng.h"

/* Children less probable than this are left out: they would wait for ever. */
static const float LEAST_PROBABILITY = 0.004f;

/* That a parent failed speaks against its guesses, the more the more of them: measured, a guess more must make up for
 * so much in logp (config/train/LOG.md). */
static const float GUESS_PENALTY = 0.8f;

void trm_search_begin(struct search *search) {
    search->nodes[0] = (struct search_node){.tried = true};
    search->count = 1;
    search->current = 0;
    for (int place = 0; place < SEARCH_KEPT; place++)
        search->kept_of[place] = -1;
}

/* Not normalised, as the loss takes logits that TRM is trained with (train/loss.h): a softmax of them would be
 * far too sure. */
static float stablemax(float logit) {
    return logit >= 0.0f ? logit + 1.0f : 1.0f / (1.0f - logit);
}

/* The probabilities [PUZZLE_TOKENS] of a cell's tokens, 0 for those not in `allowed`; returns the second largest. */
static float read_cell(const float *logits, unsigned allowed, int vocab, float *probability) {
    float total = 0.0f, first = 0.0f, second = 0.0f;
    for (int t = 0; t < PUZZLE_TOKENS; t++) {
        probability[t] = t < vocab && (allowed >> t & 1) ? stablemax(logits[t]) : 0.0f;
        total += probability[t];
    }
    for (int t = 0; t < PUZZLE_TOKENS && total > 0.0f; t++) {
        const float p = probability[t] /= total;
        second = p > first ? first : p > second ? p : second;
        first = p > first ? p : first;
    }
    return second;
}

/* The open cell whose second token is likeliest, with its probabilities; -1 where no cell is open. */
static int choose_cell(const struct search_view *view, float *probability) {
    uint16_t allowed[PUZZLE_MAX_CELLS];
    float read[PUZZLE_TOKENS], largest = -1.0f;
    int chosen = -1;
    data_puzzle_candidates(view->puzzle, view->cells, view->tokens, allowed);
    for (int cell = 0; cell < view->cells; cell++) {
        if (allowed[cell] == 0)
            continue;
        const float second =
            read_cell(view->logits + (size_t)cell * (size_t)view->vocab, allowed[cell], view->vocab, read);
        if (second <= largest)
            continue;
        largest = second;
        chosen = cell;
        for (int t = 0; t < PUZZLE_TOKENS; t++)
            probability[t] = read[t];
    }
    return chosen;
}

/* Standard Gumbel: the largest of log p + noise is a draw by p. */
static float gumbel(struct data_rng *rng) {
    return (float)-log(-log(data_rng_uniform(rng) + 0x1p-54));
}

static void branch(struct search *search, const struct search_view *view, int most, struct data_rng *rng) {
    struct search_node *node = &search->nodes[search->current];
    float probability[PUZZLE_TOKENS];
    if (node->branched || node->depth >= most)
        return;
    node->branched = true;
    const int cell = choose_cell(view, probability);
    for (int t = 0; t < PUZZLE_TOKENS && cell >= 0 && search->count < SEARCH_NODES; t++) {
        if (probability[t] < LEAST_PROBABILITY)
            continue;
        const int depth = node->depth + 1;
        const float logp = node->logp + logf(probability[t]), key = logp - GUESS_PENALTY * (float)depth;
        search->nodes[search->count++] = (struct search_node){.logp = logp,
                                                              .key = rng ? key + gumbel(rng) : key,
                                                              .parent = (int16_t)search->current,
                                                              .cell = (uint16_t)cell,
                                                              .token = (uint8_t)t,
                                                              .depth = (uint8_t)depth};
    }
}

void trm_search_branch(struct search *search, const struct search_view *view, int most) {
    branch(search, view, most, NULL);
}

void trm_search_branch_at_random(struct search *search, const struct search_view *view, int most, uint64_t seed) {
    struct data_rng rng;
    data_rng_seed(&rng, seed ^ (uint64_t)search->current << 32); /* each node its own noise */
    branch(search, view, most, &rng);
}

/* The largest key of the node's children that wait; -INFINITY if none does. */
static float promise(const struct search *search, int node) {
    float largest = -INFINITY;
    for (int i = 0; i < search->count; i++)
        if (search->nodes[i].parent == node && !search->nodes[i].tried && search->nodes[i].key > largest)
            largest = search->nodes[i].key;
    return largest;
}

static op_bf16 *kept_at(const struct search *search, int place) {
    return search->kept + (size_t)place * search->state_size;
}

void trm_search_keep(struct search *search, const float *state) {
    float least = promise(search, search->current);
    int place = -1;
    for (int p = 0; p < SEARCH_KEPT && least > -INFINITY; p++) {
        const float other = search->kept_of[p] < 0 ? -INFINITY : promise(search, search->kept_of[p]);
        if (other >= least)
            continue;
        least = other;
        place = p;
    }
    if (place < 0)
        return;
    search->kept_of[place] = (int16_t)search->current;
    op_bf16_from_f32(state, kept_at(search, place), search->state_size);
}

static bool recall(const struct search *search, int node, float *state) {
    int place = 0;
    while (place < SEARCH_KEPT && search->kept_of[place] != node)
        place++;
    if (place == SEARCH_KEPT)
        return false;
    op_bf16_widen(kept_at(search, place), state, search->state_size);
    return true;
}

enum search_step trm_search_next(struct search *search, float *state) {
    const int before = search->current;
    int next = -1;
    for (int i = 0; i < search->count; i++)
        if (!search->nodes[i].tried && (next < 0 || search->nodes[i].key > search->nodes[next].key))
            next = i;
    if (next < 0)
        return SEARCH_OVER;
    search->nodes[next].tried = true;
    search->current = next;
    const int parent = search->nodes[next].parent;
    return parent == before || recall(search, parent, state) ? SEARCH_ONWARD : SEARCH_ANEW;
}

void trm_search_apply(const struct search *search, int32_t *tokens) {
    for (int at = search->current; at != 0; at = search->nodes[at].parent)
        tokens[search->nodes[at].cell] = search->nodes[at].token;
}
