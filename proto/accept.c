/* accept.c - content negotiation. A header is read range by range; each type keeps the quality that the
 * most exact range gives it. Constant data only. */
#include "proto/accept.h"

#include <string.h>
#include <strings.h>

enum { FRAMINGS = 3 };

static const char *const framings[FRAMINGS] = {
    [PROTO_JSON] = "application/json",
    [PROTO_SSE] = "text/event-stream",
    [PROTO_NDJSON] = "application/x-ndjson",
};

/* How exactly a range names a type. */
enum exactness { NOT_NAMED, BY_ANYTHING, BY_FAMILY, BY_NAME };

/* What a header says of one type. */
struct verdict {
    enum exactness exactness;
    int quality; /* thousandths */
};

const char *proto_framing_type(enum proto_framing framing) {
    return framings[framing];
}

/* "0.25" in thousandths; 1000 for what is no quality. */
static int read_quality(const char *text, const char *end) {
    int quality = 0, digit = 1000;
    if (text == end || (*text != '0' && *text != '1')) {
        return 1000;
    }
    for (; text < end && digit > 0; text++) {
        if (*text >= '0' && *text <= '9') {
            quality += (*text - '0') * digit;
            digit /= 10;
        } else if (*text != '.' || digit != 100) {
            break;
        }
    }
    return quality < 1000 ? quality : 1000;
}

/* The quality among the parameters of a range, ";q=0.5" anywhere; 1000 if there is none. */
static int quality_of(const char *parameters, const char *end) {
    for (const char *p = parameters; p < end; p++) {
        if (*p == ';') {
            const char *name = p + 1 + strspn(p + 1, " \t");
            if (end - name >= 2 && (*name == 'q' || *name == 'Q') && name[1] == '=') {
                return read_quality(name + 2, end);
            }
        }
    }
    return 1000;
}

static enum exactness match(const char *range, size_t length, const char *type) {
    size_t family = strcspn(type, "/");
    if (length == 3 && memcmp(range, "*/*", 3) == 0) {
        return BY_ANYTHING;
    }
    if (length == family + 2 && strncasecmp(range, type, family) == 0 && memcmp(range + family, "/*", 2) == 0) {
        return BY_FAMILY;
    }
    return length == strlen(type) && strncasecmp(range, type, length) == 0 ? BY_NAME : NOT_NAMED;
}

/* Reads one element of the list; false if it is no media range. */
static bool read_range(const char *range, const char *end, const char *const *types, int count,
                       struct verdict *verdicts) {
    range += strspn(range, " \t");
    size_t length = range < end ? strcspn(range, "; \t,") : 0;
    if (!memchr(range, '/', length)) {
        return false;
    }
    int quality = quality_of(range + length, end);
    for (int i = 0; i < count; i++) {
        enum exactness exactness = match(range, length, types[i]);
        if (exactness > verdicts[i].exactness) {
            verdicts[i] = (struct verdict){exactness, quality};
        }
    }
    return true;
}

static bool is_better(const struct verdict *a, const struct verdict *b) {
    return a->quality > b->quality || (a->quality == b->quality && a->exactness > b->exactness);
}

int proto_accept_best(const char *header, const char *const *types, int count) {
    struct verdict verdicts[PROTO_MOST_TYPES] = {0};
    bool readable = false;
    int best = 0;
    while (header && *header) {
        const char *end = header + strcspn(header, ",");
        readable = read_range(header, end, types, count, verdicts) || readable;
        header = *end ? end + 1 : end;
    }
    for (int i = 1; i < count; i++) {
        best = is_better(&verdicts[i], &verdicts[best]) ? i : best;
    }
    return !readable || verdicts[best].quality > 0 ? best : -1;
}

bool proto_accept(const char *header, enum proto_framing *framing) {
    int best = proto_accept_best(header, framings, FRAMINGS);
    *framing = best < 0 ? PROTO_JSON : (enum proto_framing)best;
    return best >= 0;
}

bool proto_accept_framing(const char *header, enum proto_framing *framing, struct proto_problem *problem) {
    return proto_accept(header, framing) ||
           proto_problem_set(problem, PROTO_NOT_ACCEPTABLE, "",
                             "answers are application/json, text/event-stream or application/x-ndjson");
}

bool proto_accept_coding(const char *header, const char *coding) {
    while (header && *header) {
        const char *end = header + strcspn(header, ",");
        header += strspn(header, " \t");
        size_t length = header < end ? strcspn(header, "; \t,") : 0;
        if (length == strlen(coding) && strncasecmp(header, coding, length) == 0) {
            return quality_of(header + length, end) > 0;
        }
        header = *end ? end + 1 : end;
    }
    return false;
}
