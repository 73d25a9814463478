/* text.h - a growable piece of text to write answers into.
 *
 * A failed allocation is remembered in `failed` and later additions do nothing, so that a writer
 * checks once, at its end. Plain data with one owner at a time. */
#ifndef TRM_PROTO_TEXT_H
#define TRM_PROTO_TEXT_H

#include <stdbool.h>
#include <stddef.h>

struct proto_text {
    char *data; /* [length] bytes, not terminated; NULL while nothing was added */
    size_t length, capacity;
    bool failed; /* memory ran out: the text is not whole */
};

void proto_text_add(struct proto_text *text, const char *bytes, size_t count);
void proto_text_add_literal(struct proto_text *text, const char *literal); /* up to its terminator */
void proto_text_addf(struct proto_text *text, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* The next character of `string`, which is not at its end, as it stands inside a JSON string: into
 * `out`, not terminated, and its bytes into *length. Returns how many bytes of `string` it was. Bytes
 * that are not UTF-8 become U+FFFD. */
enum { PROTO_ESCAPE = 6 };
size_t proto_text_escape(const char *string, char out[PROTO_ESCAPE], size_t *length);

/* `string` as a JSON string with its quotes. Bytes that are not UTF-8 become U+FFFD. */
void proto_text_add_string(struct proto_text *text, const char *string);

void proto_text_add_int(struct proto_text *text, long value);

/* Nine significant digits, which read back as the same float; null when not finite. */
void proto_text_add_float(struct proto_text *text, float value);

/* Empties the text but keeps its memory. */
void proto_text_reset(struct proto_text *text);

/* Frees the memory; the text is empty and usable again. */
void proto_text_release(struct proto_text *text);

#endif
