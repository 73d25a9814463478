/* unpickle.c - see unpickle.h. A stack machine of fixed size: no instruction allocates, none recurses, and each
 * takes at most as much time as it takes values off the stack.
 *
 * Values stay what the pickle wrote: a storage is the tuple that named it, a tensor the tuple of arguments that
 * would have built it. Only when the whole pickle has been read are the entries of the dict that it leaves
 * turned into tensors. The machine lives as long as one call of data_unpickle(). */
#include "engine/data/unpickle.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    MAX_STACK = 4096,   /* pickle sets the items of a dict 1000 at a time */
    MAX_MEMO = 1 << 16, /* some nine a tensor */
    MAX_ITEMS = 1 << 16,
    MAX_ENTRIES = 1 << 14,
    MAX_TENSORS = 1024
};

enum instruction {
    MARK = '(',
    STOP = '.',
    BININT = 'J',
    BININT1 = 'K',
    BININT2 = 'M',
    NONE = 'N',
    BINPERSID = 'Q',
    REDUCE = 'R',
    BINUNICODE = 'X',
    EMPTY_TUPLE = ')',
    BUILD = 'b',
    GLOBAL = 'c',
    BINGET = 'h',
    LONG_BINGET = 'j',
    BINPUT = 'q',
    LONG_BINPUT = 'r',
    SETITEM = 's',
    TUPLE = 't',
    SETITEMS = 'u',
    EMPTY_DICT = '}',
    PROTO = 0x80,
    TUPLE1 = 0x85,
    TUPLE2 = 0x86,
    TUPLE3 = 0x87,
    NEWTRUE = 0x88,
    NEWFALSE = 0x89,
    LONG1 = 0x8a
};

enum kind {
    IS_MARK,
    IS_NONE,
    IS_BOOLEAN,
    IS_INTEGER, /* at: the number */
    IS_TEXT,    /* [at, at + length) of the pickle */
    IS_NAME,    /* at: index into names */
    IS_TUPLE,   /* [at, at + length) of the items, and so are */
    IS_STORAGE, /* ("storage", type, key, location, values) */
    IS_TENSOR,  /* (storage, first value, shape, strides, requires_grad, hooks) */
    IS_DICT     /* at: its number; the entries know it */
};

struct value {
    enum kind kind;
    uint32_t length;
    int64_t at;
};

struct entry {
    int64_t dict;
    struct value key, value;
};

struct machine {
    const uint8_t *bytes;  /* [size] */
    size_t size, next, at; /* the next byte to read; the first of this instruction */
    trm_error *err;
    struct value stack[MAX_STACK], memo[MAX_MEMO], items[MAX_ITEMS];
    struct entry entries[MAX_ENTRIES];
    size_t depth, memo_count, item_count, entry_count;
    int64_t dict_count;
};

enum name { ORDERED_DICT, REBUILD_TENSOR, FIRST_STORAGE };

/* As they follow a GLOBAL. From FIRST_STORAGE on: types of storages. */
static const struct {
    const char *text;
    enum st_dtype dtype;
} names[] = {
    [ORDERED_DICT] = {.text = "collections\nOrderedDict\n"},
    [REBUILD_TENSOR] = {.text = "torch._utils\n_rebuild_tensor_v2\n"},
    [FIRST_STORAGE] = {"torch\nFloatStorage\n", ST_F32},
    {"torch\nBFloat16Storage\n", ST_BF16},
    {"torch\nHalfStorage\n", ST_F16},
    {"torch\nDoubleStorage\n", ST_F64},
};

enum { NAMES = sizeof names / sizeof names[0] };

/* Says why the pickle is refused; always false. */
__attribute__((format(printf, 2, 3))) static bool refuse(struct machine *m, const char *format, ...) {
    char text[sizeof m->err->text];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    trm_fail(m->err, TRM_FORMAT, "byte %zu of the pickle: %s", m->at, text);
    return false;
}

/* ---- what an instruction reads ---- */

