/*
 * word.c: see word.h.
 */
#include "value/word.h"

#include "value/utf8.h"

#include <holdfast/status.h>

/* Nothing behind the bytes, and the bytes are text if they are to be. */
static bool is_short(hf_word word)
{
    uint8_t bytes[HF_WORD_SHORT_MAX];
    size_t size = hf_word_payload(word) & 15;
    if (size > HF_WORD_SHORT_MAX)
        return false;
    if (size < HF_WORD_SHORT_MAX && word >> (HF_WORD_SHORT_SHIFT + 8 * size) != 0)
        return false;
    return hf_word_tag_of(word) == HF_WORD_TAG_BYTES || hf_utf8_is_text(bytes, hf_word_short(word, bytes));
}

int hf_word_check(hf_word word)
{
    switch (hf_word_tag_of(word)) {
    case HF_WORD_TAG_INT:
    case HF_WORD_TAG_REFERENCE:
        return 0;
    case HF_WORD_TAG_CONSTANT:
        return hf_word_payload(word) <= 2 ? 0 : HF_CORRUPT;
    case HF_WORD_TAG_STR:
    case HF_WORD_TAG_BYTES:
        return is_short(word) ? 0 : HF_CORRUPT;
    default:
        return HF_CORRUPT;
    }
}

static int from_item(const hf_value_item *item, hf_word *out)
{
    int64_t number;
    switch (item->kind) {
    case HF_VALUE_NONE:
        *out = HF_WORD_NONE;
        return 1;
    case HF_VALUE_BOOL:
        *out = hf_word_bool(item->truth);
        return 1;
    case HF_VALUE_INT:
        return hf_span_int64(item->span, &number) && hf_word_pack_int(number, out);
    case HF_VALUE_STR:
        return hf_word_pack_short(HF_WORD_TAG_STR, item->span.bytes, item->span.size, out);
    case HF_VALUE_BYTES:
        return hf_word_pack_short(HF_WORD_TAG_BYTES, item->span.bytes, item->span.size, out);
    default:
        return 0;
    }
}

int hf_word_from_encoded(const void *bytes, size_t size, hf_word *out)
{
    hf_value_reader reader;
    hf_value_item item;
    hf_value_reader_init(&reader, bytes, size);
    int status = hf_value_read(&reader, &item);
    if (status < 0)
        return status;
    if (reader.depth > 0)
        return hf_value_check(bytes, size, NULL);
    if (!hf_value_reader_at_end(&reader))
        return HF_CORRUPT;
    return from_item(&item, out);
}

int hf_word_write(hf_word word, hf_value_writer *writer)
{
    uint8_t bytes[HF_WORD_SHORT_MAX];
    int status = hf_word_check(word);
    if (status < 0)
        return status;
    switch (hf_word_tag_of(word)) {
    case HF_WORD_TAG_INT:
        return hf_value_write_int64(writer, hf_word_int(word));
    case HF_WORD_TAG_STR:
        return hf_value_write_str(writer, bytes, hf_word_short(word, bytes));
    case HF_WORD_TAG_BYTES:
        return hf_value_write_bytes(writer, bytes, hf_word_short(word, bytes));
    case HF_WORD_TAG_CONSTANT:
        if (word == HF_WORD_NONE)
            return hf_value_write_none(writer);
        return hf_value_write_bool(writer, hf_word_truth(word));
    default:
        return HF_CORRUPT;
    }
}
