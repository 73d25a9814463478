/* text.c - answers are written straight into one buffer: a step message has a hundred numbers, and
 * a tree of JSON values for each would cost more than the step's report itself. No state. */
#include "proto/text.h"

#include <math.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FIRST_CAPACITY = 512 };

/* Room for `extra` more bytes, or false with `failed` set. */
static bool reserve(struct proto_text *text, size_t extra) {
    if (text->failed) {
        return false;
    }
    if (extra <= text->capacity - text->length) {
        return true;
    }
    if (extra > SIZE_MAX / 2 - text->length) {
        text->failed = true;
        return false;
    }
    size_t capacity = text->capacity ? text->capacity : FIRST_CAPACITY;
    while (capacity < text->length + extra) {
        capacity *= 2;
    }
    char *data = realloc(text->data, capacity);
    if (!data) {
        text->failed = true;
        return false;
    }
    text->data = data;
    text->capacity = capacity;
    return true;
}

void proto_text_add(struct proto_text *text, const char *bytes, size_t count) {
    if (count > 0 && reserve(text, count)) {
        memcpy(text->data + text->length, bytes, count);
        text->length += count;
    }
}

void proto_text_add_literal(struct proto_text *text, const char *literal) {
    proto_text_add(text, literal, strlen(literal));
}

void proto_text_addf(struct proto_text *text, const char *format, ...) {
    va_list args;
    va_start(args, format);
    int count = vsnprintf(NULL, 0, format, args);
    va_end(args);
    if (count < 0) {
        text->failed = true;
        return;
    }
    if (!reserve(text, (size_t)count + 1)) { /* vsnprintf writes a terminator too */
        return;
    }
    va_start(args, format);
    vsnprintf(text->data + text->length, (size_t)count + 1, format, args);
    va_end(args);
    text->length += (size_t)count;
}

/* Bytes of the UTF-8 sequence at `s` (RFC 3629), 0 if there is none. The terminator ends a sequence. */
static size_t utf8_length(const unsigned char *s) {
    if (s[0] < 0x80) {
        return 1;
    }
    size_t length = s[0] >= 0xc2 && s[0] <= 0xdf ? 2 : (s[0] & 0xf0) == 0xe0 ? 3 : s[0] >= 0xf0 && s[0] <= 0xf4 ? 4 : 0;
    for (size_t i = 1; i < length; i++) {
        if ((s[i] & 0xc0) != 0x80) {
            return 0;
        }
    }
    bool overlong = (s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xf0 && s[1] < 0x90);
    bool surrogate = s[0] == 0xed && s[1] > 0x9f;
    bool beyond = s[0] == 0xf4 && s[1] > 0x8f;
    return overlong || surrogate || beyond ? 0 : length;
}

size_t proto_text_escape(const char *string, char out[PROTO_ESCAPE], size_t *length) {
    static const char hex[] = "0123456789abcdef";
    const unsigned char *s = (const unsigned char *)string;
    size_t taken = utf8_length(s);
    if (taken == 0) {
        memcpy(out, "\\ufffd", *length = 6);
        return 1;
    }
    if (*s < 0x20 || *s == 0x7f) {
        static const char unicode[] = {'\\', 'u', '0', '0'};
        memcpy(out, unicode, sizeof unicode);
        out[4] = hex[*s >> 4];
        out[5] = hex[*s & 15];
        *length = 6;
    } else if (*s == '"' || *s == '\\') {
        out[0] = '\\';
        out[1] = *string;
        *length = 2;
    } else {
        memcpy(out, string, *length = taken);
    }
    return taken;
}

void proto_text_add_string(struct proto_text *text, const char *string) {
    proto_text_add(text, "\"", 1);
    while (*string) {
        char escaped[PROTO_ESCAPE];
        size_t length;
        string += proto_text_escape(string, escaped, &length);
        proto_text_add(text, escaped, length);
    }
    proto_text_add(text, "\"", 1);
}

void proto_text_add_int(struct proto_text *text, long value) {
    if (value >= 0 && value <= 9) {
        char digit = (char)('0' + value);
        proto_text_add(text, &digit, 1);
    } else {
        proto_text_addf(text, "%ld", value);
    }
}

void proto_text_add_float(struct proto_text *text, float value) {
    if (isfinite(value)) {
        proto_text_addf(text, "%.9g", (double)value);
    } else {
        proto_text_add_literal(text, "null");
    }
}

void proto_text_reset(struct proto_text *text) {
    text->length = 0;
    text->failed = false;
}

void proto_text_release(struct proto_text *text) {
    free(text->data);
    *text = (struct proto_text){0};
}