/* The next `count` bytes; NULL, and refused, if there are not so many. */
static const uint8_t *take_bytes(struct machine *m, size_t count) {
    if (count > m->size - m->next) {
        refuse(m, "it is cut short");
        return NULL;
    }
    m->next += count;
    return m->bytes + m->next - count;
}

/* A little-endian number of `count` <= 8 bytes. */
static bool take_number(struct machine *m, size_t count, uint64_t *number) {
    const uint8_t *bytes = take_bytes(m, count);
    *number = 0;
    for (size_t i = 0; bytes && i < count; i++)
        *number |= (uint64_t)bytes[i] << (8 * i);
    return bytes != NULL;
}

/* ---- the stack ---- */

static bool push(struct machine *m, struct value value) {
    if (m->depth == MAX_STACK)
        return refuse(m, "more than %d values on the stack", MAX_STACK);
    m->stack[m->depth++] = value;
    return true;
}

static struct value *top(struct machine *m) {
    return &m->stack[m->depth - 1];
}

/* Whether the topmost values are of these kinds, the last of them on top. */
static bool ends_with(const struct machine *m, const enum kind *kinds, size_t count) {
    if (m->depth < count)
        return false;
    for (size_t i = 0; i < count; i++)
        if (m->stack[m->depth - count + i].kind != kinds[i])
            return false;
    return true;
}

/* Stores how many values are above the topmost mark. */
static bool count_to_mark(struct machine *m, size_t *count) {
    for (*count = 0; *count < m->depth; ++*count)
        if (m->stack[m->depth - 1 - *count].kind == IS_MARK)
            return true;
    return refuse(m, "there is no mark");
}

/* ---- instructions ---- */

/* A number of `count` bytes, of which the highest has the sign if it is_signed. */
static bool push_integer(struct machine *m, size_t count, bool is_signed) {
    uint64_t number;
    if (!take_number(m, count, &number))
        return false;
    const int unused = 64 - 8 * (int)count;
    if (is_signed && count > 0)
        number = (uint64_t)((int64_t)(number << unused) >> unused);
    return push(m, (struct value){.kind = IS_INTEGER, .at = (int64_t)number});
}

static bool push_long(struct machine *m) {
    uint64_t count;
    if (!take_number(m, 1, &count))
        return false;
    return count <= 8 ? push_integer(m, (size_t)count, true) : refuse(m, "an integer of %d bytes", (int)count);
}

static bool push_text(struct machine *m) {
    uint64_t length;
    if (!take_number(m, 4, &length) || !take_bytes(m, (size_t)length))
        return false;
    return push(m, (struct value){.kind = IS_TEXT, .at = (int64_t)(m->next - length), .length = (uint32_t)length});
}

/* Whether `text` [length] consists of visible ASCII. */
static bool is_visible(const uint8_t *text, size_t length) {
    for (size_t i = 0; i < length; i++)
        if (text[i] <= ' ' || text[i] > '~')
            return false;
    return true;
}

static bool push_name(struct machine *m) {
    const uint8_t *text = m->bytes + m->next;
    const size_t left = m->size - m->next;
    for (int i = 0; i < NAMES; i++) {
        const size_t length = strlen(names[i].text);
        if (length <= left && memcmp(text, names[i].text, length) == 0) {
            m->next += length;
            return push(m, (struct value){.kind = IS_NAME, .at = i});
        }
    }
    const uint8_t *dot = memchr(text, '\n', left);
    const uint8_t *end = dot ? memchr(dot + 1, '\n', left - (size_t)(dot + 1 - text)) : NULL;
    if (!end || !is_visible(text, (size_t)(dot - text)) || !is_visible(dot + 1, (size_t)(end - dot - 1)))
        return refuse(m, "a name that no state dict has");
    return refuse(m, "it asks for %.*s.%.*s, which no state dict needs; nothing was run", (int)(dot - text),
                  (const char *)text, (int)(end - dot - 1), (const char *)dot + 1);
}

