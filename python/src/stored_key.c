/* stored_key.c: see stored_key.h: keys that are not short, pairs. */
#include "stored_key.h"

#include "compat.h"

int hfpy_stored_key_long(homes_state *state, PyObject *object, unsigned flags, hfpy_stored_key *key)
{
    struct hfpy_key *codec = &key->codec;

    if (hfpy_key(state, object, flags | HFPY_AS_KEY, codec) < 0)
        return -1;
    const hf_buffer *encoded = &codec->encoded;
    const hf_canonical *form = &codec->canonical;
    bool own = form->size == encoded->size && memcmp(form->bytes, encoded->bytes, form->size) == 0;
    key->is_long = true;
    key->canonical = hf_span_of(form->bytes, form->size);
    key->given = own ? hf_span_of(NULL, 0) : hf_span_of(encoded->bytes, encoded->size);
    return 0;
}

PyObject *hfpy_stored_item(homes_state *state, hf_span key_bytes, hf_span value_bytes, unsigned flags)
{
    PyObject *key = hfpy_stored_decode(state, key_bytes, flags);
    PyObject *value = key == NULL ? NULL : hfpy_stored_decode(state, value_bytes, flags);
    PyObject *pair = value == NULL ? NULL : PyTuple_New(2);

    if (pair == NULL) {
        Py_XDECREF(key);
        Py_XDECREF(value);
        return NULL;
    }
    PyTuple_SET_ITEM(pair, 0, key);
    PyTuple_SET_ITEM(pair, 1, value);
    return pair;
}
