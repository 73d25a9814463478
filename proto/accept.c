/* accept.c - content negotiation. A header is read range by range; each framing keeps the quality that
 * the most exact range gives it. Constant data only. */
#include "proto/accept.h"

#include <string.h>
#include <strings.h>

enum { FRAMINGS = 3 };

static const struct {
    const char *type;
    size_t family; /* length of what is before the slash */
} framings[FRAMINGS] = {
    [PROTO_JSON] = {"application/json", 11},
    [PROTO_SSE] = {"text/event-stream", 4},
    [PROTO_NDJSON] = {"application/x-ndjson", 11},
};

/* How exactly a range names a type. */
enum exactness { NOT_NAMED, BY_ANYTHING, BY_FAMILY, BY_NAME };

/* What a header says of one framing. */
struct verdict {
    enum exactness exactness;
    int quality; /* thousandths */
};

const char *proto_framing_type(enum proto_framing framing) {
    return framings[framing].type;
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

static enum exactness match(const char *range, size_t length, enum proto_framing framing) {
    const char *type = framings[framing].type;
    size_t family = framings[framing].family;
    if (length == 3 && memcmp(range, "*/*", 3) == 0) {
        return BY_ANYTHING;
    }
    if (length == family + 2 && strncasecmp(range, type, family) == 0 && memcmp(range + family, "/*", 2) == 0) {
        return BY_FAMILY;
    }
    return length == strlen(type) && strncasecmp(range, type, length) == 0 ? BY_NAME : NOT_NAMED;
}

/* Reads one element of the list; false if it is no media range. */
static bool read_range(const char *range, const char *end, struct verdict verdicts[FRAMINGS]) {
    range += strspn(range, " \t");
    size_t length = range < end ? strcspn(range, "; \t,") : 0;
    if (!memchr(range, '/', length)) {
        return false;
    }
    int quality = quality_of(range + length, end);
    for (int f = 0; f < FRAMINGS; f++) {
        enum exactness exactness = match(range, length, (enum proto_framing)f);
        if (exactness > verdicts[f].exactness) {
            verdicts[f] = (struct verdict){exactness, quality};
        }
    }
    return true;
}

static bool is_better(const struct verdict *a, const struct verdict *b) {
    return a->quality > b->quality || (a->quality == b->quality && a->exactness > b->exactness);
}

bool proto_accept(const char *header, enum proto_framing *framing) {
    struct verdict verdicts[FRAMINGS] = {0};
    bool readable = false;
    int best = PROTO_JSON;
    while (header && *header) {
        const char *end = header + strcspn(header, ",");
        readable = read_range(header, end, verdicts) || readable;
        header = *end ? end + 1 : end;
    }
    for (int f = 1; f < FRAMINGS; f++) {
        best = is_better(&verdicts[f], &verdicts[best]) ? f : best;
    }
    *framing = (enum proto_framing)best;
    return !readable || verdicts[best].quality > 0;
}