/* Memos are numbered as they are put. */
static bool put_memo(struct machine *m, size_t width) {
    uint64_t index;
    if (!take_number(m, width, &index))
        return false;
    if (index > m->memo_count || index == MAX_MEMO)
        return refuse(m, "memo %llu after %zu others", (unsigned long long)index, m->memo_count);
    if (m->depth == 0 || top(m)->kind == IS_MARK)
        return refuse(m, "no value to remember");
    m->memo[index] = *top(m);
    m->memo_count += index == m->memo_count;
    return true;
}

static bool get_memo(struct machine *m, size_t width) {
    uint64_t index;
    if (!take_number(m, width, &index))
        return false;
    return index < m->memo_count ? push(m, m->memo[index]) : refuse(m, "a memo that was not put");
}

/* Replaces the topmost `count` values, and `marks` below them, by a tuple of the values. */
static bool make_tuple(struct machine *m, size_t count, size_t marks) {
    if (m->depth < count + marks)
        return refuse(m, "fewer values than the tuple needs");
    if (count > MAX_ITEMS - m->item_count)
        return refuse(m, "more than %d values in tuples", MAX_ITEMS);
    const struct value tuple = {.kind = IS_TUPLE, .at = (int64_t)m->item_count, .length = (uint32_t)count};
    for (size_t i = m->depth - count; i < m->depth; i++) {
        if (m->stack[i].kind == IS_MARK)
            return refuse(m, "a mark in a tuple");
        m->items[m->item_count++] = m->stack[i];
    }
    m->depth -= count + marks;
    return push(m, tuple);
}

static bool push_dict(struct machine *m) {
    return push(m, (struct value){.kind = IS_DICT, .at = m->dict_count++});
}

/* Sets the `count` keys and values on top in the dict below them and `marks`. */
static bool set_items(struct machine *m, size_t count, size_t marks) {
    if (m->depth < count + marks + 1 || count % 2 || m->stack[m->depth - count - marks - 1].kind != IS_DICT)
        return refuse(m, "no dict and pairs of keys and values to set in it");
    if (count / 2 > MAX_ENTRIES - m->entry_count)
        return refuse(m, "more than %d entries in dicts", MAX_ENTRIES);
    const int64_t dict = m->stack[m->depth - count - marks - 1].at;
    for (size_t i = m->depth - count; i < m->depth; i += 2) {
        if (m->stack[i].kind != IS_TEXT || m->stack[i + 1].kind == IS_MARK)
            return refuse(m, "a key that is no text, or a mark in its place");
        m->entries[m->entry_count++] = (struct entry){dict, m->stack[i], m->stack[i + 1]};
    }
    m->depth -= count + marks;
    return true;
}

static bool text_is(const struct machine *m, const struct value *value, const char *text) {
    return value->kind == IS_TEXT && value->length == strlen(text) &&
           memcmp(m->bytes + value->at, text, value->length) == 0;
}

static bool is_storage_type(const struct value *value) {
    return value->kind == IS_NAME && value->at >= FIRST_STORAGE;
}

/* The tuple on top becomes the storage that it names. */
static bool make_storage(struct machine *m) {
    static const enum kind wanted[] = {IS_TUPLE};
    const struct value *item = ends_with(m, wanted, 1) && top(m)->length == 5 ? &m->items[top(m)->at] : NULL;
    if (!item || !text_is(m, &item[0], "storage") || !is_storage_type(&item[1]) || item[2].kind != IS_TEXT ||
        item[3].kind != IS_TEXT || item[4].kind != IS_INTEGER)
        return refuse(m, "an object outside of the pickle that is no storage of floating-point values");
    top(m)->kind = IS_STORAGE;
    return true;
}

/* "Calls" the name below the tuple of arguments on top: an ordered dict or a tensor takes the place of both. */
static bool reduce(struct machine *m) {
    static const enum kind wanted[] = {IS_NAME, IS_TUPLE};
    if (!ends_with(m, wanted, 2))
        return refuse(m, "a call of what cannot be called");
    const struct value arguments = *top(m);
    const int64_t name = m->stack[m->depth - 2].at;
    m->depth -= 2;
    if (name == ORDERED_DICT && arguments.length == 0)
        return push_dict(m);
    const struct value *item = &m->items[arguments.at];
    if (name == REBUILD_TENSOR && arguments.length == 6 && item[0].kind == IS_STORAGE && item[1].kind == IS_INTEGER &&
        item[2].kind == IS_TUPLE && item[3].kind == IS_TUPLE && item[4].kind == IS_BOOLEAN && item[5].kind == IS_DICT)
        return push(m, (struct value){.kind = IS_TENSOR, .at = arguments.at, .length = arguments.length});
    return refuse(m, "a call with arguments that torch.save() does not write");
}

/* The attributes of a state dict are its _metadata, which says nothing of tensors. */
static bool build(struct machine *m) {
    static const enum kind wanted[] = {IS_DICT, IS_DICT};
    if (!ends_with(m, wanted, 2))
        return refuse(m, "attributes of what has none");
    m->depth--;
    return true;
}

static bool execute(struct machine *m, uint8_t instruction) {
    uint64_t version;
    size_t count;
    switch (instruction) {
    case PROTO:
        if (!take_number(m, 1, &version))
            return false;
        return version == 2 || refuse(m, "pickle protocol %d; torch.save() writes 2", (int)version);
    case GLOBAL:
        return push_name(m);
    case MARK:
        return push(m, (struct value){.kind = IS_MARK});
    case NONE:
        return push(m, (struct value){.kind = IS_NONE});
    case NEWTRUE:
    case NEWFALSE:
        return push(m, (struct value){.kind = IS_BOOLEAN, .at = instruction == NEWTRUE});
    case BININT:
        return push_integer(m, 4, true);
    case BININT1:
        return push_integer(m, 1, false);
    case BININT2:
        return push_integer(m, 2, false);
    case LONG1:
        return push_long(m);
    case BINUNICODE:
        return push_text(m);
    case EMPTY_TUPLE:
        return make_tuple(m, 0, 0);
    case TUPLE1:
    case TUPLE2:
    case TUPLE3:
        return make_tuple(m, (size_t)(instruction - TUPLE1) + 1, 0);
    case TUPLE:
        return count_to_mark(m, &count) && make_tuple(m, count, 1);
    case EMPTY_DICT:
        return push_dict(m);
    case SETITEM:
        return set_items(m, 2, 0);
    case SETITEMS:
        return count_to_mark(m, &count) && set_items(m, count, 1);
    case BINPUT:
        return put_memo(m, 1);
    case LONG_BINPUT:
        return put_memo(m, 4);
    case BINGET:
        return get_memo(m, 1);
    case LONG_BINGET:
        return get_memo(m, 4);
    case BINPERSID:
        return make_storage(m);
    case REDUCE:
        return reduce(m);
    case BUILD:
        return build(m);
    default:
        return refuse(m, "instruction 0x%02x, which no state dict needs", instruction);
    }
}

/* Runs the pickle to its end; the one dict that it leaves is stack[0]. */
static bool run(struct machine *m) {
    for (;;) {
        m->at = m->next;
        const uint8_t *instruction = take_bytes(m, 1);
        if (!instruction)
            return false;
        if (m->at == 0 && *instruction != PROTO)
            return refuse(m, "it does not begin as a pickle");
        if (*instruction == STOP)
            break;
        if (!execute(m, *instruction))
            return false;
    }
    if (m->next != m->size)
        return refuse(m, "it goes on after its end");
    if (m->depth != 1 || m->stack[0].kind != IS_DICT)
        return refuse(m, "what it leaves is no state dict");
    return true;
}

/* ---- from entries to tensors ---- */

/* Copies a text of visible characters, or of digits only, that is not empty and fits `room` with its end. */
static bool copy_text(const struct machine *m, const struct value *text, bool digits, char *out, size_t room) {
    if (text->kind != IS_TEXT || text->length == 0 || text->length >= room ||
        !is_visible(m->bytes + text->at, text->length))
        return false;
    memcpy(out, m->bytes + text->at, text->length);
    out[text->length] = '\0';
    return !digits || strspn(out, "0123456789") == text->length;
}

/* Reads the shape; the strides must be those of consecutive values, but a size of 1 has no stride. */
static bool read_shape(struct machine *m, const struct value *shape, const struct value *strides,
                       struct data_pickled_tensor *tensor) {
    if (shape->length > ST_MAX_RANK || strides->length != shape->length)
        return refuse(m, "%s: a shape of %u sizes and %u strides", tensor->name, (unsigned)shape->length,
                      (unsigned)strides->length);
    tensor->rank = (int)shape->length;
    tensor->count = 1;
    for (int i = tensor->rank - 1; i >= 0; i--) {
        const struct value *size = &m->items[shape->at + i], *stride = &m->items[strides->at + i];
        if (size->kind != IS_INTEGER || size->at < 1 || stride->kind != IS_INTEGER)
            return refuse(m, "%s: size %d of its shape is none", tensor->name, i);
        if (size->at > 1 && (stride->at < 0 || (uint64_t)stride->at != tensor->count))
            return refuse(m, "%s: its values do not lie row by row", tensor->name);
        tensor->shape[i] = (size_t)size->at;
        if (__builtin_mul_overflow(tensor->count, tensor->shape[i], &tensor->count))
            return refuse(m, "%s: its shape is too large", tensor->name);
    }
    size_t bytes;
    if (__builtin_mul_overflow(tensor->count, st_dtype_size(tensor->dtype), &bytes))
        return refuse(m, "%s: its shape is too large", tensor->name);
    return true;
}

static bool read_tensor(struct machine *m, const struct entry *entry, struct data_pickled_tensor *tensor) {
    if (!copy_text(m, &entry->key, false, tensor->name, sizeof tensor->name))
        return refuse(m, "a tensor without a name, or with one that no model has");
    if (entry->value.kind != IS_TENSOR)
        return refuse(m, "%s is no tensor", tensor->name);
    const struct value *argument = &m->items[entry->value.at];
    const struct value *storage = &m->items[argument[0].at]; /* its five items */
    tensor->dtype = names[storage[1].at].dtype;
    if (!copy_text(m, &storage[2], true, tensor->storage, sizeof tensor->storage))
        return refuse(m, "%s: the key of its storage is no number", tensor->name);
    if (!read_shape(m, &argument[2], &argument[3], tensor))
        return false;
    if (argument[1].at != 0 || storage[4].at < 0 || (uint64_t)storage[4].at != tensor->count)
        return refuse(m, "%s: it has %zu values, which are not all of its storage", tensor->name, tensor->count);
    return true;
}

static trm_status list_tensors(struct machine *m, struct data_pickled_tensor **out, size_t *count) {
    struct data_pickled_tensor *tensors = calloc(MAX_TENSORS, sizeof *tensors);
    if (!tensors)
        return trm_fail_memory(m->err, MAX_TENSORS * sizeof *tensors);
    *count = 0;
    bool good = true;
    for (size_t i = 0; good && i < m->entry_count; i++) {
        if (m->entries[i].dict != m->stack[0].at)
            continue;
        good = *count < MAX_TENSORS ? read_tensor(m, &m->entries[i], &tensors[*count])
                                    : refuse(m, "more than %d tensors", MAX_TENSORS);
        ++*count;
    }
    if (!good) {
        free(tensors);
        return TRM_FORMAT;
    }
    *out = tensors;
    return TRM_OK;
}

trm_status data_unpickle(const uint8_t *bytes, size_t size, struct data_pickled_tensor **tensors, size_t *count,
                         trm_error *err) {
    trm_error unread;
    *tensors = NULL;
    *count = 0;
    if (size > DATA_PICKLE_MAX)
        return trm_fail(err, TRM_FORMAT, "a pickle of %zu bytes, more than %d", size, DATA_PICKLE_MAX);
    struct machine *m = malloc(sizeof *m);
    if (!m)
        return trm_fail_memory(err, sizeof *m);
    m->bytes = bytes;
    m->size = size;
    m->err = err ? err : &unread;
    m->next = m->at = 0;
    m->depth = m->memo_count = m->item_count = m->entry_count = 0;
    m->dict_count = 0;
    trm_status status = run(m) ? list_tensors(m, tensors, count) : TRM_FORMAT;
    free(m);
    return status;
}
